"""A daemon beside the server that says what it is told to say, whatever it is asked; and a message to ask it
about."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.trust.check import Incoming, Verdict
from twisted_mta.trust.filters.daemon import Daemon, Place
from twisted_mta.trust.filters.filtering import FilterRules

DROP = "drop"  # close the connection
HANG = "hang"  # say nothing
MESSAGE = (
    b"From: ann@far.test\r\nTo: bob@here.test\r\nDate: Mon, 23 Nov 2026 07:00:00 +0000\r\n"
    b"Message-ID: <1@far.test>\r\nSubject: a\r\n\tb\r\n\r\nHello\r\n"
)


def incoming(octets: bytes = MESSAGE, **facts: Any) -> Incoming:
    """A message of a stranger's."""
    end = octets.find(b"\r\n\r\n") + 4
    return Incoming(
        **{
            "address": "192.0.2.7",
            "name": "mail.far.test",
            "reverse": "pass",
            "helo": "far.test",
            "tls": "TLSv1.3 TLS_AES_256_GCM_SHA384",
            "reverse_path": Address("ann", "far.test"),
            "forward_paths": (Address("bob", "here.test"),),
            "queue_id": "Q1",
            "header": octets[:end],
            "content": Content(b"", octets),
            **facts,
        }
    )


class ScriptedDaemon(Factory):
    """Each connection takes the next of `answers`, the last one again and again: what is said once the end of
    a question is there, `whole` in it (b"": at once); DROP; HANG; or a list, for one question each. `asked`:
    what each connection has heard."""

    noisy = False

    def __init__(self, *answers: Any, whole: bytes = b"") -> None:
        self.answers = list(answers)
        self.whole = whole
        self.asked: list[bytearray] = []
        self.open: set[_Talk] = set()

    def listen(self) -> ScriptedDaemon:
        """At a port of the loopback."""
        self._listening: Any = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.port = self._listening.getHost().port
        return self

    async def close(self) -> None:
        """With all connections."""
        await maybeDeferred(self._listening.stopListening)
        for talk in list(self.open):
            talk.transport.abortConnection()

    def buildProtocol(self, addr: Any) -> Protocol:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.asked.append(bytearray())
        return _Talk(self, list(answer) if isinstance(answer, list) else [answer], self.asked[-1])


class _Talk(Protocol):
    transport: Any

    def __init__(self, daemon: ScriptedDaemon, answers: list[Any], heard: bytearray) -> None:
        self._daemon, self._answers, self._heard = daemon, answers, heard
        self._seen = 0

    def connectionMade(self) -> None:
        self._daemon.open.add(self)

    def connectionLost(self, reason: Any = None) -> None:
        self._daemon.open.discard(self)

    def dataReceived(self, data: bytes) -> None:
        self._heard += data
        found = self._heard.find(self._daemon.whole, self._seen)
        if found < 0:
            return
        self._seen = len(self._heard)
        answer = self._answers.pop(0) if self._answers else HANG
        if answer == DROP:
            self.transport.loseConnection()
        elif answer != HANG:
            self.transport.write(answer)
            if not self._answers:
                self.transport.loseConnection()


class DaemonCase(TestCase):
    """Tests of checks that ask a daemon."""

    def serve(self, *answers: Any, whole: bytes = b"") -> ScriptedDaemon:
        """A scripted one."""
        served = ScriptedDaemon(*answers, whole=whole).listen()
        self.addCleanup(served.close)
        return served

    def daemon(self, served: Any = None, *, seconds: float = 20.0, clock: Any = None, **place: Any) -> Daemon:
        """How it is asked."""
        where = place or {"host": "127.0.0.1", "port": served.port}
        daemon = Daemon(Place(**where), name="daemon", seconds=seconds, reactor=clock or reactor)
        self.addCleanup(daemon.close)
        return daemon

    def rules(self, **settings: Any) -> FilterRules:
        """Those of the check."""
        return FilterRules(**settings)

    async def judge(self, check: Any, *octets: bytes, **facts: Any) -> Verdict:
        """What it says."""
        verdict: Verdict = await check.judge(incoming(*octets, **facts))
        return verdict
