"""The directory as it stands in memory: every lookup a server makes, without I/O.

What an address means is decided in `address_book.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from twisted_mta.directory.address_book import POSTMASTER, SEPARATORS, AddressBook
from twisted_mta.interfaces import Resolution
from twisted_mta.message.address import Address
from twisted_mta.message.mailing_list import MailingList
from twisted_mta.message.status import MailError

__all__ = ["POSTMASTER", "Snapshot"]


@dataclass(slots=True)
class Snapshot:
    """`accounts` maps account names to password hashes, oldest first; `aliases` maps addresses in the form
    of `Address.key` to their targets. `postmaster` is the configured one or None. `quotas` maps accounts with
    limits of their own to these, by resource; None: no limit. For the others see AddressBook."""

    accounts: dict[str, str]
    aliases: dict[str, tuple[Address, ...]]
    postmaster: Address | None = None
    quotas: dict[str, dict[str, int | None]] = field(default_factory=dict)
    domain_aliases: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, MailingList] = field(default_factory=dict)
    separators: str = SEPARATORS
    book: AddressBook = field(init=False)
    _by_local: dict[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.book = AddressBook(
            self.accounts, self.aliases, self.postmaster, self.domain_aliases, self.lists, self.separators
        )
        self._by_local = {}
        for name in self.accounts:
            self._by_local.setdefault(name.rpartition("@")[0], []).append(name)

    @classmethod
    def of(
        cls,
        accounts: Iterable[tuple[str, str]],
        aliases: Iterable[tuple[str, str]],
        postmaster: Address | None = None,
        quotas: Iterable[tuple[str, str, int | None]] = (),
        domain_aliases: Iterable[tuple[str, str]] = (),
        lists: Iterable[MailingList] = (),
        separators: str = SEPARATORS,
    ) -> Snapshot:
        """From the database's rows. A target that is no address (any more) is left out."""
        targets: dict[str, list[Address]] = {}
        for address, target in aliases:
            try:
                targets.setdefault(address, []).append(Address.parse(target))
            except MailError:
                continue
        limits: dict[str, dict[str, int | None]] = {}
        for address, resource, amount in quotas:
            limits.setdefault(address, {})[resource] = amount
        kept = {key: tuple(found) for key, found in targets.items() if found}
        by_key = {each.address.key: each for each in lists}
        return cls(dict(accounts), kept, postmaster, limits, dict(domain_aliases), by_key, separators)

    def resolve(self, address: Address) -> Resolution | None:
        """See `IDirectory.resolve`; the domain is known to be local."""
        return self.book.resolve(address)

    def owns(self, account: str, address: Address, domains: Collection[str]) -> bool:
        """See `IDirectory.owns`; `domains` are the local ones. Aliases of aliases count."""
        return self.book.owns(account, address, domains)

    def account_of_login(self, login: str) -> str | None:
        """The account name a login stands for: a full address, or a local part that is unique here."""
        name = login.lower()
        if name in self.accounts:
            return name
        candidates = self._by_local.get(name, ())
        return candidates[0] if len(candidates) == 1 else None
