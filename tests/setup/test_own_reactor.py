"""One task of a command, by a reactor of its own."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool

from twisted_mta.service.own_reactor import run


def test_what_it_comes_to() -> None:
    async def task(reactor: Any) -> int:
        await deferLater(reactor, 0, lambda: None)
        found: int = await deferToThreadPool(reactor, reactor.getThreadPool(), lambda: 5)
        return found

    assert run(task) == 5
    files = len(os.listdir("/proc/self/fd"))
    assert run(task) == 5  # as often as one likes
    assert len(os.listdir("/proc/self/fd")) == files


def test_what_it_raises() -> None:
    async def task(reactor: Any) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        run(task)


def test_it_can_be_interrupted() -> None:
    async def task(reactor: Any) -> None:
        reactor.callLater(0, os.kill, os.getpid(), signal.SIGINT)
        await Deferred()

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(task)
    assert signal.getsignal(signal.SIGINT) is before
