"""The content of a message in canonical form: CRLF line ends, dots unstuffed (RFC 5321 §4.1.1.4).

A content is `head` (the trace and repair fields this server puts in front) followed by a body
that is either in memory or in a file. Large bodies are never whole in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from twisted_mta.message.headers import MAX_HEADER, header_end

CHUNK = 64 * 1024  # octets read at a time


@dataclass(frozen=True, slots=True)
class Content:
    """`head + body`, where the body is `data` or, when `path` is given, that file's octets."""

    head: bytes
    data: bytes = b""
    path: Path | None = None

    def __len__(self) -> int:
        """Size in octets. Stats the file of a spooled body."""
        return len(self.head) + (self.path.stat().st_size if self.path else len(self.data))

    def chunks(self) -> Iterator[bytes]:
        """The octets in order, in pieces of about CHUNK; blocking reads. Raises OSError."""
        if self.path is None:
            yield self.head + self.data
            return
        yield self.head
        with self.path.open("rb") as file:
            while piece := file.read(CHUNK):
                yield piece

    def header(self) -> bytes:
        """The header block with its empty line, or its first MAX_HEADER octets. Blocking reads, no further
        than that. Raises OSError."""
        block = b""
        for chunk in self.chunks():
            block += chunk
            end = header_end(block)
            if end >= 0 or len(block) > MAX_HEADER:
                return block[: end if end >= 0 else MAX_HEADER]
        return block

    def with_head(self, head: bytes) -> Content:
        """The same content with `head` put in front of it."""
        return Content(head + self.head, self.data, self.path) if head else self
