"""Sends the answers of somebody who is away (RFC 5230), each sender one in an interval, through the queue.

Who writes under a thousand made-up names gets no thousand strangers answered (RFC 3834 §2): within an hour an
account answers no more than so many.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted_mta.interfaces import IIntake
from twisted_mta.journey.bus import Journey
from twisted_mta.message.automatic import Answer, why_not
from twisted_mta.message.envelope import Envelope, EnvelopeRecipient, MailParameters
from twisted_mta.message.outcome import QueuedMessage
from twisted_mta.sieve.vacation import DAY, Vacation
from twisted_mta.store.script_memory import ScriptMemory
from twisted_mta.transfer.mda.sieve.allowance import Allowance
from twisted_mta.transfer.mda.sieve.filing import Sent
from twisted_mta.transfer.mda.sieve.owning import Owns, nobody_else, sender_for
from twisted_mta.transfer.mda.srs import lasting


class Answers:
    """hostname: for Message-IDs. seconds: the wall clock. owns: whether an account may send as an address.
    most: answers of one account within an hour."""

    def __init__(
        self,
        intake: IIntake,
        *,
        hostname: str,
        journey: Journey,
        seconds: Callable[[], float],
        owns: Owns = nobody_else,
        most: int = 300,
    ) -> None:
        self._intake = intake
        self._hostname = hostname
        self._journey = journey
        self._seconds = seconds
        self._owns = owns
        self._allowance = Allowance(seconds, most)

    def due(
        self,
        home: Path,
        account: str,
        delivered_to: str,
        answer: Vacation,
        header: bytes,
        message: QueuedMessage,
    ) -> bool:
        """Whether this one is to be sent, which is remembered. In a thread. Raises OSError, sqlite3.Error."""
        own = {account.lower(), delivered_to.lower(), *(address.lower() for address in answer.addresses)}
        if message.parameters.junk or why_not(header, message.reverse_path, own):
            return False
        assert message.reverse_path is not None
        key = f"vacation\0{answer.handle}\0{lasting(message.reverse_path)}"
        if not answer.interval:  # each message is answered, but none twice
            key += f"\0{message.queue_id}"
        now = self._seconds()
        return ScriptMemory(home).is_new(key, now + (answer.interval or DAY), now)

    async def send(
        self, account: str, delivered_to: str, answer: Vacation, header: bytes, message: QueuedMessage
    ) -> Sent | None:
        """Put the answer into the queue, under the null reverse-path; None when the account has sent too
        many. Raises MailError."""
        assert message.reverse_path is not None
        if not self._allowance.take(account):
            reason = f"more than {self._allowance.most} answers within an hour"
            self._journey.tell("sieve-failed", message.queue_id, account=account, reason=reason)
            return None
        draft = self._intake.draft()
        made = Answer(
            sender=await sender_for(answer.sender, account, delivered_to, self._owns),
            to=message.reverse_path,
            text=answer.reason,
            header=header,
            message_id=f"{draft.queue_id}@{self._hostname}",
            now=self._seconds(),
            subject=answer.subject,
            mime=answer.mime,
        )
        octets = made.render()
        await draft.write(octets)
        ascii_only = message.reverse_path.is_ascii and octets.partition(b"\r\n\r\n")[0].isascii()
        recipients = (EnvelopeRecipient(message.reverse_path),)
        await draft.commit(Envelope(None, recipients, MailParameters(smtputf8=not ascii_only)))
        to = message.reverse_path
        self._journey.tell("made", draft.queue_id, to=to, size=draft.size, about=message.queue_id)
        self._journey.tell("answered", message.queue_id, account=account, to=to, child=draft.queue_id)
        return Sent(draft.queue_id, octets)
