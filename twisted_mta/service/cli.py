"""`mta --config FILE …`: administration, whether the server runs or not.

Everything works on the databases of the data directory; a running server sees each change by itself.
Exit codes: 0 done, 1 refused with one line on standard error, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sqlite3
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted_mta.directory.administration import Administration
from twisted_mta.directory.database import DirectoryDatabase
from twisted_mta.directory.error import DirectoryError
from twisted_mta.service import (
    address_commands,
    app_password_commands,
    bans_commands,
    data_dir,
    mailbox_commands,
    queue_commands,
    quota_commands,
    sending_commands,
    sieve_commands,
    tls_commands,
    trace_commands,
)
from twisted_mta.service.checks import findings
from twisted_mta.service.complaint import ConfigError
from twisted_mta.service.config import Config, load
from twisted_mta.service.directory_wiring import administration
from twisted_mta.service.refused import Refused
from twisted_mta.store.sharing import forget_account

Command = Callable[[Config, argparse.Namespace], None]


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit code."""
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        command(load(options.config), options)
    except (ConfigError, DirectoryError, Refused) as error:
        print(f"mta: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()  # `mta … | head`: nobody reads on
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mta", description="Administration of a twisted_mta server.")
    parser.add_argument("--config", "-c", type=Path, required=True, metavar="FILE", help="the TOML file")
    groups = parser.add_subparsers(metavar="COMMAND", required=True)

    account = groups.add_parser("account", help="mailbox accounts").add_subparsers(required=True)
    _command(account, "list", account_list, "every account").add_argument("--json", action="store_true")
    for name, command, text in (
        ("add", account_add, "a new account"),
        ("password", account_password, "a new password"),
    ):
        with_password = _command(account, name, command, text)
        with_password.add_argument("address")
        with_password.add_argument(
            "--password-stdin", action="store_true", help="read it from the first line of standard input"
        )
    quota_commands.add_command(account)
    sending_commands.add_command(account)
    app_password_commands.add_commands(account)
    _command(account, "remove", account_remove, "remove an account; its mail stays").add_argument("address")

    alias = groups.add_parser("alias", help="other names for accounts").add_subparsers(required=True)
    _command(alias, "list", alias_list, "every alias").add_argument("--json", action="store_true")
    added = _command(alias, "add", alias_add, "a new alias, or more targets for one")
    added.add_argument("address", help='"@example.org" for all that nobody else has')
    added.add_argument("targets", nargs="+", metavar="target")
    _command(alias, "remove", alias_remove, "remove an alias with all its targets").add_argument("address")

    address_commands.add_commands(groups)
    mailbox_commands.add_commands(groups.add_parser("mailbox", help="the mail of accounts"))
    queue_commands.add_commands(groups.add_parser("queue", help="messages on their way"))
    tls_commands.add_commands(groups.add_parser("tls", help="TLS with other mail servers"))
    sieve_commands.add_commands(groups.add_parser("sieve", help="scripts that sort an account's mail"))
    bans_commands.add_commands(groups.add_parser("bans", help="who is shut out for guessing passwords"))
    text = "what became of a message, or of the messages of an address"
    trace_commands.add_command(groups.add_parser("trace", help=text, description=text))
    _command(
        groups, "check", check, "validate the configuration, say what would listen and what is risky"
    ).add_argument("--json", action="store_true")
    return parser


def _command(
    group: argparse._SubParsersAction[argparse.ArgumentParser], name: str, command: Command, text: str
) -> argparse.ArgumentParser:
    parser = group.add_parser(name, help=text, description=text)
    parser.set_defaults(command=command)
    return parser


def _administration(config: Config) -> Administration:
    data_dir.enter(Path(config.data_dir))
    database = DirectoryDatabase(Path(config.data_dir) / "directory.sqlite")
    return administration(config, database)


def _new_password(options: argparse.Namespace) -> str:
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
    accounts = _administration(config).accounts()
    print(
        json.dumps(accounts) if options.json else "\n".join(accounts) or "no accounts yet; see: account add"
    )


def account_add(config: Config, options: argparse.Namespace) -> None:
    """`account add ADDRESS`"""
    name = _administration(config).add_account(options.address, _new_password(options))
    print(f"account {name} added")


def account_password(config: Config, options: argparse.Namespace) -> None:
    """`account password ADDRESS`"""
    name = _administration(config).set_password(options.address, _new_password(options))
    print(f"account {name} has a new password")
    if kept := _administration(config).app_passwords(name):
        names = ", ".join(password.name for password in kept)
        print(f"its app passwords still count: {names}; see: account app-password")


def account_remove(config: Config, options: argparse.Namespace) -> None:
    """`account remove ADDRESS`"""
    name = _administration(config).remove_account(options.address)
    try:
        forget_account(Path(config.data_dir) / "mail", name)
    except (OSError, sqlite3.Error) as error:
        raise Refused(
            f"account {name} removed; who may see which mailboxes could not be changed: {error}"
        ) from error
    print(f"account {name} removed; its mail stays in {config.data_dir}/mail")


def alias_list(config: Config, options: argparse.Namespace) -> None:
    """`alias list`"""
    aliases = _administration(config).aliases()
    if options.json:
        print(json.dumps(aliases))
    else:
        lines = [f"{address}: {' '.join(targets)}" for address, targets in aliases.items()]
        print("\n".join(lines) or "no aliases yet; see: alias add")


def alias_add(config: Config, options: argparse.Namespace) -> None:
    """`alias add ADDRESS TARGET…`"""
    address = _administration(config).add_alias(options.address, options.targets)
    print(f"alias {address} added")


def alias_remove(config: Config, options: argparse.Namespace) -> None:
    """`alias remove ADDRESS`"""
    address = _administration(config).remove_alias(options.address)
    print(f"alias {address} removed")


def check(config: Config, options: argparse.Namespace) -> None:
    """`check`"""
    services, warnings = config.listen.services(), findings(config)
    if options.json:
        print(json.dumps({"listen": services, "warnings": warnings}))
        return
    print(f"{options.config}: the configuration is valid")
    for name, addresses in services.items():
        print(f"  {name:<12} {', '.join(addresses)}")
    for warning in warnings:
        print(f"warning: {warning}")


if __name__ == "__main__":
    sys.exit(main())
