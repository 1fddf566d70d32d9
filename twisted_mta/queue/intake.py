"""Where messages enter the queue: drafts, and their commit.

A small body stays in memory until it is committed into the database; a body over the threshold is
streamed to a spool file in a thread, so no large message is ever whole in memory, and whoever writes
waits for the disk.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from twisted_mta.interfaces import IDraft, IIntake
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import Envelope, EnvelopeRecipient
from twisted_mta.message.outcome import QueuedRecipient
from twisted_mta.message.status import MailError, unexpected
from twisted_mta.queue.ids import Numbers, decode, encode
from twisted_mta.queue.records import NewMessage
from twisted_mta.queue.refusal import refusal
from twisted_mta.queue.reserve import require_space
from twisted_mta.queue.spool import Spool, SpoolFile

THRESHOLD = 256 * 1024  # octets: a larger body is a spool file
_PIECE = 1 << 20  # octets written to a spool file in one visit to a thread


class InThread(Protocol):
    """Calls a blocking function in a thread."""

    def __call__(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Fires with what the function returned or raised."""


class _State(enum.Enum):
    OPEN = enum.auto()
    COMMITTING = enum.auto()
    OVER = enum.auto()


@implementer(IIntake)
class Intake:
    """Makes drafts. add: puts a message into the queue, and fires once it is on disk."""

    def __init__(
        self,
        *,
        numbers: Numbers,
        spool: Spool,
        add: Callable[[NewMessage], Deferred[None]],
        in_thread: InThread,
        seconds: Callable[[], float],
        threshold: int = THRESHOLD,
    ) -> None:
        self.numbers = numbers
        self.spool = spool
        self.add = add
        self.in_thread = in_thread
        self.seconds = seconds
        self.threshold = threshold

    def draft(self, queue_id: str = "") -> Draft:
        """See IIntake."""
        return Draft(self, queue_id)


@implementer(IDraft)
class Draft:
    """One message on its way in. One caller writes, commits or aborts; each call waits for the one before,
    but `abort` may come at any time."""

    log = Logger(namespace="twisted_mta.queue")

    __slots__ = (
        "_file",
        "_intake",
        "_number",
        "_pending",
        "_pieces",
        "_refused",
        "_state",
        "_writing",
        "queue_id",
        "size",
    )

    def __init__(self, intake: Intake, queue_id: str = "") -> None:
        self._intake = intake
        self._number = decode(queue_id) if queue_id else intake.numbers.message()
        self.queue_id = encode(self._number)
        self.size = 0
        self._pieces: list[bytes] = []
        self._pending = 0  # octets in `_pieces`
        self._file: SpoolFile | None = None
        self._writing = False  # a thread has the file
        self._refused: MailError | None = None
        self._state = _State.OPEN

    async def write(self, data: bytes) -> None:
        """Add octets of the body. Raises MailError (452 or 451), and again at every further call."""
        if self._refused is not None:
            raise self._refused
        self.size += len(data)
        self._pieces.append(data)
        self._pending += len(data)
        if self._pending > (self._intake.threshold if self._file is None else _PIECE):
            await self._in_thread(self._spill)

    async def content(self) -> Content:
        """What has been written so far; its file, if it has one, is there until commit or abort. Raises
        MailError (452 or 451)."""
        if self._refused is not None:
            raise self._refused
        if self._file is not None:
            await self._in_thread(self._spill)
            return Content(b"", path=self._file.path)
        self._pieces = [b"".join(self._pieces)]
        return Content(b"", self._pieces[0])

    async def commit(self, envelope: Envelope, head: bytes = b"") -> None:
        """Put it into the queue; returns once it is on disk. Raises MailError (451 or 452)."""
        if self._refused is not None:
            raise self._refused
        if self._state is not _State.OPEN:
            raise RuntimeError("a draft is committed once")
        if self._file is None:
            body = b"".join(self._pieces)
            content, checksum = Content(head, body), zlib.crc32(body)
        else:
            await self._in_thread(self._finish)
            content, checksum = Content(head, path=self._file.path), self._file.checksum
        self._state = _State.COMMITTING
        self._pieces.clear()
        try:
            await self._intake.add(self._message(envelope, content, checksum))
        except Exception as error:
            self._discard()
            self._refused = refusal(error, self._intake.spool.directory.parent)
            raise self._refused from error
        self._state = _State.OVER

    def abort(self) -> None:
        """Forget the message; no effect once a commit is under way, since it may succeed."""
        if self._state is _State.OPEN and not self._writing:
            self._discard()
        elif self._state is _State.OPEN:
            self._state = _State.OVER  # the thread is let finish, then the file goes

    def _message(self, envelope: Envelope, content: Content, checksum: int) -> NewMessage:
        """The same address twice is one recipient, in whatever case it was written."""
        recipients: dict[str, EnvelopeRecipient] = {}
        for recipient in envelope.recipients:
            recipients.setdefault(recipient.forward_path.key, recipient)
        number = self._intake.numbers.recipient
        return NewMessage(
            number=self._number,
            reverse_path=envelope.reverse_path,
            arrived=self._intake.seconds(),
            content=content,
            size=self.size + len(content.head),
            checksum=checksum,
            recipients=tuple(
                QueuedRecipient(number(), each.forward_path, notify=each.notify, orcpt=each.orcpt)
                for each in recipients.values()
            ),
            parameters=envelope.parameters,
            account=envelope.account,
        )

    async def _in_thread(self, function: Callable[[list[bytes]], None]) -> None:
        pieces, self._pieces, self._pending = self._pieces, [], 0
        self._writing = True
        try:
            await self._intake.in_thread(function, pieces)
        except OSError as error:
            spool = self._intake.spool
            self._refused = refusal(error, spool.directory)
            # Once for a message, which ends here: no faster than clients can bring what fills a spool file.
            self.log.critical(
                "{path} cannot be written: {trouble}. The message is refused for now.",
                path=spool.path(self._number),
                trouble=error.strerror or error,
            )
        finally:
            self._writing = False
        if self._state is _State.OVER:
            self._refused = unexpected()  # aborted meanwhile
        if self._refused is not None:
            self._discard()
            raise self._refused

    def _spill(self, pieces: list[bytes]) -> None:
        """In a thread."""
        require_space(self._intake.spool.directory, sum(map(len, pieces)))
        if self._file is None:
            self._file = self._intake.spool.create(self._number)
        self._file.write(pieces)

    def _finish(self, pieces: list[bytes]) -> None:
        """In a thread."""
        assert self._file is not None
        self._spill(pieces)
        self._file.finish()

    def _discard(self) -> None:
        self._state = _State.OVER
        self._pieces.clear()
        file, self._file = self._file, None
        if file is not None:
            self._intake.in_thread(file.discard).addErrback(lambda _: None)  # an orphan: the next start's
