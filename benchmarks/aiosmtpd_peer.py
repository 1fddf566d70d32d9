"""aiosmtpd as a process: `aiosmtpd_server.py`."""

from __future__ import annotations

import sys
from pathlib import Path

from process import free_port

from benchmarks import ROOT
from benchmarks.peer_process import PeerProcess
from benchmarks.peers import AIOSMTPD


class Aiosmtpd(PeerProcess):
    """It accepts mail for anybody into one Maildir."""

    def __init__(self, directory: Path) -> None:
        self.maildir = directory / "Maildir/new"
        for name in ("new", "tmp"):
            (directory / "Maildir" / name).mkdir(parents=True)
        program, port = str(ROOT / "benchmarks/aiosmtpd_server.py"), free_port()
        command = [sys.executable, program, str(port), str(self.maildir.parent)]
        super().__init__(AIOSMTPD.name, port, command, directory / "said")
