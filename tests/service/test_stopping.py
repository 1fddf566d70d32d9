"""The order in which the parts stop."""

from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from twisted_mta.journey.bus import Journey
from twisted_mta.service.data_dir import Lock
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.quantities import Domain
from twisted_mta.service.server import STOPPING, MailServer
from twisted_mta.service.wiring.build import Parts
from twisted_mta.wire.listener import Listener


class SlowPart:
    """Stops when `gate` opens."""

    def __init__(self, name: str, stopping: list[str]) -> None:
        self.name = name
        self.stopping = stopping
        self.gate: Deferred[None] = Deferred()

    async def start(self) -> None:
        """At once."""

    async def stop(self) -> None:
        self.stopping.append(self.name)
        await self.gate


class SlowListener(Listener):
    """Sessions that never end."""

    def end_all(self) -> Deferred[None]:
        return Deferred()


def test_the_dispatcher_stops_while_the_sessions_end(tmp_path: Path) -> None:
    clock = Clock()
    config = Config(hostname=Domain("mx.a.test"), data_dir=str(tmp_path), domains=(Domain("a.test"),))
    server = MailServer(config, path=tmp_path, reactor=clock, observer=None)
    stopping: list[str] = []
    queue, dispatcher = (SlowPart(name, stopping) for name in ("queue", "dispatcher"))
    server._parts = Parts(Journey(), listeners={"smtp": SlowListener(lambda: None, reactor=clock)})
    server._started = [("queue", queue), ("dispatcher", dispatcher)]
    server._lock = Lock.acquire(tmp_path)
    stopped = Deferred.fromCoroutine(server._stop())
    assert stopping == ["dispatcher"]
    clock.advance(STOPPING)  # both were given up at the same time
    assert stopping == ["dispatcher", "queue"]
    queue.gate.callback(None)
    assert stopped.called


def test_without_a_dispatcher_everything_waits_for_the_sessions(tmp_path: Path) -> None:
    clock = Clock()
    config = Config(hostname=Domain("mx.a.test"), data_dir=str(tmp_path), domains=(Domain("a.test"),))
    server = MailServer(config, path=tmp_path, reactor=clock, observer=None)
    stopping: list[str] = []
    process, outbox = (SlowPart(name, stopping) for name in ("way to the queue", "outbox"))
    server._parts = Parts(Journey(), listeners={"imap": SlowListener(lambda: None, reactor=clock)})
    server._started = [("way to the queue", process), ("outbox", outbox)]
    server._lock = Lock.acquire(tmp_path)
    stopped = Deferred.fromCoroutine(server._stop())
    assert stopping == []  # what a session gives to the Outbox goes over before that stops
    clock.advance(STOPPING)
    assert stopping == ["outbox"]
    outbox.gate.callback(None)
    assert stopping == ["outbox", "way to the queue"]
    process.gate.callback(None)
    assert stopped.called
