"""What an Authentication-Results field of ours says of a message that is at rest: who is proven to have sent
it (RFC 8601 §2.2, in the form that `trust/results` writes)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from twisted_mta.message.headers import unfold, values
from twisted_mta.trust.abuse.checks import authors
from twisted_mta.trust.results import property_of, result_of, service_of

_VALUE = r'(?:"(?:[^"\\]|\\.)*"|[^\s;"]+)'
_RESULT = re.compile(rf";\s*([\w-]+)=(\w+)((?:\s+[\w.-]+={_VALUE})*)")
_PROPERTY = re.compile(rf"([\w.-]+)=({_VALUE})")
_SHOWS = {"dkim": "header.d", "spf": "smtp.mailfrom", "dmarc": "header.from"}


def verified_domains(header: bytes, service: str) -> frozenset[str]:
    """The domains that DKIM, SPF or DMARC vouch for, says `service`, the authserv-id: ours, whose fields
    nobody else can have written."""
    return frozenset(_passed(header, service))


def is_disowned(header: bytes, service: str) -> bool:
    """Whether the author's domain says that it is not its own, and wants something done about that."""
    failed = result_of(header, service, "dmarc") in ("fail", "temperror")
    return failed and property_of(header, service, "dmarc", "policy.dmarc") in ("quarantine", "reject")


def verified_authors(header: bytes, verified: frozenset[str]) -> Sequence[str]:
    """The addresses in From that are their domains' own, as `Address.key`."""
    return [address.key for address in authors(header) if address.domain in verified]


def _passed(header: bytes, service: str) -> Iterator[str]:
    """The first field is ours; what filters add in our name behind it, they have from wherever."""
    for value in values(header, b"Authentication-Results"):
        if service_of(value) != service.lower():
            continue
        text = unfold(value).decode("utf-8", "replace")
        for method, result, rest in _RESULT.findall(text):
            if result == "pass" and method in _SHOWS:
                for name, quoted in _PROPERTY.findall(rest):
                    if name == _SHOWS[method]:
                        yield quoted.strip('"').rpartition("@")[2].lower()
        return
