"""Can the sender's domain get mail at all? What is sent to it would come back to us otherwise (RFC 5321
§3.6.2, §5.1; RFC 7505 §4.2).
"""

from __future__ import annotations

from twisted_mta.interfaces import IResolver
from twisted_mta.message.address import Address, a_labels
from twisted_mta.message.status import MailError
from twisted_mta.resolver import ResolutionError

_NULL_MX = ((0, ""),)


async def trouble(reverse_path: Address, resolver: IResolver) -> MailError | None:
    """The refusal, or None when there is nothing to say against it. Does not raise."""
    if reverse_path.is_literal:
        return None
    domain = reverse_path.domain
    try:
        name = a_labels(domain).lower()
        exchanges = await resolver.mx(name)
        if exchanges is not None and exchanges.records == _NULL_MX:
            return MailError(550, "5.7.27", f"Sender address has null MX: <{reverse_path}>")
        if exchanges is not None and exchanges.records:
            return None
        hosts = None if exchanges is None else await resolver.addresses(name)
    except ResolutionError:
        return undecided(reverse_path)
    except MailError:
        hosts = None
    if hosts is None or not hosts.records:
        return MailError(550, "5.1.8", f"The domain of <{reverse_path}> takes no mail: no MX, no address")
    return None


def undecided(reverse_path: Address) -> MailError:
    """The refusal while the DNS does not say."""
    return MailError(450, "4.1.8", f"The domain of <{reverse_path}> cannot be looked up, try again later")
