"""What a check is asked about, and what it answers: the seam between the judgement (`judgement.py`) and all
that has a say in it.

A check is asked at one stage of a message's way in: at RCPT, for one recipient at a time, or when the content
is complete. All checks of a stage are asked at once, each has a bounded time, and none knows of the others;
what SPF, DKIM, ARC and DMARC found stands in the message when the checks of the content are asked. What is
one account's own affair is asked at delivery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import NO_PARAMETERS, MailParameters
from twisted_mta.message.outcome import QueuedMessage
from twisted_mta.message.status import MailError
from twisted_mta.trust.arc.validate import ArcResult
from twisted_mta.trust.dkim.verify import DkimResult
from twisted_mta.trust.dmarc.author import NO_AUTHOR, Author
from twisted_mta.trust.dmarc.evaluate import DmarcResult
from twisted_mta.trust.finding import Finding
from twisted_mta.trust.question import Question
from twisted_mta.trust.spf.check import SpfResult

Action = Literal["allow", "accept", "junk", "defer", "reject"]


@dataclass(slots=True)
class Incoming:
    """A message on its way in, as far as it has come.

    The client: `address` as text, `name` confirmed by the DNS or "", `reverse` what came of that (pass, fail,
    none, temperror, "" for nobody has looked), `helo` as it said. `tls`: how the connection is encrypted, ""
    when it is not. `reverse_path` None is the null path. `forward_paths`: the recipients accepted so far; a
    check at RCPT finds the one that is asked about last. `asked_spf`: SPF while it is being asked about. From
    here on only when the content is complete: `header` with its empty line, `author` of its From; `content`
    whole, as it came, but for forged Authentication-Results (reading it may block: in a thread only); the
    results; `disowned`: the author's domain does not have it for its own (DMARC), and that counts here; all
    findings so far, those of the checks at RCPT too."""

    address: str
    name: str = ""
    reverse: str = ""
    helo: str = ""
    tls: str = ""
    reverse_path: Address | None = None
    forward_paths: tuple[Address, ...] = ()
    parameters: MailParameters = NO_PARAMETERS
    queue_id: str = ""
    asked_spf: Question[SpfResult] | None = None
    header: bytes = b""
    author: Author = NO_AUTHOR
    content: Content | None = None
    spf: SpfResult | None = None
    dkim: Sequence[DkimResult] = ()
    arc: ArcResult | None = None
    dmarc: DmarcResult | None = None
    disowned: bool = False
    findings: tuple[Finding, ...] = ()

    def to(self, forward_path: Address) -> Self:
        """The same at RCPT, where it is asked about one recipient more."""
        return type(self)(
            self.address,
            self.name,
            self.reverse,
            self.helo,
            self.tls,
            self.reverse_path,
            (*self.forward_paths, forward_path),
            self.parameters,
            self.queue_id,
            self.asked_spf,
        )

    async def early_spf(self, seconds: float) -> SpfResult | None:
        """The result as soon as it is there, also before the content is; None when that takes longer than so
        many seconds: whoever sends can make it take long."""
        return self.spf if self.asked_spf is None else await self.asked_spf.within(seconds)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one check has to say.

    `action`: "accept" has nothing to say against the message; "allow" speaks for it: nothing but a "reject"
    counts then; "junk" wants it in the mailbox for junk; "defer" and "reject" refuse it with `error` (4xx,
    5xx), and "reject" goes before all others. `why` in plain words, "" for nothing. `score` adds up over all
    checks of all stages, in points like those of SpamAssassin: positive speaks against the message.
    `findings` go into Authentication-Results; a method that is not of RFC 8601 begins with "x-". `fields`:
    whole header fields, each with its CRLF, to stand in front of the message if it is accepted."""

    action: Action = "accept"
    error: MailError | None = None
    why: str = ""
    findings: Sequence[Finding] = ()
    score: float = 0.0
    fields: bytes = b""


class Check(Protocol):
    """`name` is one short word, for the journey. `seconds` is how long it may take; when that is over, or
    when `judge` raises something, `otherwise` is its verdict."""

    name: str
    seconds: float

    @property
    def otherwise(self) -> Verdict:
        """See above."""

    async def judge(self, message: Incoming) -> Verdict:
        """What there is to say about the message. Must not change it."""


class PersonalCheck(Protocol):
    """What one account thinks of a message, asked at delivery: "allow" keeps it out of the mailbox for junk
    whatever the server thought, "junk" puts it there, "accept" leaves it at what the server thought."""

    name: str

    async def judge(self, account: str, message: QueuedMessage) -> Verdict:
        """`message.parameters.junk` is what the server thought, "" for no junk. Reading the content may
        block. What is raised counts as "accept"."""
