"""Changes in a zone of the DNS (RFC 2136), signed with a key that its name server shares with us (TSIG,
RFC 8945).

The server is named by the administrator and is asked over TCP, in a thread: dnspython has no client for
Twisted, and changes are seldom.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import dns.exception
import dns.name
import dns.query
import dns.rcode
import dns.tsig
import dns.update
from twisted.internet.threads import deferToThreadPool

PATIENCE = 10.0  # seconds for one change
_BIND = re.compile(
    r'key\s+"?(?P<name>[^\s"{]+)"?\s*\{\s*(?=[^}]*algorithm\s+"?(?P<algorithm>[\w.-]+)"?\s*;)'
    r'(?=[^}]*secret\s+"?(?P<secret>[A-Za-z0-9+/=]+)"?\s*;)'
)
_LINE = re.compile(r"(?:(?P<algorithm>[\w.-]+):)?(?P<name>[^\s:]+):(?P<secret>[A-Za-z0-9+/=]+)\Z")
_ALGORITHMS = {
    "hmac-sha256": dns.tsig.HMAC_SHA256,
    "hmac-sha384": dns.tsig.HMAC_SHA384,
    "hmac-sha512": dns.tsig.HMAC_SHA512,
}
_WORDS = {
    dns.rcode.NOTAUTH: "it does not know the key, or not for this zone, or is not the zone's primary server",
    dns.rcode.REFUSED: "it does not allow this key to change the zone",
    dns.rcode.NOTZONE: "the name is not in the zone",
    dns.rcode.SERVFAIL: "it failed to write the change",
    dns.rcode.NOTIMP: "it takes no updates",
}


class DnsUpdateError(Exception):
    """The zone has not been changed; a sentence that says why."""


@dataclass(frozen=True)
class Record:
    """`name` is absolute, without a final dot; `value` as zone files have it."""

    name: str
    kind: str
    value: str
    ttl: int = 60


@dataclass(frozen=True)
class TsigKey:
    """`algorithm` is one of the HMACs with SHA-2; the older ones are broken, or soon."""

    name: str
    algorithm: str
    secret: bytes

    @classmethod
    def parse(cls, text: str) -> TsigKey:
        """As `tsig-keygen` of BIND writes it, or "algorithm:name:secret" in one line, as nsupdate and
        knsupdate take it. Raises ValueError with a sentence."""
        text = re.sub(r"(?m)^\s*(#|//).*$", "", text).strip()
        found = _BIND.search(text) or _LINE.match(text)
        if found is None:
            raise ValueError(
                'no TSIG key; expected what tsig-keygen writes, or "hmac-sha256:name:secret" in one line'
            )
        algorithm = (found["algorithm"] or "hmac-sha256").lower().rstrip(".")
        if algorithm not in _ALGORITHMS:
            raise ValueError(f"the algorithm {algorithm} is not one of {', '.join(_ALGORITHMS)}")
        try:
            secret = base64.b64decode(found["secret"], validate=True)
        except binascii.Error as error:
            raise ValueError("the secret is not base64") from error
        return cls(found["name"], algorithm, secret)


class DnsUpdates:
    """To the primary server of `zone`, at `address` and `port`."""

    def __init__(self, address: str, port: int, *, zone: str, key: TsigKey, reactor: Any) -> None:
        self._address = address
        self._port = port
        self._zone = zone
        self._key = key
        self._reactor = reactor

    async def send(self, *, add: Iterable[Record] = (), remove: Iterable[Record] = ()) -> None:
        """In one step; what is not there need not be removed. Raises DnsUpdateError."""
        pool = self._reactor.getThreadPool()
        await deferToThreadPool(self._reactor, pool, self._send, tuple(add), tuple(remove))

    def _send(self, add: tuple[Record, ...], remove: tuple[Record, ...]) -> None:
        where = f"the name server {self._address} (zone {self._zone})"
        try:
            answer = dns.query.tcp(self._message(add, remove), self._address, PATIENCE, self._port)
        except dns.tsig.PeerBadTime as error:
            raise DnsUpdateError(f"{where} refuses our time; set the clocks of both by NTP") from error
        except (dns.tsig.PeerError, dns.tsig.BadSignature) as error:
            text = f"{where} does not take our key {self._key.name}; it must be the same there"
            raise DnsUpdateError(text) from error
        except dns.exception.FormError as error:  # without a signature of its own
            text = f"{where} refuses a change; see that it has this zone, and our key {self._key.name}"
            raise DnsUpdateError(text) from error
        except (OSError, EOFError, dns.exception.DNSException) as error:
            text = f"{where} cannot be asked for a change: {ascii(str(error) or type(error).__name__)[:200]}"
            raise DnsUpdateError(text) from error
        code = answer.rcode()
        if code != dns.rcode.NOERROR:
            words = _WORDS.get(code, "it gives no reason")
            raise DnsUpdateError(f"{where} has refused a change: {dns.rcode.to_text(code)}, {words}")

    def _message(self, add: tuple[Record, ...], remove: tuple[Record, ...]) -> dns.update.UpdateMessage:
        name = dns.name.from_text(self._key.name)
        algorithm = _ALGORITHMS[self._key.algorithm]
        key = dns.tsig.Key(name, self._key.secret, algorithm)
        message = dns.update.UpdateMessage(self._zone, keyring=key)
        for record in remove:
            message.delete(f"{record.name}.", record.kind, record.value)
        for record in add:
            message.add(f"{record.name}.", record.ttl, record.kind, record.value)
        return message
