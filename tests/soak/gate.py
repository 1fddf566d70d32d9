"""Loads are threads that come by a gate: while it is open they have sessions, and when it closes they end
theirs."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

PATIENCE = 300.0  # seconds without any progress
PAUSE = 0.25  # seconds until a client that was sent away comes back


class Refused(Exception):
    """A temporary no, which any client must expect: 4xx, NO [UNAVAILABLE], -ERR [SYS/TEMP]. The words."""


class Wrong(Exception):
    """An answer that no client must get, whatever the trouble is. The words."""


@dataclass
class Tally:
    """Of one protocol. refused: temporarily; lost: sessions that ended without a goodbye."""

    sessions: int = 0
    operations: int = 0
    refused: int = 0
    lost: int = 0
    answers: Counter[str] = field(default_factory=Counter)  # the refusals, by their first words

    @property
    def tries(self) -> int:
        """Whatever came of them."""
        return self.operations + self.refused + self.lost


class Gate:
    """`tallies` by protocol."""

    def __init__(self) -> None:
        self.news = threading.Condition()
        self.tallies: dict[str, Tally] = {}
        self._open = self._ended = False
        self._inside = 0

    @property
    def is_open(self) -> bool:
        """Whether sessions go on."""
        return self._open

    def enter(self) -> bool:
        """Wait until it is open; False when it never will be again."""
        with self.news:
            self.news.wait_for(lambda: self._open or self._ended)
            self._inside += not self._ended
            return not self._ended

    def leave(self, trouble: bool) -> None:
        """trouble: the next session is not begun at once."""
        with self.news:
            self._inside -= 1
            self.news.notify_all()
            if trouble:
                self.news.wait_for(lambda: not self._open, PAUSE)

    def open(self) -> None:
        with self.news:
            self._open = True
            self.news.notify_all()

    def close(self) -> None:
        """Returns when all sessions have ended."""
        with self.news:
            self._open = False
            self.news.notify_all()
            if not self.news.wait_for(lambda: not self._inside, PATIENCE):
                raise TimeoutError("sessions do not come to their end")

    def end(self) -> None:
        """For good."""
        with self.news:
            self._open, self._ended = False, True
            self.news.notify_all()

    def count(self, protocol: str, what: str, answer: str = "") -> None:
        """what: a field of Tally."""
        with self.news:
            tally = self.tallies[protocol]
            setattr(tally, what, getattr(tally, what) + 1)
            if answer:
                tally.answers[answer[:60]] += 1
            self.news.notify_all()

    def wait_for_tries(self, number: int, seconds: float = 0.0) -> None:
        """Until every protocol has tried so many more things, and that time is over. Raises TimeoutError when
        one does nothing any more."""
        end = time.monotonic() + seconds
        self._wait(lambda tally: tally.tries, number)
        with self.news:
            while (left := end - time.monotonic()) > 0:
                self.news.wait(left)

    def wait_for_operations(self) -> float:
        """Until every protocol has done something again that was not refused. Seconds. Raises TimeoutError
        when one does nothing any more."""
        began = time.monotonic()
        self._wait(lambda tally: tally.operations, 1)
        return time.monotonic() - began

    def _wait(self, count: Callable[[Tally], int], more: int) -> None:
        with self.news:
            end = time.monotonic() + PATIENCE
            aims = {name: count(tally) + more for name, tally in self.tallies.items()}
            while slow := [name for name, aim in aims.items() if count(self.tallies[name]) < aim]:
                if time.monotonic() > end:
                    raise TimeoutError(f"nothing happens any more: {', '.join(slow)}")
                self.news.wait(1.0)


class Load(threading.Thread):
    """Has sessions of its protocol as long as the gate is open."""

    protocol = ""

    def __init__(self, gate: Gate) -> None:
        super().__init__(daemon=True)
        self.gate = gate
        gate.tallies.setdefault(self.protocol, Tally())
        self.errors: list[str] = []  # what must not be

    def run(self) -> None:
        while self.gate.enter():
            trouble = True
            try:
                self.gate.count(self.protocol, "sessions")
                self.session()
                trouble = False
            except Refused as refused:
                self.gate.count(self.protocol, "refused", str(refused))
            except (OSError, EOFError):
                self.gate.count(self.protocol, "lost")
            except Exception as error:
                self.errors.append(f"{self.protocol}: {type(error).__name__}: {error}")
            finally:
                self.gate.leave(trouble)

    def session(self) -> None:
        """Until it is over or the gate is closed. Raises Refused, Wrong, OSError when the server is gone."""
        raise NotImplementedError

    def did(self) -> None:
        """One thing more was answered as it should."""
        self.gate.count(self.protocol, "operations")
