"""`mta account …` and `mta alias …`: who has a mailbox, and under which other names."""

from __future__ import annotations

import argparse
import getpass
import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

from twisted_mta.directory.passwords import BadPassword, prepare
from twisted_mta.directory.weak_password import refuse_weak
from twisted_mta.service.commands import app_password as app_password_commands
from twisted_mta.service.commands import quota as quota_commands
from twisted_mta.service.commands import sending as sending_commands
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.directory_administration import opened_administration
from twisted_mta.service.options.config import Config


def add_account_commands(account: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta account`."""
    group = account.add_subparsers(required=True)
    _command(group, "list", account_list, "every account").add_argument("--json", action="store_true")
    for name, command, text in (
        ("add", account_add, "a new account"),
        ("password", account_password, "a new password"),
    ):
        with_password = _command(group, name, command, text)
        with_password.add_argument("address")
        with_password.add_argument(
            "--password-stdin", action="store_true", help="read it from the first line of standard input"
        )
        with_password.add_argument(
            "--any-password", action="store_true", help="take it even if it is easily guessed"
        )
    quota_commands.add_command(group)
    sending_commands.add_command(group)
    app_password_commands.add_commands(group)
    _command(group, "remove", account_remove, "remove an account; its mail stays").add_argument("address")


def add_alias_commands(alias: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta alias`."""
    group = alias.add_subparsers(required=True)
    _command(group, "list", alias_list, "every alias").add_argument("--json", action="store_true")
    added = _command(group, "add", alias_add, "a new alias, or more targets for one")
    added.add_argument("address", help='"@example.org" for all that nobody else has')
    added.add_argument("targets", nargs="+", metavar="target")
    _command(group, "remove", alias_remove, "remove an alias with all its targets").add_argument("address")


def _command(
    group: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    command: Callable[[Config, argparse.Namespace], None],
    text: str,
) -> argparse.ArgumentParser:
    parser = group.add_parser(name, help=text, description=text)
    parser.set_defaults(command=command)
    return parser


def _new_password(options: argparse.Namespace) -> str:
    password, way = _given_password(options), ""
    try:
        prepared = prepare(password)
        way = "; --any-password takes it all the same"
        if not options.any_password:
            refuse_weak(prepared, options.address)
    except BadPassword as error:
        raise Refused(f"{error}. Nothing was changed{way}") from error
    return password


def _given_password(options: argparse.Namespace) -> str:
    if options.password_stdin:
        try:
            return sys.stdin.readline().rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise Refused("the password is not UTF-8 text") from error
    if not sys.stdin.isatty():
        raise Refused("no terminal to ask for the password; give it on standard input with --password-stdin")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise Refused("the two passwords differ; nothing was changed")
    return password


def account_list(config: Config, options: argparse.Namespace) -> None:
    """`account list`"""
    with opened_administration(config) as directory:
        accounts = directory.accounts()
    print(
        json.dumps(accounts) if options.json else "\n".join(accounts) or "no accounts yet; see: account add"
    )


def account_add(config: Config, options: argparse.Namespace) -> None:
    """`account add ADDRESS`"""
    with opened_administration(config) as directory:
        directory.name_of_new(options.address)  # nobody types a password for nothing
        name = directory.add_account(options.address, _new_password(options))
    print(f"account {name} added")
    if (place := _mail_of(config, name)).exists():
        print(f"it has the mail, scripts and rules of an earlier account of that name: {place}")


def account_password(config: Config, options: argparse.Namespace) -> None:
    """`account password ADDRESS`"""
    with opened_administration(config) as directory:
        directory.name_of_own(options.address)
        name = directory.set_password(options.address, _new_password(options))
        kept = directory.app_passwords(name)
    print(f"account {name} has a new password")
    if kept:
        names = ", ".join(password.name for password in kept)
        print(f"its app passwords still count: {names}; see: account app-password")


def account_remove(config: Config, options: argparse.Namespace) -> None:
    """`account remove ADDRESS`"""
    from twisted_mta.store.sharing import forget_account  # no other command here needs mailboxes

    with opened_administration(config) as directory:
        name = directory.remove_account(options.address)
    try:
        forget_account(Path(config.data_dir) / "mail", name)
    except (OSError, sqlite3.Error) as error:
        raise Refused(
            f"account {name} removed; who may see which mailboxes could not be changed: {error}"
        ) from error
    print(
        f"account {name} removed; its mail stays in {_mail_of(config, name)}, for a new account of that name"
    )


def _mail_of(config: Config, account: str) -> Path:
    """Where its mail and all that goes with it is."""
    from twisted_mta.store.names import account_directory  # as above

    return Path(config.data_dir, "mail").joinpath(*account_directory(account))


def alias_list(config: Config, options: argparse.Namespace) -> None:
    """`alias list`"""
    with opened_administration(config) as directory:
        aliases = directory.aliases()
    if options.json:
        print(json.dumps(aliases))
    else:
        lines = [f"{address}: {' '.join(targets)}" for address, targets in aliases.items()]
        print("\n".join(lines) or "no aliases yet; see: alias add")


def alias_add(config: Config, options: argparse.Namespace) -> None:
    """`alias add ADDRESS TARGET…`"""
    with opened_administration(config) as directory:
        address = directory.add_alias(options.address, options.targets)
        unknown = [] if config.ldap.uri else directory.unknown(options.targets)
    print(f"alias {address} added")
    for target in unknown:
        print(f"mta: nobody here has the address {target} yet; mail to it goes back", file=sys.stderr)


def alias_remove(config: Config, options: argparse.Namespace) -> None:
    """`alias remove ADDRESS`"""
    with opened_administration(config) as directory:
        address = directory.remove_alias(options.address)
    print(f"alias {address} removed")
