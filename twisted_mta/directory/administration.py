"""Changes to the directory, as `mta account …` and `mta alias …` make them.

Every change is one transaction, checked against what is there, and a running server sees it with its next
lookup. Blocking code; passwords are hashed here. Account names become directories of the store, so they are
held to fewer characters than RFC 5321 allows a local part. All methods raise DirectoryError.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

from twisted_mta.directory.address_administration import book_of, read_address, refuse_circles
from twisted_mta.directory.address_book import SEPARATORS
from twisted_mta.directory.app_passwords import MOST, SERVICES, AppPassword, generate, hash_of
from twisted_mta.directory.database import DirectoryDatabase
from twisted_mta.directory.error import AccountExists, DirectoryError
from twisted_mta.directory.logins import Logins
from twisted_mta.directory.passwords import BadPassword, hash_password, prepare
from twisted_mta.directory.scram_keys import SECRET, derive
from twisted_mta.message.address import Address
from twisted_mta.message.mailing_list import ROLES

ACCOUNT_LOCAL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.'=-]*\Z")


RESOURCES = ("storage", "messages")  # of which an account has limits: octets, and a number


class Administration:
    """`domains` are the local ones, in lower case. `scram`: keep the keys that SCRAM needs. `separators`
    begin the detail of an address. `elsewhere`: whether an account that is not here is one all the same,
    with its password somewhere else; may raise."""

    def __init__(
        self,
        database: DirectoryDatabase,
        domains: Sequence[str],
        *,
        scram: bool = True,
        separators: str = SEPARATORS,
        elsewhere: Callable[[str], bool] | None = None,
    ) -> None:
        self._elsewhere = elsewhere
        self._database = database
        self._separators = separators
        self._domains = domains
        self._scram = scram

    def accounts(self) -> list[str]:
        """Every account name, oldest first."""
        return [address for address, _ in self._database.accounts()]

    def is_account(self, name: str) -> bool:
        """Here or elsewhere. Raises what that raises."""
        return name in self.accounts() or (self._elsewhere is not None and self._elsewhere(name))

    def aliases(self) -> dict[str, list[str]]:
        """Targets by alias."""
        found: dict[str, list[str]] = {}
        for address, target in self._database.aliases():
            found.setdefault(address, []).append(target)
        return found

    def name_of_new(self, text: str) -> str:
        """The name of an account that may be added. Raises AccountExists, too."""
        address = self._local_address(text)
        if not ACCOUNT_LOCAL.match(address.local):
            raise DirectoryError(
                f"{text}: an account's name has letters, digits and . _ - ' = only, and begins with a "
                "letter, a digit or _ (what comes after + in an address needs no account of its own)"
            )
        name = address.key
        if name in self.accounts():
            raise AccountExists(
                f"the account {name} exists already; to change its password: account password"
            )
        if name in self.aliases():
            raise DirectoryError(f"{name} is an alias; remove it first: alias remove {name}")
        self._refuse_list(name)
        return name

    def add_account(self, text: str, password: str) -> str:
        """A new account; returns its name."""
        self.name_of_new(text)  # before the time that a hash takes
        hashed = self._hash(password)
        with self._database.transaction():
            name = self.name_of_new(text)
            self._database.add_account(name, hashed)
            self._add_keys(name, "", prepare(password))
        return name

    def name_of_own(self, text: str) -> str:
        """The name of an account with a password here."""
        name = self._key(text)
        self._require_own(name)
        return name

    def set_password(self, text: str, password: str) -> str:
        """A new password; what was remembered of the old one is void. Returns the account's name."""
        name, hashed = self._key(text), self._hash(password)
        with self._database.transaction():
            self._require_own(name)
            self._database.set_password(name, hashed)
            self._add_keys(name, "", prepare(password))
        return name

    def app_passwords(self, text: str) -> list[AppPassword]:
        """Those of an account, sorted by name."""
        name = self._key(text)
        self._require_account(name)
        return [password for address, password in self._database.app_passwords() if address == name]

    def add_app_password(self, text: str, name: str, services: Collection[str] = ()) -> str:
        """A new app password for some of `SERVICES`, for all when none is named. Returns it, and nobody ever
        will again."""
        if not name or len(name) > 60 or not name.isprintable():
            raise DirectoryError(f"{name!r} is no name for an app password: 1 to 60 printable characters")
        if unknown := set(services) - set(SERVICES):
            raise DirectoryError(f"{min(unknown)} is no service; those are {', '.join(SERVICES)}")
        account, password = self._key(text), generate()
        hashed = hash_of(account, password)
        assert hashed is not None
        self._require_account(account)
        with self._database.transaction():
            there = [password for address, password in self._database.app_passwords() if address == account]
            if name in (other.name for other in there):
                raise DirectoryError(f"{account} has an app password {name!r} already; remove it first")
            if len(there) >= MOST:
                raise DirectoryError(f"{account} has {MOST} app passwords; remove one that is not used")
            entry = AppPassword(name, hashed, frozenset(services or SERVICES), int(time.time()))
            self._database.add_app_password(account, entry)
            self._add_keys(account, name, password)
        return password

    def remove_app_password(self, text: str, name: str) -> str:
        """It counts for nothing any more. Returns the account's name."""
        account = self._key(text)
        with self._database.transaction():
            if not self._database.remove_app_password(account, name):
                raise DirectoryError(
                    f"{account} has no app password {name!r}; see: account app-password list"
                )
        return account

    def accounts_without_keys(self) -> list[str]:
        """Whose passwords SCRAM cannot prove, because they were set before there was SCRAM."""
        logins = Logins(scram_keys=self._database.scram_keys())
        return [name for name in self.accounts() if not logins.has_keys(name)]

    def _add_keys(self, account: str, app_password: str, password: str) -> None:
        if self._scram:
            keys = derive(self._database.secret(SECRET), account, password)
            self._database.add_scram_keys(account, app_password, keys)

    def quota(self, text: str) -> tuple[str, dict[str, int | None]]:
        """The account's name, and its own limits by resource (see `RESOURCES`); None: no limit."""
        name = self._key(text)
        self._require_account(name)
        return name, self.limits(name)

    def limits(self, name: str) -> dict[str, int | None]:
        """The limits of its own that an account has, which may be nobody's any more, or LDAP's."""
        return {resource: amount for address, resource, amount in self._database.quotas() if address == name}

    def set_quota(self, text: str, changes: Mapping[str, int | Literal["none", "default"]]) -> str:
        """Other limits, by resource: octets or messages, "none", or the configured "default". Returns the
        account's name."""
        name = self._key(text)
        self._require_account(name)
        with self._database.transaction():
            for resource, amount in changes.items():
                if amount == "default":
                    self._database.reset_quota(name, resource)
                else:
                    self._database.set_quota(name, resource, None if amount == "none" else amount)
        return name

    def remove_account(self, text: str) -> str:
        """The account goes, and from all lists, too; its mail stays in the store. Returns its name."""
        name = self._key(text)
        with self._database.transaction():
            self._require_own(name)
            self._leave_lists(name)
            self._database.remove_account(name)
        return name

    def add_alias(self, text: str, targets: Sequence[str]) -> str:
        """Add targets to an alias, new or not; "@domain" is the catch-all of a domain. Returns its
        address."""
        address = self._alias_key(text)
        stored = [self._target(target) for target in targets]
        if address in map(self._key, targets):
            raise DirectoryError(f"{address} cannot be an alias for itself")
        with self._database.transaction():
            if address in self.accounts():
                raise DirectoryError(f"{address} is an account; an address is either an account or an alias")
            self._refuse_list(address)
            if address.removeprefix("@") in dict(self._database.addresses.domain_aliases()):
                raise DirectoryError(f"{address[1:]} stands for another domain; see: domain alias list")
            for target in stored:
                self._database.add_alias(address, target)
            refuse_circles(book_of(self._database, self._separators), [address], self._domains)
        return address

    def unknown(self, targets: Sequence[str]) -> list[str]:
        """Those of our own domains that nobody here has, as far as this database knows."""
        book = book_of(self._database, self._separators)
        addresses = map(read_address, targets)
        return [
            str(each) for each in addresses if each.domain in self._domains and book.resolve(each) is None
        ]

    def remove_alias(self, text: str) -> str:
        """The alias goes with all its targets. Returns its address."""
        address = text.lower() if text.startswith("@") else self._key(text)
        with self._database.transaction():
            if address not in self.aliases():
                raise DirectoryError(f"there is no alias {address}; see: alias list")
            self._database.remove_alias(address)
        return address

    def _alias_key(self, text: str) -> str:
        if text.startswith("@"):
            return "@" + self._local_address(f"postmaster{text}").domain
        return self._local_address(text).key

    def _leave_lists(self, name: str) -> None:
        lists = self._database.addresses
        for each in lists.lists():
            if each.owner.key == name:
                raise DirectoryError(
                    f"{name} owns the list {each.address}; first: list change {each.address} --owner SOMEBODY"
                )
            lists.remove_member(each.address.key, Address.parse(name))

    def _refuse_list(self, name: str) -> None:
        for each in self._database.addresses.lists():
            if name in (each.address.key, *(each.role(role).key for role in ROLES)):
                raise DirectoryError(f"{name} belongs to the list {each.address}; see: list list")

    def _local_address(self, text: str) -> Address:
        address = read_address(text)
        if address.domain not in self._domains:
            raise DirectoryError(
                f"{address.domain} is not a domain of this server: add it to `domains` in the configuration, "
                f"or use one of {', '.join(self._domains)}"
            )
        return address

    def _target(self, text: str) -> str:
        """As it is to be written in an envelope: the case of a stranger's local part is the stranger's."""
        address = read_address(text)
        if address.domain in self._domains:
            address = Address(address.local.lower(), address.domain)
        return str(address)

    def _key(self, text: str) -> str:
        return read_address(text).key

    def _require_account(self, name: str) -> None:
        if not self.is_account(name):
            self._require_own(name)

    def _require_own(self, name: str) -> None:
        if name not in self.accounts():
            raise DirectoryError(f"there is no account {name}; see: account list")

    @staticmethod
    def _hash(password: str) -> str:
        try:
            return hash_password(prepare(password))
        except BadPassword as error:
            raise DirectoryError(str(error)) from error
