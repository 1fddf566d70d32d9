"""The part of a report for programs: message/delivery-status (RFC 3464 §2.1), or
message/global-delivery-status when an address is not ASCII (RFC 6533 §4.1). Which fields stand in it: RFC
3461 §6.3.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from twisted_mta.message.address import Address
from twisted_mta.message.date import format_date
from twisted_mta.message.dsn.values import Report, ReportedRecipient, printable, said, wrapped
from twisted_mta.message.outcome import Action

_REPLY = re.compile(r"[245]\d\d[ -]")


def status_lines(report: Report) -> list[str]:
    """The body of the part, without line ends."""
    utf8 = report.international
    lines = []
    if report.envid:
        lines.append(f"Original-Envelope-Id: {printable(report.envid)}")
    lines.append(f"Reporting-MTA: dns; {report.reporting_mta}")
    lines.append(f"Arrival-Date: {format_date(report.arrived)}")
    for recipient in report.recipients:
        lines += ["", *_recipient_fields(recipient, utf8)]
    return lines


def _recipient_fields(recipient: ReportedRecipient, utf8: bool) -> Iterator[str]:
    kind, original = recipient.original
    if original:
        yield f"Original-Recipient: {kind}; {printable(original, utf8=utf8)}"
    yield f"Final-Recipient: {_typed(recipient.final)}"
    yield f"Action: {recipient.action.value}"
    yield f"Status: {recipient.valid_status}"
    if recipient.remote_mta:
        yield f"Remote-MTA: dns; {printable(recipient.remote_mta)}"
    if words := said(recipient.text, utf8=utf8):
        # Of a success only what a remote server said is of interest, and asked for (RFC 3461 §6.3 (i)).
        if recipient.remote_mta or _REPLY.match(words):
            yield from wrapped(f"Diagnostic-Code: smtp; {words}", hanging=" ")
        elif recipient.action in (Action.FAILED, Action.DELAYED):
            yield from wrapped(f"Diagnostic-Code: x-local; {words}", hanging=" ")
    yield f"Last-Attempt-Date: {format_date(recipient.attempted)}"
    if recipient.action is Action.DELAYED and recipient.retry_until:
        yield f"Will-Retry-Until: {format_date(recipient.retry_until)}"
    if recipient.remote_mta and recipient.member is not None:
        yield f"SMTP-Remote-Recipient: {recipient.member}"


def _typed(address: Address) -> str:
    return f"{'rfc822' if address.is_ascii else 'utf-8'}; {address}"
