"""message/tracking-status: what a tracking query is answered with (RFC 3886), in a multipart/related (RFC
3887).

The same fields as in a delivery report (`dsn/fields.py`), but asked for and not sent. In ASCII alone: an
address beyond it is in its 7-bit form (RFC 6533 §3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twisted_mta.message.date import format_date
from twisted_mta.message.dsn.values import printable


@dataclass(frozen=True, slots=True)
class TrackedRecipient:
    """Where the message is for one recipient, as the sender wrote the address. action (RFC 3886 §3.3.3):
    "failed", "delayed", "delivered", "expanded", "relayed"; "transferred" to a host that can be asked in
    turn, "opaque" when nobody knows more. status: an enhanced status code; attempted: seconds since the
    epoch, 0 when there was no attempt; remote_mta: the host that has it, or has not taken it, or ""."""

    address: str
    action: str
    status: str
    attempted: float = 0.0
    remote_mta: str = ""


@dataclass(frozen=True, slots=True)
class TrackingStatus:
    """Where one message is. envid: the sender's name for it; arrived: seconds since the epoch."""

    envid: str
    reporting_mta: str
    arrived: float
    recipients: Sequence[TrackedRecipient]


def tracking_report(statuses: Sequence[TrackingStatus]) -> bytes:
    """A MIME entity with a part for each message, CRLF line ends."""
    parts = [_part(status) for status in statuses]
    boundary = "=_tracking"
    while any(boundary in part for part in parts):
        boundary += "_"
    head = f'Content-Type: multipart/related; type=tracking-status; boundary="{boundary}"\r\n\r\n'
    body = "".join(f"--{boundary}\r\n{part}\r\n" for part in parts)
    return f"{head}{body}--{boundary}--\r\n".encode("ascii", "replace")


def _part(status: TrackingStatus) -> str:
    lines = [
        "Content-Type: message/tracking-status",
        "",
        f"Original-Envelope-Id: {printable(status.envid)}",
        f"Reporting-MTA: dns; {status.reporting_mta}",
        f"Arrival-Date: {format_date(status.arrived)}",
    ]
    for recipient in status.recipients:
        address = _typed(recipient.address)
        lines += [
            "",
            f"Original-Recipient: {address}",
            f"Final-Recipient: {address}",
            f"Action: {recipient.action}",
            f"Status: {recipient.status}",
        ]
        if recipient.remote_mta:
            lines.append(f"Remote-MTA: dns; {printable(recipient.remote_mta)}")
        if recipient.attempted:
            lines.append(f"Last-Attempt-Date: {format_date(recipient.attempted)}")
    return "\r\n".join([*lines, ""])


def _typed(address: str) -> str:
    if address.isascii():
        return f"rfc822; {printable(address)}"
    return "utf-8; " + "".join(char if char.isascii() else f"\\x{{{ord(char):02X}}}" for char in address)
