"""Aliases: one address that stands for others (RFC 5321 §3.9.1).

An expansion is complete, free of loops and bounded: what comes out are accounts of ours, addresses
elsewhere, and local addresses that do not exist (whose own delivery will fail by name).
Lists (RFC 5321 §3.9.2) change the reverse-path and are in `lists.py`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from twisted_mta.interfaces import IDirectory, Resolution
from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError


@dataclass(frozen=True, slots=True)
class AliasLimits:
    """`addresses`: how many addresses, aliases included, one expansion may meet. `depth`: how many aliases
    may lie between an address and the alias that is expanded."""

    addresses: int = 1000
    depth: int = 256


async def expand(
    directory: IDirectory, alias: Address, members: tuple[Address, ...], limits: AliasLimits = AliasLimits()
) -> tuple[Address, ...]:
    """The addresses that `alias`, whose members these are, leads to in the end; each once, as they are met.

    A member that leads back into the expansion adds nothing, and a list is an end: it posts by itself. Raises
    MailError: 554 5.4.6 when nothing else is left, or aliases are nested too deeply, 554 5.5.3 when there are
    too many addresses; and what the directory raises.
    """
    met = {alias.key}
    ends: dict[str, Address] = {}
    ahead = deque((member, 0) for member in members)
    while ahead:
        address, depth = ahead.popleft()
        if address.key in met:
            continue
        met.add(address.key)
        if len(met) > limits.addresses:
            raise MailError(554, "5.5.3", "Alias expands to too many addresses")
        resolution = await directory.resolve(address) if directory.is_local(address.domain) else None
        if resolution is not None and resolution.aliases:
            if depth == limits.depth:
                raise MailError(554, "5.4.6", "Aliases are nested too deeply")
            ahead.extend((member, depth + 1) for member in resolution.aliases)
        else:
            end = address if resolution is None else local_address(address, resolution)
            ends.setdefault(end.key, end)
    if not ends:
        raise MailError(554, "5.4.6", "Alias leads to itself only")
    return tuple(ends.values())


def local_address(address: Address, resolution: Resolution) -> Address:
    """The one spelling of an address that belongs to an account or a list: its own, for an account with the
    detail as it came, in lower case. So postmaster@ and Alice@ are alice@ once more, in all domains that
    stand for alice's, and get one copy. Any other local address is in lower case."""
    if resolution.mailing_list is not None and not resolution.leaving:
        return resolution.mailing_list.address
    local, _, domain = resolution.account.rpartition("@")
    if resolution.detail or not resolution.account:
        return Address(address.local.lower(), domain or address.domain)
    return Address(local, domain)
