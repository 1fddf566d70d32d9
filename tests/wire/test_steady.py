"""Patience with a peer, and what is remembered for a while, is measured by a clock that nobody can set.
Acceptance 14."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from twisted_mta import steady
from twisted_mta.resolver.answer import Answer
from twisted_mta.resolver.name_servers import HERE
from twisted_mta.resolver.resolver import MAX_TTL, DnsResolver
from twisted_mta.steady import steady_seconds
from twisted_mta.trust.filters import daemon as daemons
from twisted_mta.trust.filters.daemon import Daemon, Place
from twisted_mta.trust.filters.unavailable import Unavailable
from twisted_mta.wire.listener import Listener

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


class _Clocks:
    """The wall clock, which the test sets, and the steady one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.steady = 2_000_000_000.0, 1000.0
        monkeypatch.setattr(reactor, "seconds", lambda: self.wall)
        monkeypatch.setattr(steady, "time", SimpleNamespace(monotonic=lambda: self.steady))


def _came(awaitable: object) -> list[object]:
    came: list[object] = []
    Deferred.fromCoroutine(awaitable).addBoth(came.append)
    return came


def test_an_answer_of_the_dns_does_not_outlive_its_time_when_the_clock_was_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clocks = _Clocks(monkeypatch)
    resolver = DnsResolver(["127.0.0.1"], reactor=reactor)
    records = ["192.0.2.1"]

    async def ask(question: object) -> object:
        return Answer(0, False, tuple(records), "mx.test", 3600, False), HERE

    monkeypatch.setattr(resolver._asking, "ask", ask)
    assert _came(resolver.ipv4("mx.test"))[0].records == ("192.0.2.1",)
    records[:] = ["192.0.2.2"]
    clocks.wall -= 30 * DAY
    assert _came(resolver.ipv4("mx.test"))[0].records == ("192.0.2.1",)
    clocks.steady += MAX_TTL
    assert _came(resolver.ipv4("mx.test"))[0].records == ("192.0.2.2",)


def test_a_daemon_does_not_rest_for_longer_when_the_clock_was_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = _Clocks(monkeypatch)
    daemon = Daemon(Place("127.0.0.1", 1), name="daemon", seconds=10, reactor=reactor)
    answers = True

    async def lead(dialog: object) -> str:
        if not answers:
            raise Unavailable("no")
        return "yes"

    monkeypatch.setattr(daemon, "_lead", lead)
    answers = False
    for _ in range(daemons.FAILURES):
        _came(daemon.ask(None))
    answers = True
    clocks.wall -= 30 * DAY
    assert "lately" in str(_came(daemon.ask(None))[0].value)
    clocks.steady += daemons.FIRST_REST
    assert _came(daemon.ask(None)) == ["yes"]
