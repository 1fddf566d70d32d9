"""`mta trace …`: what became of a message, told from the journey, whether the server runs or not."""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from twisted_mta.journey.database import JourneyReader
from twisted_mta.journey.store import DATABASE
from twisted_mta.journey.story import Story, stories_of, story
from twisted_mta.journey.words import lines
from twisted_mta.queue.ids import decode
from twisted_mta.service import data_dir
from twisted_mta.service.commands.refused import Misused, Refused
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.quantities import Duration

_LIMIT = 20  # messages of an address
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def add_command(trace: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta trace`."""
    trace.add_argument(
        "what", metavar="ID|ADDRESS|MESSAGE-ID", help="a queue id, or what messages are found by"
    )
    trace.add_argument("--since", metavar="WHEN", help='a time such as "2h", "3d", or "2027-01-15 08:00"')
    trace.add_argument(
        "--limit", type=int, default=_LIMIT, help=f"the newest messages of an address, {_LIMIT} unless told"
    )
    trace.add_argument("--json", action="store_true")
    trace.set_defaults(command=trace_message)


def trace_message(config: Config, options: argparse.Namespace) -> None:
    """`trace WHAT`"""
    data_dir.enter(Path(config.data_dir))
    path = Path(config.data_dir) / DATABASE
    since = _since(options.since) if options.since else 0.0
    try:
        if not path.exists():
            raise Refused(
                "nothing has been recorded yet; the server does that, see [journey] in the configuration"
            )
        reader = JourneyReader(path)
        try:
            found = _find(reader, options.what, since, options.limit)
        finally:
            reader.close()
    except sqlite3.Error as error:
        raise Refused(f"the journey of messages cannot be read: {error}") from error
    if not found:
        raise Refused(f"nothing is known of {options.what}; perhaps it was longer ago than `journey.keep`")
    if options.json:
        print(json.dumps([_plain(each) for each in found]))
    else:
        print("\n\n".join("\n".join(lines(each)) for each in found))


def _find(reader: JourneyReader, what: str, since: float, limit: int) -> list[Story]:
    """One message, or those of an address, oldest first."""
    if "@" not in what:
        try:
            decode(what)
        except ValueError:
            raise Refused(f"{what} is neither a queue id, an address nor a Message-ID") from None
        found = story(reader, what.upper())
        return [] if found is None else [found]
    return list(stories_of(reader, what, since, max(1, limit)))[::-1]


def _since(text: str) -> float:
    try:
        if _DATE.match(text):
            return datetime.fromisoformat(text).timestamp()
        return time.time() - Duration.read(text)
    except ValueError as error:
        raise Misused(
            f'--since: expected a time such as "2h", "3d" or "2027-01-15 08:00", found {text!r}'
        ) from error


def _plain(told: Story) -> dict[str, Any]:
    return {
        "queue_id": told.queue_id,
        "parent": told.parent,
        "events": [{"time": event.time, "stage": event.stage, **event.facts} for event in told.events],
        "children": [_plain(child) for child in told.children],
    }
