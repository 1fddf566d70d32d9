"""Aliases: one address that stands for others (RFC 5321 §3.9.1).

An expansion is complete, free of loops and bounded: what comes out are accounts of ours, addresses
elsewhere, and local addresses that do not exist (whose own delivery will fail by name).
Left out on purpose: lists (RFC 5321 §3.9.2), which change the reverse-path.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from twisted_mta.interfaces import IDirectory, Resolution
from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError


@dataclass(frozen=True, slots=True)
class AliasLimits:
    """`addresses`: how many addresses, aliases included, one expansion may meet."""

    addresses: int = 1000


async def expand(
    directory: IDirectory, alias: Address, members: tuple[Address, ...], limits: AliasLimits = AliasLimits()
) -> tuple[Address, ...]:
    """The addresses that `alias`, whose members these are, leads to in the end; each once, as they are met.

    A member that leads back into the expansion adds nothing. Raises MailError: 554 5.4.6 when nothing else
    is left, 554 5.5.3 when there are too many; and what the directory raises.
    """
    met = {alias.key}
    ends: dict[str, Address] = {}
    ahead = deque(members)
    while ahead:
        address = ahead.popleft()
        if address.key in met:
            continue
        met.add(address.key)
        if len(met) > limits.addresses:
            raise MailError(554, "5.5.3", "Alias expands to too many addresses")
        resolution = await directory.resolve(address) if directory.is_local(address.domain) else None
        if resolution is not None and resolution.aliases:
            ahead.extend(resolution.aliases)
        else:
            end = address if resolution is None else local_address(address, resolution)
            ends.setdefault(end.key, end)
    if not ends:
        raise MailError(554, "5.4.6", "Alias leads to itself only")
    return tuple(ends.values())


def local_address(address: Address, resolution: Resolution) -> Address:
    """The one spelling of an address that belongs to an account: the account's own, or with its `+detail`
    as it came, in lower case. So postmaster@ and Alice@ are alice@ once more, and get one copy."""
    if resolution.detail:
        return Address(address.local.lower(), address.domain)
    local, _, domain = resolution.account.rpartition("@")
    return Address(local, domain)
