"""A progress bar for commands that take long: one line on standard error, on a terminal only.

(`rich` would bring three more packages for what is said here in a few lines.)
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TextIO

_OFTEN = 0.1  # seconds between two looks of it
_WIDTH = 30  # columns of the bar itself
_SURE = 2.0  # seconds after which the rest of the time can be told


class ProgressBar:
    """How far `label` is: `at` so many of `total`. Nothing is shown unless `stream` is a terminal."""

    def __init__(
        self,
        label: str,
        total: int,
        unit: str,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._shown = self._stream.isatty()
        self._label = label
        self._unit = unit
        self._total = total
        self._done = 0
        self._clock = clock
        self._began = clock()
        self._next = self._began

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def advance(self, count: int) -> None:
        """So many more are done."""
        self.at(self._done + count)

    def at(self, done: int, total: int | None = None) -> None:
        """So many are done; `total` when that has become another number."""
        self._done = done
        self._total = self._total if total is None else total
        now = self._clock()
        if self._shown and now >= self._next:
            self._next = now + _OFTEN
            line = self._line(now - self._began)[: shutil.get_terminal_size().columns - 1]
            self._stream.write(f"\r{line}\x1b[K")
            self._stream.flush()

    def _line(self, seconds: float) -> str:
        share = min(1.0, self._done / self._total) if self._total else 0.0
        full = int(share * _WIDTH)
        bar = "#" * full + "." * (_WIDTH - full)
        left = ""
        if share and seconds > _SURE:
            left = f", {_duration(seconds / share - seconds)} left"
        return f"{self._label} [{bar}] {share:4.0%} {self._done:,}/{self._total:,} {self._unit}{left}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
