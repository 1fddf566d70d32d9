"""What the reports of others come to, for whoever looks after a domain: who sends in its name, what of it is
proved, what is not and why, and what can be done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from twisted_mta.trust.dmarc.reports.aggregate import Observation, Published
from twisted_mta.trust.dmarc.reports.database import StoredReport

MOST_SOURCES = 5  # in a line

# By kind, in the order in which they are told: what was seen, and what can be done. `by`: who answers for it.
WORDS = {
    "both": "proved by DKIM and SPF: all is well",
    "dkim": (
        "proved by DKIM alone: forwarded on the way, and then all is well; or from a server of yours that "
        "your SPF record does not name"
    ),
    "spf": (
        "proved by SPF alone: not signed as {domain}; set up DKIM there, or it will fail as soon as somebody "
        "forwards it"
    ),
    "broken": (
        "signed as {by}, but the signature was not right: changed on the way, as by a mailing list, or the "
        "key is not in the DNS"
    ),
    "stranger": (
        "sent by {by}, which answers for it in its own name alone: if you use that service, let it sign as "
        "{domain}; if not, it uses your name"
    ),
    "nobody": (
        "nobody answers for it: somebody else uses your name, or a machine of yours neither signs nor is in "
        "your SPF record"
    ),
}
PROVED = frozenset(("both", "dkim", "spf"))


@dataclass
class Summary:
    """Of one domain. `unproved`: reports of which nobody knows who sent them. `kinds`: by kind and who
    answers, the messages of each source. `dispositions`: what was done with those that are not proved."""

    domain: str
    reports: int = 0
    unproved: int = 0
    begins: int = 0
    ends: int = 0
    newest: Published | None = None
    by: Counter[str] = field(default_factory=Counter)
    kinds: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    dispositions: Counter[str] = field(default_factory=Counter)

    @property
    def proved(self) -> int:
        """Messages."""
        return sum(sources.total() for (kind, _), sources in self.kinds.items() if kind in PROVED)

    @property
    def messages(self) -> int:
        """All of them."""
        return sum(sources.total() for sources in self.kinds.values())

    def add(self, stored: StoredReport) -> None:
        """One more."""
        report = stored.report
        self.reports += 1
        self.unproved += not stored.sender
        self.begins = min(self.begins or report.begins, report.begins)
        if report.ends >= self.ends:
            self.ends, self.newest = report.ends, report.published
        for seen, count in report.rows:
            self.by[report.organization] += count
            self.kinds.setdefault(kind_of(seen, self.domain), Counter())[seen.source] += count
            if not seen.passed:
                self.dispositions[seen.disposition] += count

    def told(self) -> list[tuple[str, str, Counter[str]]]:
        """(kind, in plain words, messages by source), in the order of WORDS, most messages first."""
        order = list(WORDS)
        found = sorted(self.kinds.items(), key=lambda item: (order.index(item[0][0]), -item[1].total()))
        return [
            (kind, WORDS[kind].format(domain=self.domain, by=by), sources) for (kind, by), sources in found
        ]

    def advice(self) -> str:
        """What to do next, "" for nothing."""
        policy = self.newest.p if self.newest is not None else "none"
        failed = self.messages - self.proved
        harmed = self.dispositions["quarantine"] + self.dispositions["reject"]
        if policy == "none" and not failed:
            return "Everything was proved: p=quarantine can be published, and p=reject some weeks later."
        if policy == "none":
            return "When nothing of what is not proved is yours: publish p=quarantine, and p=reject later."
        if harmed:
            return f"Your policy is followed: {harmed} of {failed} not proved were put aside or refused."
        return ""

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "domain": self.domain,
            "reports": self.reports,
            "reports_of_unproved_senders": self.unproved,
            "begins": self.begins,
            "ends": self.ends,
            "policy": self.newest.p if self.newest is not None else None,
            "messages": self.messages,
            "proved": self.proved,
            "dispositions_of_failed": dict(self.dispositions),
            "reporters": dict(self.by.most_common()),
            "kinds": [
                {"kind": kind, "by": by, "messages": sources.total(), "sources": dict(sources.most_common())}
                for (kind, by), sources in self.kinds.items()
            ],
            "advice": self.advice(),
        }


def summaries(reports: Iterable[StoredReport]) -> list[Summary]:
    """By domain, in alphabetical order."""
    found: dict[str, Summary] = {}
    for stored in reports:
        domain = stored.report.published.domain
        found.setdefault(domain, Summary(domain)).add(stored)
    return [found[domain] for domain in sorted(found)]


def kind_of(seen: Observation, domain: str) -> tuple[str, str]:
    """A key of WORDS, and who answers for such mail, "" for nobody or for the domain itself."""
    if seen.passed:
        return "both" if seen.dkim and seen.spf else "dkim" if seen.dkim else "spf", ""
    for signature in seen.signatures:
        if signature.result != "pass" and _is_of(signature.domain, domain):
            return "broken", f"{signature.domain} ({signature.selector}._domainkey)"
    for signature in seen.signatures:
        if signature.result == "pass":
            return "stranger", signature.domain
    if seen.sender is not None and seen.sender.result == "pass":
        return "stranger", seen.sender.domain
    return "nobody", ""


def _is_of(name: str, domain: str) -> bool:
    return name == domain or name.endswith(f".{domain}")
