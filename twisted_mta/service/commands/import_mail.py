"""`mta import SOURCE ACCOUNT`: mail from another server, by IMAP, or from files.

From a server come all mailboxes with their messages, flags, keywords and dates, and what is subscribed. To do
it again fetches what is new there, and flags that have changed. A running server here is not disturbed.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
from collections.abc import Callable, Sized
from contextlib import closing
from functools import partial
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from twisted_mta.service import data_dir
from twisted_mta.service.commands import mailbox_transport
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.commands.terminal import counted, printable
from twisted_mta.service.importing import request as import_request
from twisted_mta.service.importing.connection import Denied, Lost, Place, tls_context
from twisted_mta.service.importing.imap import ImapImport, Result
from twisted_mta.service.importing.login import Credentials
from twisted_mta.service.importing.names import Names, Plan
from twisted_mta.service.importing.server import OldServer
from twisted_mta.service.importing.state import STATE, ImportState
from twisted_mta.service.mail_account import MailAccount, one, refusing
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.named_files import first_line
from twisted_mta.service.options.roles import ACCESS
from twisted_mta.store.exchange.hierarchy_marks import HierarchyMarks, put_marks
from twisted_mta.store.exchange.inventory import Inventory

PATIENCE = 10.0  # seconds to wait for a running server to take over what is subscribed
LOOK = 0.1  # seconds between two looks at whether it has
pause = time.sleep

_FOR_SERVERS = ("password_file", "token_file", "ca", "without_tls", "moved", "excluded")


def add_import(parser: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta import`."""
    parser.epilog = (
        "To do it once more does no harm: only what is new comes, and flags that have changed there."
        " For files this is `mta mailbox import`."
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="imaps://user@old.example.org (TLS from the beginning), imap://user@old.example.org (that, or"
        " STARTTLS), with :PORT if need be; or the path of a Maildir, an mbox or a tree of either",
    )
    parser.add_argument("address", metavar="ACCOUNT", help="where it is to go")
    there = parser.add_argument_group("from a server")
    secret = there.add_mutually_exclusive_group()
    secret.add_argument("--password-file", metavar="FILE", help="its first line; asked for, when not given")
    secret.add_argument("--token-file", metavar="FILE", help="a token of OAuth; read anew at each login")
    there.add_argument("--ca", default="", metavar="FILE", help="certificates to believe in")
    there.add_argument(
        "--without-tls", action="store_true", help="where nobody else can read the password and the mail"
    )
    there.add_argument(
        "--map",
        action="append",
        default=[],
        dest="moved",
        metavar="OLD=NEW",
        help="what a mailbox there, with those below it, is called here",
    )
    there.add_argument(
        "--exclude",
        action="append",
        default=[],
        dest="excluded",
        metavar="PATTERN",
        help="mailboxes there that stay there, with those below them; * and ? stand for anything",
    )
    mailbox_transport.add_import_options(parser.add_argument_group("from files"))
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(command=import_mail)


def import_mail(config: Config, options: argparse.Namespace) -> None:
    """`import SOURCE ACCOUNT`"""
    if "://" in options.source:
        if options.format or options.into:
            raise Refused("--format and --into are for files; see --map for mailboxes of a server")
        _from_server(config, options)
        return
    if any(getattr(options, name) for name in _FOR_SERVERS):
        raise Refused(
            f"{options.source} is taken for a path; a server is written as imaps://user@old.example.org"
        )
    mailbox_transport.import_mail(config, options)


def _from_server(config: Config, options: argparse.Namespace) -> None:
    place, user = _place(options.source, plain=options.without_tls)
    moved = dict(_moved(each) for each in options.moved)
    context = tls_context(options.ca, plain=options.without_tls)
    secret = _secret(options, user, place)
    account = one(config, options.address)
    with refusing(account.name):
        importer = mailbox_transport.importer_for(config, account)
        with (
            closing(ImportState(Path(account.path) / STATE)) as state,
            closing(OldServer(place, Credentials(user, secret), context, account.path)) as server,
        ):
            plan = _plan(server, account, moved, options.excluded)
            identity = f"{user}@{place.host.lower()}"
            work = ImapImport(server, identity, importer, state, say=_say, pause=pause)
            results: dict[str, Result] = {}
            failed: dict[str, str] = {}
            for going in plan.going:
                shown = _shown(going.shown)
                try:
                    with mailbox_transport.cut_short(importer, shown, account.path):
                        result = results[going.shown] = work.fetch(going, shown)
                except Denied as denied:
                    failed[going.shown] = f"the server does not open it: {denied}"
                    continue
                if not options.json:
                    print("\n".join(_lines(shown, result)))
        uses = {going.target: going.use for going in plan.going if going.use}
        _mark(config, account, HierarchyMarks(plan.subscribed, uses))
    _tell(options, plan, results, failed)


def _plan(server: OldServer, account: MailAccount, moved: dict[str, str], excluded: list[str]) -> Plan:
    """What is to be fetched. The first connection has to succeed."""
    with Inventory(account.path) as inventory:
        uses = {use: name for name, marks in inventory.marks().items() for use in marks.special_uses}
    try:
        server.log_in()
        own, others = server.namespaces()
        return Names(own, others, uses, moved, excluded).plan(server.mailboxes())
    except Lost as lost:
        text = str(lost)
        raise Refused(
            text if text.startswith(str(server.place.host)) else f"{server.place}: {text}"
        ) from lost


# What is asked


def _place(source: str, *, plain: bool) -> tuple[Place, str]:
    """Where the server is, and who logs in there. Raises Refused."""
    example = "write for example imaps://user@old.example.org"
    try:
        url: SplitResult = urlsplit(source)
        port = url.port or 0
    except ValueError as error:
        raise Refused(f"{source}: {error}; {example}") from error
    if url.scheme not in ("imap", "imaps"):
        raise Refused(f"{url.scheme}:// is no server that mail can be fetched from; {example}")
    if url.password is not None:
        raise Refused("a password in the URL is seen by everybody on this machine; use --password-file")
    if not url.hostname or not url.username:
        raise Refused(f"{source} does not say who logs in where; {example}")
    if url.path not in ("", "/") or url.query or url.fragment:
        raise Refused(f"{source} names more than a server; all mailboxes are fetched, but those of --exclude")
    tls = True if url.scheme == "imaps" else None
    return Place(url.hostname, port or (993 if tls else 0), tls, plain), unquote(url.username)


def _moved(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not (old and equals and new):
        raise Refused(f'--map: write the name there, "=", and the name here; found {text!r}')
    return old, new


def _secret(options: argparse.Namespace, user: str, place: Place) -> Callable[[], tuple[str, str]]:
    """What gives (password, token)."""
    if options.token_file:
        token = _first_line("--token-file", options.token_file)

        def renewed() -> tuple[str, str]:
            nonlocal token
            try:
                token = first_line("--token-file", options.token_file)
            except ConfigError:
                pass  # root's, and the command goes on as the owner of the data
            return "", token

        return renewed
    password: str | None = None
    if options.password_file:
        password = _first_line("--password-file", options.password_file)

    def asked() -> tuple[str, str]:
        nonlocal password
        if password is None:
            if not sys.stdin.isatty():
                raise Refused("no terminal to ask for the password; give it with --password-file")
            password = getpass.getpass(f"Password of {user} at {place.host}: ")
        return password, ""

    return asked


def _first_line(option: str, path: str) -> str:
    found = first_line(option, path)
    if not found:
        raise Refused(f"{option}: the first line of {path} is empty")
    return found


# What is told


def _say(line: str) -> None:
    print(printable(line), file=sys.stderr)


def _shown(name: str) -> str:
    """A mailbox there, however long its name."""
    return printable(name if len(name) <= 200 else f"{name[:200]}...")


def _lines(shown: str, result: Result) -> list[str]:
    into = "" if shown == result.target else f", into {printable(result.target)}"
    there = f", {result.known:,} were there already" if result.known else ""
    flags = f", {counted(result.remarked, 'message')} with other flags than before" if result.remarked else ""
    lines = [f"{shown}{into}: {counted(result.new, 'message')} imported{there}{flags}"]
    if result.lost:
        lines.append(f"  keywords that could not be kept: {' '.join(sorted(result.lost))}")
    for uid, why in list(result.refused.items())[:10]:
        lines.append(f"  UID {uid} is not handed out by the server: {printable(why)}")
    if len(result.refused) > 10:
        lines.append(f"  and {len(result.refused) - 10:,} more")
    return lines


def _tell(
    options: argparse.Namespace, plan: Plan, results: dict[str, Result], failed: dict[str, str]
) -> None:
    """What came of all. Raises Refused when not everything has come."""
    if options.json:
        print(
            json.dumps(
                {
                    "mailboxes": {
                        name: {
                            "into": result.target,
                            "imported": result.new,
                            "there": result.known,
                            "flags_changed": result.remarked,
                            "lost_keywords": sorted(result.lost),
                            "refused": result.refused,
                        }
                        for name, result in results.items()
                    },
                    "passed_over": dict(plan.passed_over),
                    "failed": failed,
                }
            )
        )
    else:
        for name, why in plan.passed_over:
            print(f"{_shown(name)}: passed over, {why}")
        for name, why in failed.items():
            print(f"{_shown(name)}: not imported, {printable(why)}")
        total = sum(result.new for result in results.values())
        print(f"{options.address}: {counted(total, 'message')} imported from {_mailboxes(results)}")
    missing = sum(len(result.refused) for result in results.values())
    if failed or missing:
        lacking = f"{_mailboxes(failed)} and {counted(missing, 'message')}"
        raise Refused(f"{lacking} could not be fetched; everything else is in")


def _mailboxes(some: Sized) -> str:
    return counted(len(some), "mailbox", "mailboxes")


def _mark(config: Config, account: MailAccount, marks: HierarchyMarks) -> None:
    """Have subscriptions and special uses taken over, by the server or, without one, here."""
    if not marks.subscribed and not marks.uses:
        return
    from twisted_mta.service.reindexing import with_store  # Twisted: longer than most commands take
    from twisted_mta.store.store import MessageStore

    async def put(store: MessageStore) -> None:
        found = await store.account(account.name)
        await found.visit(partial(put_marks, marks=marks))

    data = Path(config.data_dir)
    request = import_request.ask(data, account.name, marks)
    until = time.monotonic() + PATIENCE
    while request.exists():
        if data_dir.without_server(data, partial(with_store, config, put), roles=(ACCESS,)):
            request.unlink(missing_ok=True)
            return
        if time.monotonic() > until:
            _say("the server will subscribe the account to its new mailboxes when it can")
            return
        time.sleep(LOOK)
