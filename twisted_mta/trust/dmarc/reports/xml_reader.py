"""The aggregate reports of others: XML as in RFC 7489, appendix C, and as in its successor.

The document is read in one pass, and of its elements only those that are known are kept. The number of
records is bounded, too. What others write otherwise than the RFC says is read as it was meant, as far as it
is clear: names with any namespace, words in any case, a missing count, several reasons.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from twisted_mta.message.attached_report import LARGEST, NotAReport, printable
from twisted_mta.message.distrusted_xml import Elements, NotXml, read
from twisted_mta.trust.dmarc.reports.aggregate import (
    DISPOSITIONS,
    OVERRIDES,
    AggregateReport,
    DkimSeen,
    Observation,
    Published,
    SpfSeen,
)

MOST_RECORDS = 10_000
_MOST_DEPTH = 20
_LONGEST_TEXT = 2000  # characters between two tags that are kept
_MOST_OF_A_KIND = 20  # elements of one name in another one
_KNOWN = frozenset((
    "report_metadata", "org_name", "email", "report_id", "date_range", "begin", "end",
    "policy_published", "domain", "p", "sp", "np", "adkim", "aspf", "pct", "testing", "fo",
    "row", "source_ip", "count", "policy_evaluated", "disposition", "dkim", "spf",
    "reason", "type", "comment", "identifiers", "header_from", "envelope_from",
    "auth_results", "selector", "scope", "result",
))  # fmt: skip
_LATEST = 2**40  # seconds since the epoch
_MOST_MESSAGES = 2**40

Texts = dict[str, list[Any]]


def read_report(document: bytes) -> AggregateReport:
    """Raises NotAReport."""
    if len(document) > LARGEST:
        raise NotAReport("it is too large")
    reading = _Reading()
    try:
        read(document, reading)
    except NotXml as error:
        raise NotAReport(str(error)) from error
    try:
        return _report(reading)
    except ValueError as error:
        raise NotAReport(f"it is not of the form in RFC 7489: {error}") from error


class _Reading(Elements):
    """Collects. `root` has what stands in front of the records; `rows` the records."""

    def __init__(self) -> None:
        super().__init__("feedback", most_depth=_MOST_DEPTH, longest_text=_LONGEST_TEXT)
        self.root: Texts = {}
        self.rows: list[tuple[Observation, int]] = []
        self._open: list[Texts] = []

    def began(self, name: str) -> None:
        if len(self.names) == 2 and name == "record" and len(self.rows) >= MOST_RECORDS:
            raise NotXml(f"it has more than {MOST_RECORDS} records")
        self._open.append({})

    def ended(self, name: str, text: str) -> None:
        inner = self._open.pop()
        if not self.names:
            self.root = inner
        elif len(self.names) == 1 and name == "record":
            row = _row(inner)
            if row is not None:
                self.rows.append(row)
        elif name in _KNOWN:
            kept = self._open[-1].setdefault(name, [])
            if len(kept) < _MOST_OF_A_KIND:
                kept.append(inner or printable(text))


def _report(reading: _Reading) -> AggregateReport:
    metadata = _inner(reading.root, "report_metadata")
    published = _inner(reading.root, "policy_published")
    dates = _inner(metadata, "date_range")
    organization, identity = _text(metadata, "org_name"), _text(metadata, "report_id")
    domain = _text(published, "domain").lower().rstrip(".")
    if not organization or not identity or not domain:
        raise ValueError("org_name, report_id or domain is missing")
    return AggregateReport(
        organization,
        _text(metadata, "email"),
        identity,
        _number(dates, "begin", _LATEST),
        _number(dates, "end", _LATEST),
        Published(
            domain,
            _policy(published, "p") or "none",
            _policy(published, "sp"),
            _policy(published, "np"),
            "s" if _text(published, "adkim").lower() == "s" else "r",
            "s" if _text(published, "aspf").lower() == "s" else "r",
            _number(published, "pct", 100, 100),
            _text(published, "testing").lower() == "y",
            _text(published, "fo") or "0",
        ),
        tuple(reading.rows),
    )


def _row(record: Texts) -> tuple[Observation, int] | None:
    """None for one that says nothing of any message."""
    row, identifiers = _inner(record, "row"), _inner(record, "identifiers")
    evaluated = _inner(row, "policy_evaluated")
    results = _inner(record, "auth_results")
    try:
        source = str(ipaddress.ip_address(_text(row, "source_ip")))
        count = _number(row, "count", _MOST_MESSAGES, 1)
    except ValueError:
        return None
    reason = _inner(evaluated, "reason")
    disposition = _text(evaluated, "disposition").lower()
    senders = [each for each in results.get("spf", ()) if isinstance(each, dict)]
    observation = Observation(
        source,
        disposition if disposition in DISPOSITIONS else "none",  # "pass" in the successor's form
        _text(evaluated, "dkim").lower() == "pass",
        _text(evaluated, "spf").lower() == "pass",
        _text(identifiers, "header_from").lower(),
        _text(identifiers, "envelope_from").lower(),
        _override(_text(reason, "type").lower()),
        _text(reason, "comment"),
        tuple(
            DkimSeen(_text(each, "domain").lower(), _text(each, "selector"), _text(each, "result").lower())
            for each in results.get("dkim", ())
            if isinstance(each, dict)
        ),
        _sender(senders[0]) if senders else None,
    )
    return (observation, count) if count else None


def _override(word: str) -> str:
    """One of the words that there are; what else is written there is "other"."""
    return word if word in ("", *OVERRIDES) else "other"


def _sender(result: Texts) -> SpfSeen:
    scope = "helo" if _text(result, "scope").lower() == "helo" else "mfrom"
    return SpfSeen(_text(result, "domain").lower(), scope, _text(result, "result").lower())


def _inner(texts: Texts, name: str) -> Texts:
    found = texts.get(name)
    return found[0] if found and isinstance(found[0], dict) else {}


def _text(texts: Texts, name: str) -> str:
    found = texts.get(name)
    return found[0] if found and isinstance(found[0], str) else ""


def _policy(texts: Texts, name: str) -> str:
    word = _text(texts, name).lower()
    return word if word in DISPOSITIONS else ""


def _number(texts: Texts, name: str, most: int, default: int | None = None) -> int:
    """Raises ValueError when it is none; for a missing one, unless there is a default."""
    text = _text(texts, name)
    if not text and default is not None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 15 or int(text) > most:
        raise ValueError(f"{name} is not a number that can be")
    return int(text)
