"""The log as a reader of the journey: one readable line an event (`twisted.logger`)."""

from __future__ import annotations

import time
from collections.abc import Callable

from twisted.logger import Logger, LogLevel

from twisted_mta.journey.bus import TraceEvent
from twisted_mta.message.shown import shown


def printable(value: object) -> str:
    """A fact as it may stand in a log line: what is no printable character escaped, quoted where it has
    spaces or quotes; domains as A-labels."""
    text = _some(value) if isinstance(value, tuple) else str(value)
    if not text.isascii():
        text = shown(text)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    if " " in text or '"' in text:
        escaped = text.replace('"', '\\"')
        return f'"{escaped}"'
    return text


def _some(values: tuple[object, ...]) -> str:
    """The first three; the store keeps all of them."""
    return ",".join(map(str, values[:3])) + (",…" if len(values) > 3 else "")


def render(event: TraceEvent) -> str:
    """`queue_id: stage name=value …`, or `-: stage …` for what concerns no message."""
    line = f"{event.queue_id or '-'}: {event.stage}"
    for name, value in event.facts.items():
        if value != "" and name != "certifier":  # what proves who may track a message is the store's alone
            line += f" {name}={value if type(value) is int else printable(value)}"
    return line


UNLOGGED = frozenset({"trying"})  # what comes of it has a line of its own
NAMESPACE = "twisted_mta.journey"


class LogReader:
    """Writes each event to the log at level info, under NAMESPACE, as `line`, which `render` makes of it;
    `trace` is the event."""

    def __init__(self, log: Logger | None = None, *, render: Callable[[TraceEvent], str] = render) -> None:
        self._render = render
        self._log = log or Logger(NAMESPACE)  # an attribute of the class would be made anew at every event

    def __call__(self, event: TraceEvent) -> None:
        if event.stage in UNLOGGED:
            return
        self._log.observer(  # what Logger.info does, in a third of the time
            {
                "log_logger": self._log,
                "log_level": LogLevel.info,
                "log_namespace": self._log.namespace,
                "log_source": None,
                "log_format": "{line}",
                "log_time": time.time(),
                "line": self._render(event),
                "trace": event,
            }
        )
