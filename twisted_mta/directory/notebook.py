"""What a running server notices about logins, written down in batches beside them.

When an app password was used last, to the hour; and the SCRAM keys of accounts from before there were any,
once their password has been seen. A login costs an entry in a dict; one transaction at most every INTERVAL
writes them all, and the snapshot in memory is read anew once. What is lost by a crash is noticed again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from twisted_mta.directory.app_passwords import AppPassword
from twisted_mta.directory.database import DirectoryDatabase
from twisted_mta.directory.error import DirectoryError
from twisted_mta.protocol.sasl.scram import Keys

INTERVAL = 30.0  # seconds
EXACT = 3600  # seconds within which a second use is not worth a note
MOST = 10_000  # entries; more are left for another time

Uses = Mapping[tuple[str, str], int]
NewKeys = Mapping[str, tuple[str, Mapping[str, Keys]]]


class Reactor(IReactorTime, IReactorThreads):
    """What is needed of a reactor."""


class Notebook:
    """`path` is the directory's database, `now` the time of day."""

    log = Logger(namespace="twisted_mta.directory")

    def __init__(self, path: Path, *, reactor: Reactor, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self._reactor = reactor
        self._now = now
        self._uses: dict[tuple[str, str], int] = {}
        self._keys: dict[str, tuple[str, Mapping[str, Keys]]] = {}
        self._writing: IDelayedCall | None = None

    def used(self, account: str, password: AppPassword) -> None:
        """Somebody has logged in with an app password."""
        now = int(self._now())
        if now - (password.used or 0) >= EXACT and len(self._uses) < MOST:
            self._uses.setdefault((account, password.name), now)
            self._soon()

    def lacks_keys(self, account: str) -> bool:
        """False when keys for it are waiting here already, or could not wait."""
        return account not in self._keys and len(self._keys) < MOST

    def keys(self, account: str, stored: str, found: Mapping[str, Keys]) -> None:
        """The keys of a password that was right; `stored` is its hash."""
        self._keys[account] = (stored, found)
        self._soon()

    async def write(self) -> None:
        """Write down what there is."""
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        if self._uses or self._keys:
            await self._write()

    def _soon(self) -> None:
        if self._writing is None:
            self._writing = self._reactor.callLater(INTERVAL, self._due)

    def _due(self) -> None:
        self._writing = None
        Deferred.fromCoroutine(self._write())

    async def _write(self) -> None:
        uses, self._uses = self._uses, {}
        keys, self._keys = self._keys, {}
        try:
            await deferToThreadPool(
                self._reactor, self._reactor.getThreadPool(), _store, self._path, uses, keys
            )
        except DirectoryError as error:
            self.log.warn("what was noticed about logins is not written down: {error}", error=error)
        except Exception:
            self.log.failure("what was noticed about logins is not written down")


def _store(path: Path, uses: Uses, keys: NewKeys) -> None:
    database = DirectoryDatabase(path)
    try:
        with database.transaction():
            for (account, name), used in uses.items():
                database.app_password_used(account, name, used)
            for account, (stored, found) in keys.items():
                if database.password(account) == stored:  # neither changed nor removed meanwhile
                    database.add_scram_keys(account, "", found)
    finally:
        database.close()
