"""A message read piece by piece, so that a large one is never whole in memory.

The file is open as long as somebody reads: that the message is expunged or renamed meanwhile does not matter.
"""

from __future__ import annotations

import os

from twisted_mta.store.home import Home
from twisted_mta.store.lines import to_crlf

PIECE = 256 * 1024  # octets of the file that are read at a time


class Astray(Exception):
    """The message is not where the index has it."""


class MessageStream:
    """The message in the file at `path`; `size`: the octets it has in canonical form. Raises OSError."""

    __slots__ = ("_file", "_held", "size")

    def __init__(self, path: str, size: int) -> None:
        self.size = size
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._held = b""  # a CR, whose LF may be in the next piece

    def read(self) -> bytes:
        """The next octets, CRLF; b"" at the end. Blocks. Raises OSError."""
        while stored := os.read(self._file, PIECE):
            stored = self._held + stored
            self._held = stored[-1:] if stored.endswith(b"\r") else b""
            if piece := to_crlf(stored[: len(stored) - len(self._held)]):
                return piece
        held, self._held = self._held, b""
        return held

    def close(self) -> None:
        """No more of it is wanted."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


def open_message(home: Home, directory: str, number: int, uid: int) -> MessageStream | None:
    """The message of that mailbox, whose directory it is, beside the account's lane; None when it has been
    expunged. Raises Astray, OSError, sqlite3.Error."""
    for row in home.reader.files(number, [uid]):
        try:
            return MessageStream(f"{directory}/{row.directory}/{row.name}{row.tail}", row.size)
        except FileNotFoundError:
            raise Astray from None
    return None
