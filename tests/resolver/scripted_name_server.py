"""A name server whose every word a test decides: datagrams and connections at one port."""

import contextlib

import dns.flags
import dns.message
import dns.rrset
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol


def reply(query, *records, rcode=0, flags=0, name=None, authority=()):
    """The octets of an answer; records: ("MX", "10 mx.test.") each, of the name that was asked for."""
    asked = dns.message.from_wire(query)
    answer = dns.message.make_response(asked, recursion_available=True)
    answer.set_rcode(rcode)
    answer.flags |= flags
    for kind, text in records:
        name = name or asked.question[0].name
        answer.answer.append(dns.rrset.from_text(name, 100, "IN", kind, text))
    answer.authority.extend(authority)
    return answer.to_wire(max_size=65535)


class ScriptedNameServer(DatagramProtocol):
    """`answer` takes the octets of a question and gives those of the answers (a list, in this order);
    `over_tcp` takes the connection and the question. None: silence. `queries` keeps each datagram and where
    it came from."""

    def __init__(self, answer=None, over_tcp=None):
        self.answer = answer
        self.over_tcp = over_tcp
        self.queries = []
        self.connections = []
        self._awaited = []

    def start(self):
        """At a port that is free for both."""
        factory = Factory.forProtocol(_Connection)
        factory.server, factory.noisy = self, False
        self.noisy = False
        while True:
            tcp = reactor.listenTCP(0, factory, interface="127.0.0.1")
            with contextlib.suppress(CannotListenError):
                self.udp = reactor.listenUDP(tcp.getHost().port, self, interface="127.0.0.1")
                break
            tcp.stopListening()
        self.tcp = tcp
        self.port = tcp.getHost().port
        return self

    async def stop(self):
        for connection in self.connections:
            connection.transport.abortConnection()
        await maybeDeferred(self.udp.stopListening)
        await self.stop_tcp()

    async def stop_tcp(self):
        await maybeDeferred(self.tcp.stopListening)

    def asked(self, count):
        """Fires when so many datagrams have come."""
        fired = Deferred()
        self._awaited.append((count, fired))
        self._tell()
        return fired

    def datagramReceived(self, datagram, address):
        self.queries.append((datagram, address))
        for octets in (self.answer(datagram) if self.answer else None) or ():
            self.transport.write(octets, address)
        self._tell()

    def _tell(self):
        due = [fired for count, fired in self._awaited if count <= len(self.queries)]
        self._awaited = [(count, fired) for count, fired in self._awaited if count > len(self.queries)]
        for fired in due:
            fired.callback(None)


class _Connection(Protocol):
    received = b""

    def connectionMade(self):
        self.factory.server.connections.append(self)

    def dataReceived(self, data):
        self.received += data
        if (
            len(self.received) >= 2 + int.from_bytes(self.received[:2], "big")
            and self.factory.server.over_tcp
        ):
            self.factory.server.over_tcp(self.transport, self.received[2:])
