"""A peer as a process in the foreground: begun, waited for until it answers, ended."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.servers import answers, descendants

STARTING = 20.0  # seconds
_TOLD = 300  # characters of what it said


class PeerProcess:
    """Begun as it is made, and there as soon as somebody answers at `port`. What it has to say stands in the
    file `said`. Raises RuntimeError when it does not start."""

    def __init__(self, name: str, port: int, command: Sequence[str], said: Path) -> None:
        self.name = name
        self.port = port
        self.said = said
        self._command = command
        self._start()

    def _start(self) -> None:
        with self.said.open("wb") as said:
            self._process = subprocess.Popen(self._command, stdout=said, stderr=said, umask=0o022)
        deadline = time.monotonic() + STARTING
        while not answers(self.port):
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.stop()
                told = self.said.read_text(errors="replace").strip()[-_TOLD:]
                raise RuntimeError(f"{self.name} did not start: {told}")
            time.sleep(0.05)

    def pids(self) -> list[int]:
        """See Server."""
        return descendants(self._process.pid)

    def restart(self) -> None:
        """See Server."""
        self.stop()
        self._start()

    def stop(self) -> None:
        """See Server."""
        self._process.terminate()
        self._process.wait()
