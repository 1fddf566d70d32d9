"""The directory with an LDAP server behind it: what is not known here is asked for there.

What is here counts first: accounts, aliases and lists, with a detail or without. Then LDAP is asked for the
address, and for it without its detail; then come postmaster, the other names of RFC 2142 and catch-alls.
Quotas and app passwords of LDAP's accounts are kept here. Their passwords are LDAP's own matter: a login is
a bind with them, so SCRAM, for which a server must know more than that, is for accounts that are here.

Every failed login costs the same: a hash here, a search and a bind there.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from twisted_mta.directory.credentials import RememberedCredentials
from twisted_mta.directory.directory import Directory
from twisted_mta.directory.ldap.accounts import LdapAccounts
from twisted_mta.directory.ldap.client import LdapUnavailable
from twisted_mta.directory.passwords import BadPassword, prepare
from twisted_mta.interfaces import Resolution
from twisted_mta.message.address import MAX_ADDRESS, Address
from twisted_mta.message.status import MailError
from twisted_mta.steady import steady_seconds

MOST_NAMES = 4  # of an address that LDAP is asked for: `a+b+c+d@` is also a+b+c, a+b and a
MOST_STEPS = 100  # from an address to whose it is, by way of aliases


class LdapDirectory(Directory):
    """`ldap` is asked for what is not here; `lifetime`: seconds for which a password that it has accepted is
    remembered. For the others see Directory."""

    def __init__(
        self,
        path: Path,
        domains: Collection[str],
        *,
        ldap: LdapAccounts,
        reactor: Any,
        lifetime: float,
        **options: Any,
    ) -> None:
        super().__init__(path, domains, reactor=reactor, **options)
        self._ldap = ldap
        self._accepted = RememberedCredentials(steady_seconds(reactor), lifetime)

    async def start(self) -> None:
        """See Directory."""
        await super().start()
        self._ldap.start()

    async def stop(self) -> None:
        """See Directory."""
        await self._ldap.stop()
        await super().stop()

    async def resolve(self, address: Address) -> Resolution | None:
        """See IDirectory. Raises MailError (451) when it is not here and LDAP cannot be asked."""
        if not self.is_local(address.domain):
            return None
        await self.refresh()
        book = self._snapshot.book
        if (found := book.named(address)) is not None:
            return found
        asked = book.canonical(address)
        names = [(asked.local, "")]
        for place in book.places(asked.local):
            names.append((asked.local[:place], asked.local[place + 1 :]))
        try:
            for local, detail in names[:MOST_NAMES]:
                found = await self._ldap.resolve(Address(local, asked.domain))
                if found is not None:
                    return Resolution(account=found.account, aliases=found.aliases, detail=detail)
        except LdapUnavailable as error:
            raise MailError(451, "4.3.0", "Who has this address cannot be found out at the moment") from error
        return self._snapshot.resolve(address)

    async def owns(self, account: str, address: Address) -> bool:
        """See IDirectory. Raises MailError (451)."""
        pending, seen = [address], {address.key}
        while pending:
            found = await self.resolve(pending.pop())
            if found is None:
                continue
            if found.account == account:
                return True
            new = [target for target in found.aliases if target.key not in seen][: MOST_STEPS - len(seen)]
            pending += new
            seen.update(target.key for target in new)
        return False

    def offers_scram(self) -> bool:
        """See IDirectory. There are accounts that have no keys."""
        return self._scram == "always"

    async def account_of_login(self, login: str) -> str | None:
        """See IDirectory. Raises MailError (454)."""
        found = await super().account_of_login(login)
        if found is not None or not login or len(login) > MAX_ADDRESS:
            return found
        entry = await self._login(login)
        return entry[0] if entry is not None else None

    async def authenticate(self, login: str, password: str, peer: str = "", service: str = "") -> str | None:
        """See Directory. Raises MailError (454), too, when LDAP cannot be asked."""
        if not login or len(login) > MAX_ADDRESS:
            return None
        try:
            prepared = prepare(password)
        except BadPassword:
            return None
        if await super().account_of_login(login) is not None:
            found = await super().authenticate(login, password, peer, service)
            if found is None:
                await self._login(login)
                await self._accepts(self._ldap.nobody, prepared, peer)
            return found
        entry = await self._login(login)
        if entry is None:
            await self._accepts(self._ldap.nobody, prepared, peer)
        elif (account := await self._proven(*entry, prepared, peer, service)) is not None:
            return account
        return await super().authenticate(login, password, peer, service)  # costs a hash

    async def _proven(self, account: str, dn: str, prepared: str, peer: str, service: str) -> str | None:
        if self._app_login(account, prepared, service):
            return account
        digest = self._accepted.digest(account, prepared, dn)
        if not self._accepted.knows(digest):
            if not await self._accepts(dn, prepared, peer):
                return None
            self._accepted.remember(digest)
        return account

    async def _login(self, login: str) -> tuple[str, str] | None:
        try:
            entry = await self._ldap.login(login)
        except LdapUnavailable as error:
            raise _later() from error
        # An entry does not open an account that is here.
        return None if entry is None or entry[0] in self._snapshot.accounts else entry

    async def _accepts(self, dn: str, prepared: str, peer: str) -> bool:
        try:
            with self._turn(peer):
                return await self._ldap.accepts(dn, prepared)
        except LdapUnavailable as error:
            raise _later() from error


def _later() -> MailError:
    return MailError(454, "4.7.0", "Logins cannot be checked at the moment, try again later")
