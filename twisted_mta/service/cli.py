"""`mta --config FILE …`: administration, whether the server runs or not.

Everything works on the databases of the data directory; a running server sees each change by itself.
Exit codes: 0 done, 1 refused with one line on standard error, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted_mta.directory.error import DirectoryError
from twisted_mta.service.complaint import ConfigError
from twisted_mta.service.config import Config, load
from twisted_mta.service.refused import Refused

Command = Callable[[Config, argparse.Namespace], None]

# By name: what it is about, the module that has its commands, and the function there that fills its parser.
_GROUPS = {
    "account": ("mailbox accounts", "account_commands", "add_account_commands"),
    "alias": ("other names for accounts", "account_commands", "add_alias_commands"),
    "domain": ("domains of this server", "address_commands", "add_domain_commands"),
    "list": ("small mailing lists", "address_commands", "add_list_commands"),
    "mailbox": ("the mail of accounts", "mailbox_commands", "add_commands"),
    "queue": ("messages on their way", "queue_commands", "add_commands"),
    "dkim": ("the keys that mail is signed with", "dkim_commands", "add_commands"),
    "tls": ("TLS with other mail servers", "tls_commands", "add_commands"),
    "reports": ("what others report on mail in our name", "report_commands", "add_commands"),
    "sieve": ("scripts that sort an account's mail", "sieve_commands", "add_commands"),
    "senders": ("who may send mail here, and who may not", "sender_commands", "add_commands"),
    "bans": ("who is shut out for guessing passwords", "bans_commands", "add_commands"),
    "trace": ("what became of a message, or of the messages of an address", "trace_commands", "add_command"),
    "check": (
        "validate the configuration, say what would listen and what is risky",
        "check_command",
        "add_command",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit code."""
    options = _parser().parse_args(arguments)
    command: Command = options.command
    try:
        config = load(options.config)
        if config.ldap.uri:
            # Not later: the owner of the data, as whom a command goes on, may be unable to read this Python.
            import_module("twisted_mta.service.directory_wiring")
        command(config, options)
    except (ConfigError, DirectoryError, Refused) as error:
        print(f"mta: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        sys.stderr.close()  # `mta … | head`: nobody reads on
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


class _Group(argparse.ArgumentParser):
    """Filled when it is the one that is asked: to load the commands of all is to load all of the server."""

    module = ""  # below `service`; "" for one that is filled already
    function = ""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As ever, but for that."""
        module, self.module = self.module, ""
        if module:
            getattr(import_module(f"twisted_mta.service.{module}"), self.function)(self)
        return super().parse_known_args(args, namespace)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mta", description="Administration of a twisted_mta server.")
    parser.add_argument("--config", "-c", type=Path, required=True, metavar="FILE", help="the TOML file")
    groups = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=_Group)
    for name, (text, module, function) in _GROUPS.items():
        group = groups.add_parser(name, help=text, description=text)
        group.module, group.function = module, function
    return parser


if __name__ == "__main__":
    sys.exit(main())
