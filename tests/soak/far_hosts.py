"""Where mail leaves for: two hosts with every manner that trouble has, and the name server that names
them."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
from process import free_port

HOSTS = ("127.0.0.2", "127.0.0.3")
BACKLOG = 200
PATIENCE = 120.0  # seconds until those who talk must have come to an end
_NAME = re.compile(rb"^X-Soak: (\S+)", re.MULTILINE)


class FarHosts:
    """Both at one port. `manner` is how they behave from now on:

    "serve": they take what comes, but for `nobody@…`; "busy": 451 at each MAIL; "hang": they say no word any
    more; "drop": they hang up when the whole message has come, before their answer; "refuse": nobody listens.

    accepted(name): asked for each message that gets 250, before it does.
    """

    def __init__(self, accepted: Callable[[str], None]) -> None:
        self.accepted = accepted
        self.port, self._listeners = _listeners()
        self.manner = "serve"
        self.taken = 0
        self._news = threading.Condition()
        self._talking: set[socket.socket] = set()
        for listener in self._listeners:
            threading.Thread(target=self._listen, args=(listener,), daemon=True).start()

    def behave(self, manner: str) -> None:
        """Who hangs is hung up on when that is over."""
        with self._news:
            before, self.manner = self.manner, manner
            if manner == "refuse":
                for listener in self._listeners:
                    listener.shutdown(socket.SHUT_RDWR)  # it keeps its port
            if before == "hang":
                for connection in self._talking:
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)
            self._news.notify_all()

    def finish(self) -> None:
        """Return when nobody talks any more: the server is gone."""
        with self._news:
            if not self._news.wait_for(lambda: not self._talking, PATIENCE):
                raise TimeoutError("the next hosts still talk to a server that is gone")

    def close(self) -> None:
        """For good."""
        self.behave("close")
        for listener in self._listeners:
            listener.close()

    def _listen(self, listener: socket.socket) -> None:
        while self.manner != "close":
            try:
                connection, _ = listener.accept()
            except OSError:  # it listens no more
                with self._news:
                    self._news.wait_for(lambda: self.manner != "refuse")
                    if self.manner != "close":
                        listener.listen(BACKLOG)
                continue
            with self._news:
                self._talking.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with suppress(OSError), connection.makefile("rb") as file:
                _Conversation(self, connection).hold(file.readline)
        finally:
            connection.close()
            with self._news:
                self._talking.discard(connection)
                self._news.notify_all()


class _Conversation:
    def __init__(self, hosts: FarHosts, connection: socket.socket) -> None:
        self.hosts, self.connection = hosts, connection

    def hold(self, line: Callable[[], bytes]) -> None:
        self.say("220 next.far.test")
        while command := line():
            match command[:4].upper():
                case b"EHLO":
                    self.say("250-next.far.test\r\n250 PIPELINING")
                case b"MAIL" if self.hosts.manner == "busy":
                    self.say("451 4.3.2 not now")
                case b"RCPT" if b"<nobody@" in command:
                    self.say("550 5.1.1 nobody of that name")
                case b"DATA":
                    self.say("354 go on")
                    if not self.take(line):
                        return
                case b"QUIT":
                    self.say("221 bye")
                    return
                case _:
                    self.say("250 ok")

    def take(self, line: Callable[[], bytes]) -> bool:
        """Whether the conversation goes on."""
        content = bytearray()
        while (read := line()) != b".\r\n":
            if not read:
                return False
            content += read
        if self.hosts.manner == "drop":
            return False
        if self.hosts.manner == "hang":
            self.say("never")
        name = _NAME.search(content)
        self.hosts.accepted(name[1].decode() if name else f"something else: {bytes(content[:3000])!r}")
        self.hosts.taken += 1
        self.connection.sendall(b"250 taken\r\n")  # whatever the manner is by now: it has been counted
        return True

    def say(self, reply: str) -> None:
        if self.hosts.manner == "hang":
            while self.hosts.manner == "hang" and self.connection.recv(4096):
                pass
            raise ConnectionError("hung up after a long silence")
        self.connection.sendall(reply.encode() + b"\r\n")


def _listeners() -> tuple[int, list[socket.socket]]:
    """One port at all hosts."""
    while True:
        port, listeners = free_port(HOSTS[0]), []
        try:
            for host in HOSTS:
                listeners.append(socket.create_server((host, port), backlog=BACKLOG))
        except OSError:
            for listener in listeners:
                listener.close()
            continue
        return port, listeners


class FarNames:
    """A name server for *.far.test, whose mail goes to HOSTS; there are no other names. `manner`: "answer",
    "fail" (SERVFAIL), "silent"."""

    def __init__(self) -> None:
        self.manner = "answer"
        self._socket = socket.socket(type=socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._answer, daemon=True).start()

    def close(self) -> None:
        self._socket.close()

    def _answer(self) -> None:
        with suppress(OSError):
            while True:
                octets, client = self._socket.recvfrom(4096)
                with suppress(dns.exception.DNSException):
                    if self.manner != "silent":
                        self._socket.sendto(self._response(octets), client)

    def _response(self, octets: bytes) -> bytes:
        query = dns.message.from_wire(octets)
        answer = dns.message.make_response(query, recursion_available=True)
        if self.manner == "fail":
            answer.set_rcode(dns.rcode.SERVFAIL)
            return answer.to_wire()
        question = query.question[0]
        name, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
        found = {
            ("d", "MX"): ["10 one.far.test.", "10 two.far.test."],
            ("one", "A"): [HOSTS[0]],
            ("two", "A"): [HOSTS[1]],
        }
        label = name.partition(".")[0].rstrip("0123456789")
        if not name.endswith(".far.test.") or label not in ("d", "one", "two"):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        elif texts := found.get((label, kind)):
            answer.answer.append(dns.rrset.from_text_list(question.name, 1, "IN", kind, texts))
        return answer.to_wire()
