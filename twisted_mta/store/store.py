"""The message store: every account's mailboxes under one directory.

An account's index is open while it is used, and closed again when many others have been used since; what
sessions hold of it (`Account`, `Mailbox`) is not touched by that.
"""

from __future__ import annotations

import re
import resource
import secrets
from collections import OrderedDict
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from twisted_mta.message.content import Content
from twisted_mta.store.account import Account
from twisted_mta.store.deposit import Deposit
from twisted_mta.store.draft import MessageDraft
from twisted_mta.store.errors import StorageFault, StoreError
from twisted_mta.store.flags import split_flags
from twisted_mta.store.home import Home
from twisted_mta.store.mailbox import Mailbox
from twisted_mta.store.maildir import NameSource
from twisted_mta.store.names import account_directory, canonical_name
from twisted_mta.store.portions import Portions
from twisted_mta.store.threads import Threads

OPEN_INDEXES = 256  # at most; each takes up to 6 file descriptors and 1 MiB
DESCRIPTORS = 16  # of those that the process may have, for each open index
TICK = 3.0  # seconds between two looks at the watched mailboxes

_UNIQUE = re.compile(r"[A-Za-z0-9_=-]{1,100}\Z")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class MessageStore:
    """Accounts by name. `root` is the directory `mail` of the data directory; `reactor` gives the time and
    takes calls from threads; `hostname` becomes part of file names. Whoever holds messages while a peer takes
    its time has them as `portions`."""

    log = Logger(namespace="twisted_mta.store")

    def __init__(self, root: Path, *, reactor: Any, hostname: str) -> None:
        self.portions = Portions()
        self._root = root
        self._reactor = reactor
        token = secrets.token_hex(6)
        self._names = NameSource(hostname, token, reactor.seconds)
        # Without a boot id every start counts as a boot: safe, some UIDs are passed over.
        self._boot = _BOOT_ID.read_text("ascii").strip() if _BOOT_ID.exists() else token
        self._accounts: WeakValueDictionary[str, Account] = WeakValueDictionary()
        self._used: OrderedDict[str, Account] = OrderedDict()  # those with an open index, last used last
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._open_indexes = max(1, min(OPEN_INDEXES, descriptors // DESCRIPTORS))
        self._watched: set[Mailbox] = set()
        self._threads: Threads | None = None
        self._looking = False
        self._ticks = task.LoopingCall(self._tick)
        self._ticks.clock = reactor

    async def start(self) -> None:
        """Make the threads; nothing else may be called before."""
        self._threads = Threads(self._reactor)
        self._ticks.start(TICK, now=False)

    async def stop(self) -> None:
        """Finish what is under way, flush and close every index, end the threads. Idempotent."""
        if self._threads is None:
            return
        if self._ticks.running:
            self._ticks.stop()
        while self._used:
            _, account = self._used.popitem()
            await account.shut()
        threads, self._threads = self._threads, None
        threads.stop()

    async def account(self, name: str) -> Account:
        """The account of that name (a full address in lower case), created on first use with INBOX and
        the special-use mailboxes, all subscribed.

        Raises BadMailboxName for what is no account name, StorageFull, StorageFault."""
        account = self._account(name)
        if name not in self._used:
            await account.visit(Home.open)
        return account

    def _account(self, name: str) -> Account:
        account = self._accounts.get(name)
        if account is None:
            if self._threads is None:
                raise StorageFault()
            path = self._root.joinpath(*account_directory(name)).absolute()
            home = Home(str(path), self._names, self._boot, self._report)
            account = Account(name, home, self._threads, self._use, self._watched)
            self._accounts[name] = account
        return account

    def _use(self, account: Account) -> None:
        """Work on an account begins: its index will be open."""
        self._used[account.name] = account
        self._used.move_to_end(account.name)
        if len(self._used) > self._open_indexes:
            _, eldest = self._used.popitem(last=False)
            Deferred.fromCoroutine(eldest.shut()).addErrback(self._unexpected)

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
    ) -> int:
        """Put a message into a mailbox and give its UID, once it is safe on disk.

        unique: letters, digits, "-", "_" or "="; the same again when the same message is delivered to the
        same recipient again: then nothing is written and the UID is that of the first time. arrived: seconds
        since the epoch. recovered: an earlier process may have delivered it; the directory is looked at too.
        Raises StoreError: NoSuchMailbox, BadMailboxName, CannotDo (a flag), StorageFull, StorageFault."""
        if not _UNIQUE.match(unique):
            raise ValueError("not fit for a file name")
        bits, keywords = split_flags(flags)
        name = canonical_name(mailbox)
        file_name = self._names.name(unique, arrived)
        deposit = Deposit(name, content, file_name, bits, keywords, None, recovered)
        return (await self._account(account).deposit(deposit)).uid

    async def draft(self, account: str) -> MessageDraft:
        """A message that arrives in pieces (IMAP APPEND). Raises as `account`."""
        return MessageDraft(await self.account(account))

    # What other programs do to watched mailboxes

    def _tick(self) -> None:
        """Look at the directories of the watched mailboxes, unless the last look still lasts."""
        if self._watched and not self._looking and self._threads is not None:
            self._looking = True
            mailboxes = list(self._watched)
            self._threads.run(lambda: partial(self._looked, [m for m in mailboxes if m.may_have_changed()]))

    def _looked(self, mailboxes: list[Mailbox]) -> None:
        self._looking = False
        for mailbox in mailboxes:
            Deferred.fromCoroutine(self._refresh(mailbox)).addErrback(self._unexpected)

    async def _refresh(self, mailbox: Mailbox) -> None:
        try:
            await mailbox.refresh()
        except StoreError:
            pass  # said already where it happened

    # Reports

    def _report(self, line: str) -> None:
        """From any thread."""
        self._reactor.callFromThread(self.log.error, "{line}", line=line)

    def _unexpected(self, failure: Any) -> None:
        self.log.failure("unexpected error in the store", failure=failure)
