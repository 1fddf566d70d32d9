"""aiosmtpd with the least handler that keeps mail as durably as we do: a file, synced, renamed into a
Maildir, and the directory synced, before the 250. aiosmtpd's own `Mailbox` handler does less and takes
longer, since it parses.

    python benchmarks/aiosmtpd_server.py PORT MAILDIR
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from pathlib import Path
from typing import Any

from aiosmtpd.smtp import SMTP


class Keeping:
    """The handler. The disk is waited for in threads, so that sessions do not wait for one another."""

    def __init__(self, maildir: Path) -> None:
        self._maildir = maildir
        self._numbers = itertools.count()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        await asyncio.to_thread(self._keep, envelope.content)
        return "250 2.0.0 kept"

    def _keep(self, content: bytes) -> None:
        name = f"{time.time_ns()}.{next(self._numbers)}"
        place = os.open(self._maildir / "tmp" / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(place, content)
            os.fsync(place)
        finally:
            os.close(place)
        os.rename(self._maildir / "tmp" / name, self._maildir / "new" / name)
        directory = os.open(self._maildir / "new", os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


async def serve(port: int, maildir: Path) -> None:
    """Until it is killed."""
    handler = Keeping(maildir)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(handler, hostname="ai.a.test"), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
