"""The directory's SQLite database: its migrations and every SQL statement on it.

One file in the data directory, in WAL mode so that the server's lookups never wait
for `mta account …` in another process. `data_version` is how a running server notices such a change.
The statements keep to what other SQL databases know too. Plain blocking code: the owner chooses the thread.
Addresses are stored in the form of `Address.key`; which of them may exist is decided in `administration`.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from twisted_mta.database import Database, Migrations
from twisted_mta.directory import address_rows
from twisted_mta.directory.app_passwords import AppPassword
from twisted_mta.directory.error import DirectoryError
from twisted_mta.protocol.sasl.scram import Keys

DATABASE = "directory.sqlite"  # in the data directory

# Only ever appended to: entry N brings a database of version N to N + 1.
MIGRATIONS: Migrations = (
    (
        "CREATE TABLE account"
        " (number INTEGER PRIMARY KEY, address TEXT NOT NULL UNIQUE, password TEXT NOT NULL)",
        "CREATE TABLE alias (address TEXT NOT NULL, target TEXT NOT NULL, PRIMARY KEY (address, target))",
    ),
    (  # what an account may keep: `amount` of `resource`, NULL for no limit; without a row as configured
        "CREATE TABLE quota (address TEXT NOT NULL, resource TEXT NOT NULL, amount INTEGER,"
        " PRIMARY KEY (address, resource))",
    ),
    (  # what logins need; `app_password` of a SCRAM key is '' for the account's own password
        "CREATE TABLE secret (name TEXT PRIMARY KEY, value BLOB NOT NULL)",
        "CREATE TABLE app_password (address TEXT NOT NULL, name TEXT NOT NULL, hash BLOB NOT NULL,"
        " services TEXT NOT NULL, created INTEGER NOT NULL, used INTEGER, PRIMARY KEY (address, name))",
        "CREATE TABLE scram_key (address TEXT NOT NULL, app_password TEXT NOT NULL, mechanism TEXT NOT NULL,"
        " salt BLOB NOT NULL, iterations INTEGER NOT NULL, stored_key BLOB NOT NULL,"
        " server_key BLOB NOT NULL, PRIMARY KEY (address, app_password, mechanism))",
    ),
    address_rows.TABLES,
)

# Address, app password or "", mechanism, and the parts of Keys; there are many, and few are ever looked at.
ScramRow = tuple[str, str, str, bytes, int, bytes, bytes]


class DirectoryDatabase(Database):
    """A connection. `path` is created, with its tables, when it is not there.

    Raises DirectoryError when the file is no such database or was made by a newer version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Reads and `data_version` come from different threads of one owner, never at the same time.
            super().__init__(path, MIGRATIONS, synchronous="FULL")
            self.addresses = address_rows.AddressRows(self._connection)
        except sqlite3.Error as error:
            raise DirectoryError(f"cannot open the directory {path}: {error}") from error

    def accounts(self) -> list[tuple[str, str]]:
        """(address, password hash) of every account, oldest first."""
        return self._connection.execute("SELECT address, password FROM account ORDER BY number").fetchall()

    def aliases(self) -> list[tuple[str, str]]:
        """(address, target) of every alias, sorted."""
        return self._connection.execute(
            "SELECT address, target FROM alias ORDER BY address, target"
        ).fetchall()

    def add_account(self, address: str, password: str) -> None:
        """`password` is the hash."""
        self._connection.execute("INSERT INTO account (address, password) VALUES (?, ?)", (address, password))

    def set_password(self, address: str, password: str) -> None:
        """`password` is the new hash. The SCRAM keys of the old password go."""
        self.remove_scram_keys(address)
        self._connection.execute("UPDATE account SET password = ? WHERE address = ?", (password, address))

    def password(self, address: str) -> str | None:
        """The account's password hash; None when there is no such account."""
        row = self._connection.execute(
            "SELECT password FROM account WHERE address = ?", (address,)
        ).fetchone()
        return str(row[0]) if row else None

    def remove_account(self, address: str) -> None:
        """The account's mail is not the directory's and stays."""
        for table in ("quota", "app_password", "scram_key", "account"):
            self._connection.execute(f"DELETE FROM {table} WHERE address = ?", (address,))

    def add_alias(self, address: str, target: str) -> None:
        """One more target of an alias; one that is there already stays."""
        self._connection.execute("DELETE FROM alias WHERE address = ? AND target = ?", (address, target))
        self._connection.execute("INSERT INTO alias (address, target) VALUES (?, ?)", (address, target))

    def remove_alias(self, address: str) -> None:
        """The alias with all its targets."""
        self._connection.execute("DELETE FROM alias WHERE address = ?", (address,))

    def quotas(self) -> list[tuple[str, str, int | None]]:
        """(address, resource, amount) of every limit that an account has of its own; None: no limit."""
        return self._connection.execute(
            "SELECT address, resource, amount FROM quota ORDER BY address, resource"
        ).fetchall()

    def set_quota(self, address: str, resource: str, amount: int | None) -> None:
        """A limit of the account's own; None: no limit."""
        self.reset_quota(address, resource)
        self._connection.execute("INSERT INTO quota VALUES (?, ?, ?)", (address, resource, amount))

    def reset_quota(self, address: str, resource: str) -> None:
        """The account has the configured limit again."""
        self._connection.execute("DELETE FROM quota WHERE address = ? AND resource = ?", (address, resource))

    def secret(self, name: str) -> bytes:
        """A random secret of this server, made when it is asked for the first time (inside a transaction)."""
        row = self._connection.execute("SELECT value FROM secret WHERE name = ?", (name,)).fetchone()
        if row is None:
            row = (secrets.token_bytes(32),)
            self._connection.execute("INSERT INTO secret VALUES (?, ?)", (name, *row))
        return bytes(row[0])

    def app_passwords(self) -> list[tuple[str, AppPassword]]:
        """(address, app password) of all accounts, each account's in the order of their names."""
        rows = self._connection.execute(
            "SELECT address, name, hash, services, created, used FROM app_password ORDER BY address, name"
        )
        return [
            (address, AppPassword(name, hashed, frozenset(services.split()), created, used))
            for address, name, hashed, services, created, used in rows
        ]

    def add_app_password(self, address: str, password: AppPassword) -> None:
        """The account has none of that name."""
        services = " ".join(sorted(password.services))
        row = (address, password.name, password.hash, services, password.created, password.used)
        self._connection.execute("INSERT INTO app_password VALUES (?, ?, ?, ?, ?, ?)", row)

    def remove_app_password(self, address: str, name: str) -> bool:
        """With its SCRAM keys. False when there is none of that name."""
        self.remove_scram_keys(address, name)
        cursor = self._connection.execute(
            "DELETE FROM app_password WHERE address = ? AND name = ?", (address, name)
        )
        return cursor.rowcount == 1

    def app_password_used(self, address: str, name: str, used: int) -> None:
        """`used` is the time of its last use, in seconds since 1970."""
        self._connection.execute(
            "UPDATE app_password SET used = ? WHERE address = ? AND name = ?", (used, address, name)
        )

    def scram_keys(self) -> list[ScramRow]:
        """Of everything that SCRAM may prove, each account's own password first."""
        return self._connection.execute(
            "SELECT address, app_password, mechanism, salt, iterations, stored_key, server_key FROM scram_key"
            " ORDER BY address, app_password"
        ).fetchall()

    def add_scram_keys(self, address: str, app_password: str, keys: Mapping[str, Keys]) -> None:
        """By mechanism; instead of those there are."""
        self.remove_scram_keys(address, app_password)
        self._connection.executemany(
            "INSERT INTO scram_key VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (address, app_password, mechanism, k.salt, k.iterations, k.stored_key, k.server_key)
                for mechanism, k in keys.items()
            ),
        )

    def remove_scram_keys(self, address: str, app_password: str = "") -> None:
        """Those of one password."""
        self._connection.execute(
            "DELETE FROM scram_key WHERE address = ? AND app_password = ?", (address, app_password)
        )

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside happens or nothing does, and no other process writes meanwhile."""
        try:
            with super().transaction():
                yield
        except sqlite3.Error as error:
            raise DirectoryError(f"cannot write the directory {self.path}: {error}") from error
