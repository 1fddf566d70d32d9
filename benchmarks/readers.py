"""The servers that people read mail from, side by side, each over the same Maildir."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.dovecot import Dovecot
from benchmarks.ours import Mta
from benchmarks.peers import DOVECOT, DOVECOT_POP3
from benchmarks.plan import Plan
from benchmarks.results import OURS
from benchmarks.servers import MailServer

REUSING = "Dovecot, reusing processes"


class Readers(NamedTuple):
    """By name, ours first; `missing`: why others are not among them."""

    servers: dict[str, MailServer]
    missing: dict[str, str]


@contextmanager
def readers(
    plan: Plan,
    maildir: Path | None,
    *,
    service: str = "imap",
    also: Mapping[str, Mapping[str, Any]] | None = None,
    **same: Any,
) -> Iterator[Readers]:
    """Running until the end of the block: ours, Dovecot, and `also` Dovecots of other settings, by name.
    `service` is that of [listen]; `same` is for all of them."""
    protocol = service.removesuffix("s")
    found = Readers({}, {})
    base = plan.directory()
    ours = {key: value for key, value in same.items() if key != "listed"}
    with ExitStack() as running:

        def add(name: str, server: MailServer) -> None:
            running.callback(server.stop)
            found.servers[name] = server

        add(OURS, Mta(base / "ours", [service], maildir=maildir, **ours))
        absent = plan.absent(DOVECOT if protocol == "imap" else DOVECOT_POP3)
        for name, settings in {DOVECOT.name: {}, **(also or {})}.items():
            if absent:
                found.missing[name] = absent
                continue
            place, wanted = base / f"dovecot{len(found.servers)}", {**same, **settings}
            try:
                add(name, Dovecot(place, protocol, maildir=maildir, name=name, **wanted))
            except RuntimeError as error:
                found.missing[name] = str(error)[:200]
        yield found
