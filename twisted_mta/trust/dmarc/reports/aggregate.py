"""An aggregate report as values: ours and those of others are the same (RFC 7489 §7.2, appendix C)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Self

DISPOSITIONS = ("none", "quarantine", "reject")
OVERRIDES = ("forwarded", "sampled_out", "trusted_forwarder", "mailing_list", "local_policy", "other")


@dataclass(frozen=True, slots=True)
class Published:
    """The policy of a domain as it stood in the DNS. `adkim`, `aspf`: "r" or "s". `p`, `sp`, `np`: none,
    quarantine or reject, for the domain and for those below it that exist or do not; the last two may be ""
    in the reports of others. `percent` is `pct`, `testing` the `t` of its successor; `fo`
    is about reports of single failures."""

    domain: str
    p: str = "none"
    sp: str = ""
    np: str = ""
    adkim: str = "r"
    aspf: str = "r"
    percent: int = 100
    testing: bool = False
    fo: str = "0"


@dataclass(frozen=True, slots=True)
class DkimSeen:
    """One signature; `result` as in RFC 8601 §2.7.1."""

    domain: str
    selector: str
    result: str


@dataclass(frozen=True, slots=True)
class SpfSeen:
    """`scope`: "mfrom" or "helo"; `result` as in RFC 8601 §2.7.2."""

    domain: str
    scope: str
    result: str


@dataclass(frozen=True, slots=True)
class Observation:
    """What was alike of some messages. `source`: the client's IP address. `disposition`: what was done.
    `dkim`, `spf`: whether one of them passed and is aligned. `override`: why something else was done than the
    policy says, "" for it was done, and `comment` a few words to it. `header_from` and `envelope_from` are
    domains, the latter "" for the null path."""

    source: str
    disposition: str
    dkim: bool
    spf: bool
    header_from: str
    envelope_from: str = ""
    override: str = ""
    comment: str = ""
    signatures: tuple[DkimSeen, ...] = ()
    sender: SpfSeen | None = None

    @property
    def passed(self) -> bool:
        """Whether the message was proved to be its author's domain's own."""
        return self.dkim or self.spf

    def to_json(self) -> str:
        """One text for one observation."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse."""
        values: dict[str, Any] = json.loads(text)
        signatures = tuple(DkimSeen(**each) for each in values.pop("signatures"))
        sender = values.pop("sender")
        return cls(**values, signatures=signatures, sender=sender and SpfSeen(**sender))


@dataclass(frozen=True, slots=True)
class AggregateReport:
    """Of one receiver, `organization`, on one domain. `contact`: for questions. `begins`, `ends`: seconds
    since the epoch, both included. `rows`: observations with their numbers of messages."""

    organization: str
    contact: str
    identity: str
    begins: int
    ends: int
    published: Published
    rows: tuple[tuple[Observation, int], ...]

    @property
    def messages(self) -> int:
        """All of them."""
        return sum(count for _, count in self.rows)
