"""Whose client this is, as far as patience and blame are concerned.

Large senders come back from another address than the one that was told to: from any in their network, or any
whose name is theirs. So an origin is the registered domain of a name that the DNS confirms both ways, and
otherwise the network around the address. A name that is made of the address (`dsl-192-0-2-7.provider.test`)
says who leases the line, not who sends: there the network counts.

Where SPF says that the client may send for a domain, that domain is the origin: the servers of a large
provider send for thousands, of whom none has to suffer for what another does, nor profits from it.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache

from twisted_mta.message.networks import IpAddress, address_of, range_of
from twisted_mta.trust.dmarc.discovery import is_public_suffix, walk
from twisted_mta.trust.spf.check import SpfResult

_BITS = (24, 64)  # by family
_NUMBERS = re.compile(r"\d+")


def network_of(address: str) -> str:
    """The /24 or /64 around an address, as "192.0.2.0/24"; "" for what is no address."""
    return range_of(address, *_BITS)


def origin_of(address: str, name: str) -> str:
    """`name`: what the DNS calls the client, confirmed, or ""."""
    if name and not is_generic(name, address):
        return registered(name)
    return network_of(address)


def vouched(spf: SpfResult | None) -> str:
    """The registered domain that answers for this client, as SPF says; "" for none, and where it would answer
    for anybody (`+all`)."""
    if spf is None or spf.result != "pass" or spf.mechanism.lower() in ("all", "+all"):
        return ""
    return registered(spf.domain)


def is_generic(name: str, address: str) -> bool:
    """Whether a name is made of the address, as those of lines that are leased to anybody are."""
    host = address_of(address)
    if host is None:
        return False
    if isinstance(host, ipaddress.IPv6Address):
        digits = host.exploded.replace(":", "")
        return digits[-8:] in name.replace("-", "").replace(".", "").lower()
    numbers = {number.lstrip("0") or "0" for number in _NUMBERS.findall(name)}
    octets = str(host).split(".")
    together = "".join(f"{int(octet):03}" for octet in octets)
    return ({octets[2], octets[3]} <= numbers and len(numbers) > 1) or together in name or _hex(host) in name


@lru_cache(4096)
def registered(name: str) -> str:
    """The part of a domain name that its owner has registered."""
    own = [part for part in walk(name.rstrip(".").lower()) if not is_public_suffix(part)]
    return own[-1] if own else name


def _hex(host: IpAddress) -> str:
    return f"{int(host):08x}"
