"""Reading message files of a mailbox, beside the account's lane (see `Mailbox`)."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TypeVar

from twisted_mta.message.headers import header_end
from twisted_mta.store.home import Home
from twisted_mta.store.lines import to_crlf
from twisted_mta.store.maildir import read_file
from twisted_mta.store.portions import LARGE

PIECE = 256 * 1024  # octets of a large message that are read at a time
_FIRST = 8192  # octets of a file in which its header most probably ends
_UNREADABLE = frozenset({errno.EACCES, errno.EIO, errno.EISDIR, errno.ELOOP})

T = TypeVar("T")


def see_files(
    home: Home,
    directory: str,
    number: int,
    uids: Sequence[int],
    see: Callable[[bytes], T],
    seen: dict[int, T],
    read: Callable[[str, int], bytes],
) -> list[int]:
    """Put what `see` makes of each message, CRLF, into `seen`. `read` is one of the two functions below.

    Returns the UIDs of those that are not where the index has them. A file that the disk or its owner
    keeps from us is passed over: the others are to be had all the same. Raises OSError, sqlite3.Error."""
    astray = []
    for row in home.reader.files(number, uids):
        path = f"{directory}/{row.directory}/{row.name}{row.tail}"
        try:
            data = read(path, row.size)
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
        data = to_crlf(os.read(file, size + 1)) if size <= LARGE else _read_large(file)
    finally:
        os.close(file)
    return data if len(data) == size else to_crlf(read_file(path))


def _read_large(file: int) -> bytes:
    """In pieces: the message is not in memory twice, and the interpreter serves others between them."""
    whole = BytesIO()
    held = b""  # a CR, whose LF may be in the next piece
    while piece := os.read(file, PIECE):
        piece = held + piece
        held = b"\r" if piece.endswith(b"\r") else b""
        whole.write(to_crlf(piece[: len(piece) - len(held)]))
    whole.write(held)
    return whole.getvalue()


def read_header(path: str, size: int) -> bytes:
    """The header block of a message, CRLF, with the empty line; no more of the file is read than that takes.
    Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        stored = os.read(file, min(size + 1, _FIRST))
        while (end := header_end(stored)) < 0 and (more := os.read(file, max(_FIRST, len(stored)))):
            stored += more
    finally:
        os.close(file)
    return to_crlf(stored if end < 0 else stored[:end])
