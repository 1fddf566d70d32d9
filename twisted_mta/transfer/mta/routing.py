"""Where mail for a domain goes: the hosts to try, in order (RFC 5321 §5.1 and §4.1.3, RFC 7505).

The first of these that says something decides: the administrator's hand on this one recipient, the override
for its domain, for the account that submitted the message, for its sender (the address, then its domain),
the smarthost, and last the DNS. An override says where the mail of a domain must go, a smarthost how it
leaves the house.

With MX records the hosts are tried by preference, those of equal preference in random order; without any, the
domain itself is the host. When we are among the hosts, only those that are preferred to us may have the mail.
A smarthost that is a fallback only is tried after the hosts of the DNS.

A domain in another script becomes A-labels (RFC 5891) for the DNS and everything behind it.

Left out on purpose: aliases (CNAME), which the resolver follows.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain, zip_longest

import idna
from twisted.internet.defer import Deferred

from twisted_mta.interfaces import Found, IResolver
from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.resolver import ResolutionError
from twisted_mta.transfer.mta.route import SMTP_PORT, Credentials, Host, NextHop, Proxy, Route

__all__ = ["SMTP_PORT", "Credentials", "Host", "NextHop", "Proxy", "Route", "Routing"]

Hops = Mapping[str, str]  # what is overridden to a next hop as `NextHop.parse` reads it
_NOTHING: Found[str] = Found(())


def _temporary(status: str, text: str) -> MailError:
    return MailError(451, status, text)


def _permanent(status: str, text: str) -> MailError:
    return MailError(550, status, text)


def _parsed(hops: Hops | None) -> dict[str, NextHop]:
    return {key: NextHop.parse(text) for key, text in (hops or {}).items()}


class Routing:
    """Decides where mail goes.

    hostname: our own name, in lower case. own_addresses: (IP address, port) pairs at which this server takes
    mail; the unspecified address stands for the loopback addresses, the machine's others are to be named.
    routes: next hops by domain, "*.domain" for all domains below one. accounts: by the name of the account
    that submitted. senders: by address or domain of the reverse-path. smarthost: the next hop for the rest,
    or "" for direct delivery; `fallback`: only where direct delivery fails. logins: by next hop as
    `str(NextHop)` has it.
    sources: local addresses to call from. proxy: to call through.
    mx_port: the port of hosts that the DNS names. max_hosts: addresses in one route.
    """

    def __init__(
        self,
        *,
        resolver: IResolver,
        hostname: str,
        randomness: random.Random,
        own_addresses: Collection[tuple[str, int]] = (),
        routes: Hops | None = None,
        accounts: Hops | None = None,
        senders: Hops | None = None,
        smarthost: str = "",
        smarthost_credentials: Credentials | None = None,
        fallback: bool = False,
        logins: Mapping[str, Credentials] | None = None,
        sources: Sequence[str] = (),
        proxy: Proxy | None = None,
        mx_port: int = SMTP_PORT,
        max_hosts: int = 20,
    ) -> None:
        self._resolver = resolver
        self._hostname = hostname.lower()
        self._random = randomness
        self._own = frozenset((ipaddress.ip_address(host), port) for host, port in own_addresses)
        self._routes, self._accounts, self._senders = map(_parsed, (routes, accounts, senders))
        self._smarthost = NextHop.parse(smarthost) if smarthost else None
        self._fallback = fallback
        self._logins = {str(NextHop.parse(hop)): login for hop, login in (logins or {}).items()}
        if self._smarthost is not None and smarthost_credentials is not None:
            self._logins[str(self._smarthost)] = smarthost_credentials
        self._sources = tuple(sources)
        self._proxy = proxy
        self._mx_port = mx_port
        self._max_hosts = max_hosts

    def follow(self, other: Routing) -> None:
        """Route from now on as `other` does."""
        vars(self).update(vars(other))

    def next_hop(self, domain: str, sender: Address | str | None, account: str, override: str) -> str:
        """Where the administrator sends such mail, as `NextHop` is written; "" when the DNS says it. Whatever
        goes to the same next hop is one destination."""
        if not (override or self._routes or self._accounts or self._senders or self._smarthost):
            return ""
        try:
            path = Address.parse(sender, utf8=True) if sender and isinstance(sender, str) else sender or None
            hop = self._hop(ascii_domain(domain), path, account, override)
        except MailError:
            return override
        return "" if hop is None or (hop.by_mx and not hop.name) else str(hop)

    async def route(
        self, domain: str, *, sender: Address | None = None, account: str = "", override: str = ""
    ) -> Route:
        """The way to `domain`, a domain name or an address literal, for mail of this reverse-path that this
        account submitted. `override`: the next hop that the administrator gave this one recipient, or "".

        Raises MailError: 5.1.2 no such domain, 5.1.10 it takes no mail, 5.4.4 no host of it can be found,
        5.4.6 the mail would come back to us, 4.4.3 the DNS does not answer, 4.3.5 the host that the
        administrator named cannot be found, or what he wrote is no next hop.
        """
        domain = domain if domain.startswith("[") else ascii_domain(domain)
        hop = self._hop(domain, sender, account, override)
        if hop is not None and not hop.by_mx:
            return self._dressed(await self._named(hop))
        if hop is not None and hop.name:
            route = await self._by_dns(hop.name, hop.port or self._mx_port)
            return self._dressed(dataclasses.replace(route, destination=str(hop)))
        literal = domain.startswith("[")
        route = self._literal(domain) if literal else await self._by_dns(domain, self._mx_port)
        if hop is None and self._smarthost is not None:
            route = dataclasses.replace(route, fallback=await self._last_resort(self._smarthost))
        return self._dressed(route)

    def _hop(self, domain: str, sender: Address | None, account: str, override: str) -> NextHop | None:
        if override:
            try:
                return NextHop.parse(override)
            except ValueError as error:
                raise _temporary("4.3.5", f"The next hop cannot be used: {error}") from error
        if (hop := self._for_domain(domain)) is not None:
            return hop
        if account and (hop := self._accounts.get(account)) is not None:
            return hop
        if sender is not None:
            hop = self._senders.get(sender.key) or self._senders.get(sender.domain)
        return self._smarthost if hop is None and not self._fallback else hop

    def _for_domain(self, domain: str) -> NextHop | None:
        """The most specific override: of the domain itself, then of those above it."""
        if not self._routes:
            return None
        hop, above = self._routes.get(domain), domain
        while hop is None and "." in above:
            above = above.partition(".")[2]
            hop = self._routes.get(f"*.{above}")
        return hop

    async def _last_resort(self, hop: NextHop) -> Route | None:
        """The smarthost as a fallback; when it cannot be found now, the direct way is tried all the same."""
        try:
            return self._dressed(await self._named(hop))
        except MailError:
            return None

    def _dressed(self, route: Route) -> Route:
        """With what is the same for all routes."""
        if not self._sources and self._proxy is None:
            return route
        return dataclasses.replace(route, sources=self._sources, proxy=self._proxy)

    async def _named(self, hop: NextHop) -> Route:
        """A host of the configuration. Its absence is our fault, and never the end of a message. Its name
        is the administrator's word, so that nobody else has to vouch for it."""
        destination, credentials = str(hop), self._logins.get(str(hop))
        if hop.path:
            host = Host("localhost", "", 0, lmtp=True, path=hop.path)
            return Route(destination, (host,), credentials, may_be_us=False, mx_secure=True)
        try:
            given = written_address(hop.name)
            found = Found((given,)) if given else await self._resolver.addresses(hop.name) or _NOTHING
        except ResolutionError as error:
            raise _temporary("4.4.3", f"Name service error: {error}") from error
        if not found.records:
            raise _temporary("4.3.5", f"The next hop {hop.name} cannot be found")
        hosts = self._hosts(hop.name, found, hop.port)[: self._max_hosts]
        if hop.lmtp or hop.tls_first:
            hosts = [dataclasses.replace(host, lmtp=hop.lmtp, tls_first=hop.tls_first) for host in hosts]
        return Route(destination, tuple(hosts), credentials, may_be_us=False, mx_secure=True)

    def _literal(self, domain: str) -> Route:
        address = domain[1:-1].removeprefix("IPv6:")
        host = Host(address, address, self._mx_port)
        if self._is_us(host):
            raise _loop(domain)
        return Route(domain, (host,), domain=domain)

    async def _by_dns(self, domain: str, port: int) -> Route:
        try:
            exchanges = await self._resolver.mx(domain)
            if exchanges is None:
                raise _permanent("5.1.2", f"Domain {domain} does not exist")
            if not exchanges.records:
                return await self._by_address(domain, port)
        except ResolutionError as error:
            raise _temporary("4.4.3", f"Name service error: {error}") from error
        names = [(preference, name) for preference, name in exchanges.records if name]
        if not names:
            raise _permanent("5.1.10", f"Domain {domain} does not accept mail")
        return await self._by_mx(domain, names, port, exchanges.secure)

    async def _by_address(self, domain: str, port: int) -> Route:
        """No MX: the domain is its own mail server (RFC 5321 §5.1)."""
        found = await self._resolver.addresses(domain)
        if found is None:
            raise _permanent("5.1.2", f"Domain {domain} does not exist")
        if not found.records:
            raise _permanent("5.1.2", f"Domain {domain} has neither a mail server nor an address")
        hosts = self._hosts(domain, found, port)
        if domain == self._hostname or any(map(self._is_us, hosts)):
            raise _loop(domain)
        return Route(domain, tuple(hosts[: self._max_hosts]), domain=domain, mx_secure=found.secure)

    async def _by_mx(self, domain: str, exchanges: list[tuple[int, str]], port: int, secure: bool) -> Route:
        self._random.shuffle(exchanges)  # then a stable sort: equals stay in random order
        exchanges.sort(key=lambda exchange: exchange[0])
        del exchanges[self._max_hosts :]
        found, unresolved = await self._resolve([name for _, name in exchanges])
        offers = [
            (preference, name, self._hosts(name, found.get(name, _NOTHING), port, preference))
            for preference, name in exchanges
        ]
        ours = [
            preference
            for preference, name, hosts in offers
            if name == self._hostname or any(map(self._is_us, hosts))
        ]
        if ours:  # whoever is not preferred to us would hand the mail back to us (RFC 5321 §5.1)
            offers = [offer for offer in offers if offer[0] < min(ours)]
        if not offers:
            raise _loop(domain)
        hosts = tuple(chain.from_iterable(hosts for _, _, hosts in offers))[: self._max_hosts]
        if not hosts and unresolved:
            raise _temporary("4.4.3", f"Name service error: {unresolved}")
        if not hosts:
            raise _permanent("5.4.4", f"None of the mail servers of {domain} has an address")
        return Route(domain, hosts, unresolved=unresolved, domain=domain, mx_secure=secure)

    async def _resolve(self, names: Sequence[str]) -> tuple[dict[str, Found[str]], str]:
        """The addresses of all names, asked for at once, and what went wrong with the last that failed."""
        pending = {name: Deferred.fromCoroutine(self._look_up(name)) for name in names}
        found: dict[str, Found[str]] = {}
        unresolved = ""
        for name, deferred in pending.items():
            answer = await deferred
            if isinstance(answer, ResolutionError):
                unresolved = str(answer)
            else:
                found[name] = answer
        return found, unresolved

    async def _look_up(self, name: str) -> Found[str] | ResolutionError:
        try:
            return await self._resolver.addresses(name) or _NOTHING
        except ResolutionError as error:
            return error

    def _hosts(self, name: str, found: Found[str], port: int, preference: int = 0) -> list[Host]:
        """The addresses of a host in the order to try: random within a family, the families in turn. IPv4
        goes first, because many receivers want of IPv6 what few small senders have (a PTR record)."""
        shuffled = list(found.records)
        self._random.shuffle(shuffled)
        families = ([a for a in shuffled if ":" not in a], [a for a in shuffled if ":" in a])
        in_turn: Iterable[str | None] = chain.from_iterable(zip_longest(*families))
        canonical = found.canonical if found.canonical != name else ""
        return [
            Host(name, address, port, secure=found.secure, canonical=canonical, preference=preference)
            for address in in_turn
            if address is not None
        ]

    def _is_us(self, host: Host) -> bool:
        address = ipaddress.ip_address(host.address)
        if address.is_unspecified or (address, host.port) in self._own:
            return True
        everywhere = ipaddress.ip_address("0.0.0.0" if address.version == 4 else "::")
        return address.is_loopback and (everywhere, host.port) in self._own


@lru_cache(maxsize=1024)
def written_address(name: str) -> str:
    """The IP address, in its one form, that stands in place of a name; "" for a name."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        return ""


def ascii_domain(domain: str) -> str:
    """A domain name as the DNS knows it: lower case, A-labels (RFC 5891, mapped as UTS 46 has it, which is
    what people mean when they type). Raises MailError 5.1.2 for what cannot be one."""
    if domain.isascii():
        return domain.lower()
    try:
        return idna.encode(domain, uts46=True, transitional=False).decode("ascii").lower()
    except idna.IDNAError as error:
        raise _permanent("5.1.2", "The domain is not one that can exist") from error


def _loop(domain: str) -> MailError:
    return _permanent("5.4.6", f"Mail for {domain} loops back to this server")
