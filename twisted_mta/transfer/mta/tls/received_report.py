"""The TLS reports of others on mail to us (RFC 8460 §4.4, §5.3), read with distrust: bounded in size before
and behind the compression, and nothing but the fields that are known is taken from them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted_mta.message.attached_report import LARGEST, NotAReport, octets_of, printable, unzip
from twisted_mta.message.mime import scan

_GZIP, _PLAIN = b"tlsrpt+gzip", b"tlsrpt+json"
_MOST_SESSIONS = 2**40  # in one report


@dataclass(frozen=True, slots=True)
class Received:
    """The substance of a report on mail to one of our domains. begins: as written. successes, failures:
    sessions.
    body: the JSON."""

    organization: str
    report_id: str
    begins: str
    domain: str
    successes: int
    failures: int
    body: str


def find_report(message: bytes) -> bytes | None:
    """The report in a message (RFC 8460 §5.3): the octets of its JSON. None when there is none. Raises
    NotAReport when it cannot be unpacked."""
    parts = [scan(message)]
    while parts:
        part = parts.pop()
        parts += part.children
        if part.type == b"application" and part.subtype in (_GZIP, _PLAIN):
            octets = octets_of(message, part)
            return octets if part.subtype == _PLAIN else unzip(octets)
    return None


def read_report(text: bytes) -> Received:
    """A report's JSON. Raises NotAReport."""
    if len(text) > LARGEST:
        raise NotAReport("it is too large")
    try:
        value = json.loads(text)
        policies = value["policies"]
        summaries = [policy["summary"] for policy in policies]
        domains = [str(policy["policy"]["policy-domain"]) for policy in policies]
        return Received(
            organization=_text(value["organization-name"]),
            report_id=_text(value["report-id"]),
            begins=_text(value["date-range"]["start-datetime"]),
            domain=_text(domains[0].lower()),
            successes=_count(summaries, "total-successful-session-count"),
            failures=_count(summaries, "total-failure-session-count"),
            body=json.dumps(value),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise NotAReport("it is not JSON of the form in RFC 8460") from error


def _count(summaries: Sequence[Any], name: str) -> int:
    """The sum, which a database can hold, too."""
    total = 0
    for summary in summaries:
        number = summary.get(name, 0)
        if not isinstance(number, int) or number < 0 or (total := total + number) > _MOST_SESSIONS:
            raise ValueError(name)
    return total


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("not a text")
    return printable(value)


def failures_of(body: str) -> list[tuple[str, str, str, int]]:
    """(result type, mail server, words, sessions) in the JSON of a report that was read, most sessions
    first."""
    found: list[tuple[str, str, str, int]] = []
    for policy in json.loads(body)["policies"]:
        details = policy.get("failure-details")
        for detail in details if isinstance(details, list) else []:
            if isinstance(detail, dict):
                texts = [
                    _printable(detail.get(name))
                    for name in ("result-type", "receiving-mx-hostname", "failure-reason-code")
                ]
                count = detail.get("failed-session-count")
                found.append((texts[0], texts[1], texts[2], count if isinstance(count, int) else 0))
    return sorted(found, key=lambda failure: -failure[3])


def _printable(value: Any) -> str:
    return _text(value) if isinstance(value, str) and value else ""
