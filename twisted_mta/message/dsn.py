"""Delivery status notifications: the report of a failure to the sender (RFC 3464), as a multipart/report
(RFC 6522), marked as automatic (RFC 3834 §5).

Three parts: plain words for people, fields for programs, and the message it is about, whole when it is small
and plain, otherwise its header. Everything in it is 7-bit with legal lines, whatever a remote server
said or the original holds, so the report itself passes everywhere.

Left out on purpose: reports of success, delay or relaying, and the envelope id and original recipient of
RFC 3461, which come with the DSN extension; internationalised reports (RFC 6533).
"""

from __future__ import annotations

import re
import textwrap
from binascii import b2a_qp
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from twisted_mta.message.address import Address
from twisted_mta.message.date import format_date
from twisted_mta.message.headers import header_end

WHOLE_LIMIT = 64 * 1024  # octets: a larger message is returned as its header alone
HEADER_LIMIT = 32 * 1024  # octets of a header that are returned
_MAX_LINE = 998  # octets without CRLF, RFC 5322 §2.1.1
_MAX_TEXT = 900  # characters of a remote reply
_STATUS = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\Z")
_REPLY = re.compile(r"[245]\d\d[ -]")
_ILLEGAL = re.compile(rb"[\x00\x80-\xff]|\r(?!\n)|(?<!\r)\n|[^\r\n]{%d}" % (_MAX_LINE + 1))

# Plain words for the subject and detail of a status code, RFC 3463 §3 and RFC 7505, else for its subject.
_CAUSES = {
    "1.1": "There is no mailbox with this address. Please check how it is spelled.",
    "1.2": "The part of the address behind the @ is not the name of a place that takes mail. Please check "
    "how it is spelled.",
    "1.3": "The address is not written as an address must be.",
    "1.6": "The mailbox has moved, and it is not known where to.",
    "1.7": "Your own address was not accepted.",
    "1.8": "Your own address was not accepted.",
    "1.10": "This domain has declared that it takes no mail.",
    "2.1": "The mailbox takes no mail at present.",
    "2.2": "The mailbox is full.",
    "2.3": "The message is larger than this mailbox takes.",
    "3.1": "The system of the recipient has no room for more mail.",
    "3.4": "The message is larger than the system of the recipient takes.",
    "4.1": "The mail server of the recipient could not be reached.",
    "4.2": "The connection to the mail server of the recipient broke off.",
    "4.3": "The name service (DNS) gave no usable answer about the domain of the recipient.",
    "4.4": "The name service (DNS) names no mail server for the domain of the recipient.",
    "4.6": "The message was going round in circles.",
    "4.7": "The message was under way for too long.",
    "5.3": "The message has too many recipients.",
    "1": "The address was not accepted.",
    "2": "The mailbox of the recipient cannot take the message.",
    "3": "The system of the recipient cannot take the message.",
    "4": "The mail server of the recipient could not be reached.",
    "5": "The two mail servers did not understand each other.",
    "6": "The content of the message is of a kind that could not be accepted.",
    "7": "The mail server of the recipient refuses the message by its rules, for instance as unwanted mail "
    "or because the sender is not known to it.",
}
_UNKNOWN_CAUSE = "The mail server of the recipient did not accept the message."


@dataclass(frozen=True, slots=True)
class FailedRecipient:
    """A recipient that the message did not and will not reach. `original` is set when an alias led to
    `final`: the address that the sender used. `status`, `text` and `remote_mta` are those of the last
    attempt, made at `last_attempt` (seconds since the epoch). `expired`: given up after many attempts."""

    final: Address
    status: str
    text: str
    last_attempt: float
    remote_mta: str = ""
    original: Address | None = None
    expired: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What a report is made of. reporting_mta: this host's name; postmaster: whom a reply reaches; to: the
    sender of the original; report_id and queue_id: the queue ids of the report and of the original;
    arrived, now: seconds since the epoch. original: the original message, or as much of its
    beginning as was read, at least its header up to HEADER_LIMIT; `complete` says which."""

    reporting_mta: str
    postmaster: Address
    to: Address
    report_id: str
    queue_id: str
    arrived: float
    now: float
    failed: Sequence[FailedRecipient]
    original: bytes
    complete: bool


def failure_report(report: Report) -> bytes:
    """The whole message, CRLF line ends, 7-bit, lines of at most 998 octets."""
    parts = [_human_part(report), _status_part(report), _original_part(report)]
    boundary = _boundary(report.report_id, parts)
    head = [
        f"From: Mail Delivery System <{report.postmaster}>",
        f"To: <{report.to}>",
        "Subject: Your message could not be delivered",
        f"Date: {format_date(report.now)}",
        f"Message-ID: <{report.report_id}@{report.reporting_mta}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'\tboundary="{boundary}"',
        "",
        "This is a delivery status notification in MIME format.",
        "",
    ]
    separator = f"--{boundary}\r\n".encode()
    body = b"".join(separator + part for part in parts)
    return "\r\n".join(head).encode("ascii", "replace") + b"\r\n" + body + f"--{boundary}--\r\n".encode()


def printable(text: str) -> str:
    """One line of printable ASCII: what a remote server said, fit for a header field."""
    line = " ".join(text.split())
    return "".join(char if " " <= char <= "~" else "?" for char in line)[:_MAX_TEXT]


def _status(status: str) -> str:
    return status if _STATUS.match(status) else "5.0.0"


def _cause(status: str) -> str:
    _, subject, detail = status.split(".")
    return _CAUSES.get(f"{subject}.{detail}") or _CAUSES.get(subject, _UNKNOWN_CAUSE)


def _boundary(report_id: str, parts: Sequence[bytes]) -> str:
    """One that stands in no part. The original was there first and cannot know the id of its report."""
    boundary = f"=_{report_id}"
    while any(boundary.encode() in part for part in parts):
        boundary += "_"
    return boundary


def _part(content_type: str, lines: Sequence[str]) -> bytes:
    return "\r\n".join([f"Content-Type: {content_type}", "", *lines, "", ""]).encode("ascii", "replace")


def _human_part(report: Report) -> bytes:
    lines = [
        f"This is the mail server at {report.reporting_mta}.",
        "",
        *_wrapped(f"Your message of {format_date(report.arrived)} could not be delivered to everybody.", ""),
    ]
    for recipient in report.failed:
        lines += ["", f"<{recipient.original or recipient.final}>"]
        if recipient.original is not None:
            lines += _wrapped(f"This address leads to <{recipient.final}>.", "    ")
        lines += _wrapped(_cause(_status(recipient.status)), "    ")
        if recipient.expired:
            days = (recipient.last_attempt - report.arrived) / 86400
            lines += _wrapped(f"It was tried again and again for {_days(days)}; now it is given up.", "    ")
        said = printable(recipient.text)
        if recipient.remote_mta:
            lines += _wrapped(f"The server {printable(recipient.remote_mta)} said: {said}", "    ")
        elif said:
            lines += _wrapped(f"In technical terms: {said}", "    ")
    lines += [
        "",
        *_wrapped(
            "No more attempts are made for these recipients. What you sent, or its header, is attached. "
            f"For help write to <{report.postmaster}> and quote the number {report.queue_id}.",
            "",
        ),
    ]
    return _part("text/plain; charset=us-ascii", lines)


def _days(days: float) -> str:
    return f"{days:.0f} days" if days >= 1.5 else f"{days * 24:.0f} hours"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        76,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _status_part(report: Report) -> bytes:
    """message/delivery-status, RFC 3464 §2: fields of the message, then those of each recipient."""
    lines = [
        f"Reporting-MTA: dns; {report.reporting_mta}",
        f"Arrival-Date: {format_date(report.arrived)}",
    ]
    for recipient in report.failed:
        lines.append("")
        if recipient.original is not None:
            lines.append(f"Original-Recipient: rfc822; {recipient.original}")
        lines += [
            f"Final-Recipient: rfc822; {recipient.final}",
            "Action: failed",
            f"Status: {_status(recipient.status)}",
        ]
        if recipient.remote_mta:
            lines.append(f"Remote-MTA: dns; {printable(recipient.remote_mta)}")
        if said := printable(recipient.text):
            kind = "smtp" if recipient.remote_mta or _REPLY.match(said) else "x-local"
            lines += _folded(f"Diagnostic-Code: {kind}; {said}")
        lines.append(f"Last-Attempt-Date: {format_date(recipient.last_attempt)}")
    return _part("message/delivery-status", lines)


def _folded(field: str) -> list[str]:
    """A header field, folded at spaces (RFC 5322 §2.2.3)."""
    return textwrap.wrap(field, 76, subsequent_indent=" ", break_long_words=False, break_on_hyphens=False)


def _original_part(report: Report) -> bytes:
    """RFC 6522 §3: the whole message should come back, but 8-bit content may be left out."""
    whole = report.original
    if report.complete and len(whole) <= WHOLE_LIMIT and not _ILLEGAL.search(whole):
        return b"Content-Type: message/rfc822\r\n\r\n" + whole + (b"" if whole.endswith(b"\r\n") else b"\r\n")
    end = header_end(whole)
    block = whole[: end if 0 <= end <= HEADER_LIMIT else HEADER_LIMIT]
    if not _ILLEGAL.search(block):
        return b"Content-Type: text/rfc822-headers\r\n\r\n" + block.rstrip(b"\r\n") + b"\r\n\r\n"
    encoded = b"\r\n".join(_quoted_printable(block.rstrip(b"\r\n")))
    return (
        b"Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        + encoded
        + b"\r\n\r\n"
    )


def _quoted_printable(block: bytes) -> Iterator[bytes]:
    """RFC 2045 §6.7; a bare CR or LF is octets like others."""
    for line in block.split(b"\r\n"):
        yield b2a_qp(line, quotetabs=False, istext=False).replace(b"=\n", b"=\r\n")
