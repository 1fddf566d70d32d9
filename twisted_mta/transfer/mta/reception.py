"""Reception: mail from other hosts for our domains, on port 25 (RFC 5321 §3, §7.8).

Anybody may send to mailboxes that exist here. Only clients in the allowed networks may send elsewhere:
this is no open relay. There is no AUTH here; accounts submit their mail (`transfer/msa`).
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.transfer.session import TransferPolicy, TransferSession

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceptionPolicy(TransferPolicy):
    """`allow_networks`: clients that may relay."""

    allow_networks: tuple[Network, ...] = ()


class Reception(TransferSession[ReceptionPolicy]):
    """One session with a host that delivers mail."""

    async def check_sender(self, reverse_path: Address | None) -> None:
        """Everybody may be a sender, the null path too (RFC 5321 §4.5.5)."""

    def check_relaying(self, forward_path: Address) -> None:
        if not within(self.peer_host, self.policy.allow_networks):
            raise MailError(550, "5.7.1", f"<{forward_path}> Relaying denied")


def within(host: str, networks: tuple[Network, ...]) -> bool:
    """True when the address `host` is in one of the networks; an IPv4 address that an IPv6 socket
    shows as `::ffff:192.0.2.1` counts as what it is. False for what is no address."""
    if not networks:
        return False
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
