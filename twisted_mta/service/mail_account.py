"""The accounts that `mta mailbox` works on: their names, their directories, what they may keep."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from twisted_mta.directory.administration import Administration
from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.service.commands import quota as quota_commands
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.directory_administration import opened_administration
from twisted_mta.service.options.config import Config
from twisted_mta.store.errors import BadMailboxName, StoreError
from twisted_mta.store.names import account_directory
from twisted_mta.store.quota import Limits


class MailAccount(NamedTuple):
    """An account, or mail that an account has left. path: of its directory, which may not be there yet.
    limits: what it may keep."""

    name: str
    path: str
    limits: Limits

    @property
    def has_mail(self) -> bool:
        """True when there is a Maildir, or what is left of the account."""
        return os.path.isdir(self.path)


def one(config: Config, address: str) -> MailAccount:
    """The account with that address. Raises Refused."""
    try:
        name = Address.parse(address).key
    except MailError as error:
        raise Refused(f"{address!r} is not an address such as user@example.org ({error.text})") from error
    with opened_administration(config) as directory:
        account = _account(config, name, directory)
        if not account.has_mail and not directory.is_account(name):
            raise Refused(f"there is no account {name}; see: account list")
    return account


def every(config: Config) -> list[MailAccount]:
    """All accounts of the directory itself, oldest first."""
    with opened_administration(config) as directory:
        return [_account(config, name, directory) for name in directory.accounts()]


def _account(config: Config, name: str, directory: Administration) -> MailAccount:
    try:
        path = Path(config.data_dir, "mail").joinpath(*account_directory(name))
    except BadMailboxName as error:
        raise Refused(f"there is no account {name}; see: account list") from error
    return MailAccount(name, str(path), quota_commands.limits(config, directory.limits(name)))


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Trouble with files, indexes and limits becomes a sentence. Raises Refused."""
    try:
        yield
    except StoreError as error:
        raise Refused(f"{what}: {error.text}") from error
    except PermissionError as error:
        raise Refused(
            f"{what}: {error.filename or ''}: permission denied; this is done as the user that the data"
            f" directory belongs to (number {os.geteuid()})"
        ) from error
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise Refused(f"{what}: {where}{error.strerror or error}") from error
    except sqlite3.Error as error:
        raise Refused(f"{what}: {error}") from error
