"""The way into the queue, for the process with the mailboxes: what scripts, lists and the Outbox send.

A draft has its queue id at once: the process with the queue gives away some in stock. Its content goes over
in pieces, each of which is waited for; a small message goes over whole, together with the wish to have it in
the queue. The answer comes once it is on disk there. Should the connection end in between, the queue is
asked as soon as it is back, so that what is in it is not sent again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from twisted_mta.handover.counterpart import Counterpart
from twisted_mta.handover.link import Away, Served
from twisted_mta.interfaces import IDraft, IIntake
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import Envelope
from twisted_mta.message.status import MailError, unexpected

PIECE = 256 * 1024  # octets of a content handed over at once
STOCK = 1000  # queue ids; each draft takes one
COMES_BACK = 10.0  # seconds that a draft waits for the queue to be back, when it may be in it already
MOST_DRAFTS = 1000  # open at the same time

Ask = Callable[[str], Awaitable[bool]]
AskRecipient = Callable[[str, str], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Piece:
    """The argument of "write". `way`: the name of the intake."""

    way: str
    queue_id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Commit:
    """The argument of "commit". `data`: the last octets of the body."""

    way: str
    queue_id: str
    data: bytes
    head: bytes
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Recipient:
    """The argument of "has recipient"."""

    account: str
    orcpt: str


class RemoteQueue:
    """In the process with the mailboxes."""

    log = Logger(namespace="twisted_mta.handover")

    def __init__(self, process: Counterpart) -> None:
        self.process = process
        self._stock: deque[str] = deque()
        self._asking = 0  # when the other process has come for that time
        process.watch(came=self._fill, went=self._stock.clear)

    def intake(self, way: str) -> RemoteIntake:
        """One of the ways into the queue, by the name that the other process has for it."""
        return RemoteIntake(self, way)

    def queue_id(self) -> str:
        """A new one; "" when there is none, because nobody can take a message in at the moment."""
        if len(self._stock) <= STOCK // 2:
            self._fill()
        return self._stock.popleft() if self._stock else ""

    async def is_queued(self, queue_id: str) -> bool:
        """Whether the queue has that message. Raises MailError."""
        return bool(await self.process.ask("is queued", queue_id, bool))

    async def is_queued_at_last(self, queue_id: str) -> bool:
        """The same, however long it takes until it can be asked. Raises MailError."""
        while True:
            times = self.process.times
            try:
                return await self.is_queued(queue_id)
            except Away:
                if not await self.process.again(times):
                    raise

    async def has_envelope(self, envid: str) -> bool:
        """See MailQueue. Raises MailError."""
        return bool(await self.process.ask("has envelope", envid, bool))

    async def has_recipient(self, account: str, orcpt: str) -> bool:
        """See MailQueue. Raises MailError."""
        return bool(await self.process.ask("has recipient", Recipient(account, orcpt), bool))

    def _fill(self) -> None:
        if self.process.is_there and self._asking != self.process.times:
            self._asking = self.process.times
            Deferred.fromCoroutine(self._filled(self._asking))

    async def _filled(self, asking: int) -> None:
        try:
            some = await self.process.ask("queue ids", STOCK - len(self._stock), list[str])
        except MailError as error:
            self.log.debug("no queue ids: {error}", error=error)
        else:
            self._stock += some
        if self._asking == asking:
            self._asking = 0


@implementer(IIntake)
class RemoteIntake:
    """See IIntake."""

    def __init__(self, queue: RemoteQueue, way: str) -> None:
        self._queue = queue
        self._way = way

    def draft(self, queue_id: str = "") -> IDraft:
        """See IIntake. While nobody can take it in, the draft says so with the first octets."""
        return _Draft(self._queue, self._way, queue_id or self._queue.queue_id())


@implementer(IDraft)
class _Draft:
    def __init__(self, queue: RemoteQueue, way: str, queue_id: str) -> None:
        self._queue = queue
        self._way = way
        self.queue_id = queue_id or "0"
        self.size = 0
        self._pending = bytearray()
        self._begun = False  # the other process has some of it
        self._process = queue.process.times  # which of those that have come has made the queue id
        self._over = False
        self._refused: MailError | None = None if queue_id else Away()

    async def write(self, data: bytes) -> None:
        self._require()
        self.size += len(data)
        self._pending += data
        while len(self._pending) > PIECE:
            piece = bytes(self._pending[:PIECE])
            del self._pending[:PIECE]
            self._begun = True
            await self._asked("write", Piece(self._way, self.queue_id, piece))

    async def content(self) -> Content:
        raise unexpected()  # it is on its way, and nobody reads it here

    async def commit(self, envelope: Envelope, head: bytes = b"") -> None:
        self._require()
        self._over = True
        wish = Commit(self._way, self.queue_id, bytes(self._pending), head, envelope)
        try:
            await self._asked("commit", wish)
        except Away:
            if not await self._queue.process.again(self._process, COMES_BACK):
                raise
            if not await self._queue.is_queued(self.queue_id):
                raise

    def abort(self) -> None:
        if not self._over and self._begun and self._queue.process.is_there:
            Deferred.fromCoroutine(self._aborted())
        self._over = True
        self._pending.clear()

    async def _aborted(self) -> None:
        with suppress(MailError):
            await self._queue.process.ask("abort", self.queue_id)

    def _require(self) -> None:
        if self._refused is not None:
            raise self._refused
        if self._over:
            raise unexpected()

    async def _asked(self, name: str, argument: object) -> None:
        try:
            if self._queue.process.times != self._process:
                raise Away()
            await self._queue.process.ask(name, argument)
        except MailError as error:
            self._refused = error
            raise


class _Drafts:
    """Those of the other process that are open."""

    def __init__(self, ways: Mapping[str, IIntake]) -> None:
        self._ways = ways
        self._open: dict[str, IDraft] = {}
        self._committing: set[Deferred[None]] = set()
        self._left: set[Deferred[None]] = set()  # of these, what an ended connection has asked for

    async def write(self, piece: Piece) -> None:
        draft = self._open.get(piece.queue_id)
        if draft is None:
            if len(self._open) >= MOST_DRAFTS:
                raise unexpected()
            draft = self._open[piece.queue_id] = self._ways[piece.way].draft(piece.queue_id)
        try:
            await draft.write(piece.data)
        except BaseException:
            self._open.pop(piece.queue_id, None)
            draft.abort()
            raise

    async def commit(self, wish: Commit) -> None:
        draft = self._open.pop(wish.queue_id, None)
        if draft is None:
            draft = self._ways[wish.way].draft(wish.queue_id)
        done: Deferred[None] = Deferred()
        self._committing.add(done)
        try:
            if wish.data:
                await draft.write(wish.data)
            await draft.commit(wish.envelope, wish.head)
        except BaseException:
            draft.abort()
            raise
        finally:
            self._committing.discard(done)
            self._left.discard(done)
            done.callback(None)

    async def abort(self, queue_id: str) -> None:
        draft = self._open.pop(queue_id, None)
        if draft is not None:
            draft.abort()

    def abort_all(self) -> None:
        self._left |= self._committing
        drafts, self._open = self._open, {}
        for draft in drafts.values():
            draft.abort()

    async def settled(self) -> None:
        """Once it is certain what is in the queue of all that ended connections have asked for."""
        while self._left:
            await next(iter(self._left))


def serve_queue(
    process: Counterpart,
    *,
    ways: Mapping[str, IIntake],
    new_id: Callable[[], str],
    is_queued: Ask,
    has_envelope: Ask,
    has_recipient: AskRecipient,
) -> None:
    """In the process with the queue: what `RemoteQueue` asks for is done by these."""
    drafts = _Drafts(ways)

    async def queue_ids(count: int) -> list[str]:
        return [new_id() for _ in range(min(count, STOCK))]

    async def queued(queue_id: str) -> bool:
        await drafts.settled()
        return await is_queued(queue_id)

    async def with_envelope(envid: str) -> bool:
        await drafts.settled()
        return await has_envelope(envid)

    async def recipient(asked: Recipient) -> bool:
        await drafts.settled()
        return await has_recipient(asked.account, asked.orcpt)

    process.serves |= {
        "queue ids": Served(int, queue_ids),
        "write": Served(Piece, drafts.write),
        "commit": Served(Commit, drafts.commit),
        "abort": Served(str, drafts.abort),
        "is queued": Served(str, queued),
        "has envelope": Served(str, with_envelope),
        "has recipient": Served(Recipient, recipient),
    }
    process.watch(went=drafts.abort_all)
