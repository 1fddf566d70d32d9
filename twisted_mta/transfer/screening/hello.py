"""What is wrong with the name a client gives itself (RFC 5321 §4.1.1.1, §4.1.3, §4.1.4).

A host that does not know its own name is common; one that says it were us, or has an address that it has not,
is lying, and nobody honest writes what is neither a domain nor an address literal. Letters, digits, hyphens
and, as some systems have them, underscores: more is not looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from twisted_mta.interfaces import IResolver
from twisted_mta.message.networks import address_of
from twisted_mta.resolver import ResolutionError

_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\.?\Z")
_LITERAL = re.compile(r"\[(?:IPv6:)?([0-9A-Fa-f:.]+)\]\Z", re.IGNORECASE)


def lie(name: str, address: str, own_names: Collection[str]) -> str:
    """What cannot be true of this name, given by a client at `address`; "" when it can. `own_names`: ours, in
    lower case. Of an address that nobody knows ("") none can be told to be another one."""
    if name.startswith("["):
        literal = _LITERAL.match(name)
        claimed = address_of(literal[1]) if literal else None
        if claimed is None:
            return "its name is no address literal"
        own = address_of(address)
        return "" if own in (None, claimed) else "its name is an address that is not its own"
    if len(name) > 255 or not _NAME.match(name):
        return "its name is not a domain name"
    if address_of(name.rstrip(".")) is not None or name.rstrip(".").rpartition(".")[2].isdigit():
        return "its name is an address without brackets"
    if name.rstrip(".").lower() in own_names:
        return "its name is ours"
    return ""


async def unknown(name: str, resolver: IResolver) -> str:
    """What the DNS has against this name, which is no lie; "" for nothing, or when it does not say."""
    if name.startswith("["):
        return ""
    bare = name.rstrip(".").lower()
    if "." not in bare:
        return "its name is not a full one"
    try:
        found = await resolver.addresses(bare)
        if (found is None or not found.records) and not await _has_exchange(bare, resolver):
            return "its name is not in the DNS"
    except ResolutionError:
        pass  # a name server's trouble is no fault of the name
    return ""


async def _has_exchange(name: str, resolver: IResolver) -> bool:
    found = await resolver.mx(name)
    return found is not None and bool(found.records)
