"""Changes to the directory, as `mta account …` and `mta alias …` make them.

Every change is one transaction, checked against what is there, and a running server sees it with its next
lookup. Blocking code; passwords are hashed here. Account names become directories of the store, so they are
held to fewer characters than RFC 5321 allows a local part. All methods raise DirectoryError.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

from twisted_mta.directory.database import DirectoryDatabase
from twisted_mta.directory.error import DirectoryError
from twisted_mta.directory.passwords import BadPassword, hash_password, prepare
from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError

_ACCOUNT_LOCAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.'=-]*\Z")


RESOURCES = ("storage", "messages")  # of which an account has limits: octets, and a number


class Administration:
    """`domains` are the local ones, in lower case."""

    def __init__(self, database: DirectoryDatabase, domains: Sequence[str]) -> None:
        self._database = database
        self._domains = domains

    def accounts(self) -> list[str]:
        """Every account name, oldest first."""
        return [address for address, _ in self._database.accounts()]

    def aliases(self) -> dict[str, list[str]]:
        """Targets by alias."""
        found: dict[str, list[str]] = {}
        for address, target in self._database.aliases():
            found.setdefault(address, []).append(target)
        return found

    def add_account(self, text: str, password: str) -> str:
        """A new account; returns its name."""
        address = self._local_address(text)
        if not _ACCOUNT_LOCAL.match(address.local):
            raise DirectoryError(
                f"{text}: an account's name has letters, digits and . _ - ' = only, and begins with a "
                "letter, a digit or _ (what comes after + in an address needs no account of its own)"
            )
        name, hashed = address.key, self._hash(password)
        with self._database.transaction():
            if name in self.accounts():
                raise DirectoryError(
                    f"the account {name} exists already; to change its password: account password"
                )
            if name in self.aliases():
                raise DirectoryError(f"{name} is an alias; remove it first: alias remove {name}")
            self._database.add_account(name, hashed)
        return name

    def set_password(self, text: str, password: str) -> str:
        """A new password; what was remembered of the old one is void. Returns the account's name."""
        name, hashed = self._key(text), self._hash(password)
        with self._database.transaction():
            self._require_account(name)
            self._database.set_password(name, hashed)
        return name

    def quota(self, text: str) -> tuple[str, dict[str, int | None]]:
        """The account's name, and its own limits by resource (see `RESOURCES`); None: no limit."""
        name = self._key(text)
        self._require_account(name)
        found = {resource: amount for address, resource, amount in self._database.quotas() if address == name}
        return name, found

    def set_quota(self, text: str, changes: Mapping[str, int | Literal["none", "default"]]) -> str:
        """Other limits, by resource: octets or messages, "none", or the configured "default". Returns the
        account's name."""
        name = self._key(text)
        with self._database.transaction():
            self._require_account(name)
            for resource, amount in changes.items():
                if amount == "default":
                    self._database.reset_quota(name, resource)
                else:
                    self._database.set_quota(name, resource, None if amount == "none" else amount)
        return name

    def remove_account(self, text: str) -> str:
        """The account goes, its mail stays in the store. Returns its name."""
        name = self._key(text)
        with self._database.transaction():
            self._require_account(name)
            self._database.remove_account(name)
        return name

    def add_alias(self, text: str, targets: Sequence[str]) -> str:
        """Add targets to an alias, new or not. Returns its address."""
        address = self._local_address(text).key
        stored = [self._target(target) for target in targets]
        if address in map(self._key, targets):
            raise DirectoryError(f"{address} cannot be an alias for itself")
        with self._database.transaction():
            if address in self.accounts():
                raise DirectoryError(f"{address} is an account; an address is either an account or an alias")
            for target in stored:
                self._database.add_alias(address, target)
        return address

    def remove_alias(self, text: str) -> str:
        """The alias goes with all its targets. Returns its address."""
        address = self._key(text)
        with self._database.transaction():
            if address not in self.aliases():
                raise DirectoryError(f"there is no alias {address}; see: alias list")
            self._database.remove_alias(address)
        return address

    def _local_address(self, text: str) -> Address:
        address = self._parse(text)
        if address.domain not in self._domains:
            raise DirectoryError(
                f"{address.domain} is not a domain of this server: add it to `domains` in the configuration, "
                f"or use one of {', '.join(self._domains)}"
            )
        return address

    def _target(self, text: str) -> str:
        """As it is to be written in an envelope: the case of a stranger's local part is the stranger's."""
        address = self._parse(text)
        if address.domain in self._domains:
            address = Address(address.local.lower(), address.domain)
        return str(address)

    @staticmethod
    def _parse(text: str) -> Address:
        try:
            return Address.parse(text)
        except MailError as error:
            raise DirectoryError(
                f"{text!r} is not an address such as user@example.org ({error.text})"
            ) from error

    def _key(self, text: str) -> str:
        return self._parse(text).key

    def _require_account(self, name: str) -> None:
        if name not in self.accounts():
            raise DirectoryError(f"there is no account {name}; see: account list")

    @staticmethod
    def _hash(password: str) -> str:
        try:
            return hash_password(prepare(password))
        except BadPassword as error:
            raise DirectoryError(str(error)) from error
