"""An IMAP server over the real store, for the tests: in memory (`Talk`) and on loopback ports."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from scram_accounts import ScramAccounts
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITLSTransport
from twisted.internet.ssl import PrivateCertificate
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from twisted_mta.access.imap4.access import ImapAccess, ImapLimits
from twisted_mta.interfaces import IDirectory
from twisted_mta.journey.bus import Journey
from twisted_mta.message.content import Content
from twisted_mta.protocol.imap4.bodystructure import render_structures
from twisted_mta.service.certificate import self_signed
from twisted_mta.store.store import MessageStore
from twisted_mta.wire.listener import Listener
from twisted_mta.wire.login import LoginLimits

ALICE = "alice@a.test"


@implementer(IDirectory)
class House(ScramAccounts):
    """alice@a.test and bob@a.test, password "secret"."""

    def is_local(self, domain):
        return domain == "a.test"

    async def resolve(self, address):
        return None

    async def authenticate(self, login, password, peer="", service=""):
        return self.account(login) if password == "secret" else None

    def account(self, login):
        name = login.lower() if "@" in login else f"{login.lower()}@a.test"
        return name if name in (ALICE, "bob@a.test") else None

    async def owns(self, account, address):
        return False


@implementer(ITLSTransport)
class MemoryTransport(StringTransport):
    """Records octets."""

    TLS = False

    def abortConnection(self):
        self.disconnecting = True

    def startTLS(self, context):
        self.TLS = True

    def setTcpNoDelay(self, enabled):
        """There are no packets here to be held back."""


class Talk:
    """One session without a socket. `send` returns what the server says until it waits for more."""

    def __init__(self, case, listener):
        self.case = case
        self.transport = MemoryTransport()
        self.session = listener.buildProtocol(None)
        self.session.makeConnection(self.transport)

    async def send(self, data):
        if not self.closed:
            self.session.dataReceived(data)
        await self.case.until(lambda: not self.session._busy)
        return self.said()

    async def say(self, line):
        """Send a command; the lines of the answer."""
        return (await self.send(line.encode() + b"\r\n")).decode("latin-1").split("\r\n")[:-1]

    def said(self):
        """What the server has said since the last look."""
        value = self.transport.value()
        self.transport.clear()
        return value

    @property
    def closed(self):
        return self.transport.disconnecting

    async def hang_up(self):
        self.session.connectionLost()
        await self.case.until(lambda: not self.session._busy)


class ImapCase(TestCase):
    """`self.talk()` is a connection in memory. The sessions' idle clock is `self.clock`."""

    timeout = 60
    limits = ImapLimits(login=LoginLimits(delay=0.0), faults=20)
    allow_cleartext = True

    async def setUp(self):
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        self.store = MessageStore(
            self.root / "mail", reactor=reactor, hostname="mx.a.test", render=render_structures
        )
        await self.store.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.store.stop()))
        self.events = []
        self.journey = Journey()
        self.journey.add_reader(self.events.append)
        self.clock = Clock()
        self.delivered = 0
        self.talks = []
        self.listener = self.make_listener()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.hang_up_all()))

    def make_listener(self, *, implicit_tls=False, tls_context=None, **settings):
        access = ImapAccess(
            directory=House(),
            store=self.store,
            journey=self.journey,
            reactor=reactor,
            **{"allow_cleartext": self.allow_cleartext, "limits": self.limits, **settings},
        )
        return Listener(
            access.session, reactor=self.clock, tls_context=tls_context, implicit_tls=implicit_tls
        )

    def talk(self, listener=None):
        talk = Talk(self, listener or self.listener)
        self.talks.append(talk)
        return talk

    async def hang_up_all(self):
        for talk in self.talks:
            await talk.hang_up()

    async def logged_in(self, mailbox=None, user="alice", examine=False):
        """A connection that is logged in, and has a mailbox selected if one is named."""
        talk = self.talk()
        talk.said()
        assert (await talk.say(f"l LOGIN {user} secret"))[-1].startswith("l OK")
        if mailbox:
            command = "EXAMINE" if examine else "SELECT"
            assert (await talk.say(f"s {command} {mailbox}"))[-1].startswith("s OK")
        return talk

    async def deliver(self, octets, account=ALICE, mailbox="INBOX", **more):
        """Put a message into a mailbox; its UID."""
        self.delivered += 1
        await self.store.account(account)
        return await self.store.deliver(
            account,
            Content(b"", octets),
            unique=f"Q{self.delivered}-1",
            arrived=1_700_000_000.0 + self.delivered,
            mailbox=mailbox,
            **more,
        )

    async def deliver_many(self, count, template=b"Subject: number %d\r\n\r\nbody %d\r\n"):
        for number in range(1, count + 1):
            await self.deliver(template.replace(b"%d", b"%d" % number))

    async def until(self, condition):
        """Let the reactor run until something is so."""
        while not condition():
            await deferLater(reactor, 0.001)

    @property
    def stages(self):
        return [event.stage for event in self.events]

    # Real sockets

    def listen(self, *, implicit_tls=False, tls=True, **settings):
        """A port that speaks IMAP; the listener and its number."""
        context = self.tls_context() if tls else None
        listener = self.make_listener(implicit_tls=implicit_tls, tls_context=context, **settings)
        if implicit_tls:
            port = reactor.listenSSL(0, listener, context, interface="127.0.0.1")
        else:
            port = reactor.listenTCP(0, listener, interface="127.0.0.1")
        self.addCleanup(lambda: Deferred.fromCoroutine(self.finish(listener, port)))
        return listener, port.getHost().port

    def tls_context(self):
        certificate, key = self_signed(self.root / "tls", ["mx.a.test"])
        return PrivateCertificate.loadPEM(certificate.read_bytes() + key.read_bytes()).options()

    async def finish(self, listener, port):
        await port.stopListening()
        for connection in list(listener.connections):
            connection.abort()
        await self.until(lambda: not listener.connections)


def literal_of(output):
    """The octets of the first literal in what a server said."""
    found = re.search(rb"\{(\d+)\}\r\n", output)
    return output[found.end() : found.end() + int(found[1])]
