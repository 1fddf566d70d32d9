"""Which name servers are asked: those of the configuration, or the system's as resolv.conf(5) has them.

Computers change networks: /etc/resolv.conf is read anew when it has changed. Of its contents `nameserver` and
the option `rotate` count; search lists are no matter of mail, and how long to wait is said elsewhere.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import dns.nameserver
import dns.resolver

PORT = 53
RESOLV_CONF = "/etc/resolv.conf"
_LARGEST_FILE = 64 * 1024  # octets that are read of it


def host_and_port(text: str, default_port: int) -> tuple[str, int]:
    """Split `host`, `host:port`, `[IPv6]` or `[IPv6]:port`; a bare IPv6 address is a host, too.
    Raises ValueError."""
    if text.startswith("["):
        host, bracket, port = text[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError(f"{text!r} is not a host:port")
        port = port[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, ""
    if not host or (port and not port.isdigit()):
        raise ValueError(f"{text!r} is not a host:port")
    return host, int(port or default_port)


@dataclass(frozen=True, slots=True)
class NameServer:
    """`address`: of IPv4 or IPv6, as text."""

    address: str
    port: int = PORT

    @classmethod
    def of(cls, text: str) -> NameServer:
        """ "address" or "address:port". Raises ValueError."""
        host, port = host_and_port(text, PORT)
        return cls(str(ipaddress.ip_address(host)), port)

    @property
    def is_here(self) -> bool:
        """On the loopback, so that nobody can change on the way what it says."""
        return ipaddress.ip_address(self.address).is_loopback


HERE = NameServer("127.0.0.1")  # where there is no other, as resolver(3) does


class NameServers:
    """`configured`: "host" or "host:port" each, IP addresses. None: the system's, from the file `path`.
    Raises ValueError."""

    def __init__(self, configured: Iterable[str] = (), path: str = RESOLV_CONF) -> None:
        self._servers: Sequence[NameServer] = tuple(map(NameServer.of, configured))
        self._rotate = False
        self._path = "" if self._servers else path
        self._read: tuple[int, ...] | None = None  # what tells one state of the file from another

    def in_order(self) -> Sequence[NameServer]:
        """Those to be asked now, the first one first; never none. A look at the times of the file, and at the
        file itself when it has changed."""
        if self._path:
            state = _state(self._path)
            if state != self._read or not self._servers:
                self._servers, self._rotate = read_resolv_conf(_content(self._path))
                self._read = state
        return random.sample(self._servers, len(self._servers)) if self._rotate else self._servers


def read_resolv_conf(text: str) -> tuple[Sequence[NameServer], bool]:
    """The name servers of the file's text, and whether they take turns. Lines that nobody understands are
    left out."""
    servers, rotate = [], False
    for line in text.splitlines():
        word, *values = line.split() or [""]
        if word == "nameserver" and values:
            with contextlib.suppress(ValueError):
                servers.append(NameServer(str(ipaddress.ip_address(values[0]))))
        elif word == "options":
            rotate = rotate or "rotate" in values
    return servers or [HERE], rotate


def stub(nameservers: Sequence[str]) -> dns.resolver.Resolver:
    """What asks these name servers, or the system's when there are none; blocking, for commands.
    Raises ValueError."""
    stub = dns.resolver.Resolver(configure=False)
    stub.nameservers = [
        dns.nameserver.Do53Nameserver(server.address, server.port)
        for server in NameServers(nameservers).in_order()
    ]
    return stub


def _state(path: str) -> tuple[int, ...]:
    try:
        state = os.stat(path)
    except OSError:
        return ()
    return state.st_mtime_ns, state.st_size, state.st_ino


def _content(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(_LARGEST_FILE).decode("latin-1")
    except OSError:
        return ""
