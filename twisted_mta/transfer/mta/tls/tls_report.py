"""TLS reports (TLS-RPT, RFC 8460): the record that asks for them, the report as JSON, and the mail it
travels in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from twisted_mta.message.address import Address
from twisted_mta.message.attached_report import Attachment, gzipped, mail_with
from twisted_mta.message.status import MailError
from twisted_mta.transfer.mta.tls.findings import Finding, ReportedPolicy

DAY = 86400
MEDIA_TYPE = "application/tlsrpt+gzip"
_MOST_URIS = 10
_MOST_DETAILS = 1000  # failure details in a report of ours
_MOST_TEXT = 500  # characters of a reason

_VERSION = re.compile(r"v=TLSRPTv1[ \t]*;")


def report_uris(texts: Iterable[str]) -> list[str]:
    """Whom the TXT records of `_smtp._tls.DOMAIN` want to have reports: `mailto:` and `https:` URIs; none
    without a record of this version, or with more than one (RFC 8460 §3)."""
    records = [text for text in texts if _VERSION.match(text)]
    if len(records) != 1:
        return []
    for field in records[0].split(";")[1:]:
        name, equals, value = field.strip(" \t").partition("=")
        if name == "rua" and equals:
            uris = [uri.strip(" \t") for uri in value.split(",")]
            return [uri for uri in uris if _is_usable(uri)][:_MOST_URIS]
    return []


def _is_usable(uri: str) -> bool:
    if not uri.isascii() or not uri.isprintable() or " " in uri:
        return False
    if uri.lower().startswith("mailto:"):
        return mail_address(uri) is not None
    try:
        return urlsplit(uri).scheme == "https" and bool(urlsplit(uri).hostname)
    except ValueError:
        return False


def mail_address(uri: str) -> Address | None:
    """The address of a `mailto:` URI, None when it is none."""
    if not uri.lower().startswith("mailto:"):
        return None
    try:
        address = Address.parse(unquote(uri[7:].partition("?")[0]))
    except MailError:
        return None
    return address if str(address).isascii() and str(address).isprintable() else None


# Reports that we make


@dataclass(frozen=True, slots=True)
class Maker:
    """Who reports: the name of this server, and an address for questions."""

    submitter: str
    contact: Address


@dataclass(frozen=True, slots=True)
class TlsReport:
    """What was seen of one domain on one day (days since the epoch, UTC), ready to be sent."""

    maker: Maker
    domain: str
    day: int
    body: bytes  # JSON, compressed

    @property
    def identity(self) -> str:
        """The same for the same day and domain, so that a report that was sent twice is known for one."""
        return f"{_date(self.day)}.{self.domain}@{self.maker.submitter}"

    @property
    def file_name(self) -> str:
        """RFC 8460 §5.1."""
        begin = self.day * DAY
        return f"{self.maker.submitter}!{self.domain}!{begin}!{begin + DAY - 1}.json.gz"


def make_report(maker: Maker, domain: str, day: int, findings: Sequence[tuple[Finding, int]]) -> TlsReport:
    """From what was counted: findings with their numbers of sessions."""
    report = TlsReport(maker, domain, day, b"")
    policies: dict[ReportedPolicy, list[tuple[Finding, int]]] = {}
    for finding, count in findings:
        policies.setdefault(finding.policy, []).append((finding, count))
    date = _date(day)
    value = {
        "organization-name": maker.submitter,
        "date-range": {"start-datetime": f"{date}T00:00:00Z", "end-datetime": f"{date}T23:59:59Z"},
        "contact-info": str(maker.contact),
        "report-id": report.identity,
        "policies": [_policy(policy, counted) for policy, counted in policies.items()],
    }
    return TlsReport(maker, domain, day, gzipped(json.dumps(value).encode("ascii")))


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY, UTC).strftime("%Y-%m-%d")


def _policy(policy: ReportedPolicy, counted: Sequence[tuple[Finding, int]]) -> dict[str, Any]:
    described: dict[str, Any] = {"policy-type": policy.kind}
    if policy.strings:
        described["policy-string"] = list(policy.strings)
    described["policy-domain"] = policy.domain
    if policy.mx:
        described["mx-host"] = list(policy.mx)
    failures = [(finding, count) for finding, count in counted if finding.result]
    result: dict[str, Any] = {
        "policy": described,
        "summary": {
            "total-successful-session-count": sum(count for finding, count in counted if not finding.result),
            "total-failure-session-count": sum(count for _, count in failures),
        },
    }
    if failures:
        result["failure-details"] = [_details(*failure) for failure in failures[:_MOST_DETAILS]]
    return result


def _details(finding: Finding, count: int) -> dict[str, Any]:
    details = {
        "result-type": finding.result,
        "sending-mta-ip": finding.sending,
        "receiving-mx-hostname": finding.mx,
        "receiving-ip": finding.receiving,
        "failure-reason-code": finding.reason[:_MOST_TEXT],
    }
    return {name: text for name, text in details.items() if text} | {"failed-session-count": count}


def as_mail(report: TlsReport, to: Address, *, now: float, message_id: str) -> bytes:
    """The message that brings the report by mail (RFC 8460 §5.3). What is wrong with the receiver's TLS
    must not keep the news of it from him, so it may travel without (`TLS-Required`, RFC 8689 §5)."""
    submitter = report.maker.submitter
    fields = [
        f"From: <{report.maker.contact}>",
        f"To: <{to}>",
        f"Subject: Report Domain: {report.domain}",
        f" Submitter: {submitter}",
        f" Report-ID: <{report.identity}>",
        f"TLS-Report-Domain: {report.domain}",
        f"TLS-Report-Submitter: {submitter}",
        "TLS-Required: No",
    ]
    text = [
        f"This is an aggregate TLS report from {submitter} on mail to {report.domain}",
        f"on {_date(report.day)} (UTC). It was asked for in the DNS, at _smtp._tls.{report.domain}.",
    ]
    attachment = Attachment(MEDIA_TYPE, report.file_name, report.body)
    multipart = 'multipart/report; report-type="tlsrpt"'
    return mail_with(fields, text, attachment, multipart=multipart, now=now, message_id=message_id)
