"""Who something is sent from on an owner's behalf: an address of theirs, whatever their script says (RFC 5230
§4.3, RFC 5436 §2.3)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted_mta.message.address import Address
from twisted_mta.sieve.mail import one_address

Owns = Callable[[str, Address], Awaitable[bool]]  # account, address


async def nobody_else(account: str, address: Address) -> bool:
    """The account's own name alone."""
    return address.key == account.lower()


async def sender_for(wanted: str, account: str, delivered_to: str, owns: Owns) -> str:
    """What the script wants, perhaps with a name before it, when that is an address of the owner, and
    otherwise where the mail came to. Raises MailError when nobody can tell."""
    if not wanted:
        return delivered_to
    try:
        address = one_address(wanted)
    except ValueError:
        return delivered_to
    own = address.key == delivered_to.lower() or await owns(account, address)
    return wanted if own else delivered_to
