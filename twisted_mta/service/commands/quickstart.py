"""`mta quickstart ADDRESS`: from a bare machine to a server that can be started, with the DNS it needs.

Looks around, asks what it cannot know, and then writes everything at once: the configuration, the data
directory with the first account and the DKIM keys, the systemd unit, the zone. It can be done again at any
time and never changes a file that is there. A data directory that is there gets what it lacks, one thing
after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sqlite3
from pathlib import Path

from twisted_mta.directory.administration import ACCOUNT_LOCAL
from twisted_mta.resolver import ResolutionError
from twisted_mta.service.checks.outward import PROVIDER
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.options.config import Config, load
from twisted_mta.service.options.quantities import MailAddress
from twisted_mta.service.quickstart.answers import interview
from twisted_mta.service.quickstart.decisions import Decisions, Found, decide
from twisted_mta.service.quickstart.user import closed_directory, making, owner_of
from twisted_mta.service.quickstart.writing import Written, write
from twisted_mta.setup.quickstart.plan import relay_lines, table
from twisted_mta.setup.quickstart.questions import Unanswered
from twisted_mta.setup.quickstart.staging import nearest, writable
from twisted_mta.setup.zone import records

DEFAULT_CONFIG = Path("/etc/twisted_mta/mta.toml")
DEFAULT_DATA = Path("/var/lib/twisted_mta")


def add_command(parser: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta quickstart`."""
    parser.add_argument("address", help="yours, in the domain that gets a mail server: you@example.org")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--directory", type=Path, help="where the configuration goes; /etc/twisted_mta")
    place.add_argument(
        "--config", type=Path, default=argparse.SUPPRESS, metavar="FILE", help="the same as a file"
    )
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="for everything the server writes")
    parser.add_argument("--answers", type=Path, metavar="FILE", help="answers in TOML; nothing is asked then")
    parser.add_argument(
        "--public-address",
        action="append",
        default=[],
        metavar="IP",
        help="by which others reach this machine",
    )
    parser.add_argument("--offline", action="store_true", help="look at nothing outside this machine")
    parser.add_argument("--nameserver", action="append", default=[], metavar="IP[:PORT]", help="ask this one")
    parser.add_argument("--provider", default=PROVIDER, metavar="DOMAIN", help="whose mail server is dialled")
    parser.add_argument("--provider-port", type=int, default=25, metavar="PORT", help="and where; 25")
    parser.add_argument(
        "--signed", default="ietf.org", metavar="DOMAIN", help="one with DNSSEC, to be asked about"
    )
    parser.add_argument(
        "--blacklist", action="append", default=[], metavar="ZONE", help="ask this one about the addresses"
    )
    parser.add_argument(
        "--authority", default="", metavar="URL", help="for certificates: an ACME directory; Let's Encrypt's"
    )
    parser.add_argument(
        "--authorities", default="", metavar="FILE", help="PEM: whom to believe in, for that; the system's"
    )
    parser.set_defaults(early=quickstart)


def quickstart(options: argparse.Namespace) -> None:
    """`quickstart ADDRESS`"""
    path, data_dir = _places(options)
    try:
        address = MailAddress.read(options.address)
    except ValueError as error:
        raise Refused(str(error)) from error
    if not ACCOUNT_LOCAL.match(address.address.local):
        raise Refused(f"{address}: an account's name has letters, digits and . _ - ' = only")
    before = load(path) if path.exists() else None
    if before is not None:
        _check_before(before, path, data_dir, options)
        data_dir = Path(before.data_dir)
    for place in (path.parent, data_dir):
        if not writable(place):
            raise Refused(f"{nearest(place)} cannot be written to; do this as root, or see --directory")
    found = Found(address, path, data_dir, before)
    try:
        decisions = decide(found, interview(options.answers), options)
        written = write(found, decisions)
    except Unanswered as error:
        raise Refused(str(error)) from error
    except ResolutionError as error:
        raise Refused(
            f"no name server answers as it should ({error}), and a mail server needs one; mend "
            "/etc/resolv.conf, name one by --nameserver, or go on without looking: --offline. Nothing was "
            "written"
        ) from error
    except sqlite3.Error as error:
        raise Refused(f"{data_dir}: a database there cannot be used: {error}; no file was written") from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise Refused(f"{where}{error.strerror or error}; no file was written") from error
    _tell(found, decisions, written)


def _places(options: argparse.Namespace) -> tuple[Path, Path]:
    """Of the configuration and the data, absolute."""
    path = Path(os.path.abspath(options.directory / "mta.toml" if options.directory else options.config))
    if options.data_dir:
        return path, Path(os.path.abspath(options.data_dir))
    return path, DEFAULT_DATA if path == DEFAULT_CONFIG else path.parent / "data"


def _check_before(before: Config, path: Path, data_dir: Path, options: argparse.Namespace) -> None:
    if options.data_dir and Path(before.data_dir) != data_dir:
        raise Refused(f"{path} says data_dir = {json.dumps(before.data_dir)}; leave out --data-dir")


def _tell(found: Found, decisions: Decisions, written: Written) -> None:
    placed = written.placed
    told = {*placed.written, *placed.kept, *(there for there, _ in placed.beside)}
    print()
    for path in placed.written:
        print(f"Written: {path}")
    for path in [*([] if found.path in told else [found.path]), *placed.kept]:
        print(f"As it was: {path}")
    for path, beside in placed.beside:
        print(f"{path} is there already and stays as it is; the new one is {beside}")
    for line in written.done:
        print(line)
    if written.password:
        print(f"\nThe password of {found.address}, which is shown this once only: {written.password}")
    if lines := relay_lines(decisions.plan):
        print("\nWhat sends your mail through the smarthost:", *lines, sep="\n    ")
    rows = [
        (
            f"{record.name}.",
            record.kind,
            record.value,
            record.need + (" (elsewhere)" if record.elsewhere else ""),
        )
        for record in records(written.mail)
    ]
    print("\nThe DNS of your domain:")
    print("\n".join(f"    {line}" for line in table([("NAME", "TYPE", "VALUE", "NEEDED"), *rows])))
    print("\n" + "\n".join(_next_steps(found, decisions, written)))


def _next_steps(found: Found, decisions: Decisions, written: Written) -> list[str]:
    domain, config = found.address.address.domain, found.path
    mta = _mta(written.unit.programs) + ("" if config == DEFAULT_CONFIG else f" --config {config}")
    addresses = " and ".join(decisions.addresses)
    merge = [
        f"       {new} has what you have just decided; take over what you want" for new in written.to_merge
    ]
    lines = [
        "What is left to do:",
        f"    1. Put {written.zone} into the DNS of {domain}, where you have bought the name.",
        f"       Who rents {addresses} to you sets the reverse DNS to {decisions.plan.hostname}.",
        "    2. Start the server:",
        *merge,
    ]
    lines += [f"       {line}" for line in _starting(found, decisions, written)]
    return [*lines, f"    3. See whether all is well: {mta} check {domain}"]


def _mta(programs: Path) -> str:
    """What the administrator types for the one of these `programs`: a virtual environment is not in PATH."""
    found = shutil.which("mta")
    ours = programs / "mta"
    return "mta" if found is not None and Path(found).resolve() == ours.resolve() else str(ours)


def _starting(found: Found, decisions: Decisions, written: Written) -> list[str]:
    user, unit = decisions.user, written.unit
    lines = [f"mv {new} {unit.path}" for there, new in written.placed.beside if there == unit.path]
    enabled = f"systemctl enable --now {unit.path}"
    if os.geteuid() != 0:
        return ["as root, since only root may give it the ports of mail:", *lines, enabled]
    if (closed := closed_directory(unit.programs)) is not None:
        lines += [
            f"first have the program where {user} can read it, which {closed} does not allow: install it",
            "into /opt/twisted_mta (python3 -m venv /opt/twisted_mta), do its mta quickstart once more; then",
        ]
    if owner_of(user) is None:
        lines += [" ".join(making(user, found.data_dir)), f"chown -R {user}: {found.data_dir}"]
        if decisions.plan.password_file:
            lines.append(f"chown {user}: {decisions.plan.password_file}")
    return [*lines, enabled]
