"""`mta account quota`: what an account may keep and what it keeps, whether the server runs or not."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, Literal

from twisted_mta.directory.administration import RESOURCES
from twisted_mta.service.commands.refused import Misused
from twisted_mta.service.directory_administration import opened_administration
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.quantities import Size
from twisted_mta.store.quota import Limits, Usage, stored_usage

Change = int | Literal["none", "default"]


def limits(config: Config, own: Any) -> Limits:
    """What an account may keep; `own`: its own limits by resource, None: no limit."""
    return Limits(
        own.get("storage", config.quota.storage), own.get("messages", config.quota.messages or None)
    )


def add_command(account: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of `mta account`."""
    text = "what an account may keep and what it keeps; with an option, a new limit"
    parser = account.add_parser("quota", help=text, description=text)
    parser.add_argument("address")
    parser.add_argument(
        "--storage", metavar="SIZE", help='such as 2G, "none" for no limit, "default" for the configured one'
    )
    parser.add_argument("--messages", metavar="NUMBER", help="such as 100000, none or default")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(command=account_quota)


def account_quota(config: Config, options: argparse.Namespace) -> None:
    """`account quota ADDRESS`"""
    given = {resource: getattr(options, resource) for resource in RESOURCES}
    changes = {resource: _change(resource, text) for resource, text in given.items() if text is not None}
    with opened_administration(config) as directory:
        if changes:
            directory.set_quota(options.address, changes)
        name, own = directory.quota(options.address)
    allowed, used = limits(config, own), stored_usage(Path(config.data_dir) / "mail", name)
    if options.json:
        figures = {"limits": allowed._asdict(), "usage": used and used._asdict(), "own": own}
        print(json.dumps({"account": name, **figures}))
        return
    print(name)
    for line in _lines(allowed, used, own):
        print(f"  {line}")


def _change(resource: str, text: str) -> Change:
    if text in ("none", "default"):
        return text  # type: ignore[return-value]  # mypy does not narrow str to Literal here
    try:
        if resource == "storage":
            return int(Size.read(text))
        number = int(text)
    except ValueError as error:
        expected = 'a size such as "2G"' if resource == "storage" else "a number"
        raise Misused(f'--{resource}: expected {expected}, "none" or "default", found {text!r}') from error
    if number < 0:
        raise Misused(f"--{resource}: less than nothing cannot be kept")
    return number


def _lines(allowed: Limits, used: Usage | None, own: dict[str, int | None]) -> list[str]:
    figures = (
        ("storage", "octets", used and used.octets, allowed.octets),
        ("messages", "messages", used and used.messages, allowed.messages),
    )
    lines = []
    for resource, unit, usage, limit in figures:
        said = "no limit" if limit is None else f"limit {limit:,} {unit}"
        whose = "its own" if resource in own else "as configured"
        so_far = "" if usage is None else f"{usage:,} {unit} used, "
        lines.append(f"{resource}: {so_far}{said} ({whose})")
    return lines
