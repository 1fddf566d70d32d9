"""The kinds of value a configuration is made of, each read from the text an administrator writes.

Every kind is a subclass of the type it is used as, with `EXAMPLE`, a text that is one, and `read`, which
raises ValueError with a sentence that says what was expected. Sizes are octets, durations seconds.
"""

from __future__ import annotations

import ipaddress
import re
import reprlib
from typing import Any, ClassVar, Self

from twisted_mta.message import address as mail
from twisted_mta.message.status import MailError
from twisted_mta.transfer.mta.tls.rules import TlsRule

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_SIZES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30}
_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?([smhdw]?)\Z")
_SIZE = re.compile(r"(\d+) ?([kmg]?)(?:i?b)?\Z", re.IGNORECASE)


def _text(value: object, expected: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected {expected}, found {reprlib.repr(value)}")
    return value.strip()


class Duration(float):
    """Seconds; written as `"30s"`, `"15m"`, `"4h"`, `"5d"`, or as a number of seconds."""

    EXAMPLE: ClassVar[str] = '"15m"'

    @classmethod
    def read(cls, value: object) -> Self:
        expected = 'a duration such as "30s", "15m", "4h" or "5d"'
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        found = _DURATION.match(_text(value, expected))
        if not found or not float(found[1]):
            raise ValueError(f"expected {expected}, found {value!r}")
        return cls(float(found[1]) * _UNITS[found[2]])


class DurationOrNever(Duration):
    """A duration, or 0: never; written as `0` or `""`."""

    EXAMPLE = '"4h"'

    @classmethod
    def read(cls, value: object) -> Self:
        return cls(0) if value in ("", 0) and value is not False else super().read(value)


class Size(int):
    """Octets; written as a number, or as `"500K"`, `"50M"`, `"1G"` (powers of 1,024)."""

    EXAMPLE: ClassVar[str] = '"50M"'

    @classmethod
    def read(cls, value: object) -> Self:
        expected = 'a size such as "50M" or a number of octets'
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        found = _SIZE.match(_text(value, expected))
        if not found or not int(found[1]):
            raise ValueError(f"expected {expected}, found {value!r}")
        return cls(int(found[1]) * _SIZES[found[2].lower()])


class Frequency(str):
    """So many in a time; written as `"300/1m"`, or `0` or `""` for any number."""

    EXAMPLE: ClassVar[str] = '"300/1m"'

    @classmethod
    def read(cls, value: object) -> Self:
        if value in ("", 0) and value is not False:
            return cls("")
        text = _text(value, f"how many in which time, such as {cls.EXAMPLE}, or 0")
        amount, slash, time = (piece.strip() for piece in text.partition("/"))
        found = _DURATION.match(time)
        if not (
            slash and amount.isascii() and amount.isdigit() and int(amount) and found and float(found[1])
        ):
            raise ValueError(f"{text!r} does not say how many in which time, such as {cls.EXAMPLE}")
        return cls(f"{int(amount)}/{time}")

    @property
    def amount(self) -> int:
        """How many; 0: any number."""
        return int(self.partition("/")[0] or 0)

    @property
    def seconds(self) -> float:
        """In which time."""
        return Duration.read(self.partition("/")[2] or "1m")


class Domain(str):
    """A domain name in lower case."""

    EXAMPLE: ClassVar[str] = '"example.org"'

    @classmethod
    def read(cls, value: object) -> Self:
        text = _text(value, f"a domain name such as {cls.EXAMPLE}")
        try:
            name = mail.parse_domain(text.removesuffix("."))
        except MailError:
            name = ""
        if not name or name.startswith("[") or name.rpartition(".")[2].isdigit():  # no TLD is (RFC 3696 §2)
            how = "" if text.isascii() else "; other letters are written as in the DNS, xn--…"
            raise ValueError(f"{text!r} is not a domain name such as {cls.EXAMPLE}{how}")
        return cls(name)


class Separator(str):
    """A character between a name and its detail."""

    EXAMPLE: ClassVar[str] = '"+"'
    ALLOWED: ClassVar[str] = "+-_=.#~%"

    @classmethod
    def read(cls, value: object) -> Self:
        if not isinstance(value, str) or len(value) != 1 or value not in cls.ALLOWED:
            raise ValueError(
                f"expected one of {' '.join(cls.ALLOWED)}, for example {cls.EXAMPLE}; found {value!r}"
            )
        return cls(value)


class MailAddress(str):
    """A mail address, kept as `Address.key`."""

    EXAMPLE: ClassVar[str] = '"alice@example.org"'

    @classmethod
    def read(cls, value: object) -> Self:
        text = _text(value, f"a mail address such as {cls.EXAMPLE}")
        try:
            key = mail.Address.parse(text).key
            mail.Address.parse(key)  # what needs quotes is nobody's address here
            return cls(key)
        except MailError as error:
            raise ValueError(f"{text!r} is not a mail address such as {cls.EXAMPLE}") from error

    @property
    def address(self) -> mail.Address:
        """The value."""
        return mail.Address.parse(self)


class Network(str):
    """A block of IP addresses in CIDR form, or one address."""

    EXAMPLE: ClassVar[str] = '"192.0.2.0/24"'

    @classmethod
    def read(cls, value: object) -> Self:
        text = _text(value, f"a network such as {cls.EXAMPLE}")
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise ValueError(f"{text!r} is not a network such as {cls.EXAMPLE}") from error
        if "/" in text and str(network.network_address) != text.partition("/")[0].lower():
            raise ValueError(f"{text!r} is one address of a network: write {str(network)!r} for all of it")
        return cls(network)

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        """The value."""
        return ipaddress.ip_network(self)


class _HostPort(str):
    """`host:port`; an IPv6 address stands in brackets."""

    EXAMPLE: ClassVar[str]
    DEFAULT_PORT: ClassVar[int] = 0  # 0: the port must be written
    NAMES: ClassVar[bool] = False  # whether the host may be a name

    @classmethod
    def read(cls, value: object) -> Self:
        text = _text(value, f"an address such as {cls.EXAMPLE}")
        found = re.match(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]\s]+)(?::(\d{1,5}))?\Z", text)
        if not found or not (found[2] or cls.DEFAULT_PORT):
            raise ValueError(f"{text!r} is not a host:port such as {cls.EXAMPLE}")
        host, port = found[1].strip("[]"), int(found[2] or cls.DEFAULT_PORT)
        host = "127.0.0.1" if host == "localhost" and not cls.NAMES else host
        if not 0 < port < 65536:
            raise ValueError(f"{text!r}: a port is a number from 1 to 65535")
        try:
            host = str(ipaddress.ip_address(host))
        except ValueError:
            if not cls.NAMES:
                raise ValueError(
                    f"{text!r}: {host} is not an IP address; write one, such as {cls.EXAMPLE}"
                ) from None
            host = Domain.read(host)
        return cls(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")

    @property
    def host(self) -> str:
        """The name or IP address, without brackets."""
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """1 to 65535."""
        return int(self.rpartition(":")[2])


class ListenAddress(_HostPort):
    """Where to listen: an IP address (or `localhost`, which is 127.0.0.1) and a port."""

    EXAMPLE = '"127.0.0.1:2525"'


class _LmtpServer(_HostPort):
    EXAMPLE = '"lmtp:mail.example.net"'
    DEFAULT_PORT = 24
    NAMES = True


class _SmtpsServer(_HostPort):
    EXAMPLE = '"smtps:relay.example.net"'
    DEFAULT_PORT = 465
    NAMES = True


class _MailDomain(_HostPort):
    EXAMPLE = '"mx:example.net"'
    DEFAULT_PORT = 25
    NAMES = True


class NextHop(_HostPort):
    """A mail server to hand mail to: a host name or IP address, port 25 unless written; or another of the
    forms that `transfer/mta/route.py` shows: `smtps:host`, `lmtp:host`, `lmtp:/path`, `mx:domain`,
    `dns`."""

    EXAMPLE = '"relay.example.net:587"'
    DEFAULT_PORT = 25
    NAMES = True

    @classmethod
    def read(cls, value: object) -> Self:
        text = _text(value, f"an address such as {cls.EXAMPLE}")
        kind, _, rest = text.partition(":")
        kind = kind.lower()
        if text.lower() == "dns" or (kind == "lmtp" and rest.startswith("/")):
            return cls(text.lower() if kind == "dns" else f"lmtp:{rest}")
        forms: dict[str, type[_HostPort]] = {"lmtp": _LmtpServer, "smtps": _SmtpsServer, "mx": _MailDomain}
        form = forms.get(kind)
        if form is None or not rest or rest.isdigit():
            return super().read(value)
        hop = form.read(rest)
        if form is _MailDomain:
            Domain.read(hop.host)  # an address has no mail servers
        return cls(f"{kind}:{hop}")


class PublicPlace(_HostPort):
    """Where a service is to be reached from outside: `host:port`; "" for where it listens; "none" for
    nowhere."""

    EXAMPLE = '"mail.example.org:993"'
    NAMES = True

    @classmethod
    def read(cls, value: object) -> Self:
        return cls(value) if value in ("", "none") else super().read(value)

    @property
    def is_none(self) -> bool:
        """Nobody is told of it."""
        return self == "none"


class DaemonServer(_HostPort):
    """Where a daemon listens: `host:port`, or the absolute path of a Unix socket; "" for nowhere."""

    EXAMPLE = '"127.0.0.1:11333"'
    NAMES = True

    @classmethod
    def read(cls, value: object) -> Self:
        if value == "" or (isinstance(value, str) and value.startswith("/")):
            return cls(value)
        return super().read(value)

    @property
    def path(self) -> str:
        """Of the Unix socket, or ""."""
        return str(self) if self.startswith("/") else ""


class IpAddress(str):
    """An IP address."""

    EXAMPLE: ClassVar[str] = '"192.0.2.1"'

    @classmethod
    def read(cls, value: object) -> Self:
        text = _text(value, f"an IP address such as {cls.EXAMPLE}")
        try:
            return cls(ipaddress.ip_address(text))
        except ValueError as error:
            raise ValueError(f"{text!r} is not an IP address such as {cls.EXAMPLE}") from error


class TlsDemanded(str):
    """How much TLS others must offer: `none`, `may`, `encrypt` or `verify`, and optionally the least
    version."""

    EXAMPLE: ClassVar[str] = '"encrypt TLSv1.3"'

    @classmethod
    def read(cls, value: object) -> Self:
        text = _text(value, f"a demand on TLS such as {cls.EXAMPLE}")
        TlsRule.parse(text)
        return cls(text)

    @property
    def rule(self) -> TlsRule:
        """The value."""
        return TlsRule.parse(self)


class Nameserver(_HostPort):
    """A DNS server: an IP address, port 53 unless written."""

    EXAMPLE = '"127.0.0.1:53"'
    DEFAULT_PORT = 53


KINDS = (
    Duration,
    DurationOrNever,
    Size,
    Frequency,
    Domain,
    Separator,
    MailAddress,
    Network,
    ListenAddress,
    NextHop,
    Nameserver,
    PublicPlace,
    DaemonServer,
    IpAddress,
    TlsDemanded,
)


def read(kind: type[Any], value: object) -> Any:
    """`value` as one of the KINDS (msgspec's dec_hook). Raises ValueError."""
    if kind not in KINDS:
        raise NotImplementedError(kind)
    return kind.read(value)
