"""What the DNS says a client is called, confirmed by the way back (RFC 8601 §3, "iprev"; RFC 1035 §3.5)."""

from __future__ import annotations

from twisted_mta.interfaces import IResolver
from twisted_mta.message.networks import address_of
from twisted_mta.resolver import ResolutionError

MOST_NAMES = 5  # that one address may have: the owner of a reverse zone must not make us ask for hours


async def confirmed_name(resolver: IResolver, address: str) -> tuple[str, str]:
    """The name, "" when there is none to believe, and what came of looking: "pass", "fail" (the names do not
    lead back), "none" (no name), "temperror" (the DNS did not say). Does not raise."""
    wanted = address_of(address)
    if wanted is None:
        return "", "none"
    try:
        found = await resolver.ptr(str(wanted))
    except ResolutionError:
        return "", "temperror"
    if found is None or not found.records:
        return "", "none"
    result = "fail"
    for name in found.records[:MOST_NAMES]:
        try:
            forward = await resolver.addresses(name)
        except ResolutionError:
            result = "temperror"
            continue
        if forward is not None and any(address_of(text) == wanted for text in forward.records):
            return name, "pass"
    return "", result
