"""The log as people read it: `2026-01-31T12:00:00.123+0100 INFO 4fK…: queued size=812`, one line an event.

Twisted's own announcements (ports, factories) are left out, as the server says `ready` with what listens
where; its warnings and errors stay. What an exception adds stands on indented lines below its event.

What the journey tells is a line or more for each message. Those of a moment leave in one write: each write
costs more than the command that it tells of, and lets another thread have the interpreter.

Lines may be JSON instead (`log_json.py`). A log file is opened anew at SIGUSR1, for programs that move it
away.
"""

from __future__ import annotations

import atexit
import os
import signal
import stat
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import RLock
from typing import Any, TextIO

from twisted.internet.interfaces import IReactorTime
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, eventAsText
from zope.interface import implementer

from twisted_mta.journey import log as journey
from twisted_mta.journey.bus import TraceEvent
from twisted_mta.service import log_json

_log = Logger(namespace="twisted_mta.service")

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
    namespace = str(event.get("log_namespace", ""))
    if namespace == journey.NAMESPACE:
        return f"{_timestamp(event['log_time'])} INFO {event['line']}\n"  # printable and complete as it is
    level = event.get("log_level", LogLevel.info)
    if level is LogLevel.debug or (level is LogLevel.info and not namespace.startswith("twisted_mta")):
        return None
    when = _timestamp(event.get("log_time", time.time()))
    text = eventAsText(event, includeTimestamp=False, includeSystem=False).translate(_UNPRINTABLE)
    first, *more = text.rstrip("\n").split("\n")
    below = "".join(f"\n    {line}" for line in more)
    return f"{when} {_LEVELS.get(level, 'INFO')} -: {first}{below}\n"


def json_line_of(event: LogEvent) -> str | None:
    """The same as JSON; the journey's reader has rendered its events with `log_json.render`."""
    namespace = str(event.get("log_namespace", ""))
    if namespace == journey.NAMESPACE:
        return f"{log_json.begin(_timestamp(event['log_time']), 'info')}{event['line']}\n"
    level = event.get("log_level", LogLevel.info)
    if level is LogLevel.debug or (level is LogLevel.info and not namespace.startswith("twisted_mta")):
        return None
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    begun = log_json.begin(_timestamp(event.get("log_time", time.time())), _LEVELS.get(level, "INFO").lower())
    return f"{begun}{log_json.render_other(namespace, text)}\n"


# What the journey's reader makes of an event (`LogReader`), and what becomes a line, by the log's format.
RENDERERS: dict[str, Callable[[TraceEvent], str]] = {"text": journey.render, "json": log_json.render}
_LINES: dict[str, Callable[[LogEvent], str | None]] = {"text": line_of, "json": json_line_of}


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
    the reactor's thread only, the others in any. `path`: where the file is, when it may be moved away."""

    def __init__(
        self, file: TextIO, reactor: IReactorTime, *, format: str = "text", path: Path | None = None
    ) -> None:
        self._file = file
        self._path = path
        self._line_of = _LINES[format]
        self._reactor = reactor
        self._waiting: deque[str] = deque()
        self._due = False
        self._writing = RLock()  # in any thread; the collector may have something to tell meanwhile
        atexit.register(self.flush)

    def __call__(self, event: LogEvent) -> None:
        """See ILogObserver."""
        line = self._line_of(event)
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
            with self._writing:
                self._file.write("".join(lines))
                self._file.flush()

    def reopen(self) -> None:
        """Go on in a new file, when the one there was has been moved away; whoever could read that can read
        this. One that cannot be opened is no reason to lose the old one: that is written to as before."""
        self.flush()
        if self._path is None:
            return
        made = not self._path.exists()
        try:
            file = _open(self._path)
            if made:
                os.fchmod(file.fileno(), stat.S_IMODE(os.fstat(self._file.fileno()).st_mode))
        except OSError as error:
            _log.error("the log cannot be opened anew: {path}: {why}", path=self._path, why=error.strerror)
            return
        with self._writing:
            before, self._file = self._file, file
        before.close()


def observer(options: dict[str, Any], reactor: Any, format: str = "text") -> ILogObserver | None:
    """For twistd's options; None when they ask for another kind of log (syslog, an observer of their own)."""
    if options.get("logger") or options.get("syslog"):
        return None
    name = options.get("logfile")
    to_stdout = name == "-" if name else options.get("nodaemon")
    path = None if to_stdout else Path(name or "twistd.log").absolute()
    found = LineObserver(sys.stdout if path is None else _open(path), reactor, format=format, path=path)
    # twistd ends by the signal that stopped it, and nothing is done at the exit then.
    reactor.addSystemEventTrigger("after", "shutdown", found.flush)
    # Without a file there is nothing to do, but the signal would end the process.
    signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(found.reopen))
    return found


def _open(path: Path) -> TextIO:
    return path.open("a", encoding="utf-8", errors="backslashreplace")
