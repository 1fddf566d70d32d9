"""A message in a form that the next one takes, for as long as that takes: 7-bit MIME for a server that knows
no more (RFC 6152 §3), 8-bit MIME for a server or a mailbox that keeps no binary (RFC 3030 §3).

Few servers are left without 8BITMIME, and few messages are binary, so that this is made to be simple: the
message is read whole, one at a time, and what comes out of a large one goes to a file that is gone
afterwards.

Signatures of ours that held before are made anew (RFC 6376 §5.3): we answer for the new form as for the old
one. Those of others do not survive; there is no other way.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from twisted.internet.defer import DeferredLock

from twisted_mta.message.content import Content
from twisted_mta.message.conversion import Form, conversion

_IN_MEMORY = 256 * 1024  # octets

Renew = Callable[[bytes, bytes], bytes]  # of a message before and after: the latter, with new signatures


class Recoding:
    """in_thread: calls a function with arguments in a thread. renew: called there; None where nothing is
    signed."""

    def __init__(self, in_thread: Callable[..., Awaitable[Any]], renew: Renew | None = None) -> None:
        self._in_thread = in_thread
        self._renew = renew
        self._turn = DeferredLock()

    @asynccontextmanager
    async def converted(self, content: Content, form: Form) -> AsyncIterator[Content]:
        """The content in that form, while it is needed; itself when it has it already. Raises NotConvertible
        and OSError."""
        await self._turn.acquire()
        try:
            result: Content = await self._in_thread(_convert, content, form, self._renew)
        finally:
            self._turn.release()
        try:
            yield result
        finally:
            if result.path is not None and result is not content:
                result.path.unlink(missing_ok=True)

    async def check(self, content: Content, form: Form) -> None:
        """Can it be had in that form? Raises NotConvertible."""
        await self._turn.run(self._in_thread, _try, content, form)


def _try(content: Content, form: Form) -> None:
    for _ in conversion(_whole(content), form) or ():
        pass


def _convert(content: Content, form: Form, renew: Renew | None) -> Content:
    before = _whole(content)
    pieces = conversion(before, form)
    if pieces is None:
        return content
    if renew is not None:
        pieces = iter((renew(before, b"".join(pieces)),))
    return _kept(pieces)


def _whole(content: Content) -> bytes:
    """All of it, and never twice at a time."""
    whole = BytesIO()
    for chunk in content.chunks():
        whole.write(chunk)
    return whole.getvalue()


def _kept(pieces: Iterator[bytes]) -> Content:
    """In memory, or in a file when there is much of it."""
    first = bytearray()
    for piece in pieces:
        first += piece
        if len(first) > _IN_MEMORY:
            return Content(b"", path=_written(first, pieces))
    return Content(b"", bytes(first))


def _written(first: bytearray, rest: Iterable[bytes]) -> Path:
    with NamedTemporaryFile(prefix="mta-recoded-", delete=False) as file:
        path = Path(file.name)
        try:
            file.write(first)
            for piece in rest:
                file.write(piece)
            file.flush()
        except BaseException:
            path.unlink()
            raise
    return path
