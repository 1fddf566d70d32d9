"""The log as a reader of the journey: one readable line an event (`twisted.logger`)."""

from __future__ import annotations

from twisted.logger import Logger

from twisted_mta.journey.bus import TraceEvent


def printable(value: object) -> str:
    """A fact as it may stand in a log line: what is no printable character escaped, quoted where it has
    spaces or quotes."""
    text = _some(value) if isinstance(value, tuple) else str(value)
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
    facts = "".join(
        f" {name}={printable(value)}"
        for name, value in event.facts.items()
        if value != "" and name != "certifier"  # what proves who may track a message is the store's alone
    )
    return f"{event.queue_id or '-'}: {event.stage}{facts}"


UNLOGGED = frozenset({"trying"})  # what comes of it has a line of its own
NAMESPACE = "twisted_mta.journey"


class LogReader:
    """Writes each event to the log at level info, under NAMESPACE, as `line`; `trace` is the event."""

    def __init__(self, log: Logger | None = None) -> None:
        self._log = log or Logger(NAMESPACE)  # an attribute of the class would be made anew at every event

    def __call__(self, event: TraceEvent) -> None:
        if event.stage in UNLOGGED:
            return
        self._log.info("{line}", line=render(event), trace=event)
