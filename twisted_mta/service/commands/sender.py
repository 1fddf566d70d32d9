"""`mta senders …`: who is allowed and who is denied, and what an account has taught about junk. While the
server runs, which follows within seconds, or not."""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from contextlib import AbstractContextManager
from pathlib import Path

from twisted_mta.service.commands.database import opened
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.commands.terminal import counted, printable
from twisted_mta.service.directory_administration import opened_administration
from twisted_mta.service.options.config import Config
from twisted_mta.store.names import account_directory
from twisted_mta.trust.abuse.ledger import DATABASE, SenderDatabase
from twisted_mta.trust.abuse.reputation import Reputation
from twisted_mta.trust.abuse.senders import MOST, SERVER, SenderEntry, Word, read_subject


def add_commands(senders: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta senders`."""
    group = senders.add_subparsers(required=True)
    subject = "ann@example.org, example.org (and all below it), 192.0.2.0/24"
    for word, text in (("allow", "never junk, if it is proven"), ("deny", "refused; an account's own: junk")):
        added = group.add_parser(word, help=f"mail from these is {text}")
        added.add_argument("sender", nargs="+", help=subject)
        added.add_argument("--account", default="", help="for this account's mail alone")
        added.add_argument("--note", default="", help="why, for `mta senders list`")
        added.set_defaults(command=add, word=word)
    listed = group.add_parser("list", help="who is allowed and who is denied")
    listed.add_argument("--account", default="", help="by this account")
    listed.add_argument("--all", action="store_true", help="by the server and by every account")
    listed.add_argument("--json", action="store_true")
    listed.set_defaults(command=list_senders)
    removed = group.add_parser("remove", help="neither allowed nor denied any longer")
    removed.add_argument("sender", nargs="+", help=subject)
    removed.add_argument("--account", default="")
    removed.set_defaults(command=remove)
    learned = group.add_parser("learned", help="how much an account has taught about junk")
    learned.add_argument("account")
    learned.add_argument("--forget", action="store_true", help="all of it, and begin anew")
    learned.add_argument("--json", action="store_true")
    learned.set_defaults(command=show_learned)


def _database(config: Config) -> AbstractContextManager[SenderDatabase]:
    return opened(config, SenderDatabase, DATABASE)


def add(config: Config, options: argparse.Namespace) -> None:
    """`senders allow SENDER…`, `senders deny SENDER…`"""
    scope, word = _scope(config, options.account), _word(options.word)
    subjects = [_subject(sender, scope) for sender in options.sender]
    with _database(config) as database:
        for subject in subjects:
            if not database.put(SenderEntry(scope, subject, word, time.time(), options.note)):
                raise Refused(f"there are {MOST} entries already")
            print(f"{subject} is {_DONE[word]}{f' by {scope}' if scope else ''}")


def list_senders(config: Config, options: argparse.Namespace) -> None:
    """`senders list`"""
    scope = None if options.all else _scope(config, options.account)
    with _database(config) as database:
        entries = sorted(database.entries(scope))
    if options.json:
        print(json.dumps([{**entry._asdict(), "since": int(entry.since)} for entry in entries]))
        return
    print("\n".join(map(_line, entries)) or "nobody is on a list; see: senders allow, senders deny")


def remove(config: Config, options: argparse.Namespace) -> None:
    """`senders remove SENDER…`"""
    scope = _scope(config, options.account)
    subjects = [_subject(sender, scope) for sender in options.sender]
    with _database(config) as database:
        for subject in subjects:
            if not database.remove(scope, subject):
                raise Refused(f"{subject} is not on the list{f' of {scope}' if scope else ''}")
            print(f"{subject} is neither allowed nor denied any longer")


def show_learned(config: Config, options: argparse.Namespace) -> None:
    """`senders learned ACCOUNT`"""
    account = _scope(config, options.account)
    home = Path(config.data_dir).joinpath("mail", *account_directory(account))
    try:
        counts, tokens, senders = Reputation(home).counts()
        if options.forget:
            Reputation(home).forget()
    except (sqlite3.Error, OSError) as error:
        raise Refused(f"what {account} has taught cannot be read: {error}") from error
    needed = config.abuse.junk.needed
    if options.json:
        plain = {"junk": counts.junk, "good": counts.good, "tokens": tokens, "senders": senders}
        print(json.dumps({**plain, "needed": needed, "forgotten": options.forget}))
    elif options.forget:
        print(f"what {account} has taught is forgotten")
    else:
        enough = min(counts) >= needed
        how = "counts" if enough else f"counts from {needed} of each kind on"
        print(
            f"{account}: {counted(counts.junk, 'message is', 'messages are')} junk, "
            f"{counted(counts.good, 'is', 'are')} not; {counted(tokens, 'word')} and "
            f"{counted(senders, 'sender')} are known; what a message says {how}"
        )


_DONE: dict[Word, str] = {"allow": "allowed", "deny": "denied"}


def _word(text: str) -> Word:
    return "allow" if text == "allow" else "deny"


def _scope(config: Config, account: str) -> str:
    """The account's name. Raises Refused when there is none of that name."""
    if not account:
        return SERVER
    name = account.lower()
    with opened_administration(config) as directory:
        if config.ldap.uri or name in directory.accounts():
            return name
    raise Refused(f"there is no account {account}; see: account list")


def _subject(text: str, scope: str) -> str:
    try:
        kind, subject = read_subject(text)
    except ValueError as error:
        raise Refused(str(error)) from error
    if kind == "network" and scope:
        raise Refused(f"{subject}: an account names senders by address or domain; networks are the server's")
    return subject


def _line(entry: SenderEntry) -> str:
    whose = f"  by {entry.scope}" if entry.scope else ""
    since = time.strftime("%Y-%m-%d", time.localtime(entry.since))
    note = f": {entry.note}" if entry.note else ""
    return printable(f"{_DONE[entry.word]:<8} {entry.subject}{whose}  since {since}{note}")
