"""The directory as it stands in memory: every lookup a server makes, without I/O.

Local parts are compared without regard to case (RFC 5321 §2.4 leaves that to the receiving host), and
`user+detail` means `user` unless that very address exists (subaddressing, RFC 5233 §1).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from twisted_mta.interfaces import Resolution
from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError

SEPARATOR = "+"
POSTMASTER = "postmaster"


@dataclass(slots=True)
class Snapshot:
    """`accounts` maps account names to password hashes, oldest first; `aliases` maps addresses in the form
    of `Address.key` to their targets. `postmaster` is the configured one or None. `quotas` maps accounts with
    limits of their own to these, by resource; None: no limit."""

    accounts: dict[str, str]
    aliases: dict[str, tuple[Address, ...]]
    postmaster: Address | None = None
    quotas: dict[str, dict[str, int | None]] = field(default_factory=dict)
    _by_local: dict[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
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
        return cls(dict(accounts), kept, postmaster, limits)

    def resolve(self, address: Address) -> Resolution | None:
        """See `IDirectory.resolve`; the domain is known to be local."""
        found = self._exactly(address.key)
        if found is not None:
            return found
        local, separator, detail = address.local.partition(SEPARATOR)
        if separator and local:
            found = self._exactly(Address(local, address.domain).key, detail)
            if found is not None:
                return found
        if local.lower() == POSTMASTER:
            return self._postmaster_of(address.domain)
        return None

    def owns(self, account: str, address: Address, domains: Collection[str]) -> bool:
        """See `IDirectory.owns`; `domains` are the local ones. Aliases of aliases count."""
        pending, seen = [address], {address.key}
        while pending:
            address = pending.pop()
            found = self.resolve(address) if address.domain in domains else None
            if found is None:
                continue
            if found.account == account:
                return True
            pending += [target for target in found.aliases if target.key not in seen]
            seen.update(target.key for target in found.aliases)
        return False

    def account_of_login(self, login: str) -> str | None:
        """The account name a login stands for: a full address, or a local part that is unique here."""
        name = login.lower()
        if name in self.accounts:
            return name
        candidates = self._by_local.get(name, ())
        return candidates[0] if len(candidates) == 1 else None

    def _exactly(self, key: str, detail: str = "") -> Resolution | None:
        if key in self.accounts:
            return Resolution(account=key, detail=detail)
        if key in self.aliases:
            return Resolution(aliases=self.aliases[key], detail=detail)
        return None

    def _postmaster_of(self, domain: str) -> Resolution | None:
        """Somebody always reads postmaster's mail (RFC 5321 §4.5.1): the configured address, else the
        oldest account of the domain, else the oldest of all."""
        if self.postmaster is not None and self.postmaster.key != f"{POSTMASTER}@{domain}":
            return Resolution(aliases=(self.postmaster,))
        of_domain = (name for name in self.accounts if name.endswith(f"@{domain}"))
        first = next(of_domain, None) or next(iter(self.accounts), None)
        return Resolution(account=first) if first else None
