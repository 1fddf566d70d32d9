"""The statements on those tables of the directory's database that hold domain aliases and mailing lists."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from twisted_mta.message.address import Address
from twisted_mta.message.mailing_list import MailingList
from twisted_mta.message.status import MailError

# For the database's MIGRATIONS.
TABLES = (
    "CREATE TABLE domain_alias (domain TEXT PRIMARY KEY, target TEXT NOT NULL)",
    "CREATE TABLE mailing_list (address TEXT PRIMARY KEY, owner TEXT NOT NULL, posting TEXT NOT NULL,"
    " title TEXT NOT NULL, replies TEXT NOT NULL, rewrite_from INTEGER NOT NULL)",
    "CREATE TABLE list_member (list TEXT NOT NULL, key TEXT NOT NULL, member TEXT NOT NULL,"
    " PRIMARY KEY (list, key))",
)


class AddressRows:
    """On the connection of a DirectoryDatabase, whose `transaction` is for those who write here."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def domain_aliases(self) -> list[tuple[str, str]]:
        """(domain, the one it stands for), sorted."""
        return self._connection.execute("SELECT domain, target FROM domain_alias ORDER BY domain").fetchall()

    def add_domain_alias(self, domain: str, target: str) -> None:
        """`domain` stands for `target`, and for no other any more."""
        self.remove_domain_alias(domain)
        self._connection.execute("INSERT INTO domain_alias VALUES (?, ?)", (domain, target))

    def remove_domain_alias(self, domain: str) -> None:
        """The domain stands for itself."""
        self._connection.execute("DELETE FROM domain_alias WHERE domain = ?", (domain,))

    def lists(self) -> Iterator[MailingList]:
        """All lists with their members, each sorted. What is no address (any more) is left out."""
        members: dict[str, list[Address]] = {}
        for name, member in self._connection.execute(
            "SELECT list, member FROM list_member ORDER BY list, key"
        ):
            if (address := _address(member)) is not None:
                members.setdefault(name, []).append(address)
        rows = self._connection.execute(
            "SELECT address, owner, posting, title, replies, rewrite_from FROM mailing_list ORDER BY address"
        )
        for name, owner, posting, title, replies, rewrite_from in rows:
            address, owned_by = _address(name), _address(owner)
            if address is not None and owned_by is not None:
                found = tuple(members.get(name, ()))
                yield MailingList(address, owned_by, found, posting, title, replies, bool(rewrite_from))

    def set_list(self, found: MailingList) -> None:
        """A list as it is to be from now on; its members are not touched."""
        key = found.address.key
        self._connection.execute("DELETE FROM mailing_list WHERE address = ?", (key,))
        self._connection.execute(
            "INSERT INTO mailing_list VALUES (?, ?, ?, ?, ?, ?)",
            (key, str(found.owner), found.posting, found.title, found.replies, int(found.rewrite_from)),
        )

    def remove_list(self, address: str) -> None:
        """With its members."""
        self._connection.execute("DELETE FROM list_member WHERE list = ?", (address,))
        self._connection.execute("DELETE FROM mailing_list WHERE address = ?", (address,))

    def add_member(self, address: str, member: Address) -> None:
        """To the list of that address; who is one already is written as here from now on."""
        self.remove_member(address, member)
        row = (address, member.key, str(member))
        self._connection.execute("INSERT INTO list_member VALUES (?, ?, ?)", row)

    def remove_member(self, address: str, member: Address) -> bool:
        """False when it was none."""
        row = (address, member.key)
        return (
            self._connection.execute("DELETE FROM list_member WHERE list = ? AND key = ?", row).rowcount == 1
        )


def _address(text: str) -> Address | None:
    try:
        return Address.parse(text)
    except MailError:
        return None
