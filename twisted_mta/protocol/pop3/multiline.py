"""Multi-line answers that hold a message: RETR and TOP (RFC 1939 §3, §5, §7)."""

from __future__ import annotations

from collections.abc import Iterator

PIECE = 64 * 1024  # octets of a message stuffed and written at a time
END = b".\r\n"


def pieces(content: bytes, end: int) -> Iterator[bytes]:
    """`content[:end]` in pieces of PIECE octets."""
    for start in range(0, end, PIECE):
        yield content[start : min(start + PIECE, end)]


def top_end(content: bytes, lines: int) -> int:
    """Where TOP ends: the offset behind the header, the blank line and `lines` lines of the body.

    `content` has CRLF line ends; without a blank line all of it is header.
    """
    if content.startswith(b"\r\n"):
        position = 2
    else:
        blank = content.find(b"\r\n\r\n")
        position = blank + 4 if blank >= 0 else len(content)
    while lines and position < len(content):
        # Whole pieces are counted, not searched line by line: `lines` may be anything.
        piece_end = min(position + PIECE, len(content))
        found = content.count(b"\n", position, piece_end)
        if found >= lines:
            for _ in range(lines):
                position = content.index(b"\n", position) + 1
            return position
        lines -= found
        position = piece_end
    return position
