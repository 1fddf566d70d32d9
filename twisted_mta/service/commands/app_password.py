"""`mta account app-password`: a password for each device, for some services only, that can be taken back."""

from __future__ import annotations

import argparse
import json
from datetime import datetime

from twisted_mta.directory.app_passwords import SERVICES, AppPassword
from twisted_mta.service.directory_administration import opened_administration
from twisted_mta.service.options.config import Config


def add_commands(account: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands to those of `mta account`."""
    text = "passwords for single devices"
    commands = account.add_parser("app-password", help=text, description=text).add_subparsers(required=True)
    adding = _command(commands, "add", add, "a new one, shown this once")
    adding.add_argument("name", help='such as "telephone"')
    adding.add_argument(
        "--only", nargs="+", choices=SERVICES, default=(), metavar="SERVICE", help=", ".join(SERVICES)
    )
    listing = _command(commands, "list", list_all, "what they are for, and when they were used last")
    listing.add_argument("--json", action="store_true")
    removing = _command(commands, "remove", remove, "it counts for nothing any more")
    removing.add_argument("name")


def _command(
    group: argparse._SubParsersAction[argparse.ArgumentParser], name: str, command: object, text: str
) -> argparse.ArgumentParser:
    parser = group.add_parser(name, help=text, description=text)
    parser.add_argument("address")
    parser.set_defaults(command=command)
    return parser


def add(config: Config, options: argparse.Namespace) -> None:
    """`account app-password add ADDRESS NAME [--only SERVICE…]`"""
    with opened_administration(config) as directory:
        print(directory.add_app_password(options.address, options.name, options.only))


def list_all(config: Config, options: argparse.Namespace) -> None:
    """`account app-password list ADDRESS`"""
    with opened_administration(config) as directory:
        found = directory.app_passwords(options.address)
    if options.json:
        print(json.dumps([_facts(password) for password in found]))
        return
    lines = (
        f"{password.name}: {', '.join(_services(password))}; made {_day(password.created)}, "
        + (f"used {_day(password.used)}" if password.used else "never used")
        for password in found
    )
    print("\n".join(lines) or "no app passwords; see: account app-password add")


def remove(config: Config, options: argparse.Namespace) -> None:
    """`account app-password remove ADDRESS NAME`"""
    with opened_administration(config) as directory:
        name = directory.remove_app_password(options.address, options.name)
    print(f"app password {options.name} of {name} removed")


def _facts(password: AppPassword) -> dict[str, object]:
    return {
        "name": password.name,
        "services": _services(password),
        "created": password.created,
        "used": password.used,
    }


def _services(password: AppPassword) -> list[str]:
    return [service for service in SERVICES if service in password.services]


def _day(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds):%Y-%m-%d %H:%M}"
