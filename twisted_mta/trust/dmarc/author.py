"""Who a reader takes for the author: the domain of the From field (RFC 7489 §6.6.1).

What leaves room for two readings has no author: two From fields, several domains in one, a group, an address
in another one's name. Such mail can never be aligned with anybody.
"""

from __future__ import annotations

import re

from twisted_mta.message.address import a_labels, parse_domain
from twisted_mta.message.address_list import Mailbox, parse_addresses
from twisted_mta.message.headers import fields, without_comments
from twisted_mta.message.status import MailError

_ANOTHER = re.compile(rb"[\w.+-]++@([\w-]+\.)+[A-Za-z]{2,}", re.ASCII)
_QUOTED = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_TWO_IN_ONE = re.compile(rb"@[^,;<]*@")  # a@b.test@c.test, <a@b.test>c@d.test
_MOST_AUTHORS = 100
_LONGEST = 16 * 1024  # octets of a From: it is read in the reactor


class NoAuthor(Exception):
    """The message has no one author's domain; the text says why."""


def author_domain(header: bytes) -> str:
    """In lower case and ASCII. Raises NoAuthor."""
    found = [field.value for field in fields(header) if field.name.lower() == b"from"]
    if len(found) != 1:
        raise NoAuthor("there is no From" if not found else f"there are {len(found)} From fields")
    if len(found[0]) > _LONGEST:
        raise NoAuthor("From is too long")
    authors = parse_addresses(found[0])
    if not authors:
        raise NoAuthor("From has no address")
    if _TWO_IN_ONE.search(_QUOTED.sub(b"", without_comments(found[0]))):
        raise NoAuthor("From has an address with two domains")
    if len(authors) > _MOST_AUTHORS:
        raise NoAuthor("From has too many addresses")
    domains = {_domain(author) for author in authors}
    if len(domains) > 1:
        raise NoAuthor("From has addresses of several domains")
    return domains.pop()


def name_with_address(header: bytes) -> str:
    """The address of another domain that stands in the author's display name, where some programs show
    nothing else; "" for none. Not forbidden, but seldom honest."""
    try:
        own = author_domain(header)
    except NoAuthor:
        return ""
    for field in fields(header):
        if field.name.lower() == b"from":
            for author in parse_addresses(field.value):
                shown = _ANOTHER.search(author.name or b"")
                if shown and not shown[0].lower().endswith(b"@" + own.encode()):
                    return shown[0].decode("ascii", "replace")
    return ""


def _domain(author: Mailbox) -> str:
    if author.domain is None:
        raise NoAuthor("From names a group")
    if author.route:
        raise NoAuthor("From has a route")
    try:
        domain = a_labels(author.domain.decode()) if not author.domain.isascii() else author.domain.decode()
        found = parse_domain(domain)
    except (UnicodeDecodeError, MailError):
        raise NoAuthor("From has an address without a domain") from None
    if found.startswith("["):
        raise NoAuthor("From has an address literal")
    return found
