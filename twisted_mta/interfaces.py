"""The seams of the house: only where two implementations or a test double exist."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from zope.interface import Attribute, Interface

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import Envelope
from twisted_mta.message.mailing_list import MailingList
from twisted_mta.message.outcome import Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.protocol.sasl.scram import Keys

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Resolution:
    """What the directory knows of an address in one of our domains.

    Exactly one of the three is set: `account`, the name of the account whose INBOX takes the mail,
    `aliases`, the addresses that take the place of this one (one step, not yet expanded), or `mailing_list`,
    to whose members it is posted. `detail` is the text after the separator in `user+detail@` (RFC 5233),
    else "". `leaving`: somebody wants to leave the list; `detail` is then what confirms that, or "".
    """

    account: str = ""
    aliases: tuple[Address, ...] = ()
    detail: str = ""
    mailing_list: MailingList | None = None
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class MailboxEvent:
    """What somebody did over IMAP to messages of a mailbox, which is done (RFC 6785 §4.3).

    `cause` is "APPEND", "COPY" (or moved there) or "FLAG". `account` owns the mailbox of that name; `uids`
    name the messages there. `user`: the account of who did it. `flags`: those that changed. `source`: with
    "COPY", the mailbox of the same account that they were in before, "" for another account's."""

    cause: str
    account: str
    mailbox: str
    uids: tuple[int, ...]
    user: str
    flags: tuple[str, ...] = ()
    source: str = ""


class IMailboxEvents(Interface):
    """Who wants to know what is done to mailboxes over IMAP. `url`: where scripts are put in place (RFC 5804
    §3), "" for nowhere."""

    url = Attribute("str")

    def happened(event: MailboxEvent) -> None:
        """Take note. Returns at once; never raises."""


class IDirectory(Interface):
    """Who exists here: domains, accounts, aliases, passwords."""

    def is_local(domain: str) -> bool:
        """True when mail for this domain (lower case) ends here."""

    async def resolve(address: Address) -> Resolution | None:
        """Look up an address in a local domain; None when there is no such mailbox or alias.
        Handles `user+detail@`, domains that stand for another, and catch-alls; makes sure that postmaster and
        other names of RFC 2142 are always deliverable (RFC 5321 §4.5.1)."""

    async def authenticate(login: str, password: str, peer: str = "", service: str = "") -> str | None:
        """The account name (its full address in lower case) when the password is right, else None.
        `login` is a full address, or a local part that is unique here. Unknown names cost the same time.
        `peer` is the address of who asks: each has a share of the logins that may wait. `service` is one of
        "smtp", "imap", "pop3", "sieve", "jmap": app passwords count for theirs only, and never for ""."""

    async def scram_keys(login: str, mechanism: str, service: str = "") -> tuple[Keys, ...]:
        """What the passwords of an account, the app passwords for `service` among them, left for SCRAM
        (RFC 5802 §3): at least one, all with the same salt and iterations, of which any may be proven.
        `mechanism` is without "-PLUS". For an unknown login, and an account without keys, stand-ins that
        nobody has the password of: always the same ones, at the same cost."""

    async def account_of_keys(login: str, mechanism: str, keys: Keys, service: str = "") -> str | None:
        """The account after a proof with `keys`, one of `scram_keys`; None when they are void by now."""

    def offers_scram() -> bool:
        """True when SCRAM is to be offered: nobody who has a password here would be shut out by it."""

    async def account_of_login(login: str) -> str | None:
        """The account that a login name stands for, None when there is none: for who has proven by other
        means than a password who he is (a certificate, a token)."""

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

    async def ipv4(name: str) -> Found[str] | None:
        """IPv4 addresses as text."""

    async def ipv6(name: str) -> Found[str] | None:
        """IPv6 addresses as text."""

    async def txt(name: str) -> Found[str] | None:
        """Texts, each with its strings put together; octets beyond ASCII as Latin-1."""

    async def tlsa(name: str) -> Found[tuple[int, int, int, bytes]] | None:
        """(usage, selector, matching type, association data) of RFC 6698 §2.1."""

    async def records(name: str, kind: str) -> Found[str] | None:
        """Those of any kind ("MX", "SRV", "CAA"), each as a zone file has it, names in lower case with the
        final dot; the strings of a TXT put together without quotes. For who shows them to people."""

    async def ptr(address: str) -> Found[str] | None:
        """The names of an IP address (RFC 1035 §3.5), in lower case, as its owner has written them: not yet
        confirmed by those of the names."""


class IDraft(Interface):
    """A message on its way into the queue: write, then commit or abort."""

    queue_id: str = Attribute("The id that follows the message through every log line.")
    size: int = Attribute("Octets written so far.")

    async def write(data: bytes) -> None:
        """Add octets of the body (CRLF, dots unstuffed). Large bodies go to a spool file in a thread,
        so waiting for this is the back-pressure. Raises MailError (452) when the disk is full."""

    async def content() -> Content:
        """What has been written so far, to be read until the draft is committed or aborted; in a thread, too.
        Raises MailError."""

    async def commit(envelope: Envelope, head: bytes = b"") -> None:
        """Put the message, with `head` in front of the body, into the queue. Returns only once it is
        on disk: then, and only then, may 250 be said. Raises MailError (451 or 452) and leaves nothing."""

    def abort() -> None:
        """Forget the message. Idempotent; a no-op after commit. May be called while a write is pending, which
        then raises MailError."""


class IIntake(Interface):
    """Where messages enter the queue."""

    def draft(queue_id: str = "") -> IDraft:
        """A new, empty draft with its own queue id: `queue_id`, when the queue has given that out for it."""


class IDeliverer(Interface):
    """Takes messages out of the queue: the local delivery agent and the relay."""

    async def deliver(message: QueuedMessage, recipients: Sequence[QueuedRecipient]) -> Sequence[Outcome]:
        """Try each recipient once. One Outcome per recipient, in the same order. Does not raise: what
        is not understood is Action.DELAYED. All recipients of one call have the same domain."""


class ISubmitter(Interface):
    """Submission as those who read their mail see it: the Outbox, and the copies in Sent. Accounts by their
    names; mailboxes are an account's own, by their canonical names."""

    def is_outbox(mailbox: str) -> bool:
        """True when what its owner puts into the mailbox of that name is to be sent."""

    async def may_submit(account: str) -> None:
        """Raises MailError when the account may send nothing at the moment."""

    async def expect(account: str) -> int:
        """Something is about to come into the Outbox. Should a crash leave it there before `submit` or
        `submit_later` has it, its owner is told. Returns a token for `came`. Raises MailError."""

    async def came(token: int) -> None:
        """It has come and is submitted, or will not come."""

    async def submit(account: str, uid_validity: int, uid: int) -> None:
        """Send the message with that UID in the Outbox; it is moved into Sent soon afterwards. Returns once
        it is in the queue. Raises MailError: then it is not sent, and stays where it is."""

    async def submit_later(account: str, uid_validity: int, uids: Sequence[int]) -> None:
        """Send these messages in the Outbox, even after a crash. Of those that cannot be sent, their owner
        is told."""

    async def appended(account: str, mailbox: str, uids: Sequence[int]) -> None:
        """A client has put messages into a mailbox: perhaps its own copy of what it has sent."""
