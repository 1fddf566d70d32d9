"""What all checks that ask a daemon have in common: one question for a message, and what becomes of it when
there is no answer."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.message.content import Content
from twisted_mta.message.status import MailError
from twisted_mta.trust.check import Incoming, Verdict
from twisted_mta.trust.filters.conversation import Conversation
from twisted_mta.trust.filters.daemon import Daemon
from twisted_mta.trust.filters.unavailable import Unavailable
from twisted_mta.trust.filters.words import one_line
from twisted_mta.trust.finding import Finding
from twisted_mta.trust.modes import WhenDown

GRACE = 2.0  # seconds beyond the daemon's, so that its own verdict is in time


@dataclass(frozen=True, slots=True)
class FilterRules:
    """`when_down`: what becomes of a message that the daemon says nothing about. `largest`: octets; a larger
    message is not shown to it. `weight`: what a point of the daemon's counts among those of other checks."""

    when_down: WhenDown = "accept"
    largest: int = 25 * 2**20
    weight: float = 1.0


class DaemonCheck:
    """A `Check` of the content. Subclasses know what to ask. `name` is for the journey and the log; what is
    found stands under "x-NAME"."""

    def __init__(self, name: str, daemon: Daemon, rules: FilterRules) -> None:
        self.name = name
        self.daemon = daemon
        self.rules = rules
        self.seconds = daemon.seconds + GRACE

    @property
    def otherwise(self) -> Verdict:
        """See Check. A new one each time: its error is raised, and then holds whatever that passed."""
        return self._without("it does not answer")

    async def ask(self, conversation: Conversation, message: Incoming, content: Content) -> Verdict:
        """Lead the dialog; from its beginning, it may have been led in vain. Raises Unavailable."""
        raise NotImplementedError

    def too_large(self) -> Verdict:
        """What becomes of a message that is not shown to the daemon."""
        return Verdict(findings=[self.finding("none", reason="too large")])

    async def judge(self, message: Incoming) -> Verdict:
        """See Check. Never raises."""
        content = message.content
        if content is None:
            return Verdict()
        if len(content) > self.rules.largest:
            return self.too_large()
        try:
            return await self.daemon.ask(lambda conversation: self.ask(conversation, message, content))
        except Unavailable as trouble:
            return self._without(str(trouble))

    def finding(self, result: str, reason: str = "", **policy: object) -> Finding:
        """Of this check. `policy`: properties of that kind (RFC 8601 §2.2)."""
        properties = {f"policy.{name}": one_line(str(value)) for name, value in policy.items()}
        return Finding(f"x-{self.name}", result, properties, one_line(reason))

    def _without(self, why: str) -> Verdict:
        findings = [self.finding("temperror", why)]
        if self.rules.when_down == "accept":
            return Verdict(why=one_line(f"not asked: {why}"), findings=findings)
        error = MailError(451, "4.7.1", "A filter of this server is not available, try again later")
        return Verdict("defer", error, one_line(why), findings)
