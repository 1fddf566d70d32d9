"""The background indexer: finds out what is to be known of new mail, and puts its text into the full text.

It works in a thread of its own, on one message at a time, and rests after each in proportion to what it took:
as long again when the store has nothing else to do, many times as long when it has. So it never takes more
than half of a processor and hardly anything from deliveries. (With the interpreter lock, a thread that
computes all the time would cost everybody else up to 5 ms for each turn.) Accounts take turns, a slice of
their newest unknown emails each; a slice is committed as a whole. Whatever is lost when the process ends is
found again, since what is done is known by the database itself.

What the indexer has not come to yet is found out by whoever asks (see contents), and searched in the files.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mta.message.mime import scan
from twisted_mta.store.account import Account
from twisted_mta.store.allocation import return_what_is_free
from twisted_mta.store.errors import NoSuchMailbox, StorageFault, StoreError, disk_error
from twisted_mta.store.fulltext import FULLTEXT, Fulltext, Plain, Texts, discard
from twisted_mta.store.home import Home
from twisted_mta.store.index.reader import Content
from twisted_mta.store.index.rows import is_corruption
from twisted_mta.store.knowledge import Knowledge, learn
from twisted_mta.store.portions import LARGE, Portions
from twisted_mta.store.ranges import Ranges
from twisted_mta.store.reading import read_message
from twisted_mta.store.space import require_space
from twisted_mta.store.threads import Threads

GATHER = 1.0  # seconds from the first arrival until work begins, so that a burst is one piece of work
SLICE = 64  # emails
SLICE_TEXT = 2 * 1024 * 1024  # characters after which a slice ends
GROWTH = 4  # octets that the full text grows by for a character, at most, but for rare scripts
REST = 1.0  # times what a message took
REST_BUSY = 30.0  # the same while the store has other work
MOST_REST = 1.0  # seconds
BUSY = 20.0  # pieces of work that the store begins with in a second
REST_AWAITED = 0.25  # the same while somebody waits for it
REMOVE = 200  # emails that are forgotten in one transaction
RETRY = 5.0  # seconds until room for large messages is asked for again; whoever reads mail goes first
BROKEN = 3  # times in one process that a corrupt database is built anew without being asked
WRITERS = 4  # databases that are open at a time, while there is work

T = TypeVar("T")

Progress = Callable[[int, int], None]  # (emails done, emails in all)


@dataclass(slots=True)
class _State:
    """What is to be done for an account, and what to keep away from."""

    swept: bool = False  # emails that were gone before this process have been looked for
    gone: list[int] = field(default_factory=list)  # emails that have lost their last message
    lost: set[int] = field(default_factory=set)  # emails whose file was not where it should be
    passed: set[int] = field(default_factory=set)  # emails that could not be read: not again in this process
    large: dict[int, int] = field(default_factory=dict)  # octets of emails that wait for room
    broken: int = 0  # times that the database proved corrupt in this process
    anew: bool = False  # find out again what is known already


class _Slice(NamedTuple):
    """What came out of one: how many emails were looked at; whether there may be more work; what is known
    now of emails of the index `epoch`; mailboxes with files that are not where they should be; the size of
    one of the large emails, when nothing else is left to be done."""

    seen: int
    more: bool
    epoch: str = ""
    known: Mapping[int, Knowledge] = MappingProxyType({})
    astray: frozenset[int] = frozenset()
    large: int = 0


class Indexer:
    """Shared by all accounts of a store. `threads` tells whether the store has other work; `portions` gives
    room for large messages; `report` takes lines for the operator, from any thread. Unless `enabled` it does
    nothing by itself."""

    log = Logger(namespace="twisted_mta.store")

    def __init__(
        self,
        reactor: Any,
        threads: Threads,
        portions: Portions,
        report: Callable[[str], None],
        *,
        enabled: bool = True,
    ) -> None:
        self._reactor = reactor
        self._threads = threads
        self._portions = portions
        self._report = report
        self._enabled = enabled
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="indexer")
        self._stopping = threading.Event()
        self._waiting: OrderedDict[str, Account] = OrderedDict()
        self._states: WeakKeyDictionary[Account, _State] = WeakKeyDictionary()
        self._writers: OrderedDict[str, Fulltext] = OrderedDict()  # by path; belongs to the thread
        self._begun, self._looked = 0, 0.0  # pieces of work that the store had begun with, and when
        self._start: IDelayedCall | None = None
        self._postponed: dict[str, Account] = {}
        self._retry: IDelayedCall | None = None
        self._running = False
        self._idle: list[Deferred[None]] = []

    # What happens in the store

    def wake(self, account: Account) -> None:
        """There may be mail that is not indexed yet, or gone."""
        if not self._enabled or self._stopping.is_set():
            return
        self._waiting[account.name] = account
        if not self._running and self._start is None:
            self._start = self._reactor.callLater(GATHER, self._begin)

    def opened(self, account: Account) -> None:
        """The account is in use: what an earlier process has left is to be done."""
        if account not in self._states:
            self.wake(account)

    def gone(self, account: Account, emails: Iterable[int]) -> None:
        """These emails have lost their last message."""
        if self._enabled:
            self._state(account).gone.extend(emails)
            self.wake(account)

    def broken(self, account: Account, error: sqlite3.Error) -> None:
        """A search in the full text failed; from any thread."""
        self._report(f"{_path(account.home)}: {error!r}; searching goes on in the messages")
        if is_corruption(error):
            self._reactor.callFromThread(self._mend, account)

    def _mend(self, account: Account) -> None:
        if self._enabled and not self._stopping.is_set():
            self._pool.submit(self._throw_away, _path(account.home), "a search failed")
            self.wake(account)

    async def reindex(self, account: Account, progress: Progress) -> None:
        """Throw away the full text of an account, and make it and what is known of every email anew. What is
        known stays of use meanwhile. Raises StoreError."""
        state = self._state(account)
        state.anew = True
        state.passed.clear()
        try:
            account.use()
            await self._in_thread(partial(self._throw_away, _path(account.home), ""))
            total = await self._in_thread(account.home.reader.count_emails)
            done, more = 0, True
            while more:
                progress(min(done, total), total)
                if self._stopping.is_set():
                    raise StorageFault()
                seen, more = await self._slice(account, awaited=True)
                done += seen
            progress(total, total)
        except (OSError, sqlite3.Error) as error:
            self._report(f"{_path(account.home)}: {error!r}")
            raise disk_error(error) from error
        finally:
            state.anew = False
            if not self._running and not self._stopping.is_set():
                await self._in_thread(self._close_writers)

    async def stop(self) -> None:
        """End after the message at hand; what is left is found at the next start. Idempotent."""
        self._stopping.set()
        self._waiting.clear()
        self._postponed.clear()
        if self._start is not None:
            self._start.cancel()
            self._start = None
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._running:
            idle: Deferred[None] = Deferred()
            self._idle.append(idle)
            await idle
        self._pool.shutdown()
        self._close_writers()

    # Turns

    def _postpone(self, account: Account) -> None:
        """There is no room for what is left to be done of an account."""
        self._postponed[account.name] = account
        if self._retry is None and not self._stopping.is_set():
            self._retry = self._reactor.callLater(RETRY, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        postponed, self._postponed = self._postponed, {}
        for account in postponed.values():
            self.wake(account)

    def _state(self, account: Account) -> _State:
        return self._states.setdefault(account, _State())

    def _begin(self) -> None:
        self._start = None
        self._running = True
        Deferred.fromCoroutine(self._run()).addErrback(
            lambda failure: self.log.failure("the indexer failed", failure=failure)
        )

    async def _run(self) -> None:
        try:
            while self._waiting:
                name, account = self._waiting.popitem(last=False)
                if await self._turn(account) and not self._stopping.is_set():
                    self._waiting.setdefault(name, account)
                if not self._waiting:
                    await self._in_thread(self._close_writers)
        finally:
            self._running = False
            waiting, self._idle = self._idle, []
            for idle in waiting:
                idle.callback(None)

    async def _turn(self, account: Account) -> bool:
        """One slice; False when the account needs no other one for now."""
        try:
            return (await self._slice(account, awaited=False))[1]
        except StoreError:
            return False  # said already where it happened
        except (OSError, sqlite3.Error) as error:
            self._report(f"{_path(account.home)}: {error!r}")
        except Exception:
            self.log.failure("indexing of {account} failed", account=account.name)
        return False

    async def _slice(self, account: Account, *, awaited: bool) -> tuple[int, bool]:
        """(Emails that were looked at, whether there may be more work.)"""
        state = self._state(account)
        account.use()
        look = partial(self._look, account, state, self._pause if awaited else self._rest)
        seen, more, epoch, known, astray, large = await self._in_thread(partial(look, room=LARGE))
        if large:
            if not awaited and not self._portions.has_room(account.name, large):
                self._postpone(account)
                return seen, False
            async with self._portions.portion(account.name, large):
                seen, more, epoch, known, astray, _ = await self._in_thread(partial(look, room=large))
                await self._in_thread(return_what_is_free)
        if known:
            await account.visit(partial(_keep, epoch=epoch, known=known, anew=state.anew))
        for number in astray:
            with suppress(NoSuchMailbox):
                await account.visit(partial(_scan, number=number))
        return seen, more

    async def _in_thread(self, work: Callable[[], T]) -> T:
        done: Deferred[T] = Deferred()

        def perform() -> None:
            try:
                value = work()
            except BaseException:
                self._reactor.callFromThread(done.errback, Failure())
            else:
                self._reactor.callFromThread(done.callback, value)

        self._pool.submit(perform)
        return await done

    # In the thread

    def _look(self, account: Account, state: _State, rest: Callable[[float], None], room: int) -> _Slice:
        """The newest emails that are not in the full text, as many as make a slice. Those with more octets
        than there is `room` for are put aside until nothing else is left."""
        reader, path = account.home.reader, _path(account.home)
        epoch, end = reader.epoch(), reader.next_email()
        if not epoch or not (os.path.exists(path) or reader.contents(1, end, 1)):
            return _Slice(0, False)
        require_space(account.home.path, 0)  # the full text is the last thing that a full disk needs
        try:
            text = self._writer(path, epoch)
            self._forget(account.home, text, state, rest)
            covered = text.covered()
            if room > LARGE:
                state.large.clear()
            aside = Ranges(covered)
            for email in (*state.passed, *state.large):
                aside.add(email, email)
            gap = next(iter(aside.gaps(1, end - 1)), None)
            if gap is None:
                return _Slice(0, bool(state.large), large=min(state.large.values(), default=0))
            return self._index(account, state, text, covered, gap, rest, epoch, room)
        except sqlite3.DatabaseError as error:
            if not is_corruption(error):
                raise
            self._throw_away(path, str(error))
            state.broken += 1
            return _Slice(0, state.broken < BROKEN)

    def _index(
        self,
        account: Account,
        state: _State,
        text: Fulltext,
        covered: Ranges,
        gap: tuple[int, int],
        rest: Callable[[float], None],
        epoch: str,
        room: int,
    ) -> _Slice:
        first, last = gap
        contents = account.home.reader.contents(first, last, SLICE)
        texts: list[tuple[int, Texts]] = []
        known: dict[int, Knowledge] = {}
        astray: set[int] = set()
        missed: list[int] = []
        seen, octets, lowest = 0, 0, last + 1
        for content in contents:
            seen += 1
            lowest = content.email
            if content.size > room:
                state.large[content.email] = content.size
                missed.append(content.email)
                continue
            began = time.perf_counter()
            try:
                found, knowledge = self._read(account, content, anew=state.anew)
            except FileNotFoundError:
                missed.append(content.email)
                if content.email in state.lost:
                    state.passed.add(content.email)
                else:
                    state.lost.add(content.email)
                    astray.add(content.mailbox)
            except Exception as error:
                self._report(f"{content.path}: not indexed: {error!r}")
                missed.append(content.email)
                state.passed.add(content.email)
            else:
                texts.append((content.email, found))
                if knowledge is not None:
                    known[content.email] = knowledge
                octets += len(found.header) + len(found.body)
            rest(time.perf_counter() - began)
            if octets > SLICE_TEXT or content.size > LARGE or self._stopping.is_set():
                break
        if seen == len(contents) and seen < SLICE:
            lowest = first
        began = time.perf_counter()
        for email in sorted((*missed, lowest - 1), reverse=True):
            if email < last:
                covered.add(email + 1, last)
            last = email - 1
        require_space(account.home.path, GROWTH * octets)
        text.add(texts, covered)
        rest(time.perf_counter() - began)
        return _Slice(seen, True, epoch, known, frozenset(astray))

    def _read(self, account: Account, content: Content, *, anew: bool) -> tuple[Texts, Knowledge | None]:
        data = read_message(f"{account.home.root}/{content.path}", content.size)
        root = scan(data)
        knowledge = None if content.known and not anew else learn(data, account.render, root)
        plain = Plain.of(data, root)
        del data
        return plain.folded(), knowledge

    def _forget(self, home: Home, text: Fulltext, state: _State, rest: Callable[[float], None]) -> None:
        """Take emails that are gone out of the full text."""
        if not state.swept:
            there = text.emails()
            state.gone.extend(there.difference(home.reader.held(there)))
            state.swept = True
        while state.gone and not self._stopping.is_set():
            began = time.perf_counter()
            text.remove(state.gone[-REMOVE:])
            del state.gone[-REMOVE:]
            rest(time.perf_counter() - began)

    def _pause(self, worked: float) -> None:
        self._stopping.wait(worked * REST_AWAITED)

    def _rest(self, worked: float) -> None:
        """Busy is a store that has work at this moment, or has begun with much since the last rest."""
        begun, now = self._threads.begun, time.monotonic()
        done, passed = begun - self._begun, now - self._looked
        self._begun, self._looked = begun, now
        busy = self._threads.is_busy or done > 1 + BUSY * passed
        self._stopping.wait(min(MOST_REST, worked * (REST_BUSY if busy else REST)))

    def _writer(self, path: str, epoch: str) -> Fulltext:
        text = self._writers.pop(path, None)
        if text is not None and (text.epoch != epoch or not text.is_there()):
            text.close()
            text = None
        if text is None:
            text = Fulltext(path, epoch)
        self._writers[path] = text
        if len(self._writers) > WRITERS:
            self._writers.popitem(last=False)[1].close()
        return text

    def _throw_away(self, path: str, why: str) -> None:
        """Begin anew. `why`, unless "", is for the operator."""
        text = self._writers.pop(path, None)
        if text is not None:
            with suppress(sqlite3.Error):
                text.close()
        discard(path)
        if why:
            self._report(f"{path} is corrupt ({why}): thrown away, and built anew")

    def _close_writers(self) -> None:
        while self._writers:
            with suppress(sqlite3.Error):
                self._writers.popitem()[1].close()


def _path(home: Home) -> str:
    return f"{home.path}/{FULLTEXT}"


# Work in the lane


def _keep(home: Home, epoch: str, known: Mapping[int, Knowledge], anew: bool) -> None:
    """Keep what was learned, unless it was of emails of an index that is no more."""
    with home.index.transaction():
        if home.index.emails.epoch == epoch:
            home.index.emails.keep(known)
            if anew:
                home.index.emails.renew(known)


def _scan(home: Home, number: int) -> None:
    home.folder_numbered(number).scan()
