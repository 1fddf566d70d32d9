"""`mta mailbox export` and `import`: mail of an account into files for other programs, and back."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted_mta.service.commands.progress import ProgressBar
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.commands.terminal import counted
from twisted_mta.service.mail_account import MailAccount, one, refusing
from twisted_mta.service.options.config import Config
from twisted_mta.store.errors import OverQuota, StoreError, TooManyMailboxes
from twisted_mta.store.exchange.exporting import export
from twisted_mta.store.exchange.importing import Imported, Importer
from twisted_mta.store.exchange.inventory import Inventory
from twisted_mta.store.exchange.mail_source import NoMail, Source, find_sources
from twisted_mta.store.home import Home
from twisted_mta.store.maildir import NameSource
from twisted_mta.store.names import canonical_name
from twisted_mta.store.quota import EMPTY, UNLIMITED, Room

FORMATS = ("maildir", "mbox")


def add_commands(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the two commands to those of `mta mailbox`."""
    text = "write mailboxes into files that other programs can read"
    add_export(group.add_parser("export", help=text, description=text))
    text = "take mail over from a Maildir, an mbox or a tree of either; to do it twice does no harm"
    into = group.add_parser("import", help=text, description=text)
    into.add_argument("address")
    into.add_argument("--from", required=True, dest="source", type=Path, metavar="PATH")
    add_import_options(into)
    into.add_argument("--json", action="store_true")
    into.set_defaults(command=import_mail)


def add_export(out: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta mailbox export`, which is `mta export` as well."""
    out.add_argument("address")
    out.add_argument("mailboxes", nargs="*", metavar="MAILBOX", help="which; all, when none is named")
    out.add_argument("--to", required=True, type=Path, metavar="PATH", help="a new directory")
    out.add_argument("--format", required=True, choices=FORMATS)
    out.add_argument("--json", action="store_true")
    out.set_defaults(command=export_mail)


def add_import_options(into: argparse._ActionsContainer) -> None:
    """What can be said of files that mail comes from."""
    into.add_argument("--format", choices=FORMATS, help="whatever is found there, when not given")
    into.add_argument(
        "--into", default="", metavar="MAILBOX", help="for what would go to INBOX; the parent of the others"
    )


# Out


def export_mail(config: Config, options: argparse.Namespace) -> None:
    """`mailbox export ADDRESS [MAILBOX…] --to PATH --format maildir|mbox`"""
    account = one(config, options.address)
    to = os.path.abspath(options.to)
    counts: dict[str, int] = {}
    with refusing(account.name), Inventory(account.path) as inventory:
        wanted = _chosen(inventory, options.mailboxes)
        os.makedirs(to, mode=0o700, exist_ok=True)
        if os.listdir(to):
            raise Refused(f"{to} is not empty; name a directory that is, or is not there yet")
        for name in wanted:
            with ProgressBar(name, sum(1 for _ in inventory.items(name)), "messages") as bar:
                counts[name] = export(inventory, name, to, options.format, bar.advance)
            if not options.json:
                print(f"{name}: {counted(counts[name], 'message')}")
        os.sync()
    if options.json:
        print(json.dumps(counts))
    else:
        print(f"{account.name}: {counted(sum(counts.values()), 'message')} written to {to}")


def _chosen(inventory: Inventory, mailboxes: list[str]) -> list[str]:
    if not mailboxes:
        return list(inventory.directories)
    try:
        names = [canonical_name(mailbox) for mailbox in mailboxes]
    except StoreError as error:
        raise Refused(error.text) from error
    for name in names:
        if name not in inventory.directories:
            raise Refused(f"there is no mailbox {name}; see: mailbox list")
    return list(dict.fromkeys(names))


# In


def import_mail(config: Config, options: argparse.Namespace) -> None:
    """`mailbox import ADDRESS --from PATH [--format maildir|mbox] [--into MAILBOX]`"""
    account = one(config, options.address)
    source = os.path.abspath(options.source)
    done: dict[str, Imported] = {}
    with refusing(account.name):
        try:
            sources = find_sources(source, options.format, options.into)
        except NoMail as error:
            raise Refused(str(error)) from error
        importer = importer_for(config, account)
        for name, mail in sources.items():
            done[name] = _bring(importer, name, mail)
            if not options.json:
                print("\n".join(_said(name, done[name], mail)))
    if options.json:
        print(json.dumps({name: _as_json(imported) for name, imported in done.items()}))
        return
    if importer.made:
        print(f"new mailboxes: {', '.join(importer.made)}; mail programs may have to subscribe to them")
    new, known = (sum(getattr(imported, what) for imported in done.values()) for what in ("new", "known"))
    there = f", {known:,} were there already" if known else ""
    into = counted(len(done), "mailbox", "mailboxes")
    print(f"{account.name}: {counted(new, 'message')} imported into {into}{there}")


def importer_for(config: Config, account: MailAccount) -> Importer:
    """What brings mail into the account. Raises StoreError, OSError, sqlite3.Error."""
    names = NameSource(config.hostname, secrets.token_hex(6), time.time)
    _require_maildir(account, names)
    return Importer(f"{account.path}/Maildir", _room(account), names, config.mailboxes.most)


def _require_maildir(account: MailAccount, names: NameSource) -> None:
    """The account may never have been used: then it begins as it would at its first use."""
    if not os.path.isdir(f"{account.path}/Maildir"):
        home = Home(account.path, names, boot="", report=lambda line: None)
        home.open()
        home.close()


def _room(account: MailAccount) -> Room:
    """What fits in, counting what a server has not noticed yet, too."""
    if account.limits == UNLIMITED:
        return Room(UNLIMITED, EMPTY)
    with Inventory(account.path) as inventory:
        return Room(account.limits, inventory.usage())


def _bring(importer: Importer, name: str, mail: Source) -> Imported:
    with ProgressBar(name, mail.size, mail.unit) as bar, cut_short(importer, name, mail.path):
        return importer.bring(mail, name, bar.at)


@contextmanager
def cut_short(importer: Importer, name: str, where: str) -> Iterator[None]:
    """What ends an import before its time, in a sentence. name: of the mailbox. Raises Refused."""
    try:
        yield
    except OverQuota as error:
        raise Refused(
            f"{name}: {so_far(importer)} in, the next one is over the account's quota; see:"
            " account quota. Then import once more: what is in does not come twice"
        ) from error
    except TooManyMailboxes as error:
        raise Refused(
            f"{name}: {error.text}: leave mailboxes out, or give the account more with mailboxes.most"
        ) from error
    except OSError as error:
        raise Refused(
            f"{name}: {so_far(importer)} in, then: {error.strerror or error}"
            f" ({error.filename or where}). Import once more when that has been seen to: what is in"
            " does not come twice"
        ) from error


def so_far(importer: Importer) -> str:
    """How much of a transport that was cut short is there."""
    return counted(importer.new, "message is", "messages are")


def _said(name: str, imported: Imported, mail: Source) -> list[str]:
    there = f", {imported.known:,} were there already" if imported.known else ""
    lines = [f"{name}: {counted(imported.new, 'message')} imported{there}"]
    if mail.passed_over:
        lines.append(f"  passed over {mail.passed_over:,} octets before the first message")
    if imported.lost:
        lines.append(f"  keywords that could not be kept: {' '.join(sorted(imported.lost))}")
    return lines


def _as_json(imported: Imported) -> dict[str, object]:
    return {"imported": imported.new, "there": imported.known, "lost_keywords": sorted(imported.lost)}
