"""Mail addresses as values (RFC 5321 §4.1.2 Mailbox, §4.1.3 address literals, §2.3.11;
internationalised ones, RFC 6531 §3.3).

A domain is kept as it stands in the DNS: labels that are not ASCII become A-labels (RFC 5891) where an
address is read, so that there is one form to compare, route and look up by.

Left out on purpose: display names and groups (RFC 5322), which belong to header fields.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import idna

from twisted_mta.message.status import MailError

MAX_LOCAL = 64  # octets, RFC 5321 §4.5.3.1.1
MAX_DOMAIN = 255  # octets, RFC 5321 §4.5.3.1.2
MAX_ADDRESS = 254  # octets: a path of 256 less its angle brackets, RFC 5321 §4.5.3.1.3

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_DOT_STRING = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*\Z")
_UTF8_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]"
_UTF8_DOT_STRING = re.compile(rf"{_UTF8_ATEXT}+(?:\.{_UTF8_ATEXT}+)*\Z")
_QUOTED_STRING = re.compile(r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\[\x20-\x7e])*"')
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")


def _syntax(text: str) -> MailError:
    return MailError(553, "5.1.3", text)


@dataclass(frozen=True, slots=True)
class Address:
    """A mailbox. `local` is the meaning of the local part (unquoted, case kept); `domain` is in
    lower case ASCII: a domain name without a final dot, or an address literal with its brackets."""

    local: str
    domain: str

    @classmethod
    def parse(cls, text: str, *, utf8: bool = False) -> Address:
        """Read `local@domain`, without angle brackets (RFC 5321 §4.1.2). utf8: it may be internationalised;
        quoted local parts are ASCII all the same.

        Raises MailError (553 5.1.3) for anything the grammar does not allow.
        """
        return _parsed(text, utf8)

    @property
    def key(self) -> str:
        """The form to compare and look up by: both parts in lower case, composed (NFC)."""
        local = self.local if self.local.isascii() else unicodedata.normalize("NFC", self.local)
        return f"{local.lower()}@{self.domain}"

    @property
    def is_ascii(self) -> bool:
        """False when no server without SMTPUTF8 can take it."""
        return self.local.isascii()

    @property
    def is_literal(self) -> bool:
        """True when the domain is an address literal such as `[192.0.2.1]`."""
        return self.domain.startswith("[")

    def __str__(self) -> str:
        """As it stands in a path, quoted where it must be (RFC 5321 §4.1.2)."""
        return f"{_written(self.local)}@{self.domain}"


@lru_cache(4096)  # most mail is to few addresses
def _parsed(text: str, utf8: bool) -> Address:
    if len(text) > MAX_ADDRESS or (not text.isascii() and len(text.encode()) > MAX_ADDRESS):
        raise _syntax("Address too long")
    quoted = _QUOTED_STRING.match(text)
    if quoted:
        local, rest = re.sub(r"\\(.)", r"\1", quoted[0][1:-1]), text[quoted.end() :]
        at, domain = rest[:1], rest[1:]
    else:
        local, at, domain = text.partition("@")
        if not (_DOT_STRING.match(local) or (utf8 and _is_utf8_local(local))):
            raise _syntax("Bad local part in address")
    if at != "@":
        raise _syntax("Address has no domain")
    if not local or len(local.encode()) > MAX_LOCAL:
        raise _syntax("Local part is empty or too long")
    if utf8 and not domain.isascii():
        domain = a_labels(domain)
        if len(local.encode()) + 1 + len(domain) > MAX_ADDRESS:
            raise _syntax("Address too long")
    return Address(local, parse_domain(domain))


@lru_cache(4096)
def _written(local: str) -> str:
    if _UTF8_DOT_STRING.match(local):
        return local
    quoted = re.sub(r'(["\\])', r"\\\1", local)
    return f'"{quoted}"'


def _is_utf8_local(text: str) -> bool:
    """Composed or not is the sender's affair (RFC 6531 §3.3); what nobody can see or type is refused."""
    return bool(_UTF8_DOT_STRING.match(text)) and text.isprintable()


@lru_cache(4096)
def a_labels(domain: str) -> str:
    """An internationalised domain name as it stands in the DNS (RFC 5891). Raises MailError (553 5.1.2)."""
    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except (idna.IDNAError, UnicodeError) as error:
        raise MailError(553, "5.1.2", "Bad internationalised domain in address") from error


def parse_domain(text: str) -> str:
    """A domain or address literal in lower case. Raises MailError (553 5.1.3)."""
    if text.startswith("[") and text.endswith("]"):
        return parse_literal(text)
    if len(text) > MAX_DOMAIN or not _DOMAIN.match(text):
        raise _syntax("Bad domain in address")
    return text.lower()


def parse_literal(text: str) -> str:
    """An address literal in its one canonical form (RFC 5321 §4.1.3). Raises MailError (553 5.1.3)."""
    inner = text[1:-1]
    if "%" in inner:  # a scope means nothing on another host, and ipaddress takes any text for one
        raise _syntax("Bad address literal")
    try:
        if inner[:5].lower() == "ipv6:":
            return f"[IPv6:{ipaddress.IPv6Address(inner[5:])}]"
        return f"[{ipaddress.IPv4Address(inner)}]"
    except ValueError:
        raise _syntax("Bad address literal") from None
