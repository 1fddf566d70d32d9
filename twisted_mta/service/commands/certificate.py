"""`mta tls certificates` and `mta tls renew`: the certificates that this server shows."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted_mta.certificates.acme.kept import Progress
from twisted_mta.certificates.pair import CertificatePair
from twisted_mta.service import data_dir
from twisted_mta.service.certificate import acme_pairs, kept_certificates, pairs
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.commands.reload import ask_server
from twisted_mta.service.commands.terminal import printable, show_either
from twisted_mta.service.options.config import Config


def add_commands(group: Any) -> None:
    """Those below `mta tls`."""
    shown = group.add_parser("certificates", help="what is shown for which name, until when")
    shown.add_argument("--json", action="store_true")
    shown.set_defaults(command=certificates)
    asked = group.add_parser("renew", help="have a running server get a certificate (tls.acme) now")
    asked.add_argument("name", nargs="*", help="those for these names; all that failed when not given")
    asked.set_defaults(command=renew)


def certificates(config: Config, options: argparse.Namespace) -> None:
    """`tls certificates`"""
    data_dir.enter(Path(config.data_dir))
    rows = list(_rows(config))
    lines = [line for row in rows for line in _lines(row)]
    show_either(options, rows, lines or ["TLS is off: set tls.acme, tls.certificate or tls.self_signed"])


def _rows(config: Config) -> Iterator[dict[str, Any]]:
    kept = kept_certificates(config)
    got = acme_pairs(config)
    by_path = {pair.path: name for name, pair in got.items() if pair is not None}
    for pair in pairs(config):
        name = by_path.get(pair.path, "")
        yield _row(pair, kept.progress(name) if name else None)
    for name, missing in got.items():
        if missing is None:
            none = {"names": [name], "issuer": "", "expires": 0.0, "file": ""}
            yield none | _of_progress(kept.progress(name))


def _row(pair: CertificatePair, progress: Progress | None) -> dict[str, Any]:
    row = {
        "names": list(pair.names),
        "issuer": pair.issuer,
        "expires": pair.expires.timestamp(),
        "file": str(pair.path),
    }
    if progress is None:
        return {**row, "next": 0.0, "failures": 0, "trouble": ""}
    row |= _of_progress(progress)
    return {**row, "next": progress.next or pair.renewal.timestamp()}


def _of_progress(progress: Progress) -> dict[str, Any]:
    return {"next": progress.next, "failures": progress.failures, "trouble": progress.sentence}


def _lines(row: dict[str, Any]) -> list[str]:
    names = printable(", ".join(row["names"]) or "no name")
    if not row["file"]:
        first = f"{names}  none yet"
    else:
        first = f"{names}  by {printable(row['issuer'])}, until {_when(row['expires'])}"
    if row["next"]:
        first += f", {'next attempt' if row['failures'] else 'renewed from'} {_when(row['next'])}"
    return [first, *([f"    {printable(row['trouble'])}"] if row["trouble"] else [])]


def renew(config: Config, options: argparse.Namespace) -> None:
    """`tls renew [NAME …]`"""
    data_dir.enter(Path(config.data_dir))
    kept, got = kept_certificates(config), acme_pairs(config)
    if not got:
        raise Refused("there is no authority to ask: tls.acme.directory is not set")
    unknown = [name for name in options.name if name not in got]
    if unknown:
        raise Refused(f"{unknown[0]} is not one of the names of tls.acme: {', '.join(got)}")
    failed = [name for name, pair in got.items() if pair is None or kept.progress(name).failures]
    names = options.name or failed
    if not names:
        print("no attempt has failed; name the certificates that you want to have renewed early")
        return
    try:
        for name in names:
            kept.put_progress(name, Progress())
    except OSError as error:
        raise Refused(f"cannot write to {error.filename}: {error.strerror}") from error
    outcome = ask_server(config)
    if outcome.error:
        raise Refused(f"the server refuses its configuration: {outcome.error}")
    print(f"asked for: {', '.join(names)}; what comes of it is in the log, and in: mta tls certificates")


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
