"""What the journey's events add up to: the story of a message, with those of its children (reports about it).

Read from the database that `store.py` writes, by any process, while it is written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twisted_mta.journey.database import Event, JourneyReader

MOST_EVENTS = 10_000  # of one message that are read
_PARENTS = ("about", "parent")  # facts with the queue id of the message that this one came of,
_CHILDREN = ("report", "child")  # and of those that came of it
_DEPTH = 3  # generations; a report has no report, so a message and its reports are two


@dataclass(frozen=True, slots=True)
class Told:
    """An event as it was told. `time` is in seconds since the epoch; facts that were not known are
    missing."""

    time: float
    stage: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Story:
    """All that is known of a message, oldest first. `parent`: the queue id of the message that this one is
    about, or "". `children`: the stories of those that came of it."""

    queue_id: str
    events: tuple[Told, ...]
    parent: str = ""
    children: tuple[Story, ...] = ()


def story(reader: JourneyReader, queue_id: str, depth: int = _DEPTH) -> Story | None:
    """The story of a message; None when nothing of it is known. Raises sqlite3.Error."""
    events = tuple(map(_told, reader.events(queue_id, MOST_EVENTS)))
    if not events:
        return None
    parents = _named(events, _PARENTS)
    children = _named(events, _CHILDREN)
    stories = (story(reader, child, depth - 1) for child in children) if depth > 1 else ()
    return Story(
        queue_id,
        events,
        parents[0] if parents else "",
        tuple(child for child in stories if child is not None),
    )


def _named(events: Iterable[Told], names: Sequence[str]) -> list[str]:
    """The queue ids that these facts hold, each once."""
    return list(
        dict.fromkeys(str(event.facts[name]) for event in events for name in names if name in event.facts)
    )


def stories_of(reader: JourneyReader, handle: str, since: float, limit: int) -> Iterator[Story]:
    """The newest `limit` messages that are found by an address or a Message-ID, newest first; a refusal
    that came before there was a message is a story without a queue id. Raises sqlite3.Error."""
    seen: set[str] = set()
    for event in reader.found_by(handle.lower(), since, limit):
        if not event.message:
            yield Story("", (_told(event),))
        elif event.message not in seen:
            seen.add(event.message)
            found = story(reader, event.message)
            if found is not None:
                yield found


def _told(event: Event) -> Told:
    return Told(event.time, event.stage, json.loads(event.facts))
