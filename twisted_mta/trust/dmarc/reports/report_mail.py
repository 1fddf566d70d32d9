"""The mail that an aggregate report travels in, ours and those of others (RFC 7489 §7.2.1.1)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from twisted_mta.message.address import Address
from twisted_mta.message.attached_report import (
    Attachment,
    NotAReport,
    gzipped,
    mail_with,
    octets_of,
    unpacked,
)
from twisted_mta.message.mime import Part, scan
from twisted_mta.message.parameters import parameter
from twisted_mta.trust.dmarc.reports.aggregate import AggregateReport
from twisted_mta.trust.dmarc.reports.xml_reader import read_report
from twisted_mta.trust.dmarc.reports.xml_writer import render

MEDIA_TYPE = "application/gzip"
_XML = frozenset((b"xml",))
_PACKED = frozenset((b"gzip", b"x-gzip", b"zip", b"x-zip-compressed", b"x-zip", b"xml"))
_NAME = re.compile(rb"\.(?:xml(?:\.gz)?|gz|zip)\Z", re.IGNORECASE)
_BEGINS = (b"<", b"\xef\xbb\xbf<", b"\xff\xfe<", b"\xfe\xff\0<")  # XML, perhaps with a byte order mark
_MOST_PARTS = 20  # that are looked into


def as_attachment(report: AggregateReport, submitter: str) -> Attachment:
    """The report as it travels, with the name that the RFC wants."""
    name = f"{submitter}!{report.published.domain}!{report.begins}!{report.ends}.xml.gz"
    return Attachment(MEDIA_TYPE, name, gzipped(render(report)))


def as_mail(
    report: AggregateReport,
    attachment: Attachment,
    *,
    submitter: str,
    contact: Address,
    to: Address,
    now: float,
    message_id: str,
) -> bytes:
    """The whole message. `submitter`: our name."""
    domain = report.published.domain
    fields = [
        f"From: <{contact}>",
        f"To: <{to}>",
        f"Subject: Report Domain: {domain}",
        f" Submitter: {submitter}",
        f" Report-ID: <{report.identity}>",
    ]
    text = [
        f"This is an aggregate DMARC report from {submitter} on mail in the name of",
        f"{domain} on {_date(report.begins)} (UTC): {report.messages} messages.",
        f"It was asked for in the DNS, at _dmarc.{domain}.",
    ]
    return mail_with(fields, text, attachment, multipart="multipart/mixed", now=now, message_id=message_id)


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def find_report(message: bytes) -> AggregateReport | None:
    """The report in a message, None when there is none. Raises NotAReport for what looks like one and cannot
    be read."""
    waiting = [scan(message)]
    looked_into = 0
    while waiting:
        part = waiting.pop()
        waiting += reversed(part.children)
        if part.children or not _is_candidate(part):
            continue
        looked_into += 1
        if looked_into > _MOST_PARTS:
            raise NotAReport("it has too many attachments")
        document = unpacked(octets_of(message, part)).lstrip(b" \t\r\n")
        if document.startswith(_BEGINS):
            return read_report(document)
    return None


def _is_candidate(part: Part) -> bool:
    if part.type == b"text":
        return part.subtype in _XML
    if part.type != b"application":
        return False
    names = (parameter(part.params, b"name"), parameter((part.disposition or (b"", ()))[1], b"filename"))
    return part.subtype in _PACKED or any(name is not None and _NAME.search(name) for name in names)
