"""Changes to domains that stand for others, and to mailing lists, as `mta domain …` and `mta list …` make
them.

Every change is one transaction, checked against what is there, and a running server sees it with its next
lookup. Nothing is accepted by which mail would go round in a circle. Blocking code. All methods raise
DirectoryError.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from twisted_mta.directory.address_book import SEPARATORS, AddressBook
from twisted_mta.directory.database import DirectoryDatabase
from twisted_mta.directory.error import DirectoryError
from twisted_mta.directory.snapshot import Snapshot
from twisted_mta.message.address import Address
from twisted_mta.message.mailing_list import ROLES, MailingList
from twisted_mta.message.status import MailError

MOST_MEMBERS = 1000  # of one list: a message has as many recipients
_LIST_LOCAL = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}\Z")  # "-leave=" and a token have to fit behind it
_TITLE = 100  # characters


class AddressAdministration:
    """`domains` are the local ones, in lower case; `separators` begin the detail of an address."""

    def __init__(
        self, database: DirectoryDatabase, domains: Sequence[str], *, separators: str = SEPARATORS
    ) -> None:
        self._database = database
        self._rows = database.addresses
        self._domains = domains
        self._separators = separators

    # Domains

    def domain_aliases(self) -> dict[str, str]:
        """What domains stand for."""
        return dict(self._rows.domain_aliases())

    def add_domain_alias(self, domain: str, target: str) -> tuple[str, str]:
        """All of `domain` stands for `target`. Returns both as they are kept."""
        domain, target = self._domain(domain), self._domain(target)
        if domain == target:
            raise DirectoryError(f"{domain} stands for itself already")
        with self._database.transaction():
            known = self.domain_aliases()
            if target in known:
                raise DirectoryError(
                    f"{target} stands for {known[target]} itself, mail would go {domain} → {target} → "
                    f"{known[target]}: name {known[target]} instead"
                    if known[target] != domain
                    else f"mail would go round: {domain} → {target} → {domain}"
                )
            standing = [each for each, meant in known.items() if meant == domain]
            if standing:
                raise DirectoryError(
                    f"{standing[0]} stands for {domain}; remove that first: domain alias remove {standing[0]}"
                )
            if any(alias == f"@{domain}" for alias, _ in self._database.aliases()):
                raise DirectoryError(f"{domain} has a catch-all; remove it first: alias remove @{domain}")
            self._rows.add_domain_alias(domain, target)
            self._refuse_circles([alias for alias, _ in self._database.aliases()])
        return domain, target

    def remove_domain_alias(self, domain: str) -> str:
        """The domain stands for itself again. Returns it."""
        domain = domain.lower()
        with self._database.transaction():
            if domain not in self.domain_aliases():
                raise DirectoryError(f"{domain} stands for no other domain; see: domain alias list")
            self._rows.remove_domain_alias(domain)
        return domain

    # Lists

    def lists(self) -> list[MailingList]:
        """All lists, by address."""
        return list(self._rows.lists())

    def list_of(self, text: str) -> MailingList:
        """The list with that address."""
        key = read_address(text).key
        for found in self._rows.lists():
            if found.address.key == key:
                return found
        raise DirectoryError(f"there is no list {key}; see: list list")

    def add_list(self, text: str, owner: str, members: Sequence[str] = (), **how: Any) -> MailingList:
        """A new list; `how` are the fields of MailingList that are not to be the usual ones."""
        address = self._list_address(text)
        with self._database.transaction():
            self._require_free(address)
            self._set(MailingList(address, self._known(owner, self._book())), how)
            return self._add_members(address, members)

    def change_list(self, text: str, **how: Any) -> MailingList:
        """The list with other values in these fields; `owner` is text."""
        with self._database.transaction():
            found = self.list_of(text)
            if "owner" in how:
                how["owner"] = self._known(how["owner"], self._book())
            return self._set(found, how)

    def remove_list(self, text: str) -> MailingList:
        """The list goes. Returns it as it was."""
        with self._database.transaction():
            found = self.list_of(text)
            self._rows.remove_list(found.address.key)
        return found

    def add_members(self, text: str, members: Sequence[str]) -> MailingList:
        """Who is one already stays one."""
        with self._database.transaction():
            return self._add_members(self.list_of(text).address, members)

    def remove_members(self, text: str, members: Sequence[str]) -> MailingList:
        """None of them gets what is posted from now on."""
        with self._database.transaction():
            found = self.list_of(text)
            for member in map(read_address, members):
                if not self._rows.remove_member(found.address.key, member):
                    raise DirectoryError(f"{member} is not a member of {found.address}; see: list show")
            return self.list_of(text)

    # What may be

    def _set(self, found: MailingList, how: dict[str, Any]) -> MailingList:
        found = replace(found, **how)
        if len(found.title) > _TITLE or not found.title.isprintable():
            raise DirectoryError(f"a title has at most {_TITLE} characters, in one line")
        self._rows.set_list(found)
        book = self._book()
        reached = book.circle(found.owner, self._domains) or self._leads_to(book, found.owner, found.address)
        if reached:
            raise DirectoryError(
                f"the owner of {found.address} gets what cannot be delivered to the list, and must not lead "
                f"back to it: {' → '.join(reached)}"
            )
        return found

    def _add_members(self, address: Address, members: Sequence[str]) -> MailingList:
        book = self._book()
        for member in members:
            self._rows.add_member(address.key, self._known(member, book))
        self._refuse_circles([address])
        found = self.list_of(str(address))
        if len(found.members) > MOST_MEMBERS:
            raise DirectoryError(f"a list has at most {MOST_MEMBERS} members")
        return found

    def _require_free(self, address: Address) -> None:
        taken = {each.address.key: f"the list {each.address}" for each in self._rows.lists()}
        taken.update((name, f"the account {name}") for name, _ in self._database.accounts())
        taken.update((name, f"the alias {name}") for name, _ in self._database.aliases())
        names = [address, *(MailingList(address, address).role(role) for role in ROLES)]
        for name in names:
            if name.key in taken:
                raise DirectoryError(f"{taken[name.key]} exists already; a list needs {name} for itself")

    def _leads_to(self, book: AddressBook, start: Address, end: Address) -> list[str]:
        """`start` when mail for it reaches `end` in some way, else nothing."""
        return [str(start), "…", str(end)] if book.reaches(start, end, self._domains) else []

    def _refuse_circles(self, starts: Iterable[str | Address]) -> None:
        refuse_circles(self._book(), starts, self._domains)

    def _book(self) -> AddressBook:
        return book_of(self._database, self._separators)

    def _known(self, text: str, book: AddressBook) -> Address:
        """An address that mail can be sent to, as far as can be known here."""
        address = read_address(text)
        if address.domain not in self._domains:
            return address
        if book.resolve(address) is None:
            raise DirectoryError(f"nobody here has the address {address}")
        return Address(address.local.lower(), address.domain)

    def _list_address(self, text: str) -> Address:
        address = read_address(text)
        address = Address(address.local.lower(), self._domain(address.domain))
        if not _LIST_LOCAL.match(address.local):
            raise DirectoryError(
                f"{address}: a list's name has letters, digits and . _ - only, at most 32, and begins with a "
                "letter or a digit"
            )
        return address

    def _domain(self, text: str) -> str:
        domain = text.lower().removesuffix(".")
        if domain not in self._domains:
            raise DirectoryError(
                f"{domain} is not a domain of this server: add it to `domains` in the configuration, "
                f"or use one of {', '.join(self._domains)}"
            )
        return domain


def book_of(database: DirectoryDatabase, separators: str = SEPARATORS) -> AddressBook:
    """The addresses as they stand in the database, in a transaction of the caller's too."""
    rows = database.addresses
    return Snapshot.of(
        database.accounts(),
        database.aliases(),
        domain_aliases=rows.domain_aliases(),
        lists=rows.lists(),
        separators=separators,
    ).book


def refuse_circles(book: AddressBook, starts: Iterable[str | Address], domains: Sequence[str]) -> None:
    """Make sure that mail for none of these, addresses or catch-alls "@domain", goes round. Raises
    DirectoryError, which tells the way it would go."""
    for start in starts:
        if isinstance(start, str) and not start.startswith("@"):
            start = read_address(start)
        if circle := book.circle(start, domains):
            raise DirectoryError(f"mail would go round: {' → '.join(circle)}")


def read_address(text: str) -> Address:
    """What somebody has typed. Raises DirectoryError."""
    try:
        return Address.parse(text)
    except MailError as error:
        raise DirectoryError(f"{text!r} is not an address such as user@example.org ({error.text})") from error
