"""A message that arrives in pieces, on its way into a mailbox (IMAP APPEND).

A small message is held in memory and takes the same road as a delivery. A large one goes to a file in
`tmp` of the account's INBOX as it arrives, so that it is never whole in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_mta.message.content import Content
from twisted_mta.store.account import Account
from twisted_mta.store.deposit import Deposit
from twisted_mta.store.errors import CannotDo, disk_error
from twisted_mta.store.flags import split_flags
from twisted_mta.store.maildir import TMP, TmpFile, Written
from twisted_mta.store.names import canonical_name
from twisted_mta.store.space import require_space
from twisted_mta.store.threads import Lane

IN_MEMORY = 128 * 1024  # octets; a draft that grows beyond goes to a file

T = TypeVar("T")


class MessageDraft:
    """Write, then commit or abort. One call at a time: await each before the next."""

    def __init__(self, account: Account) -> None:
        self.size = 0  # octets written
        self._account = account
        self._lane = Lane(account.threads)
        self._pieces: list[bytes] = []
        self._file: TmpFile | None = None
        self._ended = False

    async def write(self, data: bytes) -> None:
        """Add octets; waiting for this is the back-pressure. Raises StorageFull, StorageFault: then the
        draft is gone."""
        if self._ended:
            raise CannotDo("The message has been dropped")
        self.size += len(data)
        self._pieces.append(data)
        if self.size > IN_MEMORY:
            pieces, self._pieces = b"".join(self._pieces), []
            await self._in_thread(lambda: self._spool(pieces))

    def _spool(self, data: bytes) -> None:
        if self._file is None:
            home = self._account.home
            self._file = TmpFile(f"{home.root}/{TMP}/{home.names.fresh()}")
        require_space(self._file.path, len(data))
        self._file.write(data)

    async def commit(
        self, mailbox: str, flags: frozenset[str], internal_date: float | None
    ) -> tuple[int, int]:
        """Put the message into the mailbox: (uid_validity, uid), once it is safe on disk.

        internal_date: seconds since the epoch; None: now. Raises NoSuchMailbox, BadMailboxName, CannotDo,
        StorageFull, StorageFault: then the draft is gone and nothing of it is visible."""
        if self._ended:
            raise CannotDo("The message has been dropped")
        try:
            bits, keywords = split_flags(flags)
            name = canonical_name(mailbox)
            source: Content | Written = Content(b"", b"".join(self._pieces))
            if self._file is not None:
                source = await self._in_thread(self._file.finish)
            file_name = self._account.home.names.fresh()
            done = await self._account.deposit(
                Deposit(name, source, file_name, bits, keywords, internal_date)
            )
        except BaseException:
            self.abort()
            raise
        self._ended = True
        return done.uid_validity, done.uid

    def abort(self) -> None:
        """Forget the message. Idempotent; a no-op after commit."""
        if not self._ended:
            self._ended = True
            self._pieces = []
            self._lane.run(self._discard)

    def _discard(self) -> Callable[[], None]:
        if self._file is not None:
            self._file.discard()
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
