"""The values of routing: a host to try, the way to a domain, and what an administrator may write for one.

A next hop is written as one of

    host[:port]          a mail server, port 25 unless written; 465 means TLS from the first octet
    smtps:host[:port]    the same with TLS from the first octet, port 465 unless written
    lmtp:host[:port]     a server that speaks LMTP (RFC 2033), port 24 unless written
    lmtp:/path           the same at a socket of this machine
    mx:domain[:port]     the mail servers of another domain, as the DNS names them
    dns                  the mail servers of the recipient's domain, whatever is written for the others

where host is a name, an IPv4 address, or an IPv6 address in brackets.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Self

from twisted_mta.resolver import host_and_port

SMTP_PORT = 25
LMTP_PORT = 24  # RFC 2033 §5 forbids 25 and names no other; this is what everybody uses
SUBMISSIONS_PORT = 465  # TLS from the first octet, RFC 8314 §3.3


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a smarthost wants of us. `token_file`: a file with an OAuth token in its first line, read again
    for each login; then there is no password."""

    user: str
    password: str = field(default="", repr=False)
    token_file: str = ""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A SOCKS5 proxy (RFC 1928), at `host`, an IP address; `user` is "" where it wants no login (RFC
    1929)."""

    host: str
    port: int = 1080
    user: str = ""
    password: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Host:
    """One address of a mail server. `name` is its domain name, or its address where it has no name.

    lmtp: it speaks LMTP. path: of a socket on this machine; then there is no address. tls_first: the
    greeting itself is inside TLS. secure: DNSSEC vouches for the addresses of the name. canonical: the end
    of its aliases (CNAME), "" without any. preference: that of its MX record; who has the same shares the
    load.
    """

    name: str
    address: str
    port: int = SMTP_PORT
    lmtp: bool = False
    path: str = ""
    tls_first: bool = False
    secure: bool = field(default=False, compare=False)
    canonical: str = field(default="", compare=False)
    preference: int = field(default=0, compare=False)

    def __str__(self) -> str:
        return self.path or f"{self.name}[{self.address}]:{self.port}"


@dataclass(frozen=True, slots=True)
class Route:
    """The way to a domain.

    destination: names what is shared by all mail that goes this way.
    hosts: at least one, in the order to try them, at most the limit.
    credentials: for the first login there, if one is wanted.
    may_be_us: False when the administrator named the host, so that a server of our name there is meant.
    unresolved: why some of the hosts are missing for now, or "".
    domain: whose mail servers these are, by the DNS; "" when the administrator named the host.
    mx_secure: DNSSEC vouches for the names of the hosts.
    fallback: the way to take when all hosts of this one cannot be reached, or refuse us as a stranger.
    sources: local addresses to call from, at most one for each family. proxy: to call through.
    """

    destination: str
    hosts: tuple[Host, ...]
    credentials: Credentials | None = None
    may_be_us: bool = True
    unresolved: str = ""
    domain: str = ""
    mx_secure: bool = False
    fallback: Route | None = None
    sources: tuple[str, ...] = ()
    proxy: Proxy | None = None

    def source(self, host: Host) -> str:
        """The local address to call this host from, or "": any."""
        family = [source for source in self.sources if (":" in source) == (":" in host.address)]
        return family[0] if family and host.address else ""


@dataclass(frozen=True, slots=True)
class NextHop:
    """What the module's table shows. `by_mx`: the hosts are those that the DNS names for `name`, or, when
    that is "", for the domain of the recipient."""

    name: str = ""
    port: int = SMTP_PORT
    lmtp: bool = False
    path: str = ""
    tls_first: bool = False
    by_mx: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError for what is none of them."""
        kind, colon, rest = text.partition(":")
        match kind.lower():
            case "dns" if not colon:
                return cls(by_mx=True)
            case "lmtp" if rest.startswith("/"):
                return cls(path=rest, port=0, lmtp=True)
            case "lmtp" if not rest.isdigit():
                return cls(*_host(rest, LMTP_PORT), lmtp=True)
            case "smtps" if not rest.isdigit():
                return cls(*_host(rest, SUBMISSIONS_PORT), tls_first=True)
            case "mx" if not rest.isdigit():
                return cls(*_host(rest, 0), by_mx=True)
            case _:
                name, port = _host(text, SMTP_PORT)
                return cls(name, port, tls_first=port == SUBMISSIONS_PORT)

    def __str__(self) -> str:
        if self.path:
            return f"lmtp:{self.path}"
        if self.by_mx:
            return f"mx:{self.name}" + (f":{self.port}" if self.port else "") if self.name else "dns"
        host = f"[{self.name}]" if ":" in self.name else self.name
        kind = "lmtp:" if self.lmtp else "smtps:" if self.tls_first and self.port != SUBMISSIONS_PORT else ""
        return f"{kind}{host}:{self.port}"


def _host(text: str, default_port: int) -> tuple[str, int]:
    name, port = host_and_port(text, default_port)
    if ":" in name:
        ipaddress.IPv6Address(name)  # nothing else has colons
    return name, port
