"""What an address of ours means: the rules by which accounts, aliases, lists and domains are looked up.

The order is: the address as it is; without its detail (`user+detail`, RFC 5233 §1), where the longest name
that exists counts; for a domain that stands for another, the same there; the names of RFC 2142 that somebody
must read; the catch-all of the domain. Local parts are compared without regard to case (RFC 5321 §2.4 leaves
that to the receiving host).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from twisted_mta.interfaces import Resolution
from twisted_mta.message.address import Address
from twisted_mta.message.mailing_list import BOUNCES, LEAVE, OWNER, REQUEST, MailingList

SEPARATORS = "+"
POSTMASTER = "postmaster"
# Of RFC 2142 those that concern every domain with mail; they reach postmaster where nobody else has them.
ROLES = frozenset(("abuse", "hostmaster", "noc", "security", "webmaster"))


@dataclass(slots=True)
class AddressBook:
    """`accounts`: names, oldest first. `aliases`: targets by `Address.key`, of a catch-all by "@domain".
    `postmaster`: the configured one or None. `domain_aliases`: the domain that another stands for. `lists`:
    by `Address.key`. `separators`: characters that begin a detail."""

    accounts: Collection[str]
    aliases: Mapping[str, tuple[Address, ...]]
    postmaster: Address | None = None
    domain_aliases: Mapping[str, str] = field(default_factory=dict)
    lists: Mapping[str, MailingList] = field(default_factory=dict)
    separators: str = SEPARATORS
    _list_roles: dict[str, Resolution] = field(init=False)

    def __post_init__(self) -> None:
        self._list_roles = {}
        for each in self.lists.values():
            to_owner = Resolution(aliases=(each.owner,))
            for role in (BOUNCES, OWNER, REQUEST):
                self._list_roles[each.role(role).key] = to_owner
            self._list_roles[each.role(LEAVE).key] = Resolution(mailing_list=each, leaving=True)

    def resolve(self, address: Address) -> Resolution | None:
        """See `IDirectory.resolve`; the domain is known to be local."""
        found = self.named(address)
        if found is None:
            address = self.canonical(address)
            found = self._role(address) or self._exactly(f"@{address.domain}")
        return found

    def named(self, address: Address) -> Resolution | None:
        """Who has the address itself, be it with a detail or in a domain that stands for another."""
        return self._named(address) or self._named(self.canonical(address))

    def canonical(self, address: Address) -> Address:
        """The same in the domain that this one stands for."""
        target = self.domain_aliases.get(address.domain)
        return address if target is None else Address(address.local, target)

    def _named(self, address: Address) -> Resolution | None:
        found = self._exactly(address.key) or self._leaving(address)
        if found is not None:
            return found
        for place in self.places(address.local):
            key = Address(address.local[:place], address.domain).key
            if (found := self._exactly(key, address.local[place + 1 :])) is not None:
                return found
        return None

    def places(self, local: str) -> list[int]:
        """Where a detail may begin, the last place first."""
        separators = self.separators
        return [place for place in range(len(local) - 1, 0, -1) if local[place] in separators]

    def _exactly(self, key: str, detail: str = "") -> Resolution | None:
        if key in self.accounts:
            return Resolution(account=key, detail=detail)
        if key in self.aliases:
            return Resolution(aliases=self.aliases[key], detail=detail)
        if key in self.lists:
            return Resolution(mailing_list=self.lists[key], detail=detail)
        return self._list_roles.get(key)

    def _leaving(self, address: Address) -> Resolution | None:
        """A member confirms to the list, at `list-leave=token@`."""
        local, equals, token = address.local.rpartition("=")
        found = self._list_roles.get(Address(local, address.domain).key) if equals and local else None
        if found is None or not found.leaving:
            return None
        return Resolution(mailing_list=found.mailing_list, leaving=True, detail=token)

    def _role(self, address: Address) -> Resolution | None:
        """Somebody reads the mail to those names that others rely on (RFC 5321 §4.5.1, RFC 2142 §4, §5)."""
        heads = self._heads(address)
        if POSTMASTER in heads:
            return self._postmaster(address)
        if heads & ROLES:
            return self._exactly(f"{POSTMASTER}@{address.domain}") or self._postmaster(address)
        return None

    def _postmaster(self, address: Address) -> Resolution | None:
        """For `address`: the configured one, else the oldest account of the domain, else the oldest of
        all."""
        chosen = self.postmaster
        if chosen is not None:
            domain = self.domain_aliases.get(chosen.domain, chosen.domain)
            if Address(chosen.local, domain).key != address.key and self._reaches_somebody(chosen, address):
                return Resolution(aliases=(chosen,))
        of_domain = (name for name in self.accounts if name.endswith(f"@{address.domain}"))
        first = next(of_domain, None) or next(iter(self.accounts), None)
        return Resolution(account=first) if first else None

    def _heads(self, address: Address) -> set[str]:
        """The local part, in lower case, with its detail and without."""
        local = address.local.lower()
        return {local, *(local[:place] for place in self.places(local))}

    def _reaches_somebody(self, chosen: Address, role: Address) -> bool:
        """Whether mail for `chosen` has an end other than the names that are postmaster's in this domain."""
        ahead, seen = [chosen], {chosen.key}
        while ahead:
            address = ahead.pop()
            found = self.named(address)
            if found is None:
                address = self.canonical(address)
                if address.domain == role.domain and self._heads(address) & {POSTMASTER, *ROLES}:
                    continue
                found = self._exactly(f"@{address.domain}")
            if found is None or not found.aliases:
                return True
            ahead += [target for target in found.aliases if target.key not in seen]
            seen.update(target.key for target in found.aliases)
        return False

    def owns(self, account: str, address: Address, domains: Collection[str]) -> bool:
        """See `IDirectory.owns`; `domains` are the local ones. Aliases of aliases count, lists do not."""
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

    def circle(self, start: Address | str, domains: Collection[str]) -> list[str]:
        """The way from an address, or the catch-all "@domain", on which mail would come back to where it has
        been: aliases and lists, in order, the last one met before. Empty when there is none."""
        path: list[str] = []
        on_path: set[str] = set()
        done: set[str] = set()
        # Each step goes to an address, or (None) back from where the path ends.
        ahead: list[tuple[str, tuple[Address, ...]] | None] = [self._step(start, domains)]
        while ahead:
            step = ahead.pop()
            if step is None:
                done.add(path[-1])
                on_path.discard(path.pop())
                continue
            key, targets = step
            if key in on_path:
                return [*path, key]
            if key in done or not targets:
                continue
            path.append(key)
            on_path.add(key)
            ahead.append(None)
            ahead += [self._step(target, domains) for target in reversed(targets)]
        return []

    def reaches(self, start: Address, end: Address, domains: Collection[str]) -> bool:
        """Whether mail for `start` comes to `end`, be it by way of aliases and lists."""
        ahead, seen = [start], set()
        while ahead:
            key, targets = self._step(ahead.pop(), domains)
            if key == end.key:
                return True
            if key not in seen:
                seen.add(key)
                ahead += targets
        return False

    def _step(self, address: Address | str, domains: Collection[str]) -> tuple[str, tuple[Address, ...]]:
        """An address with those that take its place; none: mail for it ends there."""
        if isinstance(address, str):
            return address, self.aliases.get(address, ())
        found = self.resolve(address) if address.domain in domains else None
        if found is None or found.leaving:
            return address.key, ()
        if found.mailing_list is not None:
            return found.mailing_list.address.key, found.mailing_list.members
        return address.key, found.aliases
