"""A wall clock that is set back, under a real reactor that is turned by hand. Acceptance 14."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from twisted.internet.selectreactor import SelectReactor

from twisted_mta.service.set_back import follow_clock

HOUR, DAY = 3600.0, 86400.0


class Clocks:
    """The wall's, and the one that nobody can set."""

    def __init__(self) -> None:
        self.wall, self.steady = 1e9, 50.0

    def advance(self, by: float) -> None:
        self.wall += by
        self.steady += by


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def reactor(clocks: Clocks) -> Iterator[SelectReactor]:
    reactor = SelectReactor()
    follow_clock(reactor, wall=lambda: clocks.wall, steady=lambda: clocks.steady)
    yield reactor
    for reader in reactor.removeAll():
        reader.connectionLost(None)


def test_what_was_to_be_called_is_called_when_it_was_to_be(reactor: SelectReactor, clocks: Clocks) -> None:
    called: list[str] = []
    reactor.callLater(60, called.append, "in a minute")
    reactor.callLater(5, called.append, "soon")
    reactor.callLater(1, called.append, "never").cancel()
    reactor.callLater(3, called.append, "put off").delay(4)
    reactor.runUntilCurrent()
    reactor.callLater(0, called.append, "at once")
    clocks.wall -= DAY
    reactor.runUntilCurrent()
    assert called == ["at once"]
    for _ in range(60):
        clocks.advance(1)
        reactor.runUntilCurrent()
    assert called == ["at once", "soon", "put off", "in a minute"]


def test_the_reactor_does_not_sleep_for_longer(reactor: SelectReactor, clocks: Clocks) -> None:
    reactor.callLater(5, list)
    reactor.runUntilCurrent()
    for by in (0.3, HOUR, DAY):
        clocks.wall -= by
        reactor.runUntilCurrent()
        timeout = reactor.timeout()
        assert timeout is not None and abs(timeout - 5) < 0.001


def test_a_clock_that_is_set_forward_and_back_again(reactor: SelectReactor, clocks: Clocks) -> None:
    called: list[str] = []
    reactor.callLater(HOUR, called.append, "was due by the wall clock")
    clocks.wall += DAY
    reactor.runUntilCurrent()
    assert called == ["was due by the wall clock"]
    reactor.callLater(1, called.append, "in a second")
    clocks.wall -= DAY
    clocks.advance(1)
    reactor.runUntilCurrent()
    assert called[1:] == ["in a second"]


def test_other_threads_may_ask_what_time_it_is(reactor: SelectReactor, clocks: Clocks) -> None:
    """What waits is the reactor's own; it notices itself."""
    call = reactor.callLater(5, list)
    clocks.wall -= DAY
    told: list[float] = []
    thread = threading.Thread(target=lambda: told.append(reactor.seconds()))
    thread.start()
    thread.join()
    assert told == [clocks.wall]
    assert call.getTime() == clocks.wall + DAY + 5
    assert reactor.seconds() == clocks.wall
    assert call.getTime() == clocks.wall + 5


def test_a_thread_that_has_looked_before_has_no_say(reactor: SelectReactor, clocks: Clocks) -> None:
    """What is brought forward is so once."""
    looked, go_on = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: reactor.seconds())

    def wall() -> float:
        now = clocks.wall
        if threading.current_thread() is thread:
            looked.set()
            go_on.wait(10)
        return now

    follow_clock(reactor, wall=wall, steady=lambda: clocks.steady)
    call = reactor.callLater(5, list)
    thread.start()
    looked.wait(10)
    clocks.wall -= DAY
    reactor.seconds()
    go_on.set()
    thread.join()
    reactor.seconds()
    assert call.getTime() == clocks.wall + 5
