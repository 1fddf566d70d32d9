"""Sends the answers of somebody who is away (RFC 5230), each sender one in an interval, through the queue."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted_mta.interfaces import IIntake
from twisted_mta.journey.bus import Journey
from twisted_mta.message.automatic import Answer, why_not
from twisted_mta.message.envelope import Envelope, EnvelopeRecipient
from twisted_mta.message.outcome import QueuedMessage
from twisted_mta.sieve.vacation import Vacation
from twisted_mta.store.script_memory import ScriptMemory
from twisted_mta.transfer.mda.sieve.filing import Sent


class Answers:
    """hostname: for Message-IDs. seconds: the wall clock."""

    def __init__(
        self, intake: IIntake, *, hostname: str, journey: Journey, seconds: Callable[[], float]
    ) -> None:
        self._intake = intake
        self._hostname = hostname
        self._journey = journey
        self._seconds = seconds

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
        if why_not(header, message.reverse_path, own):
            return False
        assert message.reverse_path is not None
        if not answer.interval:
            return True
        key = f"vacation\0{answer.handle}\0{message.reverse_path.key}"
        now, memory = self._seconds(), ScriptMemory(home)
        if memory.knows(key, now):
            return False
        memory.remember({key: now + answer.interval}, now)
        return True

    async def send(
        self, account: str, delivered_to: str, answer: Vacation, header: bytes, message: QueuedMessage
    ) -> Sent:
        """Put the answer into the queue, under the null reverse-path. Raises MailError."""
        assert message.reverse_path is not None
        draft = self._intake.draft()
        made = Answer(
            sender=answer.sender or delivered_to,
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
        await draft.commit(Envelope(None, (EnvelopeRecipient(message.reverse_path),)))
        to = message.reverse_path
        self._journey.tell("made", draft.queue_id, to=to, size=draft.size, about=message.queue_id)
        self._journey.tell("answered", message.queue_id, account=account, to=to, child=draft.queue_id)
        return Sent(draft.queue_id, octets)
