"""Reading message files of a mailbox, beside the account's lane (see `Mailbox`)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted_mta.store.home import Home
from twisted_mta.store.lines import to_crlf
from twisted_mta.store.maildir import read_file

_UNREADABLE = frozenset({errno.EACCES, errno.EIO, errno.EISDIR, errno.ELOOP})

T = TypeVar("T")


def see_files(
    home: Home,
    directory: str,
    number: int,
    uids: Sequence[int],
    see: Callable[[bytes], T],
    seen: dict[int, T],
) -> list[int]:
    """Put what `see` makes of each message, CRLF, into `seen`.

    Returns the UIDs of those that are not where the index has them. A file that the disk or its owner
    keeps from us is passed over: the others are to be had all the same. Raises OSError, sqlite3.Error."""
    astray = []
    for row in home.reader.files(number, uids):
        path = f"{directory}/{row.directory}/{row.name}{row.tail}"
        try:
            data = read_message(path, row.size)
        except FileNotFoundError:
            astray.append(row.uid)
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            home.report(f"{path}: {error}")
        else:
            seen[row.uid] = see(data)
    return astray


def read_message(path: str, size: int) -> bytes:
    """A message with CRLF line ends, of which `size` octets are expected. Raises OSError.

    A file holds no more octets than that, so one call reads it all, without asking how large it is."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        stored = os.read(file, size + 1)
    finally:
        os.close(file)
    data = to_crlf(stored)
    return data if len(data) == size else to_crlf(read_file(path))
