"""A POP3 server on a loopback port over the real store, for the tests beside this file."""

import socket
from pathlib import Path
from tempfile import TemporaryDirectory

from imap_house import House
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from twisted_mta.access.pop3.session import OVERLOAD, Pop3Session, Pop3Settings
from twisted_mta.journey.bus import Journey
from twisted_mta.message.content import Content
from twisted_mta.service.certificate import self_signed
from twisted_mta.store.store import MessageStore
from twisted_mta.wire.listener import Listener
from twisted_mta.wire.login import LoginLimits


class Line:
    """A bare connection: sends octets, reads lines."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.file = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        return self.file.readline()

    def say(self, command):
        self.send(command + b"\r\n")
        return self.line()

    def rest(self):
        """What the server still says until it closes."""
        try:
            return self.file.read()
        except ConnectionResetError:
            return b""

    def close(self):
        self.file.close()
        self.socket.close()


class Pop3Case(TestCase):
    """`self.port` speaks POP3, `self.tls_port` POP3 inside TLS. The sessions' idle clock is `self.clock`."""

    timeout = 30

    async def setUp(self):
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        self.store = MessageStore(self.root / "mail", reactor=reactor, hostname="mx.a.test")
        await self.store.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.store.stop()))
        self.events = []
        self.journey = Journey()
        self.journey.add_reader(self.events.append)
        self.clock = Clock()
        certificate, key = self_signed(self.root / "tls", ["mx.a.test"])
        self.tls = PrivateCertificate.loadPEM(certificate.read_bytes() + key.read_bytes()).options()
        self.delivered = 0
        self.listener, self.port = self.listen()
        _, self.tls_port = self.listen(implicit_tls=True)

    def listen(self, *, implicit_tls=False, delay=None, **settings):
        settings = {
            "hostname": "mx.a.test",
            "allow_cleartext": True,
            "login": LoginLimits(delay=0.0),
            **settings,
        }
        listener = Listener(
            lambda: Pop3Session(
                Pop3Settings(**settings),
                directory=House(),
                store=self.store,
                journey=self.journey,
                reactor=reactor,
                login_delay=delay,
            ),
            reactor=self.clock,
            tls_context=self.tls,
            implicit_tls=implicit_tls,
            overload=OVERLOAD,
        )
        if implicit_tls:
            port = reactor.listenSSL(0, listener, self.tls, interface="127.0.0.1")
        else:
            port = reactor.listenTCP(0, listener, interface="127.0.0.1")
        self.addCleanup(lambda: self.finish(listener, port))
        return listener, port.getHost().port

    async def finish(self, listener, port):
        await port.stopListening()
        for connection in list(listener.connections):
            connection.abort()
        await self.until(lambda: not listener.connections)

    async def deliver(self, octets, account="alice@a.test"):
        """Put a message into the account's INBOX; its UID."""
        self.delivered += 1
        return await self.store.deliver(
            account, Content(b"", octets), unique=f"Q{self.delivered}-1", arrived=1_700_000_000.0
        )

    async def until(self, condition):
        """Let the reactor run until something is so."""
        while not condition():
            await deferLater(reactor, 0.001)

    @property
    def stages(self):
        return [event.stage for event in self.events]
