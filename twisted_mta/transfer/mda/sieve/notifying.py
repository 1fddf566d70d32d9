"""Sends what scripts want somebody to be told, by mail through the queue (RFC 5435 §8, RFC 5436).

Loops end here: mail that a program has made is told to nobody, what is sent says that a program has made it,
and one account sends no more than so many notifications within an hour. A delivery that is repeated after a
crash tells nobody twice.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted_mta.interfaces import IIntake
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.envelope import Envelope, EnvelopeRecipient, MailParameters
from twisted_mta.message.headers import first_value
from twisted_mta.message.outcome import QueuedMessage
from twisted_mta.sieve.actions import Notify
from twisted_mta.sieve.mail import one_address
from twisted_mta.sieve.mailto import parse_mailto
from twisted_mta.store.script_memory import ScriptMemory
from twisted_mta.transfer.mda.sieve.allowance import Allowance
from twisted_mta.transfer.mda.sieve.filing import Sent
from twisted_mta.transfer.mda.sieve.notice import Notice
from twisted_mta.transfer.mda.sieve.owning import Owns, nobody_else, sender_for

DAY = 86400.0


class Notifying:
    """hostname: for Message-IDs. seconds: the wall clock. most: notifications of one account within an
    hour."""

    def __init__(
        self,
        intake: IIntake,
        *,
        hostname: str,
        journey: Journey,
        seconds: Callable[[], float],
        most: int = 60,
        owns: Owns = nobody_else,
    ) -> None:
        self._intake = intake
        self._hostname = hostname
        self._journey = journey
        self._seconds = seconds
        self._allowance = Allowance(seconds, most)
        self._owns = owns

    def due(
        self, home: Path, delivered_to: str, notify: Notify, header: bytes, message: QueuedMessage
    ) -> bool:
        """Whether this one is to be sent, which is remembered. In a thread. Raises OSError, sqlite3.Error."""
        submitted = (first_value(header, b"Auto-Submitted") or b"no").partition(b";")[0].strip().lower()
        uri = parse_mailto(notify.method)
        if submitted != b"no" or not (uri.to or uri.cc):
            return False
        key = f"notify\0{message.queue_id}\0{delivered_to}\0{notify.method}\0{notify.text}"
        now = self._seconds()
        return ScriptMemory(home).is_new(key, now + DAY, now)

    async def send(
        self, account: str, delivered_to: str, notify: Notify, header: bytes, message: QueuedMessage
    ) -> Sent | None:
        """Put the notification into the queue; None when the account has sent too many. Its reverse-path is
        the owner, or null where that of the mail is (RFC 5436 §2.7). Raises MailError."""
        if not self._allowance.take(account):
            reason = f"more than {self._allowance.most} notifications within an hour"
            self._journey.tell("sieve-failed", message.queue_id, account=account, reason=reason)
            return None
        owner = Address.parse(delivered_to, utf8=True)
        mailto = parse_mailto(notify.method)
        draft = self._intake.draft()
        made = Notice(
            owner=account,
            sender=one_address(await sender_for(notify.sender, account, delivered_to, self._owns)),
            mailto=mailto,
            notify=notify,
            header=header,
            message_id=f"{draft.queue_id}@{self._hostname}",
            now=self._seconds(),
        ).render()
        recipients = tuple(dict.fromkeys((*mailto.to, *mailto.cc)))
        ascii_only = account.isascii() and all(address.is_ascii for address in (owner, *recipients))
        await draft.write(made)
        await draft.commit(
            Envelope(
                None if message.reverse_path is None else owner,
                tuple(map(EnvelopeRecipient, recipients)),
                MailParameters(smtputf8=not ascii_only),
            )
        )
        told = {"to": recipients[0], "members": recipients}
        self._journey.tell("made", draft.queue_id, to=told["to"], size=draft.size, about=message.queue_id)
        self._journey.tell("notified", message.queue_id, account=account, child=draft.queue_id, **told)
        return Sent(draft.queue_id, made)
