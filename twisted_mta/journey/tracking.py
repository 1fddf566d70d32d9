"""Where a tracked message is, from its story (MTRK, RFC 3885): for the sender, who knows the secret."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from pathlib import Path

from twisted_mta.journey.database import JourneyReader
from twisted_mta.journey.story import Story, Told, story
from twisted_mta.message.tracking_status import TrackedRecipient, TrackingStatus

_MOST = 10  # messages under one envelope identifier that are answered about, the newest
_REQUESTS = 10_000  # that are looked at: anybody may use the identifier of somebody else

# What a stage means for its recipient (RFC 3886): action, and the status when the event has none.
_TRANSFERRED = ("transferred", "2.4.0")  # the next host can be asked, too
_MEANINGS = {
    "delivered": ("delivered", "2.0.0"),
    "relayed": ("relayed", "2.1.9"),
    "expanded": ("expanded", "2.1.5"),
    "redirected": ("expanded", "2.1.5"),
    "posted": ("delivered", "2.0.0"),  # RFC 3461 §5.2.7.3: a list is where it has arrived
    "discarded": ("delivered", "2.0.0"),  # by the recipient's rules, which are nobody else's business
    "deferred": ("delayed", "4.0.0"),
    "bounced": ("failed", "5.0.0"),
    "expired": ("failed", "5.4.7"),
    "failed": ("failed", "5.0.0"),
    "double-bounce": ("failed", "5.0.0"),
    "removed": ("failed", "5.0.0"),
}


def certifies(certifier: str, secret: bytes) -> bool:
    """Whether the secret is the one behind a certifier, the base64 of its SHA-1 (RFC 3885)."""
    made = base64.b64encode(hashlib.sha1(secret, usedforsecurity=False).digest())
    return hmac.compare_digest(made, certifier.encode("ascii", "replace"))


def track(path: Path, envid: str, secret: bytes, *, reporting_mta: str) -> list[TrackingStatus]:
    """Where the messages of this name are; none for a wrong secret. Blocking. Raises sqlite3.Error."""
    reader = JourneyReader(path)
    try:
        requests = reader.tracked(envid, _REQUESTS)
        messages = [message for certifier, message in requests if certifies(certifier, secret)]
        stories = [story(reader, message, depth=1) for message in messages[:_MOST]]
    finally:
        reader.close()
    return [_status(told, envid, reporting_mta) for told in stories if told is not None]


def _status(told: Story, envid: str, reporting_mta: str) -> TrackingStatus:
    accepted = next((event for event in told.events if event.stage == "accepted"), told.events[0])
    asked_for = list(map(str, accepted.facts.get("to", ())))
    return TrackingStatus(envid, reporting_mta, accepted.time, tuple(_recipients(told, asked_for)))


def _recipients(told: Story, addresses: list[str]) -> Iterator[TrackedRecipient]:
    """Those whom the sender named; of what an alias stands for the sender learns nothing."""
    last: dict[str, Told] = {}
    removed: Told | None = None
    for event in told.events:
        if event.stage == "removed" and "to" not in event.facts:
            removed = event  # whoever was still to get it
        elif event.stage in _MEANINGS:
            last[str(event.facts.get("to", "")).lower()] = event
    for address in addresses:
        latest = last.get(address.lower())
        if removed is not None and (latest is None or latest.stage == "deferred"):
            yield TrackedRecipient(address, "failed", "5.0.0", removed.time)
        elif latest is None:
            yield TrackedRecipient(address, "delayed", "4.0.0")
        else:
            action, status = _MEANINGS[latest.stage]
            if latest.stage != "relayed":
                status = str(latest.facts.get("status", status))
            elif latest.facts.get("tracking"):
                action, status = _TRANSFERRED
            yield TrackedRecipient(address, action, status, latest.time, str(latest.facts.get("host", "")))
