r"""The Outbox: a mailbox whose owner sends a message by putting it there, with one upload, as in Courier.

It is the mailbox of that name among the user's own; who wants one makes it. What the owner appends, copies or
moves there is submitted under the same conditions as over SMTP, its envelope read from its header, and then
moved into the mailbox with the special use \Sent. Nothing else is sent that lies there: not what a script has
filed, other programs have put there, or others to whom the mailbox is shared.

APPEND waits for the queue and fails at once when the message cannot be sent. Of messages that were copied or
moved there, each stays that cannot be sent, with the keyword $SubmitFailed, and a mail in the INBOX says why.
So it is with what a crash leaves there before anybody was promised that it will be sent.

A message is sent once, whatever crashes: see `intents.py`, and `sent.py` for how it leaves the Outbox. Who
deletes or moves a message away in the moment between may be late. Losing the account's index numbers the
messages anew; those that wait to be sent then stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mta.interfaces import IDirectory, IDraft, IIntake, ISubmitter
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.date import format_date
from twisted_mta.message.headers import header_end
from twisted_mta.message.status import MailError, unexpected
from twisted_mta.protocol.smtp.extensions import SmtpLimits
from twisted_mta.store.errors import NoSuchMailbox, NoSuchMessage
from twisted_mta.store.mailbox import Mailbox
from twisted_mta.store.names import canonical_name
from twisted_mta.store.portions import examined
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.content import check_header, message_id, separator
from twisted_mta.transfer.msa.allowances import Counting, counted
from twisted_mta.transfer.msa.composition import compose
from twisted_mta.transfer.msa.database import DatabaseReactor
from twisted_mta.transfer.msa.intents import Expected, Intent, Intents
from twisted_mta.transfer.msa.ownership import check_originators
from twisted_mta.transfer.msa.repair import missing_fields, without_blind_copies
from twisted_mta.transfer.msa.sent import SentCopies, move_mark, with_move
from twisted_mta.transfer.msa.unsent import unsent_note
from twisted_mta.transfer.recipient import IsFull, Returns, check_recipient
from twisted_mta.trust.results import without_claimed

FAILED = "$SubmitFailed"
MAX_HEADER = 256 * 1024  # octets

_RAGGED = re.compile(rb"\r(?!\n)")
_PIECE = 256 * 1024  # octets given to the draft at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxPolicy:
    """`outbox`: the name of the mailbox, "" for none. `limits`: those of submission. `postmaster`: who says
    that something was not sent."""

    outbox: str
    hostname: str
    postmaster: Address
    limits: SmtpLimits
    max_received: int = 100


class _Message(NamedTuple):
    """A message of which all is known that takes time. `is_ragged`: with a CR that ends no line, in which
    others might see one."""

    data: bytes
    header: bytes
    is_ascii: bool
    is_ragged: bool


def _see(data: bytes) -> _Message:
    """In a thread."""
    end = header_end(data)
    return _Message(data, data if end < 0 else data[:end], data.isascii(), bool(_RAGGED.search(data)))


@implementer(ISubmitter)
class Outbox:
    """`path` is the database of what is about to be sent. in_queue: whether the queue holds a message, by its
    queue id. has_recipient: whether it holds one of an account's that has a recipient with that ORCPT."""

    log = Logger(namespace="twisted_mta.submission")

    def __init__(
        self,
        path: Path,
        *,
        policy: OutboxPolicy,
        store: MessageStore,
        directory: IDirectory,
        intake: IIntake,
        in_queue: Callable[[str], Awaitable[bool]],
        has_recipient: Callable[[str, str], Awaitable[bool]],
        counting: Counting,
        sent: SentCopies,
        is_full: IsFull,
        returns: Returns | None,
        journey: Journey,
        reactor: DatabaseReactor,
    ) -> None:
        self._policy = policy
        self._name = canonical_name(policy.outbox) if policy.outbox else ""
        self._store = store
        self._directory = directory
        self._intake = intake
        self._in_queue = in_queue
        self._has_recipient = has_recipient
        self._counting = counting
        self._sent = sent
        self._is_full = is_full
        self._returns = returns
        self._journey = journey
        self._reactor = reactor
        self._intents = Intents(path, reactor=reactor)
        self._due: dict[str, list[Intent]] = {}  # by account, one of which is at work on each
        self._idle: Deferred[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Go on with what an earlier process has left. Raises sqlite3.Error, OSError."""
        left = await self._intents.start()
        try:
            for intent in left:
                if intent.queue_id and await self._in_queue(intent.queue_id):
                    await self._intents.strike_out(intent)
                else:
                    self._enlist(intent)
            written = {intent[:3] for intent in left}
            for expected in await self._intents.expected():
                await self._look_for(expected, written)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Finish the messages at hand; the others are for the next start."""
        self._stopping = True
        if self._due:
            self._idle = Deferred()
            await self._idle
        await self._intents.stop()

    # See ISubmitter

    def is_outbox(self, mailbox: str) -> bool:
        """See ISubmitter."""
        return bool(self._name) and mailbox == self._name

    async def may_submit(self, account: str) -> None:
        """See ISubmitter."""
        await self._counting.tally(account)

    async def expect(self, account: str) -> int:
        """See ISubmitter."""
        try:
            mailbox = await (await self._store.account(account)).open(self._name)
        except NoSuchMailbox:
            return 0
        try:
            return await self._intents.expect(account, mailbox.uid_validity, mailbox.uid_next)
        finally:
            await mailbox.close()

    async def came(self, token: int) -> None:
        """See ISubmitter."""
        if token:
            with suppress(MailError):  # in the log already; the next start will look
                await self._intents.came(token)

    async def submit(self, account: str, uid_validity: int, uid: int) -> None:
        """See ISubmitter."""
        intent = Intent(account, uid_validity, uid)
        await self._intents.add([intent])
        try:
            await self._send(intent)
        finally:
            with suppress(MailError):  # in the log already; the next start will see what became of it
                await self._intents.strike_out(intent)

    async def submit_later(self, account: str, uid_validity: int, uids: Sequence[int]) -> None:
        """See ISubmitter."""
        intents = [Intent(account, uid_validity, uid) for uid in uids]
        await self._intents.add(intents)
        for intent in intents:
            self._enlist(intent)

    async def appended(self, account: str, mailbox: str, uids: Sequence[int]) -> None:
        """See ISubmitter."""
        await self._sent.appended(account, mailbox, uids)

    # What a crash has left

    async def _look_for(self, expected: Expected, written: Container[tuple[str, int, int]]) -> None:
        """Tell of what came and was not `written` down. What the queue has is on its way."""
        error = MailError(451, "4.3.0", "The server was interrupted before it could take the message")
        try:
            for intent in await self._unmarked(expected):
                mark = move_mark(intent.uid_validity, intent.uid)
                if intent[:3] not in written and not await self._has_recipient(intent.account, mark):
                    await self._tell_unsent(intent, error)
            await self._intents.came(expected.token)
        except MailError as trouble:  # the next start will look again
            self.log.error("{account}: the Outbox: {error}", account=expected.account, error=trouble)

    async def _unmarked(self, expected: Expected) -> list[Intent]:
        intent = Intent(expected.account, expected.uid_validity, expected.uid)
        try:
            mailbox = await self._open(intent)
        except (NoSuchMessage, NoSuchMailbox):
            return []
        try:
            uids = [uid for uid in mailbox.uids if uid >= expected.uid and FAILED not in mailbox.flags(uid)]
            return [intent._replace(uid=uid) for uid in uids]
        finally:
            await mailbox.close()

    # One after the other

    def _enlist(self, intent: Intent) -> None:
        if intent.account in self._due:
            self._due[intent.account].append(intent)
            return
        self._due[intent.account] = [intent]
        Deferred.fromCoroutine(self._work_off(intent.account)).addErrback(self._unexpected)

    async def _work_off(self, account: str) -> None:
        due = self._due[account]
        try:
            while due and not self._stopping:
                intent = due.pop(0)
                await self._send_or_tell(intent)
                with suppress(MailError):
                    await self._intents.strike_out(intent)
        finally:
            del self._due[account]
            if not self._due and self._idle is not None:
                idle, self._idle = self._idle, None
                idle.callback(None)

    async def _send_or_tell(self, intent: Intent) -> None:
        try:
            await self._send(intent)
        except NoSuchMessage:
            pass  # its owner has thought better of it, or it was moved before a crash
        except Exception as error:
            if not isinstance(error, MailError):
                self._unexpected(Failure(error))
                error = unexpected()
            try:
                await self._tell_unsent(intent, error)
            except MailError as trouble:  # it stays in the Outbox all the same
                self.log.error(
                    "{account} was not told that a message was not sent: {error}; {trouble}",
                    account=intent.account,
                    error=error,
                    trouble=trouble,
                )

    def _unexpected(self, failure: Failure) -> None:
        self.log.failure("unexpected error in an Outbox", failure=failure)

    # One message

    async def _send(self, intent: Intent) -> None:
        """Raises MailError, NoSuchMessage when it is not in the Outbox."""
        mailbox = await self._open(intent)
        try:
            size = mailbox.size(intent.uid)
            if size > self._policy.limits.message:
                raise MailError(552, "5.3.4", f"Messages may have {self._policy.limits.message} octets")
            async with examined(self._store.portions, mailbox, intent.uid, _see) as message:
                if message is None:
                    raise NoSuchMessage()
                await self._submit(intent, message)
        except MailError as error:
            self._journey.tell("refused", "", client="outbox", reply=str(error), account=intent.account)
            raise
        finally:
            await mailbox.close()

    async def _open(self, intent: Intent) -> Mailbox:
        mailbox = await (await self._store.account(intent.account)).open(self._name)
        if mailbox.uid_validity != intent.uid_validity:
            await mailbox.close()
            raise NoSuchMessage()
        return mailbox

    async def _submit(self, intent: Intent, message: _Message) -> None:
        policy, account, header, data = self._policy, intent.account, message.header, message.data
        if message.is_ragged:
            raise MailError(554, "5.6.0", "Lines of a message must end in CR LF, and there is a bare CR")
        if len(header) > MAX_HEADER:
            raise MailError(552, "5.3.4", "Message header too long")
        if separator(header):
            raise MailError(554, "5.6.0", "The message has no header")
        check_header(header, max_received=policy.max_received, limits=policy.limits)
        await check_originators(self._directory, account, header)
        envelope = compose(account, header, policy.limits.recipients, ascii_body=message.is_ascii)
        assert envelope.reverse_path is not None
        tally = await self._counting.tally(account)
        for path in envelope.forward_paths:
            await check_recipient(
                path,
                directory=self._directory,
                is_full=self._is_full,
                reverse_path=envelope.reverse_path,
                octets=len(data),
                returns=self._returns,
            )
            await tally.add(path)
        draft = self._intake.draft()
        try:
            await self._fill(draft, header, data)
            await self._intents.add([intent._replace(queue_id=draft.queue_id)])
            async with counted(tally, envelope.forward_paths):
                marked = with_move(envelope, intent.uid_validity, intent.uid)
                head = self._head(draft.queue_id, envelope.reverse_path, header)
                await draft.commit(marked, head)
        except BaseException:
            draft.abort()
            raise
        self._journey.tell(
            "accepted",
            draft.queue_id,
            client="outbox",
            reverse_path=f"<{envelope.reverse_path}>",
            to=envelope.forward_paths,
            recipients=len(envelope.recipients),
            size=draft.size,
            account=account,
            message_id=message_id(header),
        )

    async def _fill(self, draft: IDraft, header: bytes, data: bytes) -> None:
        kept = without_claimed(without_blind_copies(header), self._policy.hostname)
        if kept:
            await draft.write(kept)
        for start in range(len(header), len(data), _PIECE):
            await draft.write(data[start : start + _PIECE])

    def _head(self, queue_id: str, author: Address, header: bytes) -> bytes:
        hostname, now = self._policy.hostname, self._reactor.seconds()
        trace = f"Received: by {hostname} (Outbox) id {queue_id};\r\n\t{format_date(now)}\r\n"
        return trace.encode("ascii") + missing_fields(
            header, author=author, hostname=hostname, queue_id=queue_id, date=now
        )

    async def _tell_unsent(self, intent: Intent, error: MailError) -> None:
        """Mark the message, and say why in the INBOX. Raises MailError."""
        mailbox = await self._open(intent)
        try:
            await mailbox.set_flags([intent.uid], "add", frozenset((FAILED,)))
            headers = await mailbox.examine_headers([intent.uid], lambda header: header)
        finally:
            await mailbox.close()
        now, unique = self._reactor.seconds(), f"unsent-{intent.uid_validity}-{intent.uid}"
        with suppress(KeyError):
            note = unsent_note(
                headers[intent.uid],
                account=intent.account,
                sender=self._policy.postmaster,
                outbox=self._name,
                reason=error.text,
                message_id=f"{unique}.{int(now)}@{self._policy.hostname}",
                now=now,
            )
            content = Content(b"", note.render())
            await self._store.deliver(intent.account, content, unique=unique, arrived=now, recovered=True)
            self._journey.tell("unsent", "", account=intent.account, reason=error.text)
