"""One bus of trace events: sessions, queue, delivery and access tell it what happened.

An event is a stage (a short word such as `accepted`, `relayed`, `bounced`, `login`), the queue id where there
is one, and a few printable facts. Never credentials, never content. Readers are plain callables: the log
(`log.py`) and the store that `mta trace` asks (`store.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple


class TraceEvent(NamedTuple):
    """`stage` names what happened; `queue_id` is "" for what concerns no message; `facts` are in order. A
    fact is a string, a number, an address, or a tuple of addresses; "" is a fact that is not known."""

    stage: str
    queue_id: str = ""
    facts: Mapping[str, object] = {}


class Journey:
    """Hands each event to every reader, in the reactor thread, in order."""

    def __init__(self) -> None:
        self._readers: list[Callable[[TraceEvent], None]] = []

    def add_reader(self, reader: Callable[[TraceEvent], None]) -> None:
        """`reader` is called with every event from now on; it must be quick and must not raise."""
        self._readers.append(reader)

    def tell(self, stage: str, queue_id: str = "", **facts: object) -> None:
        """Something happened."""
        event = TraceEvent(stage, queue_id, facts)
        for reader in self._readers:
            reader(event)
