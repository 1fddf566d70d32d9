"""The log as people read it: `2026-01-31T12:00:00.123+0100 INFO 4fK…: queued size=812`, one line an event.

Twisted's own announcements (ports, factories) are left out, as the server says `ready` with what listens
where; its warnings and errors stay. What an exception adds stands on indented lines below its event.

What the journey tells is a line or more for each message. Those of a moment leave in one write: each write
costs more than the command that it tells of, and lets another thread have the interpreter.
"""

from __future__ import annotations

import atexit
import sys
import time
from collections import deque
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TextIO

from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, LogLevel, eventAsText
from twisted.python.logfile import LogFile
from zope.interface import implementer

from twisted_mta.journey import log as journey

MOMENT = 0.02  # seconds that a line of the journey may wait for others

_LEVELS = {
    LogLevel.info: "INFO",
    LogLevel.warn: "WARNING",
    LogLevel.error: "ERROR",
    LogLevel.critical: "CRITICAL",
}
_UNPRINTABLE = {code: f"\\x{code:02x}" for code in (*range(10), *range(11, 32), *range(127, 160))}


def line_of(event: LogEvent) -> str | None:
    """The line with its line end; None for what is not worth one."""
    level = event.get("log_level", LogLevel.info)
    namespace = str(event.get("log_namespace", ""))
    if level is LogLevel.debug or (level is LogLevel.info and not namespace.startswith("twisted_mta")):
        return None
    when = _timestamp(event.get("log_time", time.time()))
    if namespace == journey.NAMESPACE:
        return f"{when} INFO {event['line']}\n"  # printable and complete as it is
    text = eventAsText(event, includeTimestamp=False, includeSystem=False).translate(_UNPRINTABLE)
    first, *more = text.rstrip("\n").split("\n")
    below = "".join(f"\n    {line}" for line in more)
    return f"{when} {_LEVELS.get(level, 'INFO')} -: {first}{below}\n"


def _timestamp(seconds: float) -> str:
    date, zone = _date(int(seconds))
    return f"{date}.{int(seconds % 1 * 1000):03d}{zone}"


@lru_cache(maxsize=1)
def _date(second: int) -> tuple[str, str]:
    now = time.localtime(second)
    return time.strftime("%Y-%m-%dT%H:%M:%S", now), time.strftime("%z", now)


@implementer(ILogObserver)
class LineObserver:
    """Writes lines to `file`: what the journey tells within a MOMENT, all else at once. The journey speaks in
    the reactor's thread only, the others in any."""

    def __init__(self, file: TextIO, reactor: IReactorTime) -> None:
        self._file = file
        self._reactor = reactor
        self._waiting: deque[str] = deque()
        self._due = False
        atexit.register(self.flush)

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver."""
        line = line_of(event)
        if line is None:
            return
        self._waiting.append(line)
        if event.get("log_namespace") != journey.NAMESPACE:
            self.flush()
        elif not self._due:
            self._due = True
            self._reactor.callLater(MOMENT, self._end_of_moment)

    def _end_of_moment(self) -> None:
        self._due = False
        self.flush()

    def flush(self) -> None:
        """Write what waits."""
        lines = []
        with suppress(IndexError):  # none is left; another thread may be writing, too
            while True:
                lines.append(self._waiting.popleft())
        if lines:
            self._file.write("".join(lines))
            self._file.flush()


def observer(options: dict[str, Any], reactor: Any) -> ILogObserver | None:
    """For twistd's options; None when they ask for another kind of log (syslog, an observer of their own)."""
    if options.get("logger") or options.get("syslog"):
        return None
    name = options.get("logfile")
    to_stdout = name == "-" if name else options.get("nodaemon")
    file: TextIO = (
        sys.stdout if to_stdout else LogFile.fromFullPath(str(Path(name or "twistd.log").absolute()))
    )
    found = LineObserver(file, reactor)
    # twistd ends by the signal that stopped it, and nothing is done at the exit then.
    reactor.addSystemEventTrigger("after", "shutdown", found.flush)
    return found
