"""Where and how mail programs reach us, as they are told: services with TLS from the first octet go first, as
RFC 8314 §3 has it, mailboxes that are kept here (IMAP) before those that are emptied (POP3).

The user name is the whole address, the password that of the account, or one made for an app.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError

# By service, in the order they are told in: what it speaks, and whether TLS comes first.
SERVICES = {
    "imaps": ("imap", True),
    "imap": ("imap", False),
    "pop3s": ("pop3", True),
    "pop3": ("pop3", False),
    "submissions": ("submission", True),
    "submission": ("submission", False),
    "managesieve": ("managesieve", False),
}


@dataclass(frozen=True, slots=True)
class MailService:
    """`service`: one of SERVICES. What has no TLS first begins it with STARTTLS; none is told without."""

    service: str
    host: str
    port: int

    @property
    def protocol(self) -> str:
        """ "imap", "pop3", "submission" or "managesieve"."""
        return SERVICES[self.service][0]

    @property
    def implicit_tls(self) -> bool:
        """TLS from the first octet."""
        return SERVICES[self.service][1]


@dataclass(frozen=True, slots=True)
class Setup:
    """What all kinds of setting up need. `services` in the order of SERVICES. `base`: "https://host[:port]",
    where people and programs find us."""

    services: tuple[MailService, ...]
    base: str
    is_ours: Callable[[str], bool]

    def of(self, *protocols: str) -> list[MailService]:
        """Those that speak one of these, the best first."""
        return [one for protocol in protocols for one in self.services if one.protocol == protocol]

    @property
    def is_enough(self) -> bool:
        """Whether mail can be read and sent."""
        return bool(self.of("imap", "pop3") and self.of("submission"))

    def address(self, text: str) -> str:
        """The address that somebody has written, in a domain of ours, in the form to log in with; "" when it
        is none. Whether somebody has it is nobody's business: it is not looked up."""
        try:
            address = Address.parse(text.strip(), utf8=True)
            key = address.key
            Address.parse(key, utf8=True)  # what needs quotes is nobody's address here
        except MailError:
            return ""
        return key if self.is_ours(address.domain) else ""
