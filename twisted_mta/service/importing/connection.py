"""A connection to the server that mail is fetched from: a socket that blocks, TLS that proves itself.

A command line tool has nothing else to do while it waits, so there is no reactor here. TLS is verified
against the system's authorities, or those that are named; without TLS nothing is sent unless that is asked
for.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from twisted_mta.protocol.imap4.client import Broken, ClientEngine, Event, Text
from twisted_mta.protocol.imap4.client_responses import Data, Status, shown
from twisted_mta.service.commands.refused import Refused

TIMEOUT = 120.0  # seconds that a server may be silent in the middle of an answer
IMAPS, IMAP = 993, 143
_CHUNK = 256 * 1024  # octets read at a time
_MOST_DATA = 10_000_000  # responses to one command, of use or not


class Lost(Exception):
    """The connection is gone, or could not be made; the text says why. Another one may do better."""


class Denied(Exception):
    """The server has said NO or BAD to a command; the text is the server's."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.text.rstrip(".") or status.condition)
        self.code = status.code


class Place(NamedTuple):
    """Where the server is. port: 0 for the usual ones. tls: from the first octet; None: as the port has it.
    plain: without TLS at all."""

    host: str
    port: int
    tls: bool | None
    plain: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port else host


class Connection:
    """One connection, made by `connect`. Methods raise Lost; Refused when the server cannot be understood."""

    def __init__(self, place: Place, sock: socket.socket) -> None:
        self.place = place
        self.engine = ClientEngine()
        self._socket = sock

    @property
    def is_secure(self) -> bool:
        """True inside TLS."""
        return isinstance(self._socket, ssl.SSLSocket)

    def close(self) -> None:
        """Hang up. Idempotent."""
        with suppress(OSError):
            self._socket.close()

    def start_tls(self, context: ssl.SSLContext) -> None:
        """From now on inside TLS. Raises Refused for a certificate that proves nothing."""
        if self.engine.has_input:
            raise Refused(f"{self.place}: the server sent something in the clear behind STARTTLS")
        self._socket = _handshake(self.place, self._socket, context)
        self.engine = ClientEngine()

    def send(self, *parts: bytes | Text, exchange: bool = False) -> str:
        """Give a command; its tag."""
        tag = self.engine.command(*parts, exchange=exchange)
        self.flush()
        return tag

    def flush(self) -> None:
        """Send what the engine has for the server."""
        output = self.engine.take_output()
        if output:
            try:
                self._socket.sendall(output)
            except OSError as error:
                raise Lost(_reason(error)) from error

    def event(self) -> Event:
        """What the server says next."""
        while True:
            try:
                event = self.engine.next_event()
            except Broken as error:
                raise Refused(f"{self.place}: this is not IMAP as it should be: {error}") from error
            self.flush()
            if isinstance(event, Status) and event.condition == "BYE" and not event.tag:
                raise Lost(f"the server says goodbye: {event.text}")
            if event is not None:
                return event
            try:
                data = self._socket.recv(_CHUNK)
            except OSError as error:
                raise Lost(_reason(error)) from error
            if not data:
                raise Lost("the server hung up")
            self.engine.receive(data)

    def run(self, *parts: bytes | Text, untagged: Callable[[Data], None] | None = None) -> list[Status]:
        """Give a command and wait for its end, which is the last of the statuses that are returned;
        `untagged` gets the data. Raises Denied."""
        return self.finish(self.send(*parts), untagged)

    def finish(self, tag: str, untagged: Callable[[Data], None] | None = None) -> list[Status]:
        """As `run`, for a command that has been given."""
        statuses: list[Status] = []
        for _ in range(_MOST_DATA):
            event = self.event()
            if isinstance(event, Data) and untagged is not None:
                untagged(event)
            elif isinstance(event, Status):
                if event.tag or len(statuses) < 100:
                    statuses.append(event)
                if event.tag == tag:
                    if event.condition != "OK":
                        raise Denied(event)
                    return statuses
        raise Refused(f"{self.place}: the server never comes to an end")

    def greeting(self) -> Status:
        """What the server says first."""
        event = self.event()
        if not isinstance(event, Status) or event.tag or event.condition not in ("OK", "PREAUTH"):
            raise Refused(f"{self.place}: the server does not begin as an IMAP server does: {_said(event)}")
        return event


def _said(event: Event) -> str:
    return event.text if isinstance(event, Status) else shown(repr(event).encode())


def connect(place: Place, context: ssl.SSLContext, timeout: float = TIMEOUT) -> Connection:
    """A connection, inside TLS when that is how the port has it, before the greeting. A place without a port
    is tried at 993, then at 143. Raises Lost, and Refused for a certificate that proves nothing."""
    if place.port or place.plain:
        at = place if place.port else place._replace(port=IMAP)
        return _connect(at, context, timeout)
    try:
        return _connect(place._replace(port=IMAPS, tls=True), context, timeout)
    except Lost as lost:
        if place.tls:
            raise
        try:
            return _connect(place._replace(port=IMAP, tls=False), context, timeout)
        except Lost:
            raise lost from None


def _connect(place: Place, context: ssl.SSLContext, timeout: float) -> Connection:
    try:
        sock = socket.create_connection((place.host, place.port), timeout)
    except OSError as error:
        raise Lost(_reason(error)) from error
    tls = place.port == IMAPS if place.tls is None else place.tls
    if tls and not place.plain:
        sock = _handshake(place, sock, context)
    return Connection(place, sock)


def _handshake(place: Place, sock: socket.socket, context: ssl.SSLContext) -> socket.socket:
    try:
        return context.wrap_socket(sock, server_hostname=place.host)
    except ssl.SSLCertVerificationError as error:
        sock.close()
        raise Refused(
            f"{place}: the server's certificate does not prove that it is {place.host}:"
            f" {error.verify_message or error.reason}. Use the name that the certificate has, or, if you know"
            " this certificate or the authority that signed it, name its file with --ca"
        ) from error
    except ssl.SSLError as error:
        sock.close()
        raise Refused(
            f"{place}: no TLS with this server: {error.reason or error}. If it speaks STARTTLS at this port,"
            " write imap://; if TLS from the beginning, imaps://"
        ) from error
    except OSError as error:
        sock.close()
        raise Lost(_reason(error)) from error


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer for too long"
    if isinstance(error, socket.gaierror):
        return f"its name cannot be looked up: {error.strerror}"
    return error.strerror or str(error)


def tls_context(authorities: str, *, plain: bool = False) -> ssl.SSLContext:
    """What servers have to prove; authorities: a file of certificates, "" for the system's. plain: there is
    to be no TLS; then nobody is believed. Raises Refused."""
    if plain:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        return ssl.create_default_context(cafile=authorities or None)
    except (OSError, ssl.SSLError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refused(f"--ca: {authorities} is not a file of certificates: {why}") from error
