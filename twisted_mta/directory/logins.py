"""What accounts log in with beside their passwords, as it stands in memory: app passwords, keys for SCRAM."""

from __future__ import annotations

from collections.abc import Iterable

from twisted_mta.directory.app_passwords import AppPassword, hash_of
from twisted_mta.directory.database import ScramRow
from twisted_mta.directory.scram_keys import complete
from twisted_mta.protocol.sasl.scram import Keys

OWN = ""  # in place of an app password's name: the account's own password


class Logins:
    """From the database's rows."""

    def __init__(
        self,
        app_passwords: Iterable[tuple[str, AppPassword]] = (),
        scram_keys: Iterable[ScramRow] = (),
    ) -> None:
        self._by_hash: dict[str, dict[bytes, AppPassword]] = {}
        self._services: dict[tuple[str, str], AppPassword] = {}
        self._rows: dict[str, list[ScramRow]] = {}
        for account, password in app_passwords:
            self._by_hash.setdefault(account, {})[password.hash] = password
            self._services[account, password.name] = password
        for row in scram_keys:
            self._rows.setdefault(row[0], []).append(row)

    def app_password(self, account: str, typed: str, service: str) -> AppPassword | None:
        """The one that was typed, when it counts for the service."""
        known = self._by_hash.get(account)
        hashed = hash_of(account, typed) if known else None
        found = known.get(hashed) if known and hashed else None
        return found if found is not None and service in found.services else None

    def has_keys(self, account: str) -> bool:
        """True when the account's own password can be proven with every mechanism."""
        return complete({mechanism for _, name, mechanism, *_ in self._rows.get(account, ()) if name == OWN})

    def keys(self, account: str, mechanism: str, service: str) -> dict[Keys, AppPassword | None]:
        """What may be proven, the account's own password first, and what each belongs to. All have the same
        salt and iterations: those that have not, from another version, are left out."""
        found: dict[Keys, AppPassword | None] = {}
        for _, name, used_with, salt, iterations, stored_key, server_key in self._rows.get(account, ()):
            password = self._services.get((account, name))
            counts = name == OWN or (password is not None and service in password.services)
            if used_with == mechanism and counts:
                found[Keys(salt, iterations, stored_key, server_key)] = password
        first = next(iter(found), None)
        return {
            keys: password
            for keys, password in found.items()
            if first is not None and (keys.salt, keys.iterations) == (first.salt, first.iterations)
        }
