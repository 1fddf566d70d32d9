"""A login by SCRAM at a server of our own making, inside TLS: both ends export the same octets (RFC 9266)."""

import base64

from certificates import authority
from one_conversation import Conversation
from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver
from twisted.trial.unittest import TestCase

from twisted_mta.protocol.sasl.credentials import ProvenCredentials
from twisted_mta.protocol.sasl.scram import Keys
from twisted_mta.protocol.sasl.scram_server import ScramServer
from twisted_mta.transfer.mta.relay.login import exported
from twisted_mta.transfer.mta.relay.verdict import Trouble
from twisted_mta.transfer.mta.route import Credentials, Host
from twisted_mta.transfer.mta.tls.demand import TlsLevel


class _Server(LineReceiver):
    """Offers STARTTLS, and inside of it two mechanisms. `interloper`: binds to another connection."""

    def connectionMade(self):
        self.scram, self.final, self.secure = None, None, False
        self.sendLine(b"220 mx.b.test")

    def lineReceived(self, line):
        verb, _, rest = line.partition(b" ")
        if self.scram is not None:
            self.exchange(base64.b64decode(line))
        elif verb == b"EHLO":
            offer = b"AUTH SCRAM-SHA-256 SCRAM-SHA-256-PLUS" if self.secure else b"STARTTLS"
            self.sendLine(b"250-mx.b.test\r\n250 " + offer)
        elif verb == b"STARTTLS":
            self.sendLine(b"220 go")
            self.transport.startTLS(authority().server("mx.b.test"))
            self.secure = True
        elif verb == b"AUTH":
            self.begin(*rest.split())
        elif verb == b"QUIT":
            self.transport.loseConnection()

    def begin(self, name, initial):
        self.factory.names.append(name.decode())
        binding = exported(self.transport)
        if self.factory.interloper:
            binding = bytes(reversed(binding))
        self.scram = ScramServer(name.decode(), nonce="server", binding=binding)
        assert self.scram.start(base64.b64decode(initial)).login == "me"
        self.challenge(self.scram.provide([Keys.derive(name.decode(), self.factory.password, b"salt", 4096)]))

    def exchange(self, response):
        if self.final is not None:
            self.scram = None
            self.sendLine(b"235 welcome")
            return
        result = self.scram.step(response)
        if isinstance(result, ProvenCredentials):
            self.final = result.final
            self.challenge(self.final)
        else:
            self.scram = None
            self.sendLine(b"535 5.7.8 no")

    def challenge(self, octets):
        self.sendLine(b"334 " + base64.b64encode(octets))


class TestScram(TestCase):
    async def log_in(self, *, password="secret", interloper=False):
        """What comes of it."""
        factory = Factory.forProtocol(_Server)
        factory.names, factory.password, factory.interloper = [], "secret", interloper
        factory.noisy = False
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        talk = Conversation(Host("mx.b.test", "127.0.0.1", port.getHost().port))
        try:
            await talk.open(level=TlsLevel.VERIFIED, credentials=Credentials("me", password))
        except Trouble as end:
            return end.verdict.text
        finally:
            await talk.bye()
        assert talk.session.tls_version == "TLSv1.3"
        return factory.names

    async def test_bound_to_the_connection(self):
        assert await self.log_in() == ["SCRAM-SHA-256-PLUS"]

    async def test_a_wrong_password(self):
        assert await self.log_in(password="wrong") == "Login refused: 535 5.7.8 no"

    async def test_somebody_in_between(self):
        assert await self.log_in(interloper=True) == "Login refused: 535 5.7.8 no"
