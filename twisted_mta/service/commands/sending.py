"""`mta account limits`: how much an account may send, and whether it has copies of that in Sent."""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from twisted_mta.service.commands.refused import Misused, Refused
from twisted_mta.service.directory_administration import opened_administration
from twisted_mta.service.options.config import Config
from twisted_mta.transfer.msa.allowances import SendingLimits, stored_usage

ALLOWANCES = "allowances.sqlite"  # in the data directory

_RESOURCES = {  # in the directory, and what is said of them
    "sent-messages": "messages in 24 hours",
    "sent-recipients": "recipients in 24 hours",
    "sent-newcomers": "people never written to before, in 24 hours",
}
_OPTIONS = {"messages": "sent-messages", "recipients": "sent-recipients", "newcomers": "sent-newcomers"}
_COPY = "sent-copy"
_COPIES: dict[str, int | Literal["default"]] = {"on": 1, "off": 0, "default": "default"}


def sending_limits(config: Config, own: Mapping[str, int | None]) -> SendingLimits:
    """What an account may send; `own`: its own limits by resource, None: no limit."""
    configured = config.submission
    return SendingLimits(
        own.get("sent-messages", configured.messages_a_day or None),
        own.get("sent-recipients", configured.recipients_a_day or None),
        own.get("sent-newcomers", configured.newcomers_a_day or None),
    )


def keeps_copy(config: Config, own: Mapping[str, int | None]) -> bool:
    """Whether an account has a copy of what it sends; `own` as in `sending_limits`."""
    return bool(own.get(_COPY, config.submission.sent_copy))


def add_command(account: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to those of `mta account`."""
    text = "how much an account may send; with an option, a new limit"
    parser = account.add_parser("limits", help=text, description=text)
    parser.add_argument("address")
    for option, resource in _OPTIONS.items():
        parser.add_argument(
            f"--{option}", metavar="NUMBER", help=f"{_RESOURCES[resource]}; also none or default"
        )
    parser.add_argument(
        "--sent-copy", choices=_COPIES, help="whether a copy of what it sends goes into its mailbox Sent"
    )
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(command=account_limits)


def account_limits(config: Config, options: argparse.Namespace) -> None:
    """`account limits ADDRESS`"""
    changes = {
        resource: _change(option, getattr(options, option))
        for option, resource in _OPTIONS.items()
        if getattr(options, option) is not None
    }
    if options.sent_copy is not None:
        changes[_COPY] = _COPIES[options.sent_copy]
    with opened_administration(config) as directory:
        if changes:
            directory.set_quota(options.address, changes)
        name, own = directory.quota(options.address)
    limits, copy = sending_limits(config, own), keeps_copy(config, own)
    try:
        sent = stored_usage(Path(config.data_dir) / ALLOWANCES, name, time.time())
    except sqlite3.Error as error:
        raise Refused(f"{ALLOWANCES} cannot be read: {error}") from error
    if options.json:
        figures = {"limits": limits._asdict(), "sent": sent._asdict(), "sent_copy": copy, "own": own}
        print(json.dumps({"account": name, **figures}))
        return
    print(name)
    for (resource, meaning), limit, already in zip(_RESOURCES.items(), limits, sent, strict=True):
        said = "no limit" if limit is None else f"{limit:,} at most"
        print(f"  {meaning}: {already:,}, {said} ({_whose(resource, own)})")
    print(f"  copies in Sent: {'on' if copy else 'off'} ({_whose(_COPY, own)})")


def _whose(resource: str, own: Mapping[str, int | None]) -> str:
    return "its own" if resource in own else "as configured"


def _change(option: str, text: str) -> int | Literal["none", "default"]:
    if text in ("none", "default"):
        return "none" if text == "none" else "default"
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Misused(f'--{option}: expected a number, "none" or "default", found {text!r}')
    return int(text)
