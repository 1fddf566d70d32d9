"""Messages that arrive in pieces, on their way into a mailbox together (IMAP APPEND).

Small ones are held in memory and take the same road as a delivery. A large one, and what is more than
`IN_MEMORY` of small ones, goes to files in `tmp` of the account's INBOX as it arrives, so that none is ever
whole in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from os import unlink
from typing import NamedTuple, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_mta.message.content import Content
from twisted_mta.store.account import BATCH, Account
from twisted_mta.store.deposit import Deposit, deposit_together
from twisted_mta.store.errors import CannotDo, StoreError, disk_error
from twisted_mta.store.flags import split_flags
from twisted_mta.store.home import Home
from twisted_mta.store.mailbox import Mailbox
from twisted_mta.store.maildir import TMP, TmpFile, Written, read_file, write_message
from twisted_mta.store.names import canonical_name
from twisted_mta.store.space import require_space
from twisted_mta.store.threads import Lane

IN_MEMORY = 128 * 1024  # octets; so much of the message at hand, and of all that are complete

T = TypeVar("T")
Rewrite = Callable[[bytes], Iterable[bytes]]


class _Complete(NamedTuple):
    """A message that is all there, and how it is to be put down."""

    source: Content | Written
    bits: int
    keywords: frozenset[str]
    internal_date: float | None


class MessageDraft:
    """Write and end a message, perhaps another one, then commit or abort. One call at a time: await each
    before the next. After an error the draft is gone."""

    def __init__(self, account: Account) -> None:
        self.size = 0  # octets written of the message at hand
        self._account = account
        self._lane = Lane(account.threads)
        self._complete: list[_Complete] = []
        self._held = 0  # octets of those that are in memory
        self._pieces: list[bytes] = []  # of the message at hand
        self._pending = 0  # their octets
        self._file: TmpFile | None = None  # what else there is of it
        self._rewrite: Rewrite | None = None
        self._ended = False

    def begin_verbatim(self, rewrite: Rewrite) -> None:
        """The message that begins now may hold any octets, of which a mailbox could not keep all as they are.
        `rewrite` is called in a thread when it is complete, with all of it; the pieces it makes are put down.
        """
        assert not self.size
        self._rewrite = rewrite

    @property
    def is_verbatim(self) -> bool:
        """True when the message at hand is to be rewritten."""
        return self._rewrite is not None

    async def write(self, data: bytes) -> None:
        """Add octets; waiting for this is the back-pressure. Raises StorageFull, StorageFault."""
        if self._ended:
            raise CannotDo("The message has been dropped")
        self.size += len(data)
        self._pending += len(data)
        self._pieces.append(data)
        if self._pending > IN_MEMORY:
            await self._in_thread(self._spool)

    async def end_message(self, flags: frozenset[str], internal_date: float | None) -> None:
        """The message at hand is all there. internal_date: seconds since the epoch; None: now.

        Raises CannotDo for a flag that cannot be kept, StorageFull, StorageFault, and what `rewrite` does."""
        if self._ended:
            raise CannotDo("The message has been dropped")
        try:
            bits, keywords = split_flags(flags)
        except BaseException:
            self.abort()
            raise
        source: Content | Written
        if self._rewrite is None and self._file is None and self._held + self._pending <= IN_MEMORY:
            source = Content(b"", b"".join(self._pieces))
            self._held += self._pending
        else:
            source = await self._in_thread(self._finish)
            self._file = None
        self._complete.append(_Complete(source, bits, keywords, internal_date))
        self._pieces, self._pending, self.size, self._rewrite = [], 0, 0, None

    async def commit(
        self, mailbox: str, replaced: tuple[Mailbox, int] | None = None
    ) -> tuple[int, list[int]]:
        """Put all messages into the mailbox, or none: (uid_validity, UIDs in their order), once they are safe
        on disk. `replaced`: a message, by its UID, that is removed with that; of another account when the
        new ones are safe.

        Raises NoSuchMailbox, BadMailboxName, NoSuchMessage (the one to be replaced), OverQuota, StorageFull,
        StorageFault: then nothing of it is visible."""
        if self._ended:
            raise CannotDo("The message has been dropped")
        try:
            name = canonical_name(mailbox)
            if len(self._complete) > BATCH:
                await self._in_thread(self._write_down)
            names = self._account.home.names
            done = await self._put(
                [
                    Deposit(name, source, names.fresh(), bits, keywords, internal_date, fresh=True)
                    for source, bits, keywords, internal_date in self._complete
                ],
                replaced,
            )
        except BaseException:
            self.abort()
            raise
        self._ended = True
        return done

    async def _put(
        self, deposits: list[Deposit], replaced: tuple[Mailbox, int] | None
    ) -> tuple[int, list[int]]:
        if len(deposits) == 1 and replaced is None:
            put = await self._account.deposit(deposits[0])
            return put.uid_validity, [put.uid]
        within = None
        if replaced is not None and replaced[0].account is self._account:
            within = replaced[0].number, replaced[1]
        all_put = await self._account.visit(partial(deposit_together, deposits=deposits, replaced=within))
        uids = [put.uid for put in all_put]
        if replaced is not None and within is None:
            await self._expunge_elsewhere(*replaced, deposits[0].mailbox, uids)
        return all_put[0].uid_validity, uids

    async def _expunge_elsewhere(self, mailbox: Mailbox, uid: int, target: str, uids: list[int]) -> None:
        """The new ones are safe: the old one goes, which is of another account. When it stays, they go again.
        Raises StoreError."""
        try:
            await mailbox.expunge([uid])
        except StoreError:
            with suppress(StoreError):  # when nobody knows, two of it are better than none
                if await mailbox.account.visit(partial(_is_there, number=mailbox.number, uid=uid)):
                    await self._account.visit(partial(_take_back, mailbox=target, uids=uids))
            raise

    def abort(self) -> None:
        """Forget everything. Idempotent; a no-op after commit."""
        if not self._ended:
            self._ended = True
            self._pieces = []
            self._lane.run(self._discard)

    # In a thread

    def _spool(self) -> None:
        """The pieces go into the file of the message."""
        data = b"".join(self._pieces)
        self._pieces, self._pending = [], 0
        if self._file is None:
            self._file = TmpFile(self._new_path(), verbatim=self._rewrite is not None)
        require_space(self._file.path, len(data))
        self._file.write(data)

    def _finish(self) -> Written:
        """The message at hand, in a file."""
        self._spool()
        assert self._file is not None
        written = self._file.finish()
        if self._rewrite is None:
            return written
        pieces = self._rewrite(read_file(written.path))
        rewritten = write_message(self._new_path(), _with_space(written.path, pieces))
        self._file.discard()
        return rewritten

    def _write_down(self) -> None:
        """All that is in memory goes into files, so that committing many takes little time in the lane."""
        for number, each in enumerate(self._complete):
            if isinstance(each.source, Content):
                require_space(self._account.home.root, len(each.source))
                written = write_message(self._new_path(), each.source.chunks())
                self._complete[number] = each._replace(source=written)

    def _new_path(self) -> str:
        home = self._account.home
        return f"{home.root}/{TMP}/{home.names.fresh()}"

    def _discard(self) -> Callable[[], None]:
        if self._file is not None:
            self._file.discard()
        for each in self._complete:
            if isinstance(each.source, Written):
                with suppress(OSError):
                    unlink(each.source.path)
        return lambda: None

    async def _in_thread(self, work: Callable[[], T]) -> T:
        done: Deferred[T] = Deferred()

        def perform() -> Callable[[], None]:
            try:
                return partial(done.callback, work())
            except OSError as error:
                return partial(done.errback, Failure(disk_error(error)))
            except BaseException as error:
                return partial(done.errback, Failure(error))

        self._lane.run(perform)
        try:
            return await done
        except BaseException:
            self.abort()
            raise


def _is_there(home: Home, number: int, uid: int) -> bool:
    """In the lane: whether the message is still in its mailbox, as a look at the directory tells."""
    folder = home.folder_numbered(number)
    folder.refresh()
    return bool(folder.index.messages(number, [uid]))


def _take_back(home: Home, mailbox: str, uids: list[int]) -> None:
    """In the lane."""
    home.folder(mailbox).expunge(uids)


def _with_space(path: str, pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces, each when there is space for it on the disk. Raises OSError."""
    for piece in pieces:
        require_space(path, len(piece))
        yield piece
