"""Reads the contents of messages without making the reactor wait for the disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.threads import deferToThreadPool

from twisted_mta.message.content import Content

T = TypeVar("T")


async def read(content: Content, function: Callable[[Content], T], *, reactor: Any) -> T:
    """What the function makes of a content: it is called in a thread of the reactor's when that lies in a
    file. Raises what it raises, OSError for one."""
    if content.path is None:
        return function(content)
    return await deferToThreadPool(reactor, reactor.getThreadPool(), function, content)
