"""The log as programs read it: a JSON object on a line.

    {"time": "2026-01-31T12:00:00.123+01:00", "level": "info", "event": "accepted", "queue_id": "4fK…",
     "facts": {"size": 812, "to": ["bob@b.test"], …}}
    {"time": …, "level": "warning", "source": "twisted_mta.queue", "message": "…", "traceback": "…"}

The first is what the journey tells, the second everything else; "traceback" is there when there is one. All
of it is ASCII: what ends a line to some programs, or means something to a terminal, is in none.
"""

from __future__ import annotations

import json
import re

import msgspec

from twisted_mta.journey.bus import TraceEvent
from twisted_mta.message.shown import shown

MOST_LISTED = 20  # addresses of a fact; the journey keeps all of them
_ZONE = re.compile(r"(?<=[+-]\d\d)(?=\d\d\Z)")


def render(event: TraceEvent) -> str:
    """What follows "level", up to the end of the line."""
    facts = {
        name: _fact(value)
        for name, value in event.facts.items()
        if value != "" and name != "certifier"  # see `journey/log.py`
    }
    about: dict[str, object] = {"event": event.stage}
    if event.queue_id:
        about["queue_id"] = event.queue_id
    return _rest({**about, "facts": facts})


def render_other(source: str, text: str) -> str:
    """The same for what is no event of the journey. `text` has a traceback from its second line on."""
    first, _, more = text.rstrip("\n").partition("\n")
    told: dict[str, object] = {"source": source, "message": _sound(first)}
    return _rest({**told, "traceback": _sound(more)} if more else told)


def begin(when: str, level: str) -> str:
    """What stands in front of it; `when` ends in a zone such as +0100."""
    return f'{{"time":"{_ZONE.sub(":", when)}","level":"{level}",'


def _rest(values: dict[str, object]) -> str:
    text = msgspec.json.encode(values).decode()
    if not text.isascii() or "\x7f" in text:
        text = json.dumps(values, separators=(",", ":")).replace("\x7f", "\\u007f")
    return text[1:]


def _fact(value: object) -> object:
    if isinstance(value, int | float):
        return value
    if isinstance(value, tuple):
        listed = [_sound(str(each)) for each in value[:MOST_LISTED]]
        return listed if len(value) <= MOST_LISTED else [*listed, "…"]
    return _sound(str(value))


def _sound(text: str) -> str:
    """Domains as A-labels; no half characters, which JSON cannot have."""
    return text if text.isascii() else shown(text).encode("utf-8", "backslashreplace").decode()
