"""What `mta check --live` looks at on this machine: the server, its disk, its queue, its clock."""

from __future__ import annotations

import email.utils
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from twisted_mta.https import FetchError, HttpsClient
from twisted_mta.interfaces import IResolver
from twisted_mta.queue import reserve
from twisted_mta.queue.figures import count
from twisted_mta.queue.mailqueue import DATABASE
from twisted_mta.service import data_dir
from twisted_mta.service.commands.terminal import counted
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.named_files import authorities
from twisted_mta.service.options.roles import BOTH, TRANSFER
from twisted_mta.setup.finding import Finding

_PLENTY = 10  # times what is kept back: with less, somebody should look
_MIB = 2**20
_CLOCK_WARNING, _CLOCK_WRONG = 5.0, 120.0  # seconds; TSIG and tokens bear some minutes (RFC 8945 §5.2.3)
_PATIENCE = 10.0


def server(config: Config) -> Finding:
    """Whether it runs. Blocks."""
    processes = data_dir.servers(Path(config.data_dir)) if Path(config.data_dir).exists() else {}
    if not processes:
        return Finding("server", "wrong", "it does not run; start it: systemctl start twisted_mta")
    missing = [role for role in BOTH if role not in processes]
    if missing:
        role = missing[0]
        text = f"its process for {role} does not run; start it: systemctl start twisted_mta@{role}"
        return Finding("server", "wrong", text)
    if len(set(processes.values())) == 1:
        return Finding("server", "ok", f"runs as process {processes[TRANSFER]}")
    named = " and ".join(f"{process} ({role})" for role, process in processes.items())
    return Finding("server", "ok", f"runs as processes {named}")


def disk(config: Config) -> Finding:
    """Space beside what is kept back for queued mail. Blocks."""
    path = Path(config.data_dir)
    path = next(each for each in (path, *path.parents) if each.exists())  # it may be made later
    try:
        found = os.statvfs(path)
    except OSError as error:
        return Finding("disk", "unknown", f"{path}: {error.strerror}")
    size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
    kept = reserve.reserve(size)
    text = f"{free // _MIB} MiB free at {path}, {kept // _MIB} of them kept for mail that is queued already"
    if size and free < kept:
        return Finding("disk", "wrong", f"{text}: new mail is refused; make room")
    if found.f_files and found.f_favail < found.f_files // 100:
        return Finding("disk", "warning", f"{path}: only {found.f_favail} more files can be made; make room")
    if size and free < _PLENTY * kept:
        return Finding("disk", "warning", f"{text}; make room")
    return Finding("disk", "ok", text)


def queue(config: Config) -> Finding:
    """How long the oldest message waits. Blocks."""
    path = Path(config.data_dir) / "queue" / DATABASE
    if not path.exists():
        return Finding("queue", "ok", "empty, as there was no mail yet")
    try:
        found = count(path, time.time())
    except sqlite3.Error as error:
        return Finding("queue", "unknown", f"{path} cannot be read: {error}")
    recipients = sum(found.recipients.values())
    if not recipients:
        return Finding("queue", "ok", "empty")
    waiting = counted(recipients, "recipient waits", "recipients wait")
    text = f"{waiting}, the oldest message for {_age(found.oldest)}"
    longest = config.queue.delay_warning or config.queue.lifetime
    if found.oldest > longest:
        return Finding("queue", "warning", f"{text}; see what it waits for: mta queue list")
    return Finding("queue", "ok", text)


def _age(seconds: float) -> str:
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} seconds"


async def clock(config: Config, resolver: IResolver, reactor: Any) -> Finding:
    """Beside the clock of the authority that makes our certificates, the one machine outside that is known to
    answer with its time. Raises ConfigError for a file that cannot be read."""
    url = config.tls.acme.directory
    if not url:
        return Finding(
            "clock",
            "skipped",
            "not compared: nobody is asked for the time without tls.acme; see: timedatectl",
        )
    trust_root = authorities("tls.acme.authorities", config.tls.acme.authorities)
    https = HttpsClient(reactor=reactor, resolver=resolver, trust_root=trust_root, patience=_PATIENCE)
    try:
        began = time.time()
        answer = await https.ask("GET", url)
        middle = (began + time.time()) / 2
        theirs = email.utils.parsedate_to_datetime(answer.fields.get("date", "")).timestamp() + 0.5
    except FetchError as error:
        return Finding("clock", "unknown", f"cannot be compared: {error}")
    except ValueError:
        return Finding("clock", "skipped", f"not compared: {url} does not say what time it is")
    return compared(middle - theirs, url)


def compared(ahead: float, whom: str) -> Finding:
    """`ahead`: seconds that our clock is before the one of `whom`."""
    if abs(ahead) <= _CLOCK_WARNING:
        return Finding("clock", "ok", "right to a few seconds")
    text = f"{abs(ahead):.0f} seconds {'fast' if ahead > 0 else 'slow'}, says {whom}; set it by NTP (chrony)"
    return Finding("clock", "wrong" if abs(ahead) > _CLOCK_WRONG else "warning", text)
