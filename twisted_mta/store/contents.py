"""The contents of a mailbox's messages: the octets themselves, and what is known of them.

Message files are read beside the account's lane: a file never changes, so all that can go wrong is that it is
no longer where the index has it; then the directory is looked through, in the lane, and the reading tried
again. What is known of a content is looked up beside the lane, too. What is not known yet is found out from
the octets, given to whoever asked, and kept in the lane afterwards, for all copies of the message.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mta.store import fulltext
from twisted_mta.store.columns import Columns, picked
from twisted_mta.store.errors import NoSuchMailbox, StorageFull, StoreError, disk_error
from twisted_mta.store.folder import Folder
from twisted_mta.store.fulltext import Found, Where
from twisted_mta.store.home import Home
from twisted_mta.store.knowledge import Knowledge, learn, render_alone
from twisted_mta.store.overview_columns import Look, OverviewColumns, Overviews
from twisted_mta.store.portions import LARGE
from twisted_mta.store.reading import read_header, read_message, see_files
from twisted_mta.store.streaming import Astray, MessageStream, open_message

if TYPE_CHECKING:
    from twisted_mta.store.account import Account

LOOKS = 3  # times a message whose file is not where it should be is looked for
SLICE = 500  # messages that are learned in one go; they are kept in one visit to the lane
LOOKED_UP = 4000  # overviews, or names of files, that are looked up in one go

T = TypeVar("T")
S = TypeVar("S")


class Contents:
    """What `Mailbox` knows of contents. The async methods raise StoreError, NoSuchMailbox once the mailbox
    has been deleted."""

    log = Logger(namespace="twisted_mta.store")

    def __init__(self, account: Account, number: int, name: str, directory: str, columns: Columns) -> None:
        self.number = number
        self.name = name
        self.deleted = False
        self._account = account
        self._directory = directory
        self._columns = columns
        self.overview_columns = OverviewColumns()

    # The octets

    async def read(self, uids: Sequence[int]) -> list[bytes | None]:
        """Whole messages with CRLF line ends, in the order asked for; None for one that is gone."""
        return await self.examine(uids, lambda data: data)

    async def stream(self, uid: int) -> MessageStream | None:
        """The message to be read piece by piece, with `more`; the caller closes it. None when it is gone."""
        for _ in range(LOOKS):
            try:
                return await self._beside(
                    partial(open_message, self._account.home, self._directory, self.number, uid)
                )
            except Astray:
                await self._visit(Folder.scan)
        return None

    async def more(
        self, stream: MessageStream, see: Callable[[bytes], bytes] = lambda octets: octets
    ) -> bytes:
        """What `see`, called in a thread, makes of the next octets, CRLF; b"" at the end."""
        return await self._beside(lambda: see(stream.read()))

    async def examine(self, uids: Sequence[int], see: Callable[[bytes], T]) -> list[T | None]:
        """What `see` makes of each message, in the order asked for; it is called in a thread with the whole
        message, CRLF. None for one that is gone. The caller has room for them (see portions)."""
        wanted = list(uids)  # `Mailbox.uids` itself may grow meanwhile
        found = await self._read_files(wanted, see, read_message)
        return [found.get(uid) for uid in wanted]

    async def examine_headers(self, uids: Sequence[int], see: Callable[[bytes], T]) -> dict[int, T]:
        """UID -> what `see` makes of the message's header block, with the empty line; it is called in a
        thread. Messages that are gone are left out. The caller has room for them."""
        return await self._read_files(list(uids), see, read_header)

    async def matching(self, uids: Sequence[int], predicate: Callable[[bytes], bool]) -> list[int]:
        """The UIDs, in the order asked for, of the messages for which `predicate` is true; it is called in
        a thread with the whole message, CRLF."""
        wanted = list(uids)
        found = await self._over_files(wanted, predicate)
        return [uid for uid in wanted if found.get(uid)]

    async def base_names(self, uids: Sequence[int], see: Callable[[list[str | None]], T]) -> T:
        """What `see` makes, in a thread, of the base names of the messages' files, in the order of `uids`,
        which ascend; None for a message that is gone."""
        wanted = uids[:]

        def look() -> tuple[T, bool]:
            names: list[str | None] = []
            for start in range(0, len(wanted), LOOKED_UP):
                some = wanted[start : start + LOOKED_UP]
                found = self._account.home.reader.names(self.number, some[0], some[-1])
                names += [found.get(uid) for uid in some]
            return see(names), None in names

        seen, lacking = await self._beside(look)
        if lacking:  # expunged, or the index is another one by now: the lane knows, and says so
            await self._visit(lambda folder: None)
        return seen

    # The full text

    async def find_text(self, uids: Sequence[int], where: Where, wanted: str) -> tuple[list[int], list[int]]:
        """The UIDs of the messages that have the text in their header, their body or either, and the UIDs of
        those that are not in the full text yet, so that nobody knows; both in the order asked for."""
        return await self._find(uids, partial(fulltext.find_text, where=where, wanted=wanted))

    async def find_header(self, uids: Sequence[int], name: str, wanted: str) -> tuple[list[int], list[int]]:
        """The same for the text in the value of a field with that name."""
        return await self._find(uids, partial(fulltext.find_header, name=name, wanted=wanted))

    async def _find(
        self, uids: Sequence[int], question: Callable[[str, str, Collection[int]], Found]
    ) -> tuple[list[int], list[int]]:
        positions = self._columns.positions(uids)
        there, emails = picked(self._columns.uids, positions), picked(self._columns.emails, positions)
        path, epoch = f"{self._account.home.path}/{fulltext.FULLTEXT}", self._account.epoch

        def ask() -> tuple[list[int], list[int]]:
            numbers = set(emails)
            try:
                found, covered = question(path, epoch, numbers)
            except sqlite3.Error as error:
                if self._account.indexer is not None:
                    self._account.indexer.broken(self._account, error)
                found, covered = fulltext.NOTHING
            known = covered.within(numbers)
            unknown = numbers - known if len(known) < len(numbers) else set[int]()
            return having(found), having(unknown)

        def having(wanted: set[int]) -> list[int]:
            return list(compress(there, map(wanted.__contains__, emails))) if wanted else []

        return await self._beside(ask)

    # What is known

    async def structures(self, uids: Sequence[int]) -> list[bytes | None]:
        """What the store's `Render` makes of each message, in the order asked for; None for one that is
        gone."""
        wanted = list(uids)
        found = await self._known(
            wanted,
            self._account.home.reader.structures,
            partial(render_alone, render=self._account.render),
            _keep_structures,
            lambda rendered: rendered,
        )
        return [found.get(uid) for uid in wanted]

    async def previews(self, uids: Sequence[int], *, only_known: bool = False) -> list[str | None]:
        """The beginning of each message's text (RFC 8970), in the order asked for; None for one that is
        gone, and with `only_known` for one whose text would have to be looked at first."""
        wanted = list(uids)
        look_up = self._account.home.reader.previews
        if only_known:
            emails = self.emails(wanted)
            known = await self._beside(partial(look_up, list(emails.values())))
            return [known.get(emails[uid]) if uid in emails else None for uid in wanted]
        found = await self._known(wanted, look_up, self._learn, _keep, lambda known: known.preview)
        return [found.get(uid) for uid in wanted]

    async def overviews(self, uids: Sequence[int], looks: Sequence[Look]) -> Overviews:
        """What the messages' overviews tell, in the order of `uids`, without messages that are gone. Found
        out once, and then remembered as long as there is room."""
        if self.deleted:
            raise NoSuchMailbox("The mailbox has been deleted")
        wanted, columns = uids[:], self.overview_columns
        with self._account.upkeep.overviews.using(columns):
            columns.align(self._columns.uids, looks)
            unknown = columns.lacking(columns.places(wanted), looks)
            for start in range(0, len(unknown), LOOKED_UP):
                rows = await self._look_up(unknown[start : start + LOOKED_UP], looks)
                columns.align(self._columns.uids, looks)
                columns.take(rows, looks)
            return columns.seen(columns.places(wanted), looks)

    async def _look_up(self, uids: Sequence[int], looks: Sequence[Look]) -> dict[int, tuple[Any, ...]]:
        fields = tuple({look.field: None for look in looks})
        sees = [(fields.index(look.field), look.see) for look in looks]

        def seen(row: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple([see(row[at]) for at, see in sees])

        def look_up(emails: Sequence[int]) -> dict[int, tuple[Any, ...]]:
            rows = self._account.home.reader.overviews(emails, fields)
            return {email: seen(row) for email, row in rows.items()}

        def part(known: Knowledge) -> tuple[Any, ...]:
            return seen(tuple([getattr(known.overview, field) for field in fields]))

        return await self._known(uids, look_up, self._learn, _keep, part)

    async def thread_ids(self, uids: Sequence[int]) -> list[str | None]:
        """THREADID of each message (RFC 8474 §5.2), in the order asked for; None for one that is gone, and
        as long as there is no space to keep it."""
        wanted = list(uids)
        emails = self.emails(wanted)
        look_up = partial(self._account.home.reader.threads, list(emails.values()))
        threads: dict[int, int] = {}
        with suppress(StorageFull):
            threads = await self._beside(look_up)
            unknown = {email: uid for uid, email in emails.items() if email not in threads}
            if unknown:
                for some in _slices(unknown):
                    await self._account.visit(partial(_keep, await self._over_emails(some, self._learn)))
                threads = await self._beside(look_up)
        epoch = self._account.epoch
        return [f"T{epoch}-{threads[emails[uid]]}" if emails.get(uid) in threads else None for uid in wanted]

    async def cached(
        self, kind: str, uids: Sequence[int], compute: Callable[[bytes], bytes]
    ) -> list[bytes | None]:
        """A rendering of each message, in the order asked for; None for a message that is gone. `compute` is
        called for a message that has none of this kind yet, in a thread, with the whole message, CRLF.
        Without space in the index to keep it, or to look it up, it is computed each time."""
        wanted = list(uids)
        found = await self._known(
            wanted,
            partial(self._account.home.reader.renderings, kind),
            compute,
            partial(_keep_renderings, kind),
            lambda rendered: rendered,
        )
        return [found.get(uid) for uid in wanted]

    async def _known(
        self,
        uids: Sequence[int],
        look_up: Callable[[Sequence[int]], dict[int, T]],
        see: Callable[[bytes], S],
        keep: Callable[[dict[int, S], Home], None],
        part: Callable[[S], T],
    ) -> dict[int, T]:
        """UID -> what `look_up` has by emails, or else that `part` of what `see` makes of the message, all of
        which is given to `keep`, by emails, in the lane."""
        emails = self.emails(uids)
        found: dict[int, T] = {}
        with suppress(StorageFull):
            found = await self._beside(partial(look_up, list(emails.values())))
        if len(found) < len(emails):
            unknown = {email: uid for uid, email in emails.items() if email not in found}
            kept: Deferred[None] = succeed(None)
            for some in _slices(unknown):
                seen = await self._over_emails(some, see)
                await kept  # so that no more than one slice ever waits for the lane
                if seen:
                    kept = self._later(partial(keep, seen))
                found.update((email, part(each)) for email, each in seen.items())
        return {uid: found[email] for uid, email in emails.items() if email in found}

    async def _over_emails(self, uids: dict[int, int], see: Callable[[bytes], T]) -> dict[int, T]:
        """Email -> what `see` makes of it, for those of `uids`, UIDs by email, that are there."""
        seen = await self._over_files(list(uids.values()), see)
        return {email: seen[uid] for email, uid in uids.items() if uid in seen}

    def _learn(self, data: bytes) -> Knowledge:
        return learn(data, self._account.render)

    def emails(self, uids: Sequence[int]) -> dict[int, int]:
        """UID -> the number of its content in the account, of the messages that are there. Raises
        NoSuchMailbox: with another index such a number is that of another content."""
        if self.deleted:
            raise NoSuchMailbox("The mailbox has been deleted")
        positions = self._columns.positions(uids)
        found = picked(self._columns.uids, positions), picked(self._columns.emails, positions)
        return dict(zip(*found, strict=True))

    async def _over_files(self, uids: Sequence[int], see: Callable[[bytes], T]) -> dict[int, T]:
        """What `see`, called in a thread, makes of each message. A large one is read when there is room for
        it; who has room already must not ask for more."""
        columns = self._columns
        places = [place for place in columns.positions(uids) if columns.sizes[place] >= LARGE]
        large = {columns.uids[place]: columns.sizes[place] for place in places}
        seen = await self._read_files([uid for uid in uids if uid not in large], see, read_message)
        for uid, octets in large.items():
            async with self._account.portions.portion(self._account.name, octets):
                seen.update(await self._read_files([uid], see, read_message))
        return seen

    async def _read_files(
        self, uids: Sequence[int], see: Callable[[bytes], T], read: Callable[[str, int], bytes]
    ) -> dict[int, T]:
        seen: dict[int, T] = {}
        if not uids:
            return seen
        for _ in range(LOOKS):
            astray = await self._beside(
                partial(see_files, self._account.home, self._directory, self.number, uids, see, seen, read)
            )
            if not astray:
                break
            await self._visit(Folder.scan)
            uids = astray
        return seen

    # The ways to the disk

    async def _visit(self, work: Callable[[Folder], T]) -> T:
        """In the account's lane."""
        if self.deleted:
            raise NoSuchMailbox("The mailbox has been deleted")
        return await self._account.visit(lambda home: work(home.folder_numbered(self.number)))

    async def _beside(self, work: Callable[[], T]) -> T:
        """In a thread, beside the account's lane."""
        if self.deleted:
            raise NoSuchMailbox("The mailbox has been deleted")
        self._account.use()
        done: Deferred[T] = Deferred()

        def perform() -> Callable[[], None]:
            try:
                return partial(done.callback, work())
            except (OSError, sqlite3.Error) as error:
                self._account.home.report(f"{self._directory}: {error!r}")
                return partial(done.errback, Failure(disk_error(error)))
            except BaseException as error:
                return partial(done.errback, Failure(error))

        self._account.threads.run(perform)
        value = await done
        if self._account.home.reader.is_broken:
            await self._account.visit(Home.examine)
            if self.deleted:
                raise NoSuchMailbox("The mailbox has been deleted")
        return value

    def _later(self, work: Callable[[Home], None]) -> Deferred[None]:
        """In the account's lane; nobody has to wait for it, and when it fails nothing is lost."""

        async def attempt() -> None:
            with suppress(StoreError):  # said already where it happened
                await self._account.visit(work)

        done = Deferred.fromCoroutine(attempt())
        done.addErrback(
            lambda failure: self.log.failure("work on {name} failed", failure=failure, name=self.name)
        )
        return done


def _slices(uids: dict[int, int]) -> list[dict[int, int]]:
    items = list(uids.items())
    return [dict(items[start : start + SLICE]) for start in range(0, len(items), SLICE)]


# Work in the lane


def _keep(known: dict[int, Knowledge], home: Home) -> None:
    with home.index.transaction():
        home.index.emails.keep(known)


def _keep_structures(structures: dict[int, bytes], home: Home) -> None:
    with home.index.transaction():
        home.index.emails.keep_structures(structures)


def _keep_renderings(kind: str, renderings: dict[int, bytes], home: Home) -> None:
    with home.index.transaction():
        home.index.emails.keep_renderings(kind, renderings.items())
