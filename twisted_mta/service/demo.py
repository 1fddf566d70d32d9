"""The demonstration: accounts made at the first start, and what to type next.

Passwords are shown once, on the terminal and never in the log. `[demo] accounts` in the configuration
turns this on.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from twisted_mta.directory.app_passwords import random_text
from twisted_mta.directory.database import DATABASE, DirectoryDatabase
from twisted_mta.directory.error import AccountExists
from twisted_mta.service.directory_administration import administration
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.roles import has_both, services


def create_accounts(config: Config) -> dict[str, str]:
    """Make the accounts that do not exist yet; their passwords by account name. Blocking."""
    if not config.demo.accounts:
        return {}
    database = DirectoryDatabase(Path(config.data_dir) / DATABASE)
    try:
        directory = administration(config, database)
        missing = [name for name in config.demo.accounts if name not in directory.accounts()]
        made = {}
        for name in missing:
            password = random_text(4)
            with suppress(AccountExists):  # the process in the other role was faster, and tells its password
                made[directory.add_account(name, password)] = password
        return made
    finally:
        database.close()


def guide(config: Config, path: Path, passwords: dict[str, str]) -> str:
    """What listens where and the commands that send a first mail and read it back."""
    accounts = config.demo.accounts
    role = "" if has_both(config.roles) else f", for {config.roles[0]}"
    lines = ["", f"twisted_mta is running{role}. It listens on:"]
    for name, addresses in services(config).items():
        lines.append(f"    {name:<12} {', '.join(addresses)}")
    lines += ["", f"Everything it writes is in {_short(Path(config.data_dir))}. Accounts:"]
    lines += [f"    {name}   password: {passwords.get(name, '(as before)')}" for name in accounts]
    mta = f"{_short(Path(sys.argv[0]).with_name('mta'))} --config {path}"
    if not passwords:
        lines.append(f"A new password: {mta} account password {accounts[0]}")
    lines += ["", *_commands(config, passwords), "What became of it:", f"    {mta} trace {accounts[-1]}"]
    lines += ["", "Ctrl-C stops it; the mail stays.", ""]
    return "\n".join(lines)


def _commands(config: Config, passwords: dict[str, str]) -> list[str]:
    first, last = config.demo.accounts[0], config.demo.accounts[-1]
    first_password, last_password = (passwords.get(name, "PASSWORD") for name in (first, last))
    listen, here = config.listen, services(config)
    lines: list[str] = []
    if "submissions" in here:
        lines += [
            f"Send a mail from {first} to {last} (curl):",
            "    printf 'Subject: hello\\r\\n\\r\\nIt works.\\r\\n' | curl --insecure -T - \\",
            f"        smtps://{listen.submissions[0]} --user '{first}:{first_password}' \\",
            f"        --mail-from {first} --mail-rcpt {last}",
        ]
    if "submission" in here:
        lines += [
            "or with swaks:",
            f"    swaks --server {listen.submission[0]} --tls --auth PLAIN --auth-user {first} \\",
            f"        --auth-password {first_password} --from {first} --to {last}",
        ]
    if "imaps" in here:
        lines += [
            "Read it:",
            f"    curl --insecure --user '{last}:{last_password}' 'imaps://{listen.imaps[0]}/INBOX;MAILINDEX=1'",
        ]
    if "https" in here:
        lines += ["How mail programs are set up:", f"    https://{listen.https[0]}/"]
    return lines


def _short(path: Path) -> str:
    """Relative to where the user is, when it is below."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd()) if absolute.is_relative_to(Path.cwd()) else absolute)
