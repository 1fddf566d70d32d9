"""Messages that go all together or not at all, whatever happens meanwhile (RFC 1939 §6).

What is to go is written down first, durably, in a file of its own beside the index:

    <account>/removal.<unique>    the mailbox's directory, then the base names of the messages, a line each

What a crash leaves of it is finished when the account is opened the next time, by the names alone, so that
losing the index makes no difference. A file that is not complete was never begun. On a full disk nothing can
be written down, and messages go one after the other: that makes room.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from twisted_mta.durable import UNFINISHED, sync, write_whole
from twisted_mta.store.errors import StorageFull
from twisted_mta.store.maildir import CUR, NEW, Maildir

if TYPE_CHECKING:
    from twisted_mta.store.home import Home
    from twisted_mta.store.mailbox import Mailbox

PREFIX = "removal."


async def remove(mailbox: Mailbox, uids: Sequence[int]) -> None:
    """Remove messages, whatever their flags; UIDs that are gone are passed over. Raises StoreError: then what
    is left of them goes when the account is opened the next time, unless nothing has gone at all."""
    account, number = mailbox.account, mailbox.number
    if len(uids) == 1:
        await mailbox.expunge(uids)  # one file cannot go by halves
        return
    try:
        path = await account.visit(partial(_begin, number=number, uids=uids))
    except StorageFull:
        await mailbox.expunge(uids)  # what makes room must not wait for room
        return
    await mailbox.expunge(uids)
    await account.visit(partial(_end, number=number, path=path))


def _begin(home: Home, number: int, uids: Sequence[int]) -> str:
    """In the lane: from here on they go. The path of what says so."""
    folder = home.folder_numbered(number)
    names = [message.name for message in folder.index.messages(folder.id, uids)]
    path = f"{home.path}/{PREFIX}{home.names.unique()}"
    lines = (home.row(folder.name).directory, *names)
    write_whole(Path(path), "".join(f"{line}\n" for line in lines).encode())
    return path


def _end(home: Home, number: int, path: str) -> None:
    """In the lane: all of them have gone, durably."""
    _forget(home.folder_numbered(number).maildir, path)


def _forget(maildir: Maildir, path: str) -> None:
    for directory in (CUR, NEW):
        sync(f"{maildir.path}/{directory}")
    with suppress(FileNotFoundError):
        os.unlink(path)


def finish(home: Home) -> None:
    """In the lane, before anybody is told what is there: what was under way when a crash came. Raises
    OSError."""
    for entry in os.scandir(home.path):
        if not entry.name.startswith(PREFIX):
            continue
        if entry.name.endswith(UNFINISHED):
            os.unlink(entry.path)
            continue
        with open(entry.path, encoding="utf-8") as lines:
            directory, *names = lines.read().split("\n")[:-1]
        maildir = Maildir(f"{home.root}/{directory}" if directory else home.root)
        if not os.path.isdir(maildir.path):
            os.unlink(entry.path)
            continue
        wanted = set(names)
        for name, place in maildir.list().items():
            if name in wanted:
                with suppress(FileNotFoundError):
                    home.deleted.discard_file(maildir, name, place)
        _forget(maildir, entry.path)
