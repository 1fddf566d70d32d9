"""DEFLATE in both directions of a connection (RFC 1951), as COMPRESS switches it on (RFC 4978).

What comes in is inflated in pieces, and a piece only when the engine has used up the one before: an input
that swells a thousandfold meets the same limits as one that was never compressed.
"""

from __future__ import annotations

import zlib

PIECE = 16 * 1024  # octets inflated at a time
# The fastest level: responses shrink to a third of their size all the same, and the others wait less.
LEVEL = 1
_RAW = -zlib.MAX_WBITS  # no header around the stream (RFC 4978 §4)


class Compression:
    """The state of one connection."""

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, _RAW)
        self._inflate = zlib.decompressobj(_RAW)
        self._waiting = b""
        self._may_hold_more = False  # the last piece was a full one

    def receive(self, data: bytes) -> None:
        """Octets from the peer, to be taken by `next_piece`."""
        self._waiting += data

    @property
    def waiting(self) -> bool:
        """True when there may be something for `next_piece`."""
        return bool(self._waiting) or self._may_hold_more

    def next_piece(self) -> bytes:
        """The next inflated octets, at most PIECE; b"" when more have to come. Raises zlib.error."""
        while self.waiting:
            piece = self._inflate.decompress(self._waiting, PIECE)
            self._waiting = self._inflate.unconsumed_tail
            self._may_hold_more = len(piece) == PIECE
            if piece:
                return piece
            if self._inflate.eof:
                break
        return b""

    def deflate(self, data: bytes) -> bytes:
        """Octets for the peer, which can read all of them at once."""
        return self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def finish(self) -> bytes:
        """The end of the stream to the peer."""
        return self._deflate.flush(zlib.Z_FINISH)

    @property
    def left_over(self) -> bytes:
        """What the peer has sent behind the end of its stream."""
        return self._inflate.unused_data
