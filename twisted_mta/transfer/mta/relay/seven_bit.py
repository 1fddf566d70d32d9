"""A message as 7-bit MIME, for the time of one transaction with a server that takes no more (RFC 6152 §3).

Few servers are left without 8BITMIME, so that this is made to be simple: the message is read whole, one at a
time, and what comes out of a large one goes to a file that is gone afterwards.

Signatures of ours that held before are made anew (RFC 6376 §5.3): we answer for the new form as for the old
one. Those of others do not survive; there is no other way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from twisted.internet.defer import DeferredLock

from twisted_mta.message.content import Content
from twisted_mta.message.conversion import to_seven_bit

_IN_MEMORY = 256 * 1024  # octets

Renew = Callable[[bytes, bytes], bytes]  # of a message before and after: the latter, with new signatures


class SevenBit:
    """in_thread: calls a function with arguments in a thread. renew: called there; None where nothing is
    signed."""

    def __init__(self, in_thread: Callable[..., Awaitable[Any]], renew: Renew | None = None) -> None:
        self._in_thread = in_thread
        self._renew = renew
        self._turn = DeferredLock()

    @asynccontextmanager
    async def converted(self, content: Content) -> AsyncIterator[Content]:
        """The converted content, while it is needed. Raises NotConvertible and OSError."""
        await self._turn.acquire()
        try:
            result: Content = await self._in_thread(_convert, content, self._renew)
        finally:
            self._turn.release()
        try:
            yield result
        finally:
            if result.path is not None and result is not content:
                result.path.unlink(missing_ok=True)


def _convert(content: Content, renew: Renew | None) -> Content:
    """`content` itself when it is 7-bit already."""
    before = b"".join(content.chunks())
    data = to_seven_bit(before)
    if data is before:
        return content
    if renew is not None:
        data = renew(before, data)
    if len(data) <= _IN_MEMORY:
        return Content(b"", data)
    with NamedTemporaryFile(prefix="mta-seven-bit-", delete=False) as file:
        path = Path(file.name)
        try:
            file.write(data)
            file.flush()
        except OSError:
            path.unlink()
            raise
    return Content(b"", path=path)
