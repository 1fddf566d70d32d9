"""What a report is made of, and the text of others made fit for it (RFC 3464 §2.1.1, RFC 6533 §3)."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import Return
from twisted_mta.message.outcome import Action
from twisted_mta.message.shown import shown

MAX_TEXT = 900  # octets of what somebody else said that come into one line
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\Z")
_EMBEDDED = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_CLASS = {
    Action.DELIVERED: "2",
    Action.RELAYED: "2",
    Action.EXPANDED: "2",
    Action.DELAYED: "4",
    Action.FAILED: "5",
}


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """What became of one recipient. `final` is the address as it was when the message was accepted here
    (RFC 3464 §2.3.2); `member`: where the mail really goes, when `final` is an alias. `orcpt` is that of
    the envelope, or "". `status`, `text` and `remote_mta` are those of the last attempt, made at
    `attempted` (seconds since the epoch). `expired`: given up after many attempts. `retry_until` goes with
    Action.DELAYED; 0 when unknown.
    """

    action: Action
    final: Address
    status: str
    text: str
    attempted: float
    remote_mta: str = ""
    orcpt: str = ""
    member: Address | None = None
    expired: bool = False
    retry_until: float = 0.0

    @property
    def valid_status(self) -> str:
        """The status, or what stands for none when it is not written as one must be."""
        return self.status if _STATUS.match(self.status) else f"{_CLASS[self.action]}.0.0"

    @property
    def original(self) -> tuple[str, str]:
        """Address type and address of `orcpt`, UTF-8 in its own letters (RFC 6533 §3); both "" without
        one."""
        kind, semicolon, address = self.orcpt.partition(";")
        if not semicolon or not kind.isascii() or not kind.replace("-", "").isalnum():
            return ("unknown", self.orcpt) if self.orcpt else ("", "")
        return kind, unitext(address) if kind.lower() == "utf-8" else address

    @property
    def international(self) -> bool:
        """Whether an address of it is not ASCII."""
        kind, original = self.original
        addresses = (self.final, self.member)
        return not (
            all(address is None or address.is_ascii for address in addresses)
            and (original.isascii() or kind.lower() != "utf-8")
        )


@dataclass(frozen=True, slots=True)
class Report:
    """reporting_mta: this host's name; postmaster: whom a reply reaches; to: the sender of the original;
    report_id and queue_id: the queue ids of the report and of the original; envid: the sender's name for
    the transaction, or ""; arrived, now: seconds since the epoch. `recipients` is never empty.

    original: the original message, or as much of its beginning as was read, at least its header up to
    HEADER_LIMIT; `complete` says which. ret: how much of it is to be returned, "" as we like. smtputf8: it
    was sent as internationalised mail.
    """

    reporting_mta: str
    postmaster: Address
    to: Address
    report_id: str
    queue_id: str
    arrived: float
    now: float
    recipients: Sequence[ReportedRecipient]
    original: bytes
    complete: bool
    ret: Return = ""
    envid: str = ""
    smtputf8: bool = False

    def with_action(self, action: Action) -> list[ReportedRecipient]:
        """The recipients of that end."""
        return [recipient for recipient in self.recipients if recipient.action is action]

    @property
    def international(self) -> bool:
        """Whether something in it is not ASCII that must not get lost: an address."""
        return any(recipient.international for recipient in self.recipients)


def printable(text: str, *, utf8: bool = False) -> str:
    """One line of a bounded length: what somebody else said, fit for a header field."""
    line = " ".join(text[: 4 * MAX_TEXT].split())
    if utf8:
        line = "".join(char if char.isprintable() else "?" for char in line)
        return line.encode("utf-8", "replace")[:MAX_TEXT].decode("utf-8", "ignore")
    return "".join(char if " " <= char <= "~" else "?" for char in line)[:MAX_TEXT]


def said(text: str, *, utf8: bool) -> str:
    """The same for what a server said, with its domains as they are shown, which makes them longer."""
    return printable(shown(printable(text, utf8=utf8)), utf8=utf8)


def unitext(address: str) -> str:
    r"""An address of the type utf-8 in its own letters: `\x{XX}` is a character (RFC 6533 §3). What does not
    keep to the syntax stays as it is."""
    try:
        text = _EMBEDDED.sub(lambda match: chr(int(match[1], 16)), address)
        text.encode()
    except (ValueError, OverflowError):  # beyond Unicode, or half of a surrogate pair
        return address
    return text if text.isprintable() else address


def wrapped(text: str, indent: str = "", hanging: str | None = None) -> list[str]:
    """Lines for people and programs; words are never broken (RFC 5322 §2.2.3 for fields)."""
    return textwrap.wrap(
        text,
        76,
        initial_indent=indent,
        subsequent_indent=indent if hanging is None else hanging,
        break_long_words=False,
        break_on_hyphens=False,
    )
