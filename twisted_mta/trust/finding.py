"""What one method found out about a message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Finding:
    """`method` and `result` are keywords of RFC 8601 §2.7; `properties` maps "smtp.mailfrom" and the like to
    what was looked at; `reason` says in a few words why; `seconds` is how long it took."""

    method: str
    result: str
    properties: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0
