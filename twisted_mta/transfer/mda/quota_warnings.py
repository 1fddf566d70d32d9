"""Tells the owner of an account in time that it is getting full: one mail each time a level is reached.

Looked at after each delivery, and when messages come by IMAP. What was told is remembered beside the mail,
and forgotten when there is room again: filling up once more is worth another mail. The warning itself is
small, and has room in any account.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from zope.interface import implementer

from twisted_mta.interfaces import IMailboxEvents, MailboxEvent
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.note import Note
from twisted_mta.store.quota import UNLIMITED, Limits, Usage
from twisted_mta.store.store import MessageStore

_FILE = "quota-warned"
_IN_MEMORY = 10_000  # accounts

T = TypeVar("T")


class QuotaWarnings:
    """`levels`: percent of what an account may keep. `seconds`: the wall clock."""

    log = Logger(namespace="twisted_mta.mda")

    def __init__(
        self,
        store: MessageStore,
        *,
        levels: Sequence[int],
        hostname: str,
        journey: Journey,
        reactor: IReactorThreads,
        seconds: Callable[[], float],
    ) -> None:
        self._store = store
        self._levels = sorted(levels)
        self._hostname = hostname
        self._journey = journey
        self._reactor = reactor
        self._seconds = seconds
        self._told: OrderedDict[str, int] = OrderedDict()  # the last level, by account
        self._looking: dict[str, bool] = {}  # by account: whether another message has come meanwhile

    async def look(self, account: str, queue_id: str) -> None:
        """The account has got a message. Trouble is logged; it is no trouble for the delivery."""
        limits = self._store.limits_of(account)
        if limits == UNLIMITED or not self._levels:
            return
        again = account in self._looking
        self._looking[account] = True
        if again:
            return
        try:
            while self._looking[account]:
                self._looking[account] = False
                await self._look(account, limits, queue_id)
        except Exception as error:
            self.log.error(
                "{account}: cannot be told how full it is: {error!r}", account=account, error=error
            )
        finally:
            del self._looking[account]

    async def _look(self, account: str, limits: Limits, queue_id: str) -> None:
        usage = await (await self._store.account(account)).usage()
        percent = used_percent(usage, limits)
        level = max((each for each in self._levels if percent >= each), default=0)
        before = await self._told_before(account)
        if level == before:
            return
        if level > before:
            await self._store.deliver(
                account,
                Content(b"", self._note(account, percent, usage, limits, queue_id).render()),
                unique=f"{queue_id}-quota{level}",
                arrived=self._seconds(),
                beyond_quota=True,
            )
            self._journey.tell("quota-warned", queue_id, account=account, percent=percent)
        self._remember(account, level)
        await self._in_thread(lambda: _write(self._store.home(account), level))

    async def _told_before(self, account: str) -> int:
        if account not in self._told:
            self._remember(account, await self._in_thread(lambda: _read(self._store.home(account))))
        return self._told[account]

    def _remember(self, account: str, level: int) -> None:
        self._told[account] = level
        self._told.move_to_end(account)
        if len(self._told) > _IN_MEMORY:
            self._told.popitem(last=False)

    def _note(self, account: str, percent: int, usage: Usage, limits: Limits, queue_id: str) -> Note:
        to = Address.parse(account)
        return Note(
            "Mail system",
            Address("postmaster", to.domain),
            to,
            f"Your mailbox is {percent} % full",
            _text(account, percent, usage, limits),
            f"{queue_id}.quota@{self._hostname}",
            self._seconds(),
        )

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function)


@implementer(IMailboxEvents)
class WarningEvents:
    """Looks at accounts into which messages come by IMAP. `following` hears of everything, too."""

    def __init__(self, warnings: QuotaWarnings, following: IMailboxEvents) -> None:
        self.url = following.url
        self._warnings = warnings
        self._following = following

    def happened(self, event: MailboxEvent) -> None:
        """See IMailboxEvents."""
        self._following.happened(event)
        if event.cause != "FLAG":
            unique = f"{event.cause}-{secrets.token_hex(8)}"
            Deferred.fromCoroutine(self._warnings.look(event.account, unique))


def used_percent(usage: Usage, limits: Limits) -> int:
    """How much is used of what there may be, of octets or messages, whichever is more; rounded down. Of
    nothing at all, all is used."""
    pairs = ((usage.octets, limits.octets), (usage.messages, limits.messages))
    return max((used * 100 // most if most else 100 for used, most in pairs if most is not None), default=0)


def _text(account: str, percent: int, usage: Usage, limits: Limits) -> str:
    lines = [f"Your mailbox {account} is {percent} % full.", ""]
    if limits.octets is not None:
        lines.append(f"    {_size(usage.octets)} of {_size(limits.octets)} are used.")
    if limits.messages is not None:
        lines.append(f"    {usage.messages:,} of {limits.messages:,} messages are there.")
    lines += [
        "",
        "When it is full, new mail has to wait, and goes back to its senders after some days.",
        "",
        "To make room, delete mail that you do not need any more, large mail first, and then",
        "empty the trash. All folders count.",
        "",
    ]
    return "\n".join(lines)


def _size(octets: int) -> str:
    for unit, factor in (("GB", 2**30), ("MB", 2**20)):
        if octets >= factor:
            return f"{octets / factor:.1f} {unit}"
    return f"{octets / 2**10:.0f} KB"


def _read(home: Path) -> int:
    """In a thread. What cannot be read was never told."""
    with suppress(OSError, ValueError):
        return int((home / _FILE).read_text("ascii")[:4])
    return 0


def _write(home: Path, level: int) -> None:
    """In a thread. Raises OSError."""
    if level:
        (home / _FILE).write_text(f"{level}\n", "ascii")
    else:
        (home / _FILE).unlink(missing_ok=True)
