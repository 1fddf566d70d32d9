"""Patience with a peer is measured by a clock that nobody can set. Acceptance 14."""

from __future__ import annotations

import time

import pytest
from twisted.internet import reactor
from twisted.internet.task import Clock

from twisted_mta.wire.listener import Listener
from twisted_mta.wire.steady import steady_seconds

DAY = 86400.0


@pytest.mark.parametrize("step", [DAY, -DAY])
def test_a_listener_does_not_mind_that_the_wall_clock_is_set(
    step: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = 0.0
    monkeypatch.setattr(reactor, "seconds", lambda: time.time() + ahead)
    listener = Listener(lambda: pytest.fail("nobody calls"), reactor=reactor)
    before = listener.seconds()
    ahead = step
    assert 0 <= listener.seconds() - before < DAY / 2


def test_the_clock_of_a_test_is_that_of_the_test() -> None:
    clock = Clock()
    seconds = steady_seconds(clock)
    clock.advance(5)
    assert seconds() == 5
