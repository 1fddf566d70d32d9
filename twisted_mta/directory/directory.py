"""The directory as the running server asks it (`IDirectory`).

Answers come from a snapshot in memory. Before each lookup the database's data_version is compared (a few
microseconds); when `mta account …` in another process has changed it, the snapshot is read anew in a
thread, and the lookup waits for that: a change counts from the next command on.

Passwords are verified in threads of their own, one for four processors and with a bounded queue, because
each costs 64 MiB and about 100 ms; an unknown login costs the same as a wrong password. No peer gets more
than its share of the queue, so that who guesses from one host does not lock out the others. A check is not
called off when its peer leaves: the share bounds that, too.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Literal, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from twisted_mta.directory.address_book import SEPARATORS
from twisted_mta.directory.app_passwords import AppPassword
from twisted_mta.directory.credentials import RememberedCredentials
from twisted_mta.directory.database import DirectoryDatabase
from twisted_mta.directory.error import DirectoryError
from twisted_mta.directory.logins import Logins
from twisted_mta.directory.notebook import Notebook, Reactor
from twisted_mta.directory.passwords import BadPassword, hash_password, prepare, verify
from twisted_mta.directory.scram_keys import SECRET, derive, stand_in
from twisted_mta.directory.snapshot import Snapshot
from twisted_mta.interfaces import IDirectory, Resolution
from twisted_mta.message.address import MAX_ADDRESS, Address
from twisted_mta.message.status import MailError, unexpected
from twisted_mta.protocol.sasl.scram import Keys
from twisted_mta.steady import steady_seconds

# One verification computes on four processors if there are as many: more at once would take memory, not time.
THREADS = max(1, (os.cpu_count() or 1) // 4)
MOST_WAITING = 100  # logins being verified or waiting for it; more are told to come back
FRESH = 0.003  # seconds; to ask SQLite takes eight system calls, too many for every RCPT
_NO_QUOTA: Mapping[str, int | None] = {}
MOST_OF_ONE_PEER = 30  # of them: all the people of an office come back at once after a restart

T = TypeVar("T")
ScramUse = Literal["auto", "always", "never"]


@implementer(IDirectory)
class Directory:
    """`path` is the database, `domains` the local domains in lower case, `postmaster` where postmaster's mail
    goes in a domain that has no such account or alias (None: to the oldest account). `scram`: whether SCRAM
    is offered; "auto": once every account has keys for it; "never": no new keys are kept either.
    `separators`: characters that begin the detail of an address, such as "+"."""

    log = Logger(namespace="twisted_mta.directory")

    def __init__(
        self,
        path: Path,
        domains: Collection[str],
        *,
        reactor: Reactor,
        postmaster: Address | None = None,
        scram: ScramUse = "auto",
        separators: str = SEPARATORS,
    ) -> None:
        self._path = path
        self.serve(domains)
        self._scram = scram
        self._postmaster = postmaster
        self._separators = separators
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=THREADS, name="directory")
        self._remembered = RememberedCredentials(steady_seconds(reactor))
        self._notebook = Notebook(path, reactor=reactor)
        self._snapshot = Snapshot({}, {})
        self._logins = Logins()
        self._everybody_has_keys = False
        self._version = -1
        self._looked = 0.0  # when it was last found to be the same
        self._reading: list[Deferred[None]] | None = None
        self._waiting: Counter[str] = Counter()  # by peer

    def serve(self, domains: Collection[str]) -> None:
        """Other local domains from now on."""
        self._domains = frozenset(domains)
        self._domain_list = sorted(domains)

    async def start(self) -> None:
        """Open the database. Raises DirectoryError."""
        self._pool.start()
        self._database, self._secret = await self._in_thread(self._open)
        self._stand_in = await self._hashing(lambda: hash_password("nobody has this password"))
        await self.refresh()

    async def stop(self) -> None:
        """Close the database; lookups are over."""
        await self._notebook.write()
        self._pool.stop()
        self._database.close()

    def _open(self) -> tuple[DirectoryDatabase, bytes]:
        database = DirectoryDatabase(self._path)
        with database.transaction():
            return database, database.secret(SECRET)

    def is_local(self, domain: str) -> bool:
        """See IDirectory."""
        return domain in self._domains

    async def resolve(self, address: Address) -> Resolution | None:
        """See IDirectory."""
        if address.domain not in self._domains:
            return None
        await self.refresh()
        return self._snapshot.resolve(address)

    async def owns(self, account: str, address: Address) -> bool:
        """See IDirectory."""
        await self.refresh()
        return self._snapshot.owns(account, address, self._domains)

    def quota(self, account: str) -> Mapping[str, int | None]:
        """The limits that the account has of its own, by resource: octets of "storage", "messages"; None:
        no limit. From memory, in any thread; as of the last lookup or `refresh`."""
        return self._snapshot.quotas.get(account, _NO_QUOTA)

    async def scram_keys(self, login: str, mechanism: str, service: str = "") -> tuple[Keys, ...]:
        """See IDirectory."""
        await self._refresh_now()
        account = self._snapshot.account_of_login(login)
        instead = stand_in(self._secret, mechanism, login[:MAX_ADDRESS], self._domain_list)
        return tuple(self._keys(account, mechanism, service)) or (instead,)

    async def account_of_keys(self, login: str, mechanism: str, keys: Keys, service: str = "") -> str | None:
        """See IDirectory."""
        await self._refresh_now()
        account = self._snapshot.account_of_login(login)
        known = self._keys(account, mechanism, service)
        if keys not in known:
            return None
        assert account is not None
        if (password := known[keys]) is not None:
            self._notebook.used(account, password)
        return account

    def _keys(self, account: str | None, mechanism: str, service: str) -> Mapping[Keys, AppPassword | None]:
        if account is None or self._scram == "never":
            return {}
        return self._logins.keys(account, mechanism, service)

    def offers_scram(self) -> bool:
        """See IDirectory."""
        return self._scram == "always" or (self._scram == "auto" and self._everybody_has_keys)

    async def account_of_login(self, login: str) -> str | None:
        """See IDirectory."""
        await self._refresh_now()
        return self._snapshot.account_of_login(login)

    async def authenticate(self, login: str, password: str, peer: str = "", service: str = "") -> str | None:
        """See IDirectory. Raises MailError (454 4.7.0, RFC 4954 §6) when too many logins are waiting."""
        await self._refresh_now()
        try:
            prepared = prepare(password)
        except BadPassword:
            return None
        if len(login) > MAX_ADDRESS:
            return None
        account = self._snapshot.account_of_login(login)
        if account is None:
            await self._verify(prepared, self._stand_in, peer)
            return None
        if self._app_login(account, prepared, service):
            return account
        stored = self._snapshot.accounts[account]
        digest = self._remembered.digest(account, prepared, stored)
        if self._remembered.knows(digest):
            return account
        if not await self._verify(prepared, stored, peer):
            return None
        await self.refresh()
        if self._snapshot.accounts.get(account) != stored:  # changed or removed meanwhile
            return None
        self._remembered.remember(digest)
        if (
            self._scram != "never"
            and not self._logins.has_keys(account)
            and self._notebook.lacks_keys(account)
        ):
            keys = await self._hashing(lambda: derive(self._secret, account, prepared))
            self._notebook.keys(account, stored, keys)
        return account

    def _app_login(self, account: str, prepared: str, service: str) -> bool:
        password = self._logins.app_password(account, prepared, service)
        if password is not None:
            self._notebook.used(account, password)
        return password is not None

    async def _verify(self, prepared: str, stored: str, peer: str) -> bool:
        with self._turn(peer):
            return await self._hashing(lambda: verify(prepared, stored))

    @contextmanager
    def _turn(self, peer: str) -> Iterator[None]:
        """One of those who wait. Raises MailError."""
        if self._waiting.total() >= MOST_WAITING or self._waiting[peer] >= MOST_OF_ONE_PEER:
            raise MailError(454, "4.7.0", "Too many logins at the moment, try again later")
        self._waiting[peer] += 1
        try:
            yield
        finally:
            self._waiting[peer] -= 1
            if not self._waiting[peer]:
                del self._waiting[peer]

    async def _refresh_now(self) -> None:
        """Nobody is let in by what was true a moment ago."""
        self._looked = 0.0
        await self.refresh()

    async def refresh(self) -> None:
        """Make what is in memory as new as the database was FRESH ago. Raises MailError."""
        now = monotonic()
        if now - self._looked < FRESH:
            return
        try:
            version = self._database.data_version()
        except sqlite3.OperationalError:
            return  # locked for a moment: the next lookup asks again
        if version == self._version:
            self._looked = now
            return
        if self._reading is not None:  # may have begun before the last change: look again afterwards
            waiter: Deferred[None] = Deferred()
            self._reading.append(waiter)
            await waiter
            await self.refresh()
            return
        self._reading = []
        try:
            self._snapshot, self._logins, self._everybody_has_keys = await self._in_thread(self._read)
            self._version = version
        except (DirectoryError, sqlite3.Error) as error:
            self.log.error("the directory cannot be read: {error}", error=error)
            raise unexpected() from error
        finally:
            waiting, self._reading = self._reading, None
            for waiter in waiting:
                waiter.callback(None)

    def _read(self) -> tuple[Snapshot, Logins, bool]:
        """And whether all accounts have keys for SCRAM."""
        database = DirectoryDatabase(self._path)
        try:
            snapshot = Snapshot.of(
                database.accounts(),
                database.aliases(),
                self._postmaster,
                database.quotas(),
                database.addresses.domain_aliases(),
                database.addresses.lists(),
                self._separators,
            )
            logins = Logins(database.app_passwords(), database.scram_keys())
        finally:
            database.close()
        return snapshot, logins, all(map(logins.has_keys, snapshot.accounts))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """For the database, so that a change is not seen late because many log in."""
        result: T = await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), work)
        return result

    async def _hashing(self, work: Callable[[], T]) -> T:
        result: T = await deferToThreadPool(self._reactor, self._pool, work)
        return result
