"""The content of a message as daemons are given it: in pieces, without blocking the reactor."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThreadPool

from twisted_mta.message.content import Content

PIECE = 64 * 1024  # octets
_AT_ONCE = 1024 * 1024  # octets that are read from a file in one visit to a thread


async def pieces(content: Content, *, reactor: Any) -> AsyncGenerator[bytes, None]:
    """All of it, PIECE octets at a time at the most. Raises OSError."""
    for start in range(0, len(content.head), PIECE):
        yield content.head[start : start + PIECE]
    data, offset = content.data, 0
    while True:
        if content.path is not None:
            data = await deferToThreadPool(reactor, reactor.getThreadPool(), _read, content.path, offset)
            offset += len(data)
        for start in range(0, len(data), PIECE):
            yield data[start : start + PIECE]
        if content.path is None or len(data) < _AT_ONCE:
            return


async def header_of(content: Content, *, reactor: Any) -> bytes:
    """The header block with its empty line. Raises OSError."""
    if content.path is None:
        return content.header()
    return await deferToThreadPool(reactor, reactor.getThreadPool(), content.header)


def _read(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(_AT_ONCE)
