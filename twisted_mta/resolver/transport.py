"""One question to one name server: a datagram and its answer, or a connection (RFC 1035 §4.2, RFC 7766).

Every datagram leaves from a socket of its own, so from a port that the system draws by lot, under a number
that nobody can guess; the system lets through only what comes from the server that was asked, and what is
no answer to the question is passed over (RFC 5452 §9). They are not made by `listenUDP` of Twisted's, which
writes two lines into the log for each and costs half as much again.

Left out on purpose: several questions over one connection (RFC 7766 §6.2.1), since hardly one answer in a
thousand is too large for a datagram.
"""

from __future__ import annotations

import secrets
import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IReadDescriptor, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mta.resolver.name_servers import NameServer
from twisted_mta.resolver.question import Question

_LARGEST = 65535  # octets of a message


class Unreachable(Exception):
    """Nothing gets through to the server at present; says why in plain words."""


class Useless(Exception):
    """The server has answered, but in a way that leads nowhere; says why in plain words."""


@implementer(IReadDescriptor)
class Datagram:
    """On its way once constructed: `answer` gives the octets, or fails with Unreachable. Cancelling it closes
    the socket. Raises Unreachable."""

    def __init__(self, question: Question, server: NameServer, reactor: Any) -> None:
        self.answer: Deferred[bytes] = Deferred(lambda _: self._close())
        self._question = question
        self._number = secrets.randbits(16)
        self._reactor = reactor
        family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
        try:
            self._socket = socket.socket(family, socket.SOCK_DGRAM)
        except OSError as error:
            raise Unreachable(str(error)) from error
        try:
            self._socket.setblocking(False)
            self._socket.connect((server.address, server.port))
            self._socket.send(question.message(self._number))
        except OSError as error:
            self._socket.close()
            raise Unreachable(str(error)) from error
        reactor.addReader(self)

    def fileno(self) -> int:
        """See IFileDescriptor."""
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """See ILoggingContext."""
        return "dns"

    def doRead(self) -> None:
        """One datagram; the reactor comes back for more."""
        try:
            octets = self._socket.recv(_LARGEST)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(str(error))
            return
        if self._question.is_answered_by(self._number, octets):
            self._close()
            self.answer.callback(octets)

    def connectionLost(self, reason: Failure) -> None:
        """The system has bad news for the socket, or the reactor stops."""
        self._fail("nobody listens there")

    def _fail(self, reason: str) -> None:
        self._close()
        self.answer.errback(Unreachable(reason))

    def _close(self) -> None:
        self._reactor.removeReader(self)
        self._socket.close()


class Connection(Protocol):
    """Sends the question once connected; `answer` gives the octets, or fails with Useless."""

    def __init__(self, question: Question) -> None:
        self.answer: Deferred[bytes] = Deferred()
        self._question = question
        self._number = secrets.randbits(16)
        self._received = bytearray()

    def connectionMade(self) -> None:
        """In one write, for servers that look no further (RFC 7766 §8)."""
        message = self._question.message(self._number)
        self._transport().write(len(message).to_bytes(2, "big") + message)

    def dataReceived(self, data: bytes) -> None:
        """The length, then the message; what follows is of no interest."""
        self._received += data
        end = 2 + int.from_bytes(self._received[:2], "big")
        if len(self._received) < max(end, 2) or self.answer.called:
            return
        octets = bytes(self._received[2:end])
        if self._question.is_answered_by(self._number, octets):
            self.answer.callback(octets)
        else:
            self.answer.errback(Useless("an answer to another question"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Before the answer was there, or after it."""
        if not self.answer.called:
            self.answer.errback(Useless("the connection was lost"))

    def abort(self) -> None:
        """Without waiting for the other end."""
        self._transport().abortConnection()

    def _transport(self) -> Any:
        return self.transport


def endpoint(server: NameServer, *, reactor: Any) -> IStreamClientEndpoint:
    """Where the server takes connections."""
    kind: Any = TCP6ClientEndpoint if ":" in server.address else TCP4ClientEndpoint
    made: IStreamClientEndpoint = kind(reactor, server.address, server.port)
    return made
