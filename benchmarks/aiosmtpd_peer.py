"""aiosmtpd as a process: `aiosmtpd_server.py`."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from process import free_port

from benchmarks import ROOT
from benchmarks.peers import AIOSMTPD
from benchmarks.servers import answers, descendants


class Aiosmtpd:
    """It accepts mail for anybody into one Maildir."""

    name = AIOSMTPD.name

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.maildir = directory / "Maildir/new"
        for name in ("new", "tmp"):
            (directory / "Maildir" / name).mkdir(parents=True)
        self._start()

    def _start(self) -> None:
        program = str(ROOT / "benchmarks/aiosmtpd_server.py")
        self._process = subprocess.Popen([sys.executable, program, str(self.port), str(self.maildir.parent)])
        deadline = time.monotonic() + 20
        while not answers(self.port):
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.stop()
                raise RuntimeError("aiosmtpd did not start")
            time.sleep(0.05)

    def pids(self) -> list[int]:
        return descendants(self._process.pid)

    def restart(self) -> None:
        self.stop()
        self._start()

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait()
