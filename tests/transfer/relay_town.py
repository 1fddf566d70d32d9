"""A relay between mail servers that do as they are told, for the tests of it."""

from __future__ import annotations

import random

from dictionary_resolver import DictionaryResolver
from scripted_server import Script, ScriptedServer
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from zope.interface import directlyProvides, providedBy

from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.outcome import QueuedMessage, QueuedRecipient
from twisted_mta.transfer.mta.relay.limits import RelayLimits, StageTimeouts
from twisted_mta.transfer.mta.relay.relay import Relay
from twisted_mta.transfer.mta.routing import Routing
from twisted_mta.transfer.mta.tls.policy import TlsPolicy

ALICE = Address("alice", "a.test")
PATIENCE = StageTimeouts(idle=60.0)  # no test lasts as long as any of these
CONTENT = b"Subject: hello\r\n\r\nHello Bob\r\n"
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")


class Hastened:
    """The real reactor, but an hour passes with every look at the clock as long as one of the town's servers
    hangs: whoever waits for it has then waited for too long. On a machine however slow, nobody else has."""

    def __init__(self, town: RelayTestCase) -> None:
        self._town = town
        self._passed = 0.0
        directlyProvides(self, providedBy(reactor))

    def seconds(self) -> float:
        if any(server.hangs for server in self._town.servers):
            self._passed += 3600.0
        return reactor.seconds() + self._passed

    def __getattr__(self, name: str) -> object:
        return getattr(reactor, name)


class Slow:
    """The real reactor, whose clock the test advances; connections are real."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_800_000_000)
        self.seconds, self.callLater = self.clock.seconds, self.clock.callLater
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> object:
        return getattr(reactor, name)


class RelayTestCase(TestCase):
    """`servers` are those of b.test, by preference."""

    async def serve(self, *scripts: Script) -> list[ScriptedServer]:
        """One server for each script, as MX hosts of b.test; on one port of different addresses."""
        self.servers: list[ScriptedServer] = []
        port = 0
        for script, host in zip(scripts, HOSTS, strict=False):
            server = ScriptedServer(script).listen(host, port)
            port = server.port
            self.servers.append(server)
            self.addCleanup(server.close)
        self.port = port
        return self.servers

    async def start(self, **settings: object) -> Relay:
        """A relay that knows b.test, an MX for each server, and c.test, where nobody listens."""
        routing = settings.pop("routing", {})
        whole = settings.pop("routing_itself", None)
        names = [f"mx{n}.b.test" for n in range(len(self.servers))]
        resolver = DictionaryResolver(
            {"b.test": [(10 * n, name) for n, name in enumerate(names)], "c.test": [(10, "mx.c.test")]},
            {**dict(zip(names, ([host] for host in HOSTS), strict=False)), "mx.c.test": ["127.0.0.9"]},
        )
        journey = Journey()
        self.events = []
        journey.add_reader(self.events.append)
        limits = {"sweep": 0.02, "timeouts": PATIENCE, **settings.pop("limits", {})}
        self.relay = Relay(
            reactor=settings.pop("reactor", Hastened(self)),
            hostname=settings.pop("hostname", "mx.a.test"),
            routing=whole
            or Routing(
                resolver=resolver,
                hostname="mx.a.test",
                randomness=random.Random(1),
                mx_port=self.port,
                **routing,
            ),
            journey=journey,
            tls=settings.pop("tls", TlsPolicy()),
            limits=RelayLimits(**limits),
            **settings,
        )
        await self.relay.start()
        self.addCleanup(self.relay.stop)
        return self.relay

    async def send(self, *recipients: str, content: Content | bytes = CONTENT, sender=ALICE, **message):
        """Relay one message; the outcomes."""
        if isinstance(content, bytes):
            content = Content(b"", content)
        recipients = recipients or ("bob@b.test",)
        queued = QueuedMessage("Q1", sender, 0.0, content, **message)
        paths = [
            path
            if isinstance(path, QueuedRecipient)
            else QueuedRecipient(n, Address.parse(path) if isinstance(path, str) else path)
            for n, path in enumerate(recipients)
        ]
        return await self.relay.deliver(queued, paths)

    async def turn(self) -> None:
        """One turn of the reactor."""
        turn: Deferred[None] = Deferred()
        reactor.callLater(0, turn.callback, None)
        await turn

    async def until(self, condition) -> None:
        """Wait for what is bound to happen; the test times out when it does not."""
        while not condition():
            await self.turn()

    def told(self, stage: str) -> list[dict[str, object]]:
        """The facts of the journey's events of this stage."""
        return [dict(event.facts) for event in self.events if event.stage == stage]
