"""One attempt to relay one message: its recipients and their outcomes (RFC 5321 §5.1, RFC 3464 §2.3.3).

A verdict on the message or on a recipient that is final settles him. Everything else is provisional: the
next host may know better. When no host is left, the provisional outcome stands, and one host with hope
outweighs any number that refuse to talk to us.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from twisted_mta.journey.bus import Journey
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.protocol.smtp.client_events import Stage
from twisted_mta.transfer.mta.relay.verdict import Verdict, turned_away
from twisted_mta.transfer.mta.routing import Host
from twisted_mta.transfer.mta.stranger import cause


@dataclass(frozen=True, slots=True)
class Place:
    """Where a verdict was spoken. `tls`: the version, "" in the clear. `dsn`: whoever accepts a message there
    makes the reports about it from then on (RFC 3461 §5.2.1); `tracking`: can be asked for it (RFC 3885)."""

    host: Host
    tls: str = ""
    dsn: bool = False
    tracking: bool = False


_STAGES = {Action.RELAYED: "relayed", Action.FAILED: "relay-failed", Action.DELAYED: "delayed"}


class Attempt:
    """Collects the outcomes for `recipients` and tells them to the journey."""

    def __init__(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient], journey: Journey
    ) -> None:
        self.message = message
        self._recipients = recipients
        self._journey = journey
        self.heard = False  # a host has answered, whatever it said
        self.second_chance = False  # there is another way for those whom a host would not have from us
        self._settled: dict[int, Outcome] = {}  # by the number of the recipient, as the next
        self._provisional: dict[int, tuple[Verdict, Place | None]] = {}

    def pending(self) -> list[QueuedRecipient]:
        """Who is not settled yet, in order."""
        return [recipient for recipient in self._recipients if recipient.number not in self._settled]

    def record(self, recipient: QueuedRecipient, verdict: Verdict, place: Place) -> None:
        """A verdict on the message for this recipient."""
        # Silence after the end of data may hide an acceptance. Another host now would most likely make
        # two messages of one; waiting is as likely to do so, but the server has had time to recover.
        decided = verdict.accepted or verdict.permanent or (verdict.stage is Stage.FINAL and not verdict.code)
        if decided and not (self.second_chance and turned_away(verdict)):
            self._settle(recipient, verdict, place)
        else:
            self._provide(recipient, verdict, place)

    def note(
        self, verdict: Verdict, place: Place | None, recipients: Iterable[QueuedRecipient] | None = None
    ) -> None:
        """A verdict on these, or on all that are pending, that is none on the message: a host, what it cannot
        do, or the way there, is at fault, and the next one is asked."""
        for recipient in self.pending() if recipients is None else recipients:
            self._provide(recipient, verdict, place)

    def explain(self, why: str) -> None:
        """Say why nobody could be reached, if that is known."""
        for recipient in self.pending() if why else ():
            verdict, place = self._provisional.get(recipient.number, (_NOT_TRIED, None))
            text = f"{verdict.text}; port 25 seems to be blocked: {why}"
            self._provisional[recipient.number] = replace(verdict, text=text), place

    def turn_to_fallback(self) -> bool:
        """Keep pending only those whom all hosts of the route turned away, us rather than their mail; whether
        there are any. The others have their outcome."""
        self.heard = False  # a host has answered, whatever it said
        self.second_chance = False
        for recipient in self.pending():
            verdict, place = self._provisional.get(recipient.number, (_NOT_TRIED, None))
            if not turned_away(verdict):
                self._settle(recipient, verdict, place)
        return bool(self.pending())

    def settle(self, recipients: Iterable[QueuedRecipient], verdict: Verdict) -> None:
        """A verdict of our own that no host can change."""
        for recipient in recipients:
            self._settle(recipient, verdict, None)

    def outcomes(self) -> list[Outcome]:
        """One for each recipient, in order: nothing more is tried."""
        for recipient in self.pending():
            verdict, place = self._provisional.get(recipient.number, (_NOT_TRIED, None))
            self._settle(recipient, verdict, place)
        return [self._settled[recipient.number] for recipient in self._recipients]

    def _provide(self, recipient: QueuedRecipient, verdict: Verdict, place: Place | None) -> None:
        earlier = self._provisional.get(recipient.number)
        if earlier is None or _weight(verdict) >= _weight(earlier[0]):
            self._provisional[recipient.number] = verdict, place

    def _settle(self, recipient: QueuedRecipient, verdict: Verdict, place: Place | None) -> None:
        if verdict.accepted:
            action = Action.RELAYED
        else:
            action = Action.FAILED if verdict.permanent else Action.DELAYED
        host = place.host if place is not None else None
        name = host.name if host is not None else ""
        quoted = "reply" if place is not None and verdict.code else "reason"  # the host's words, or ours
        passed_on = verdict.accepted and place is not None and place.dsn
        self._settled[recipient.number] = Outcome(
            action, verdict.status, verdict.text, name, passed_on=passed_on, broke_off=verdict.broke_off
        )
        self._journey.tell(
            _STAGES[action],
            self.message.queue_id,
            to=recipient.forward_path,
            host=name,
            address=host.address if host is not None else "",
            tls=place.tls if place is not None else "",
            status=verdict.status,
            cause=cause(verdict.code, verdict.text),
            tracking=self._tracking(verdict, place),
            **{quoted: verdict.text},
        )

    def _tracking(self, verdict: Verdict, place: Place | None) -> str:
        """Whether the sender, who wants to track the message, can ask for it there from now on."""
        asked = self.message.parameters.tracking and verdict.accepted
        return "passed on" if asked and place is not None and place.tracking else ""


_NOT_TRIED = Verdict(Stage.CONNECT, 0, "4.3.0", "Local error in processing")


def _weight(verdict: Verdict) -> int:
    """Which of two provisional verdicts stands: hope over none, and a server's words over its silence."""
    if verdict.permanent:
        return 0
    return 2 if verdict.code else 1
