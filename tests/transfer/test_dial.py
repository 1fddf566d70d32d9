"""Ways to a server: TCP from a chosen address, a local socket, a SOCKS5 proxy; and what goes wrong."""

import subprocess
import tempfile
from pathlib import Path

from certificates import authority
from programs import program
from relay_town import CONTENT, RelayTestCase, Slow
from scripted_proxy import ScriptedProxy
from scripted_server import Script
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import optionsForClientTLS

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import EnvelopeRecipient
from twisted_mta.protocol.smtp.transaction import Transaction
from twisted_mta.transfer.mta.relay import dial
from twisted_mta.transfer.mta.relay.client_session import ClientSession
from twisted_mta.transfer.mta.relay.limits import StageTimeouts
from twisted_mta.transfer.mta.relay.verdict import Trouble
from twisted_mta.transfer.mta.route import Host, Proxy
from twisted_mta.transfer.mta.tls.demand import TlsLevel

BOB = Address("bob", "b.test")


class Caller(Protocol):
    """Fires `heard` with the first octets."""

    def __init__(self):
        self.heard = Deferred()
        self.gone = Deferred()

    def dataReceived(self, data):
        if not self.heard.called:
            self.heard.callback(data)

    def connectionLost(self, reason=None):
        self.gone.callback(None)


class TestDial(RelayTestCase):
    async def dial(self, host, **settings):
        caller = Caller()
        try:
            connected = await dial.connect(
                settings.pop("reactor", reactor), host, caller, **{"timeout": 20.0, **settings}
            )
        except Trouble as end:
            return end.verdict.status, end.verdict.text
        assert connected is caller
        greeting = await caller.heard
        caller.transport.abortConnection()
        await caller.gone
        return greeting

    def proxy(self, **settings):
        proxy = ScriptedProxy(**settings).listen()
        self.addCleanup(proxy.close)
        return proxy

    async def here(self):
        (server,) = await self.serve(Script())
        return server, Host("mx.b.test", "127.0.0.1", server.port)

    async def test_tcp(self):
        _, host = await self.here()
        assert await self.dial(host) == b"220 mx.b.test ready\r\n"

    async def test_from_a_chosen_address(self):
        server, host = await self.here()
        caller = Caller()
        await dial.connect(reactor, host, caller, source="127.0.0.5", timeout=20.0)
        await caller.heard
        (connection,) = server.open
        assert connection.transport.getPeer().host == "127.0.0.5"
        caller.transport.abortConnection()
        await caller.gone

    async def test_from_an_address_that_is_not_ours(self):
        _, host = await self.here()
        status, text = await self.dial(host, source="192.0.2.77")
        assert (status, text) == ("4.4.1", "The local address to call from is not one of this machine")
        status, text = await self.dial(host, source="2001:db8::1")
        assert text == "The address to call from, 2001:db8::1, is not of the same family"

    async def test_nobody_there(self):
        assert await self.dial(Host("x", "127.0.0.9", 1)) == ("4.4.1", "Connection refused")

    async def test_a_socket_of_the_machine(self):
        with tempfile.TemporaryDirectory() as directory:
            path = str(Path(directory, "lmtp"))
            port = reactor.listenUNIX(path, Factory.forProtocol(_Greeter))
            assert await self.dial(Host("localhost", "", 0, path=path)) == b"220 hello\r\n"
            await port.stopListening()
            status, text = await self.dial(Host("localhost", "", 0, path=path))
            assert status == "4.4.1" and text.startswith(f"socket {path}: ")

    # Through a proxy

    async def test_a_proxy(self):
        _, host = await self.here()
        proxy = self.proxy()
        assert await self.dial(host, proxy=Proxy("127.0.0.1", proxy.port)) == b"220 mx.b.test ready\r\n"
        assert proxy.asked == [(host.address, host.port)]

    async def test_a_proxy_with_login(self):
        _, host = await self.here()
        proxy = self.proxy(user="me", password="secret")
        right = Proxy("127.0.0.1", proxy.port, "me", "secret")
        assert await self.dial(host, proxy=right) == b"220 mx.b.test ready\r\n"
        wrong = Proxy("127.0.0.1", proxy.port, "me", "wrong")
        assert await self.dial(host, proxy=wrong) == ("4.4.1", "The proxy refuses the login")
        none = Proxy("127.0.0.1", proxy.port)
        assert await self.dial(host, proxy=none) == ("4.4.1", "The proxy wants a login")

    async def test_a_proxy_that_cannot_get_there(self):
        proxy = self.proxy()
        dead = Host("x", "127.0.0.9", 1)
        assert await self.dial(dead, proxy=Proxy("127.0.0.1", proxy.port)) == (
            "4.4.1",
            "The proxy says: connection refused",
        )

    async def test_troubles_with_a_proxy(self):
        _, host = await self.here()
        (mail_server,) = await self.serve(Script({"BANNER": "HELLO"}))
        for port, words in (
            (1, "proxy 127.0.0.1: Connection refused"),
            (mail_server.port, "The proxy does not speak SOCKS5"),
            (self.proxy(closes=True).port, "The proxy has closed the connection"),
            (self.proxy(refusal=2).port, "The proxy says: not allowed by its rules"),
        ):
            assert await self.dial(host, proxy=Proxy("127.0.0.1", port)) == ("4.4.1", words)
        silent, slow = Proxy("127.0.0.1", self.proxy(silent=True).port), Slow()
        outcome = Deferred.fromCoroutine(self.dial(host, reactor=slow, proxy=silent))
        await self.until(slow.clock.getDelayedCalls)
        slow.clock.advance(20)
        assert await outcome == ("4.4.1", "The proxy does not answer in time")

    async def test_a_message_inside_tls_through_a_proxy(self):
        (server,) = await self.serve(Script(tls=authority().server("mx.b.test")))
        host = Host("mx.b.test", "127.0.0.1", server.port)
        assert await self.converse(host, Proxy("127.0.0.1", self.proxy().port)) == ["250 2.0.0 queued"]
        assert server.messages[0].tls and server.messages[0].data == CONTENT

    async def converse(self, host, proxy):
        """Hand in a message through the proxy, inside TLS; the verdicts."""
        ended = Deferred()
        session = ClientSession(
            "me.test",
            host,
            timeouts=StageTimeouts().by_stage(),
            seconds=reactor.seconds,
            steady=reactor.seconds,
            on_end=lambda session: ended.callback(None),
        )
        await dial.connect(reactor, host, session, proxy=proxy, timeout=20.0)
        creator = optionsForClientTLS("mx.b.test", trustRoot=authority().certificate)
        await session.open(TlsLevel.VERIFIED, creator, tls_first=False, credentials=None)
        assert session.tls_version.startswith("TLS")
        transaction = Transaction(None, [EnvelopeRecipient(BOB)], len(CONTENT))

        async def pieces():
            for piece in session.encoding(transaction)(Content(b"", CONTENT).chunks()):
                yield piece

        verdicts = await session.send(transaction, pieces(), reset=False)
        session.quit()
        await ended
        return [verdict.text for verdict in verdicts]

    async def test_microsocks(self):
        """The real thing from Debian."""
        (server,) = await self.serve(Script())
        spare = self.proxy()
        await spare._listening.stopListening()
        process = subprocess.Popen(
            [program("microsocks"), "-i", "127.0.0.1", "-p", str(spare.port), "-u", "me", "-P", "pass"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            proxy = Proxy("127.0.0.1", spare.port, "me", "pass")
            host = Host("mx.b.test", "127.0.0.1", server.port)
            answer = ("", "")
            while isinstance(answer, tuple):  # until it listens
                answer = await self.dial(host, proxy=proxy)
            assert answer == b"220 mx.b.test ready\r\n"
            wrong = Proxy("127.0.0.1", spare.port, "me", "wrong")
            assert (await self.dial(host, proxy=wrong))[1] == "The proxy refuses the login"
            dead = Host("x", "127.0.0.9", 1)
            assert (await self.dial(dead, proxy=proxy))[1] == "The proxy says: connection refused"
        finally:
            process.kill()
            process.wait()


class _Greeter(Protocol):
    def connectionMade(self):
        self.transport.write(b"220 hello\r\n")
