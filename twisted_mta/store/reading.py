"""Reading message files of a mailbox, beside the account's lane (see `Mailbox`)."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import TypeVar

from twisted_mta.store.home import Home
from twisted_mta.store.lines import to_crlf
from twisted_mta.store.maildir import Maildir, read_file

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
    maildir = Maildir(directory)
    astray = []
    for uid, (name, place) in home.reader.files(number, uids).items():
        try:
            stored = read_file(maildir.file(name, place))
        except FileNotFoundError:
            astray.append(uid)
        except OSError as error:
            if error.errno not in _UNREADABLE:
                raise
            home.report(f"{maildir.file(name, place)}: {error}")
        else:
            seen[uid] = see(to_crlf(stored))
    return astray
