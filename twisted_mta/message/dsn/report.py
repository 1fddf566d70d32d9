"""A report: a multipart/report of three parts (RFC 3464 §2, RFC 6522 §3), marked as automatic (RFC 3834 §5).

Plain words for people (`human.py`), fields for programs (`fields.py`), and the message it is about, or its
header (`original.py`). It is 7-bit with legal lines, whatever a remote server said or the original holds,
so that the report itself passes everywhere. There are two exceptions: it goes to an internationalised
address, so that the way there must carry UTF-8 anyway (RFC 6533 §4.5), or a sender wants an 8-bit message
back as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twisted_mta.message.date import format_date
from twisted_mta.message.dsn.fields import status_lines
from twisted_mta.message.dsn.human import subject, text_lines
from twisted_mta.message.dsn.original import WHOLE, Part, original_part, quoted_printable
from twisted_mta.message.dsn.values import Report
from twisted_mta.message.envelope import BodyType
from twisted_mta.message.headers import first_value, header_end
from twisted_mta.message.msg_id import first_message_id

_LONGEST_ID = 250  # octets of the original's Message-ID that are worth a reference


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message with CRLF line ends and lines of at most 998 octets; the others are for MAIL."""

    data: bytes
    body: BodyType
    smtputf8: bool


def render(report: Report) -> Rendered:
    """The whole message."""
    utf8 = not report.to.is_ascii
    kind = "message/global-delivery-status" if report.international else "message/delivery-status"
    charset = "utf-8" if report.international else "us-ascii"
    parts = [
        _part(f"text/plain; charset={charset}", text_lines(report), eight_bit=utf8),
        _part(kind, status_lines(report), eight_bit=utf8),
        original_part(report),
    ]
    eight_bit = utf8 or any(part.encoding == "8bit" for part in parts)
    written = [_written(part) for part in parts]
    boundary = _boundary(report.report_id, written)
    head = _head(report, boundary, "8bit" if eight_bit else "7bit")
    separator = f"--{boundary}\r\n".encode()
    body = b"".join(separator + part for part in written)
    data = "\r\n".join(head).encode() + b"\r\n" + body + f"--{boundary}--\r\n".encode()
    return Rendered(data, "8BITMIME" if eight_bit else "7BIT", utf8)


def _head(report: Report, boundary: str, encoding: str) -> list[str]:
    fields = [
        f"From: Mail Delivery System <{report.postmaster}>",
        f"To: <{report.to}>",
        f"Subject: {subject(report)}",
        f"Date: {format_date(report.now)}",
        f"Message-ID: <{report.report_id}@{report.reporting_mta}>",
    ]
    end = header_end(report.original)
    header = report.original[: end if end >= 0 else None]
    reference = first_message_id(first_value(header, b"Message-ID") or b"")
    if reference and len(reference) <= _LONGEST_ID and reference.isascii() and reference.isprintable():
        fields.append(f"References: <{reference}>")  # mail programs show it beside what was sent
    return [
        *fields,
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f'\tboundary="{boundary}"',
        *([f"Content-Transfer-Encoding: {encoding}"] if encoding != "7bit" else []),
        "",
        "This is a delivery status notification in MIME format.",
        "",
    ]


def _part(content_type: str, lines: Sequence[str], *, eight_bit: bool) -> Part:
    body = "\r\n".join(lines).encode("utf-8", "replace")
    if body.isascii():
        return Part(content_type, "7bit", body)
    if eight_bit:
        return Part(content_type, "8bit", body)
    return Part(content_type, "quoted-printable", quoted_printable(body))


def _written(part: Part) -> bytes:
    fields = [f"Content-Type: {part.content_type}"]
    if part.encoding != "7bit":
        fields.append(f"Content-Transfer-Encoding: {part.encoding}")
    end = b"\r\n" if part.content_type in WHOLE else b"\r\n\r\n"  # the last one belongs to the boundary
    return "\r\n".join([*fields, "", ""]).encode() + part.body + end


def _boundary(report_id: str, parts: Sequence[bytes]) -> str:
    """One that stands in no part. The original was there first and cannot know the id of its report."""
    boundary = f"=_{report_id}"
    while any(boundary.encode() in part for part in parts):
        boundary += "_"
    return boundary
