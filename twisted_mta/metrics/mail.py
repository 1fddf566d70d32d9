"""What becomes of mail and of logins, counted from what the journey is told anyhow.

A label is a word of ours, or of a short list of words that others may say; whatever else is there, an
address, a host, a reason, the journey itself keeps. The findings about a message are told as sentences; of
these only the method and the result are read, and nothing but the results of RFC 8601 counts as one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from twisted_mta.journey.bus import TraceEvent
from twisted_mta.metrics.counts import OTHER, WAITS, Counts, Histogram
from twisted_mta.metrics.exposition import Family, Labels, counter, histogram

MOST_FOLLOWED = 10_000  # messages on their way whose time is taken
# What an attempt comes to for a recipient, by stage.
_OUTCOMES = frozenset(
    {
        *("delivered", "relayed", "expanded", "redirected", "discarded", "posted", "left"),
        *("deferred", "bounced", "expired", "failed", "double-bounce"),
    }
)
_RESULTS = "pass|fail|softfail|neutral|none|policy|temperror|permerror"  # RFC 8601 §2.7
_FOUND = re.compile(rf"(?:\A|; )(arc|dkim|dmarc|iprev|spf)=({_RESULTS})\b")
_SAID = re.compile(r"(?:\A|; )([A-Za-z0-9_.-]{1,40}): (allow|accept|junk|defer|reject)\b")
_CODE = re.compile(r"[245]\d\d\b")
_TLS_VERSIONS = ("TLSv1.3", "TLSv1.2", "none")  # those that there are
_TLS = re.compile(r"(TLSv1(?:\.\d)?)(?: |\Z)")


class MailCounts:
    """A reader of the journey. checks: the names of those that say what is to become of a message; seconds: a
    clock that only goes forward."""

    def __init__(self, checks: Collection[str] = (), *, seconds: Callable[[], float] = monotonic) -> None:
        self._names = frozenset(checks)
        self._seconds = seconds
        self._stages: Counts[str] = Counts()
        self._received, self._submitted = _Accepted(), _Accepted()
        self._incoming_tls: Counts[str] = Counts()  # by the whole description, as the next
        self._outgoing_tls: Counts[str] = Counts()
        self._refused: Counts[str] = Counts()
        self._junk = 0
        self._findings: Counts[tuple[str, str]] = Counts()
        self._checks: Counts[tuple[str, str]] = Counts()
        self._hosts: Counts[str] = Counts()
        self._logins: Counts[str] = Counts()
        self._failed_logins: Counts[str] = Counts()
        self._transit = Histogram(WAITS)
        self._followed: dict[str, float] = {}  # by queue id, since when
        self._closer: dict[str, Callable[[str, Mapping[str, Any]], None]] = {
            "accepted": self._count_accepted,
            "done": self._count_done,
            "delivered": self._count_delivered,
            "relayed": self._count_relayed,
            "refused": self._count_refused,
            "judged": self._count_judged,
            "host-failed": self._count_host,
            "login": self._count_login,
            "login-failed": self._count_failed_login,
        }

    def __call__(self, event: TraceEvent) -> None:
        """Count it."""
        stage, queue_id, facts = event
        stages = self._stages.by
        if stage in stages:  # as nearly always
            stages[stage] += 1
        else:
            self._stages.add(stage)
        closer = self._closer.get(stage)
        if closer is not None:
            closer(queue_id, facts)

    # One stage each

    def _count_accepted(self, queue_id: str, facts: Mapping[str, Any]) -> None:
        accepted = self._submitted if facts.get("account") else self._received
        accepted.messages += 1
        accepted.octets += facts.get("size", 0)
        accepted.recipients += facts.get("recipients", 1)
        if (tls := facts.get("tls")) is not None:  # otherwise it is sent from a mailbox here
            self._incoming_tls.add(tls)
        if len(self._followed) < MOST_FOLLOWED:
            self._followed[queue_id] = self._seconds()

    def _count_done(self, queue_id: str, facts: Mapping[str, Any]) -> None:
        began = self._followed.pop(queue_id, None)
        if began is not None:
            self._transit.observe(self._seconds() - began)

    def _count_delivered(self, queue_id: str, facts: Mapping[str, Any]) -> None:
        self._junk += bool(facts.get("junk"))

    def _count_relayed(self, queue_id: str, facts: Mapping[str, Any]) -> None:
        self._outgoing_tls.add(facts.get("tls", ""))

    def _count_refused(self, queue_id: str, facts: Mapping[str, Any]) -> None:
        found = _CODE.match(facts.get("reply", ""))
        self._refused.add(found[0] if found else OTHER)

    def _count_judged(self, queue_id: str, facts: Mapping[str, Any]) -> None:
        findings = facts.get("findings", "")
        for finding in _FOUND.findall(findings):
            self._findings.add(finding)
        for name, action in _SAID.findall(findings):
            self._checks.add((name if name in self._names else OTHER, action))

    def _count_host(self, queue_id: str, facts: Mapping[str, Any]) -> None:
        self._hosts.add(facts.get("at", OTHER))

    def _count_login(self, queue_id: str, facts: Mapping[str, Any]) -> None:
        self._logins.add(facts.get("service", OTHER))

    def _count_failed_login(self, queue_id: str, facts: Mapping[str, Any]) -> None:
        self._failed_logins.add(facts.get("service", OTHER))

    # Read

    def families(self) -> list[Family]:
        """All of it."""
        stages = self._stages.by
        outcomes: dict[Labels, int | float] = {
            (("outcome", stage),): stages.get(stage, 0) for stage in sorted(_OUTCOMES)
        }
        return [
            *self._accepted(),
            _by_tls("mta_accepted_tls_total", "Messages taken, by how they came.", self._incoming_tls),
            _by("mta_refusals_total", "Refusals of mail, by the code that was said.", "code", self._refused),
            counter("mta_outcomes_total", "What attempts came to, for each recipient.", outcomes),
            counter("mta_junk_delivered_total", "Messages filed as junk.", {(): self._junk}),
            _by_tls("mta_relayed_tls_total", "Recipients passed on, by how.", self._outgoing_tls),
            _by("mta_hosts_failed_total", "Other servers that could not be used.", "at", self._hosts),
            counter(
                "mta_trust_findings_total",
                "What SPF, DKIM, DMARC, ARC and the reverse DNS found, for each message or signature.",
                _pairs("method", "result", self._findings),
            ),
            counter(
                "mta_trust_checks_total",
                "What filters, lists and the other checks said.",
                _pairs("check", "action", self._checks),
            ),
            _by("mta_logins_total", "Logins.", "service", self._logins),
            _by("mta_login_failures_total", "Failed logins.", "service", self._failed_logins),
            counter(
                "mta_bans_total",
                "Addresses shut out, and logins locked, for guessing passwords.",
                {(("kind", kind),): stages.get(stage, 0) for stage, kind in _BANS.items()},
            ),
            histogram(
                "mta_transit_seconds",
                "From a message's acceptance until nothing more is to be done for it.",
                self._transit,
            ),
            _by("mta_journey_events_total", "Everything the journey is told.", "stage", self._stages),
        ]

    def _accepted(self) -> list[Family]:
        both = {(("by", "reception"),): self._received, (("by", "submission"),): self._submitted}
        return [
            counter(name, help, {labels: getattr(each, what) for labels, each in both.items()})
            for name, help, what in (
                ("mta_messages_accepted_total", "Messages taken into the queue.", "messages"),
                ("mta_message_octets_total", "Octets of them.", "octets"),
                ("mta_message_recipients_total", "Recipients of them.", "recipients"),
            )
        ]


@dataclass(slots=True)
class _Accepted:
    messages: int = 0
    octets: int = 0
    recipients: int = 0


_BANS = {"banned": "address", "locked": "login"}


def _by_tls(name: str, help: str, counts: Counts[str]) -> Family:
    """By version alone."""
    values: Counts[str] = Counts()
    values.by = dict.fromkeys(_TLS_VERSIONS, 0)
    for description, value in [*counts.by.items(), *([("?", counts.rest)] if counts.rest else [])]:
        values.add(_tls(description), value)
    return _by(name, help, "tls", values)


def _tls(description: str) -> str:
    if not description:
        return "none"
    found = _TLS.match(description)
    return found[1] if found else OTHER


def _by(name: str, help: str, label: str, counts: Counts[str]) -> Family:
    values: dict[Labels, int | float] = {((label, key),): value for key, value in list(counts.by.items())}
    if counts.rest:
        values[((label, OTHER),)] = counts.rest + values.get(((label, OTHER),), 0)
    return counter(name, help, values)


def _pairs(first: str, second: str, counts: Counts[tuple[str, str]]) -> dict[Labels, int | float]:
    values: dict[Labels, int | float] = {
        ((first, one), (second, other)): value for (one, other), value in list(counts.by.items())
    }
    if counts.rest:
        values[((first, OTHER), (second, OTHER))] = counts.rest
    return values
