r"""The copy that an account keeps of what it sends, in the mailbox with the special use \Sent (RFC 6154 §2).

It is one more recipient of the message in the queue, an address that nobody can write to, so that whatever
holds for a message holds for its copy: once the queue has the one, it has the other; a crash repeats what is
not recorded and the file name makes that one copy; what does not fit, because the mailbox is full, is tried
again until the message's time is up. Who sends is told nothing of it; `mta trace` is.

A message that was submitted by putting it into the Outbox (`outbox.py`) is moved instead of copied.

Many clients keep a copy of their own. A message with the same Message-ID that came into the mailbox within
SAME seconds is that copy, and none is made; one that a client appends within that time takes the place of
ours, since it holds what only the client knew, such as Bcc.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from twisted.internet.interfaces import IReactorThreads, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mta.interfaces import IDeliverer
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.envelope import Envelope, EnvelopeRecipient
from twisted_mta.message.headers import first_value
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.message.status import MailError, unexpected
from twisted_mta.store.errors import NoSuchMailbox
from twisted_mta.store.mailbox import Mailbox
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.sieve.filing import mailbox_for
from twisted_mta.transfer.reading import read

SENT = "Sent"  # the name of the mailbox when there is none with the special use
SUBMITTED = "$Submitted"  # RFC 5550 §5.9
SAME = 600.0  # seconds within which two messages with one Message-ID are one

_SPECIAL_USE = "\\Sent"
_LOCAL = "@sent"  # no client can name a local part with an "@"
_COPY, _MOVE = "copy", "move"
_MARK = re.compile(r"x-sent;(copy|move)(?:\.(\d+)\.(\d+))?\Z", re.ASCII)
_NEWEST = 20  # messages among which that of a client is looked for
_ACCOUNTS, _COPIES = 1000, 100  # that are remembered, and copies of each
_LONGEST_ID = 1000  # octets of a Message-ID

_DONE = Outcome(Action.DELIVERED, "2.0.0", "In Sent")


class _Reactor(IReactorTime, IReactorThreads):
    """What copies need of a reactor."""


@dataclass(frozen=True, slots=True)
class _Copy:
    """A copy of ours, and when it was made."""

    mailbox: str
    uid_validity: int
    uid: int
    made: float


def with_copy(envelope: Envelope) -> Envelope:
    """The envelope of a message of which its account is to have a copy."""
    return _marked(envelope, f"x-sent;{_COPY}")


def with_move(envelope: Envelope, uid_validity: int, uid: int) -> Envelope:
    """The envelope of the message with that UID in the Outbox, from where it is to be moved."""
    return _marked(envelope, move_mark(uid_validity, uid))


def move_mark(uid_validity: int, uid: int) -> str:
    """The ORCPT of the recipient that stands for moving that message out of the Outbox."""
    return f"x-sent;{_MOVE}.{uid_validity}.{uid}"


def _marked(envelope: Envelope, mark: str) -> Envelope:
    address = Address(_LOCAL, envelope.account.rpartition("@")[2])
    copy = EnvelopeRecipient(address, frozenset(("NEVER",)), mark)
    return replace(envelope, recipients=(*envelope.recipients, copy))


def _mark(message: QueuedMessage, recipient: QueuedRecipient) -> re.Match[str] | None:
    path = recipient.forward_path
    if path != Address(_LOCAL, message.account.rpartition("@")[2]):
        return None
    return _MARK.match(recipient.orcpt)


@implementer(IDeliverer)
class SentCopies:
    """Stands in front of the `local` deliverer and takes its own recipients from it. `outbox`: the name of
    the mailbox from where messages are moved."""

    log = Logger(namespace="twisted_mta.submission")

    def __init__(
        self, local: IDeliverer, *, store: MessageStore, journey: Journey, reactor: _Reactor, outbox: str = ""
    ) -> None:
        self._local = local
        self._store = store
        self._journey = journey
        self._reactor = reactor
        self._outbox = outbox
        self._copies: OrderedDict[str, dict[bytes, _Copy]] = OrderedDict()  # by account and Message-ID

    async def deliver(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> Sequence[Outcome]:
        """See IDeliverer."""
        if not message.account:
            return await self._local.deliver(message, recipients)
        marks = [_mark(message, recipient) for recipient in recipients]
        if not any(marks):
            return await self._local.deliver(message, recipients)
        others = [each for each, mark in zip(recipients, marks, strict=True) if mark is None]
        outcomes = iter(await self._local.deliver(message, others) if others else ())
        return [
            next(outcomes) if mark is None else await self._keep(message, recipient, mark)
            for recipient, mark in zip(recipients, marks, strict=True)
        ]

    async def _keep(self, message: QueuedMessage, recipient: QueuedRecipient, mark: re.Match[str]) -> Outcome:
        """The outcome of the copy."""
        try:
            if mark[1] == _MOVE and mark[2]:
                return await self._move(message, int(mark[2]), int(mark[3]))
            return await self._copy(message, recipient)
        except Exception as error:
            if not isinstance(error, MailError):
                self.log.failure(
                    "{queue_id}: unexpected error with the copy in Sent",
                    failure=Failure(error),
                    queue_id=message.queue_id,
                )
                error = unexpected()
            action = Action.FAILED if error.permanent else Action.DELAYED
            return Outcome(action, error.status, error.text)

    # Copies

    async def _copy(self, message: QueuedMessage, recipient: QueuedRecipient) -> Outcome:
        name = await self._sent_mailbox(message.account)
        message_id = await self._message_id(message)
        unique = message.copy_for(recipient.number)
        ours = message.recovered and await self._store.was_delivered(
            message.account, [unique], message.arrived
        )
        mailbox = await (await self._store.account(message.account)).open(name)
        try:
            if message_id and not ours and await self._has(mailbox, message_id):
                return Outcome(Action.DELIVERED, "2.0.0", "The client has put a copy into Sent")
            uid = await self._store.deliver(
                message.account,
                message.content,
                unique=unique,
                arrived=message.arrived,
                mailbox=name,
                flags=frozenset(("\\Seen",)),
                recovered=message.recovered,
            )
            if message_id:
                copy = _Copy(name, mailbox.uid_validity, uid, self._reactor.seconds())
                self._remember(message.account, message_id, copy)
        finally:
            await mailbox.close()
        self._journey.tell("kept", message.queue_id, account=message.account, mailbox=name)
        return _DONE

    async def _sent_mailbox(self, account: str) -> str:
        return await mailbox_for(self._store, account, SENT, create=True, special_use=_SPECIAL_USE)

    async def _message_id(self, message: QueuedMessage) -> bytes:
        """As it stands in the header; b"" when there is none, or a monstrous one. Raises OSError."""
        return await read(
            message.content, lambda content: _message_id(content.header()), reactor=self._reactor
        )

    async def _has(self, mailbox: Mailbox, message_id: bytes) -> bool:
        """True when the newest messages hold one with that Message-ID that has just come."""
        since = self._reactor.seconds() - SAME
        newest = [uid for uid in mailbox.uids[-_NEWEST:] if (mailbox.save_date(uid) or 0) >= since]
        found = await mailbox.examine_headers(newest, _message_id) if newest else {}
        return message_id in found.values()

    def _remember(self, account: str, message_id: bytes, copy: _Copy) -> None:
        copies = self._recent(account)
        copies[message_id] = copy
        if len(copies) > _COPIES:
            del copies[next(iter(copies))]
        self._copies[account] = copies
        self._copies.move_to_end(account)
        if len(self._copies) > _ACCOUNTS:
            self._copies.popitem(last=False)

    def _recent(self, account: str) -> dict[bytes, _Copy]:
        since = self._reactor.seconds() - SAME
        copies = self._copies.pop(account, {})
        return {message_id: copy for message_id, copy in copies.items() if copy.made >= since}

    async def appended(self, account: str, mailbox: str, uids: Sequence[int]) -> None:
        """A client of the account has put messages into one of its mailboxes: a copy of ours that is there,
        too, goes. Raises StoreError."""
        if account not in self._copies:
            return
        ours = self._recent(account)
        if ours:
            self._copies[account] = ours
        if not any(copy.mailbox == mailbox for copy in ours.values()):
            return
        opened = await (await self._store.account(account)).open(mailbox)
        try:
            found = await opened.examine_headers(uids[-_NEWEST:], _message_id)
            for uid, message_id in found.items():
                copy = ours.get(message_id)
                if copy is None or copy.uid == uid or copy.uid_validity != opened.uid_validity:
                    continue
                del ours[message_id]
                await opened.expunge([copy.uid])
        finally:
            await opened.close()

    # Moves

    async def _move(self, message: QueuedMessage, uid_validity: int, uid: int) -> Outcome:
        """Out of the Outbox. A message that is there no more was moved before, or its owner took it away."""
        try:
            mailbox = await (await self._store.account(message.account)).open(self._outbox)
        except NoSuchMailbox:
            return _DONE
        try:
            if mailbox.uid_validity != uid_validity or uid not in mailbox.uids:
                return _DONE
            name = await self._sent_mailbox(message.account)
            await mailbox.set_flags([uid], "add", frozenset(("\\Seen", SUBMITTED)))
            await mailbox.set_flags([uid], "remove", frozenset(("\\Draft",)))
            await mailbox.move([uid], name)
        finally:
            await mailbox.close()
        self._journey.tell("kept", message.queue_id, account=message.account, mailbox=name)
        return _DONE


def _message_id(header: bytes) -> bytes:
    value = first_value(header, b"Message-ID") or b""
    return value if len(value) <= _LONGEST_ID else b""
