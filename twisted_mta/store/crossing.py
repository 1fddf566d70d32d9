"""Copying and moving messages from one account to another, or where flags are to be left out.

Two lanes have a part in it. In the source's, each message gets a second name (a hard link, as any copy)
in `tmp` of the target's INBOX: from then on nothing that happens to the original matters. In the target's,
all of them are put down as deliveries are, in one transaction. Only when they are safe there, a move
removes the originals. So after a crash a message is in one of the two or in both, never in none, and nothing
that is not complete is ever visible.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from twisted_mta.store.deposit import Deposit, deposit_together
from twisted_mta.store.flags import FlagSet, split_flags
from twisted_mta.store.home import Home
from twisted_mta.store.index.rows import Message
from twisted_mta.store.maildir import TMP, Written
from twisted_mta.store.relocation import CopyResult, link
from twisted_mta.store.space import require_space

if TYPE_CHECKING:
    from twisted_mta.store.account import Account
    from twisted_mta.store.mailbox import Mailbox

_SLICE = 200  # messages that are linked in one visit
_LOOKS = 3  # times a file that is not where it was seen is looked for

Storable = Callable[[frozenset[str]], frozenset[str]]


class _Carried(NamedTuple):
    """A message on its way: its UID at the source, and what is to be put down."""

    uid: int
    deposit: Deposit


async def cross(
    source: Mailbox, uids: Sequence[int], account: Account, target: str, storable: Storable, move: bool
) -> CopyResult:
    """Copy all of the messages, or none, into the mailbox `target` of `account`, with those of their flags
    that `storable` leaves; messages that are gone are left out. `move`: remove the originals then.

    Raises NoSuchMailbox, OverQuota, StorageFull, StorageFault."""
    await account.require(target)
    wanted = sorted(set(uids))
    carried: list[_Carried] = []
    try:
        for start in range(0, len(wanted), _SLICE):
            some = wanted[start : start + _SLICE]
            work = partial(
                _link, number=source.number, uids=some, into=account.home, target=target, storable=storable
            )
            carried += await source.account.visit(work)
        deposits = [each.deposit for each in carried]
        put = await account.visit(partial(_put_down, target=target, deposits=deposits))
    except Exception:
        await account.visit(lambda home: _unlink(carried))  # those that were not put down
        raise
    if move and carried:
        await source.expunge([each.uid for each in carried])
    return CopyResult(put.uid_validity, tuple(each.uid for each in carried), tuple(put.uids))


class _Put(NamedTuple):
    uid_validity: int
    uids: list[int]


def _link(
    home: Home, number: int, uids: Sequence[int], into: Home, target: str, storable: Storable
) -> list[_Carried]:
    """In the source's lane: give messages their second names. Raises OSError, and leaves none then."""
    folder = home.folder_numbered(number)
    folder.refresh()
    carried: list[_Carried] = []
    left = list(uids)
    try:
        for look in range(_LOOKS):
            astray = []
            for message in folder.index.messages(folder.id, left):
                name = into.names.fresh()
                path = f"{into.root}/{TMP}/{name}"
                try:
                    link(folder.file(message), path)
                except FileNotFoundError:
                    astray.append(message.uid)
                    continue
                carried.append(_Carried(message.uid, _deposit(message, name, path, target, storable)))
            if not astray or look == _LOOKS - 1:
                break
            left = astray
            folder.scan()  # another program renamed them this very moment
    except BaseException:
        _unlink(carried)
        raise
    return sorted(carried, key=lambda each: each.uid)


def _deposit(message: Message, name: str, path: str, target: str, storable: Storable) -> Deposit:
    bits, keywords = split_flags(storable(FlagSet(message.flags, message.keywords).names))
    written = Written(path, os.stat(path).st_size, message.size, message.internal_date)
    return Deposit(target, written, name, bits, keywords)


def _put_down(home: Home, target: str, deposits: Sequence[Deposit]) -> _Put:
    """In the target's lane: all or none."""
    folder = home.folder(target)
    require_space(folder.maildir.path, 0)
    done = deposit_together(home, deposits) if deposits else []
    return _Put(folder.uid_validity, [each.uid for each in done])


def _unlink(carried: Sequence[_Carried]) -> None:
    for each in carried:
        if isinstance(each.deposit.source, Written):
            with suppress(OSError):
                os.unlink(each.deposit.source.path)
