"""Who a reader takes for the author: the domain of the From field (RFC 7489 §6.6.1).

What leaves room for two readings has no author: two From fields, several domains in one, a group, an address
in another one's name. Such mail can never be aligned with anybody.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from twisted_mta.message.address import a_labels, parse_domain
from twisted_mta.message.address_list import Mailbox, parse_addresses
from twisted_mta.message.headers import named, without_comments
from twisted_mta.message.status import MailError

_QUOTED = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_TWO_IN_ONE = re.compile(rb"@[^,;<]*@")  # a@b.test@c.test, <a@b.test>c@d.test
_MOST_AUTHORS = 100
_LONGEST = 16 * 1024  # octets of a From: it is read in the reactor


class NoAuthor(Exception):
    """The message has no one author's domain; the text says why."""


class Author(NamedTuple):
    """`domain` as `author_domain` gives it, or "" and why there is none."""

    domain: str = ""
    fault: str = ""


NO_AUTHOR = Author()


def read_author(header: bytes) -> Author:
    """Of a header block. Never raises."""
    try:
        return Author(author_domain(header))
    except NoAuthor as fault:
        return Author("", str(fault))


def author_domain(header: bytes) -> str:
    """In lower case and ASCII: what DMARC compares. Raises NoAuthor."""
    found = [match[1] for match in named(b"From").finditer(b"\n" + header)]
    if len(found) != 1:
        raise NoAuthor("there is no From" if not found else f"there are {len(found)} From fields")
    value = found[0].removesuffix(b"\r")
    if len(value) > _LONGEST:
        raise NoAuthor("From is too long")
    authors = parse_addresses(value)
    if not authors:
        raise NoAuthor("From has no address")
    if value.count(b"@") > 1 and _TWO_IN_ONE.search(_QUOTED.sub(b"", without_comments(value))):
        raise NoAuthor("From has an address with two domains")
    if len(authors) > _MOST_AUTHORS:
        raise NoAuthor("From has too many addresses")
    domains = {_domain(author) for author in authors}
    if len(domains) > 1:
        raise NoAuthor("From has addresses of several domains")
    return domains.pop()


def _domain(author: Mailbox) -> str:
    if author.domain is None:
        raise NoAuthor("From names a group")
    if author.route:
        raise NoAuthor("From has a route")
    try:
        domain = author.domain.decode()
        found = parse_domain(domain if domain.isascii() else a_labels(domain))
    except (UnicodeDecodeError, MailError):
        raise NoAuthor("From has an address without a domain") from None
    if found.startswith("["):
        raise NoAuthor("From has an address literal")
    return found
