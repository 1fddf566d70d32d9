"""The seams of the house: only where two implementations or a test double exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from zope.interface import Attribute, Interface

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import Envelope
from twisted_mta.message.outcome import Outcome, QueuedMessage, QueuedRecipient

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Resolution:
    """What the directory knows of an address in one of our domains.

    Exactly one of the two is set: `account`, the name of the account whose INBOX takes the mail,
    or `aliases`, the addresses that take the place of this one (one step, not yet expanded).
    `detail` is the text after the separator in `user+detail@` (RFC 5233), else "".
    """

    account: str = ""
    aliases: tuple[Address, ...] = ()
    detail: str = ""


class IDirectory(Interface):
    """Who exists here: domains, accounts, aliases, passwords."""

    def is_local(domain: str) -> bool:
        """True when mail for this domain (lower case) ends here."""

    async def resolve(address: Address) -> Resolution | None:
        """Look up an address in a local domain; None when there is no such mailbox or alias.
        Handles `user+detail@` and makes sure that postmaster is always deliverable (RFC 5321 §4.5.1)."""

    async def authenticate(login: str, password: str, peer: str = "") -> str | None:
        """The account name (its full address in lower case) when the password is right, else None.
        `login` is a full address, or a local part that is unique here. Unknown names cost the same time.
        `peer` is the address of who asks: each has a share of the logins that may wait."""

    async def owns(account: str, address: Address) -> bool:
        """True when the account may send as this address: its own, a `+detail` of it, or an alias
        that leads to it."""


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """What the DNS has under a name that exists; no records when there are none of that type. `secure`: a
    validating resolver that we may believe vouches for the answer (RFC 4035 §3.2.3), be it empty or not.
    `canonical`: the name at the end of the aliases (CNAME), "" when it is not known."""

    records: tuple[T, ...] = ()
    secure: bool = False
    canonical: str = ""


class IResolver(Interface):
    """The DNS as routing needs it. Names are in lower case without a final dot; all methods return None
    when the name does not exist (NXDOMAIN), and raise `twisted_mta.resolver.ResolutionError` (temporary) on
    SERVFAIL, which a validating resolver also says of a forged answer, timeout or garbage."""

    async def mx(domain: str) -> Found[tuple[int, str]] | None:
        """(preference, exchange) pairs in no particular order. The null MX (RFC 7505) is (0, "") alone."""

    async def addresses(name: str) -> Found[str] | None:
        """IPv4 and IPv6 addresses as text. `secure`: all that were found are."""

    async def txt(name: str) -> Found[str] | None:
        """Texts, each with its strings put together; octets beyond ASCII as Latin-1."""

    async def tlsa(name: str) -> Found[tuple[int, int, int, bytes]] | None:
        """(usage, selector, matching type, association data) of RFC 6698 §2.1."""


class IDraft(Interface):
    """A message on its way into the queue: write, then commit or abort."""

    queue_id: str = Attribute("The id that follows the message through every log line.")
    size: int = Attribute("Octets written so far.")

    async def write(data: bytes) -> None:
        """Add octets of the body (CRLF, dots unstuffed). Large bodies go to a spool file in a thread,
        so waiting for this is the back-pressure. Raises MailError (452) when the disk is full."""

    async def commit(envelope: Envelope, head: bytes = b"") -> None:
        """Put the message, with `head` in front of the body, into the queue. Returns only once it is
        on disk: then, and only then, may 250 be said. Raises MailError (451 or 452) and leaves nothing."""

    def abort() -> None:
        """Forget the message. Idempotent; a no-op after commit. May be called while a write is pending, which
        then raises MailError."""


class IIntake(Interface):
    """Where messages enter the queue."""

    def draft() -> IDraft:
        """A new, empty draft with its own queue id."""


class IDeliverer(Interface):
    """Takes messages out of the queue: the local delivery agent and the relay."""

    async def deliver(message: QueuedMessage, recipients: Sequence[QueuedRecipient]) -> Sequence[Outcome]:
        """Try each recipient once. One Outcome per recipient, in the same order. Does not raise: what
        is not understood is Action.DELAYED. All recipients of one call have the same domain."""
