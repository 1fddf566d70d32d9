"""Addresses and networks of clients: what an address is, whose networks it is in, which range it belongs
to."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

LOOPBACK: tuple[Network, ...] = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))

NARROW = (32, 64)  # bits of what one host has, by family
WIDE = (24, 48)  # and of the range around it


@lru_cache(4096)
def address_of(host: str) -> IpAddress | None:
    """The address that `host` writes, without its zone; an IPv4 address that an IPv6 socket shows as
    `::ffff:192.0.2.1` is what it is. None for what is no address."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return address.ipv4_mapped
    return address


def within(host: str, networks: Iterable[Network]) -> bool:
    """True when the address `host` is in one of the networks. False for what is no address."""
    if not networks:
        return False
    address = address_of(host)
    if address is not None:
        for network in networks:
            if address in network:
                return True
    return False


@lru_cache(16_384)
def range_of(host: str, v4: int, v6: int) -> str:
    """The network around `host`, as "192.0.2.0/24": `v4` or `v6` bits long, by its family. "" for what is no
    address."""
    address = address_of(host)
    if address is None:
        return ""
    bits = v4 if address.version == 4 else v6
    spare = address.max_prefixlen - bits
    return f"{type(address)(int(address) >> spare << spare)}/{bits}"
