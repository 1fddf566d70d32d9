"""Reception: mail from other hosts for our domains, on port 25 (RFC 5321 §3, §7.8).

Anybody may send to mailboxes that exist here. Only clients in the allowed networks may send elsewhere:
this is no open relay. There is no AUTH here; accounts submit their mail (`transfer/msa`).

What strangers bring is judged as it comes in (`trust/judgement.py`), but for that of trusted clients; what
was found out goes with it in one Authentication-Results field (RFC 8601).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from twisted_mta.interfaces import IDraft, IIntake
from twisted_mta.message.address import Address
from twisted_mta.message.envelope import Envelope
from twisted_mta.message.networks import Network, within
from twisted_mta.message.status import MailError
from twisted_mta.transfer.content import ContentReader
from twisted_mta.transfer.policy import TransferPolicy
from twisted_mta.transfer.session import TransferSession
from twisted_mta.trust.check import Incoming
from twisted_mta.trust.judgement import Judge, Judgement
from twisted_mta.trust.results import value_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceptionPolicy(TransferPolicy):
    """`allow_networks`: clients that may relay."""

    allow_networks: tuple[Network, ...] = ()


class Reception(TransferSession[ReceptionPolicy]):
    """One session with a host that delivers mail. Without a judge, nothing is judged. relaying: where the
    mail of those enters the queue who may relay, when not where all does."""

    def __init__(self, *, judge: Judge | None = None, relaying: IIntake | None = None, **house: Any) -> None:
        super().__init__(**house)
        self._judge = judge
        self._relaying = relaying
        self._judgement: Judgement | None = None  # about the present transaction
        self._junk = ""

    async def check_sender(self, reverse_path: Address | None) -> None:
        """Everybody may be a sender, the null path too (RFC 5321 §4.5.5)."""
        self._forget_judgement()
        self.checked = ""
        if self._judge is not None and not self.trusted:
            self._judgement = Judgement(self._judge, self._incoming(reverse_path))

    def intake(self) -> IIntake:
        return self._relaying if self._relaying is not None and self._may_relay else super().intake()

    @property
    def _may_relay(self) -> bool:
        return within(self.peer_host, self.policy.allow_networks)

    def check_relaying(self, forward_path: Address) -> None:
        if not self._may_relay:
            raise MailError(550, "5.7.1", f"<{forward_path}> Relaying denied")

    async def check_recipient(self, forward_path: Address) -> None:
        judgement = self._judgement
        if judgement is None:
            await super().check_recipient(forward_path)
            return
        message = judgement.message
        message.name, message.reverse = self.client.name, self.client.reverse
        message.forward_paths = self.engine.forward_paths
        self.checked = ""
        try:
            await judgement.any_recipient(forward_path)
            await super().check_recipient(forward_path)
            await judgement.recipient(forward_path)
        except MailError:
            self.checked = "; ".join(judgement.told_at_rcpt)
            raise

    def read_content(self) -> ContentReader:
        return self._judgement or super().read_content()

    async def fields_to_add(self, queue_id: str, header: bytes) -> bytes:
        """What was found out. Raises MailError when the message is refused for it."""
        self._junk = self.checked = ""
        judgement, content = self._judgement, self.content
        if judgement is None or content is None:
            return b""
        message = judgement.message
        message.queue_id, message.forward_paths = queue_id, self.engine.forward_paths
        message.parameters = self.engine.parameters
        judged = await judgement.end(content.draft.content)
        self._junk = judged.junk
        self.journey.tell("judged", queue_id, findings="; ".join(judged.told), junk=judged.junk)
        if judged.refusal is not None:
            raise judged.refusal
        field = f"Authentication-Results: {value_of(self.policy.hostname, judged.findings)}\r\n"
        coded = field.encode() if message.parameters.smtputf8 else field.encode("ascii", "replace")
        return coded + judged.fields

    async def put_into_queue(self, draft: IDraft, envelope: Envelope, head: bytes) -> None:
        if self._junk:
            envelope = replace(envelope, parameters=replace(envelope.parameters, junk=self._junk))
        await super().put_into_queue(draft, envelope, head)

    def closed(self) -> None:
        super().closed()
        self._forget_judgement()

    def _forget_judgement(self) -> None:
        judgement, self._judgement = self._judgement, None
        if judgement is not None:
            judgement.forget()

    def _incoming(self, reverse_path: Address | None) -> Incoming:
        client, hello = self.client, self.engine.hello
        assert hello is not None
        helo = client.helo or hello.name
        return Incoming(client.address, client.name, client.reverse, helo, self.tls_once, reverse_path)
