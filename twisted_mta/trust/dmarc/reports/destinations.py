"""Where a report may go: to the addresses that a domain names, where it is at home or is welcome (RFC 7489
§7.1).

Without the second look anybody could have reports sent to somebody who has never asked for any.
"""

from __future__ import annotations

from twisted_mta.interfaces import IResolver
from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.trust.dmarc.discovery import organization_of
from twisted_mta.trust.dmarc.record import ReportAddress, parse_record, select

_LONGEST_NAME = 253  # octets that the DNS can hold

Destination = tuple[Address, int]  # with the largest mail in octets, 0 for any


async def destinations(domain: str, wanted: ReportAddress, resolver: IResolver) -> list[Destination]:
    """Where the reports go that a domain (where its record stands) wants to have at one address: there, to
    others at the same host, or nowhere. Raises ResolutionError."""
    address = _address(wanted.address)
    if address is None:
        return []
    host = address.domain
    if await _is_at_home(domain, host, resolver):
        return [(address, wanted.limit)]
    name = f"{domain}._report._dmarc.{host}"
    answer = await resolver.txt(name) if len(name) <= _LONGEST_NAME else None
    records = [parse_record(text) for text in select(answer.records if answer else ())]
    agreed = [record for record in records if record is not None]
    if not agreed:
        return []
    others = [each for record in agreed for each in record.reports]
    if not others:
        return [(address, wanted.limit)]
    instead = [(_address(each.address), each.limit) for each in others]
    at_host = [(other, most) for other, most in instead if other is not None and other.domain == host]
    return at_host if len(at_host) == len(instead) else []  # §7.1: sent on to a third is sent to none


async def _is_at_home(domain: str, host: str, resolver: IResolver) -> bool:
    if host == domain:
        return True
    return await organization_of(domain, resolver) == await organization_of(host, resolver)


def _address(text: str) -> Address | None:
    try:
        address = Address.parse(text)
    except MailError:
        return None
    usable = str(address).isascii() and str(address).isprintable() and not address.is_literal
    return address if usable else None
