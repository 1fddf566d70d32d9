"""`mta mailbox …`: mail seen, checked and carried in and out by hand, whether the server runs or not.

Nothing here asks the server for leave. What is read is the Maildir and, read-only, the index; what is brought
in goes into the Maildir, where a running server notices it. Reindexing alone is the server's while it runs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from twisted_mta.service import data_dir
from twisted_mta.service.commands import mailbox_transport
from twisted_mta.service.commands.progress import ProgressBar
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.commands.terminal import counted
from twisted_mta.service.mail_account import MailAccount, every, one, refusing
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.roles import ACCESS
from twisted_mta.service.reindex_request import Failed, Request
from twisted_mta.store.exchange.inventory import Inventory
from twisted_mta.store.exchange.verification import Finding, verify

SHOWN = 10  # findings of a mailbox that are printed; --json has all
MOMENT = 0.5  # seconds until what looks wrong is looked at again
LOOK = 0.2  # seconds between two looks at how far the server is


def add_commands(mailbox: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta mailbox`."""
    group = mailbox.add_subparsers(required=True)
    text = "the mailboxes of an account, and what is in them"
    listed = group.add_parser("list", help=text, description=text)
    listed.add_argument("address")
    listed.add_argument("--json", action="store_true")
    listed.set_defaults(command=list_mailboxes)
    for name, command, text in (
        ("verify", verify_accounts, "compare the mail with its index, and say what is wrong"),
        ("reindex", reindex, "find out anew what is known of the mail, its full text too"),
    ):
        over = group.add_parser(name, help=text, description=text)
        which = over.add_mutually_exclusive_group(required=True)
        which.add_argument("address", nargs="?")
        which.add_argument("--all", action="store_true", help="every account")
        if name == "verify":
            over.add_argument("--json", action="store_true")
        over.set_defaults(command=command)
    mailbox_transport.add_commands(group)


def _accounts(config: Config, options: argparse.Namespace) -> list[MailAccount]:
    return every(config) if options.all else [one(config, options.address)]


def list_mailboxes(config: Config, options: argparse.Namespace) -> None:
    """`mailbox list ADDRESS`"""
    account = one(config, options.address)
    with refusing(account.name), Inventory(account.path) as inventory:
        found = {name: inventory.totals(name) for name in inventory.directories}
    if options.json:
        print(json.dumps([{"mailbox": name, **totals._asdict()} for name, totals in found.items()]))
        return
    width = max(map(len, found), default=0)
    for name, totals in found.items():
        unit = "message " if totals.messages == 1 else "messages"
        print(
            f"{name:<{width}}  {totals.messages:>9,} {unit}  {totals.octets:>15,} octets"
            f"  {totals.unseen:>9,} unseen"
        )
    if not found:
        print("no mail yet")


# Verifying


def verify_accounts(config: Config, options: argparse.Namespace) -> None:
    """`mailbox verify ADDRESS|--all`"""
    results: dict[str, list[Finding]] = {}
    for account in _accounts(config, options):
        with refusing(account.name):
            results[account.name] = _verify(account)
        if not options.json:
            _print_findings(account.name, results[account.name])
    if options.json:
        print(
            json.dumps(
                [
                    {"account": name, "findings": [finding._asdict() for finding in findings]}
                    for name, findings in results.items()
                ]
            )
        )
    faults = sum(finding.fault for findings in results.values() for finding in findings)
    if faults:
        raise Refused(f"{counted(faults, 'fault')} found")


def _verify(account: MailAccount) -> list[Finding]:
    with Inventory(account.path) as inventory:
        total = sum(len(inventory.rows(name)) for name in inventory.directories)
    with ProgressBar(account.name, total, "messages") as bar:
        return list(verify(account.path, partial(time.sleep, MOMENT), bar.advance))


def _print_findings(account: str, findings: Sequence[Finding]) -> None:
    faults = sum(finding.fault for finding in findings)
    print(f"{account}: {f'{faults} wrong' if faults else 'all is well'}")
    printed: Counter[str] = Counter()
    for finding in findings:
        printed[finding.mailbox] += 1
        if printed[finding.mailbox] <= SHOWN:
            where = f"{finding.mailbox}: " if finding.mailbox else ""
            print(f"  {'WRONG ' if finding.fault else ''}{where}{finding.what}")
            print(f"    {finding.remedy}")
    for mailbox, count in printed.items():
        if count > SHOWN:
            print(f"  {mailbox or account}: and {count - SHOWN:,} more; --json shows all")


# Reindexing


def reindex(config: Config, options: argparse.Namespace) -> None:
    """`mailbox reindex ADDRESS|--all`"""
    for account in _accounts(config, options):
        with refusing(account.name):
            _reindex(config, account)
        print(f"{account.name}: reindexed")


def _reindex(config: Config, account: MailAccount) -> None:
    """Ask the server, or do it here when there is none, or none any more."""
    from twisted_mta.service.reindexing import reindex_here  # Twisted: longer than most commands take

    data = Path(config.data_dir)
    request = Request(data, account.name)
    request.make()
    with ProgressBar(account.name, 0, "messages") as bar:
        while True:
            try:
                progress = request.progress()
            except Failed as error:
                request.withdraw()
                raise Refused(f"{account.name}: the server could not: {error}") from error
            if progress is None:
                return
            bar.at(*progress)
            if data_dir.without_server(
                data, partial(reindex_here, config, account.name, bar.at), roles=(ACCESS,)
            ):
                request.withdraw()
                return
            time.sleep(LOOK)
