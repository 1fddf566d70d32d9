"""`mta …`: administration, whether the server runs or not.

Everything works on the databases of the data directory; a running server sees each change by itself.
Exit codes: 0 done, 1 refused with one line on standard error, 2 wrong usage; `mta check` of a domain has
those of Nagios.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from twisted_mta.directory.error import DirectoryError
from twisted_mta.service.commands.parser import Group
from twisted_mta.service.commands.refused import Misused, Refused
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config, load

Command = Callable[[Config, argparse.Namespace], None]

DEFAULT = "/etc/twisted_mta/mta.toml"

# By name: what it is about, the module that has its commands, and the function there that fills its parser.
_GROUPS = {
    "account": ("mailbox accounts", "account", "add_account_commands"),
    "alias": ("other names for accounts", "account", "add_alias_commands"),
    "domain": ("domains of this server", "address", "add_domain_commands"),
    "list": ("small mailing lists", "address", "add_list_commands"),
    "mailbox": ("the mail of accounts", "mailbox", "add_commands"),
    "import": ("mail from another server, or from files, into an account", "import_mail", "add_import"),
    "export": ("mail of an account into files", "mailbox_transport", "add_export"),
    "queue": ("messages on their way", "queue", "add_commands"),
    "dkim": ("the keys that mail is signed with", "dkim", "add_commands"),
    "tls": ("certificates, and TLS with other mail servers", "tls", "add_commands"),
    "dns": ("what belongs into the DNS: show it, publish it", "dns", "add_commands"),
    "reports": ("what others report on mail in our name", "report", "add_commands"),
    "sieve": ("scripts that sort an account's mail", "sieve", "add_commands"),
    "senders": ("who may send mail here, and who may not", "sender", "add_commands"),
    "bans": ("who is shut out for guessing passwords", "bans", "add_commands"),
    "reload": ("have a running server read its configuration again", "reload", "add_command"),
    "health": ("whether the server is well, for what restarts it when it is not", "health", "add_command"),
    "trace": ("what became of a message, or of the messages of an address", "trace", "add_command"),
    "backup": ("a copy of all that the server keeps", "backup", "add_command"),
    "restore": ("a backup, or something of it, put back", "restore", "add_command"),
    "undelete": ("mail that was deleted lately, brought back", "undelete", "add_command"),
    "verify": ("whether a backup, or what the server keeps, is in order", "verify", "add_command"),
    "completion": ("what a shell needs to complete these commands", "completion", "add_command"),
    "quickstart": ("set up a new mail server, step by step", "quickstart", "add_command"),
    "check": (
        "validate the configuration, say what is risky; of a domain: whether the DNS and all else are right",
        "check",
        "add_command",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        if "early" in options:
            options.early(options)
            return 0
        command: Command = options.command
        config = _configuration(options)
        if config.ldap.uri:
            # Not later: the owner of the data, as whom a command goes on, may be unable to read this Python.
            import_module("twisted_mta.service.wiring.directory")
        command(config, options)
    except (ConfigError, DirectoryError, Refused) as error:
        print(f"mta: {error}", file=sys.stderr)
        return 2 if isinstance(error, Misused) else 1
    except BrokenPipeError:
        sys.stderr.close()  # `mta … | head`: nobody reads on
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _configuration(options: argparse.Namespace) -> Config:
    """Raises ConfigError, with what that means for a command that says so by `unread`."""
    try:
        return load(options.config)
    except ConfigError as error:
        raise ConfigError(f"{error}{getattr(options, 'unread', '')}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mta", description="Administration of a twisted_mta server.")
    parser.add_argument(
        "--config",
        "-c",
        type=Path,
        default=Path(os.environ.get("MTA_CONFIG") or DEFAULT),
        metavar="FILE",
        help=f"the TOML file; unless it is named: that of $MTA_CONFIG, or {DEFAULT}",
    )
    parser.set_defaults(parser=parser)
    groups = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=Group)
    for name, (text, module, function) in _GROUPS.items():
        group = groups.add_parser(name, help=text, description=text)
        group.module, group.function = module, function
    return parser


if __name__ == "__main__":
    sys.exit(main())
