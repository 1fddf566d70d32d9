"""The message store: every account's mailboxes under one directory.

An account's index is open while it is used, and closed again when many others have been used since; what
sessions hold of it (`Account`, `Mailbox`) is not touched by that.
"""

from __future__ import annotations

import re
import resource
import secrets
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any
from weakref import WeakValueDictionary

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twisted_mta.message.content import Content
from twisted_mta.metrics.counts import Histogram
from twisted_mta.store.account import Account
from twisted_mta.store.deleted import make_room
from twisted_mta.store.deposit import Deposit
from twisted_mta.store.draft import MessageDraft
from twisted_mta.store.errors import BadMailboxName, NoSuchMailbox, StorageFault
from twisted_mta.store.flags import split_flags
from twisted_mta.store.home import Home
from twisted_mta.store.indexer import Indexer, Progress
from twisted_mta.store.knowledge import Render, render_nothing
from twisted_mta.store.maildir import NameSource, without_host
from twisted_mta.store.names import account_directory, canonical_name
from twisted_mta.store.portions import Portions
from twisted_mta.store.quota import UNLIMITED, Bounds, LimitsOf, Renew, is_full, nothing_to_renew, unlimited
from twisted_mta.store.sharing import Sharing
from twisted_mta.store.threads import Threads
from twisted_mta.store.upkeep import Upkeep
from twisted_mta.store.viewpoint import Viewpoint

OPEN_INDEXES = 256  # at most; each takes up to 6 file descriptors and 1 MiB
KNOWN_HOMES = 4096  # directories of accounts that need not be put together again
DESCRIPTORS = 16  # of those that the process may have, for each open index

_UNIQUE = re.compile(r"[A-Za-z0-9_=-]{1,100}\Z")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class MessageStore:
    """Accounts by name. `root` is the directory `mail` of the data directory; `reactor` gives the time and
    takes calls from threads; `hostname` becomes part of file names; `render` makes of each message what
    `Mailbox.structures` gives. Whoever holds large messages has them as `portions`.

    limits_of: what an account may keep, by its name; renew_limits is awaited before it has to be right.
    bounds: what each may have besides.
    indexing: whether the full text is kept, in the background. keep_deleted: seconds for which what was
    expunged can be brought back; 0: not at all.
    server_annotations: the operator's, by entry (RFC 5464 §3.2.1.1)."""

    log = Logger(namespace="twisted_mta.store")

    def __init__(
        self,
        root: Path,
        *,
        reactor: Any,
        hostname: str,
        render: Render = render_nothing,
        limits_of: LimitsOf = unlimited,
        renew_limits: Renew = nothing_to_renew,
        bounds: Bounds = Bounds(),
        server_annotations: Mapping[str, bytes] = MappingProxyType({}),
        indexing: bool = True,
        keep_deleted: float = 0.0,
    ) -> None:
        self.portions = Portions()
        self.limits_of = limits_of
        self.renew_limits = renew_limits
        self._bounds = bounds
        self.server_annotations = server_annotations
        self._root = root
        self._home = lru_cache(KNOWN_HOMES)(lambda account: root.joinpath(*account_directory(account)))
        self._reactor = reactor
        token = secrets.token_hex(6)
        self._names = NameSource(hostname, token, reactor.seconds)
        # Without a boot id every start counts as a boot: safe, some UIDs are passed over.
        self._boot = _BOOT_ID.read_text("ascii").strip() if _BOOT_ID.exists() else token
        self._accounts: WeakValueDictionary[str, Account] = WeakValueDictionary()
        self._used: OrderedDict[str, Account] = OrderedDict()  # those with an open index, last used last
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._open_indexes = max(1, min(OPEN_INDEXES, descriptors // DESCRIPTORS))
        self._render = render
        self._indexing = indexing
        self._keep_deleted = keep_deleted
        self._threads: Threads | None = None
        self._indexer: Indexer | None = None
        room = partial(make_room, str(root), self._report) if keep_deleted else None
        self._upkeep = Upkeep(reactor, room)

    async def start(self) -> None:
        """Make the threads; nothing else may be called before."""
        self._threads = Threads(self._reactor)
        self.sharing = Sharing(self._root, self._threads, self._report)
        self._upkeep.start(self._threads)
        self._indexer = Indexer(
            self._reactor, self._threads, self.portions, self._report, enabled=self._indexing
        )

    async def stop(self) -> None:
        """Finish what is under way, flush and close every index, end the threads. Idempotent."""
        if self._threads is None:
            return
        self._upkeep.stop()
        if self._indexer is not None:
            await self._indexer.stop()
        while self._used:
            _, account = self._used.popitem()
            await account.shut()
        threads, self._threads = self._threads, None
        threads.stop()
        self.sharing.stop()

    async def account(self, name: str) -> Account:
        """The account of that name (a full address in lower case), created on first use with INBOX and
        the special-use mailboxes, all subscribed.

        Raises BadMailboxName for what is no account name, StorageFull, StorageFault."""
        account = self._account(name)
        if name not in self._used:
            await account.visit(Home.open)
            self._upkeep.untidy(account)
        return account

    def at_hand(self, name: str) -> Account | None:
        """The account of that name when its index is open, or about to be."""
        return self._used.get(name)

    async def known_account(self, name: str) -> Account | None:
        """The account of that name when it has mail here; none is made. Raises StorageFault."""
        if name in self._used:
            return self._used[name]
        try:
            path = self._root.joinpath(*account_directory(name))
        except BadMailboxName:
            return None
        if self._threads is None:
            raise StorageFault()
        there: Deferred[bool] = Deferred()
        self._threads.run(lambda: partial(there.callback, path.is_dir()))
        return await self.account(name) if await there else None

    def _account(self, name: str) -> Account:
        account = self._accounts.get(name)
        if account is None:
            if self._threads is None:
                raise StorageFault()
            path = self._root.joinpath(*account_directory(name)).absolute()
            home = Home(str(path), self._names, self._boot, self._report)
            home.limits = lambda: self.limits_of(name)
            home.bounds = self._bounds
            home.deleted.keep = self._keep_deleted
            home.waiting = self._threads.away
            account = Account(name, home, self._threads, self._upkeep, self.portions, self._render, self._use)
            account.indexer = self._indexer
            self._accounts[name] = account
        return account

    def _use(self, account: Account) -> None:
        """Work on an account begins: its index will be open."""
        if account.name not in self._used and self._indexer is not None:
            self._indexer.opened(account)
        self._used[account.name] = account
        self._used.move_to_end(account.name)
        if len(self._used) > self._open_indexes:
            _, eldest = self._used.popitem(last=False)
            Deferred.fromCoroutine(eldest.shut()).addErrback(self._unexpected)

    async def reindex(self, account: str, progress: Progress) -> None:
        """Find out anew what is known of an account's mail, its full text too. `progress` is told the emails
        done and all of them, now and then and at the end. Raises as `account`."""
        wanted = await self.account(account)
        if self._indexer is not None:
            await self._indexer.reindex(wanted, progress)

    async def deliver(
        self,
        account: str,
        content: Content,
        *,
        unique: str,
        arrived: float,
        mailbox: str = "INBOX",
        flags: frozenset[str] = frozenset(),
        recovered: bool = False,
        beyond_quota: bool = False,
    ) -> int:
        """Put a message into a mailbox and give its UID, once it is safe on disk.

        unique: letters, digits, "-", "_" or "="; the same again when the same message is delivered to the
        same recipient again: then nothing is written and the UID is that of the first time. arrived: seconds
        since the epoch. recovered: an earlier process may have delivered it; the directory is looked at too.
        beyond_quota: whatever the account may keep. Raises StoreError: NoSuchMailbox, BadMailboxName,
        CannotDo (a flag), StorageFull, StorageFault."""
        if not _UNIQUE.match(unique):
            raise ValueError("not fit for a file name")
        bits, keywords = split_flags(flags)
        name = canonical_name(mailbox)
        file_name = self._names.name(unique, arrived)
        deposit = Deposit(
            name, content, file_name, bits, keywords, None, recovered, beyond_quota=beyond_quota
        )
        return (await self._account(account).deposit(deposit)).uid

    async def was_delivered(self, account: str, unique: Sequence[str], arrived: float) -> bool:
        """Whether a message with one of these names, as `deliver` has them, is in any of the account's
        mailboxes; the directories are looked at too. Raises StoreError."""
        prefixes = [without_host(self._names.name(each, arrived)) for each in unique]
        return await (await self.account(account)).visit(partial(_has_any, prefixes=prefixes))

    @property
    def took(self) -> Histogram | None:
        """Seconds that pieces of work in the threads took; None while there are none."""
        return self._threads.took if self._threads is not None else None

    @property
    def waiting(self) -> int:
        """Lanes and pieces of work that no thread has begun with."""
        return self._threads.waiting if self._threads is not None else 0

    def home(self, account: str) -> Path:
        """The directory of an account. Raises BadMailboxName for what is no account name."""
        return self._home(account)

    async def viewpoint(self, account: str) -> Viewpoint:
        """All mailboxes as the user of that account sees them. Raises as `account`."""
        return Viewpoint(self, await self.account(account))

    async def is_full(self, account: str, octets: int = 0) -> bool:
        """True when a message of this size does not fit into what the account may keep; 0: not even an empty
        one does. Raises as `account`."""
        await self.renew_limits()
        limits = self.limits_of(account)
        return limits != UNLIMITED and is_full(await (await self.account(account)).usage(), limits, octets)

    async def draft(self, account: str) -> MessageDraft:
        """A message that arrives in pieces (IMAP APPEND). Raises as `account`."""
        return MessageDraft(await self.account(account))

    # Reports

    def _report(self, line: str) -> None:
        """From any thread."""
        self._reactor.callFromThread(self.log.error, "{line}", line=line)

    def _unexpected(self, failure: Any) -> None:
        self.log.failure("unexpected error in the store", failure=failure)


def _has_any(home: Home, prefixes: Sequence[str]) -> bool:
    for row in home.rows():
        with suppress(NoSuchMailbox):
            folder = home.folder_numbered(row.id)
            folder.refresh()
            if folder.index.find(row.id, prefixes):
                return True
    return False
