"""Where mail for a domain goes: the hosts to try, in order (RFC 5321 §5.1 and §4.1.3, RFC 7505).

A route of the configuration wins over the smarthost, and that over the DNS. With MX records the hosts are
tried by preference, those of equal preference in random order; without any, the domain itself is the
host. When we are among the hosts, only those that are preferred to us may have the mail.

Left out on purpose: aliases (CNAME), which the resolver follows; internationalised domain names, which
arrive here as A-labels; and overrides by sender or account.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest

from twisted.internet.defer import Deferred

from twisted_mta.interfaces import IResolver
from twisted_mta.message.status import MailError
from twisted_mta.resolver import ResolutionError, host_and_port

SMTP_PORT = 25


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a smarthost wants of us."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Host:
    """One address of a mail server. `name` is its domain name, or its address where it has no name."""

    name: str
    address: str
    port: int = SMTP_PORT

    def __str__(self) -> str:
        return f"{self.name}[{self.address}]:{self.port}"


@dataclass(frozen=True, slots=True)
class Route:
    """The way to a domain.

    destination: names what is shared by all mail that goes this way.
    hosts: at least one, in the order to try them, at most the limit.
    credentials: for the first login there, if one is wanted.
    may_be_us: False when the administrator named the host, so that a server of our name there is meant.
    unresolved: why some of the hosts are missing for now, or "".
    """

    destination: str
    hosts: tuple[Host, ...]
    credentials: Credentials | None = None
    may_be_us: bool = True
    unresolved: str = ""


def _temporary(status: str, text: str) -> MailError:
    return MailError(451, status, text)


def _permanent(status: str, text: str) -> MailError:
    return MailError(550, status, text)


class Routing:
    """Decides where mail goes.

    hostname: our own name, in lower case. own_addresses: (IP address, port) pairs at which this server takes
    mail; the unspecified address stands for the loopback addresses, the machine's others are to be named.
    routes: domain to "host[:port]". smarthost: "host[:port]", or "" for direct delivery.
    mx_port: the port of hosts that the DNS names. max_hosts: addresses in one route.
    """

    def __init__(
        self,
        *,
        resolver: IResolver,
        hostname: str,
        randomness: random.Random,
        own_addresses: Collection[tuple[str, int]] = (),
        routes: Mapping[str, str] | None = None,
        smarthost: str = "",
        smarthost_credentials: Credentials | None = None,
        mx_port: int = SMTP_PORT,
        max_hosts: int = 20,
    ) -> None:
        self._resolver = resolver
        self._hostname = hostname.lower()
        self._random = randomness
        self._own = frozenset((ipaddress.ip_address(host), port) for host, port in own_addresses)
        self._routes = {domain: host_and_port(target, SMTP_PORT) for domain, target in (routes or {}).items()}
        self._smarthost = host_and_port(smarthost, SMTP_PORT) if smarthost else None
        self._credentials = smarthost_credentials
        self._mx_port = mx_port
        self._max_hosts = max_hosts

    async def route(self, domain: str) -> Route:
        """The way to `domain`, a domain name or an address literal.

        Raises MailError: 5.1.2 no such domain, 5.1.10 it takes no mail, 5.4.4 no host of it can be found,
        5.4.6 the mail would come back to us, 4.4.3 the DNS does not answer, 4.3.5 the host that the
        administrator named cannot be found.
        """
        if (target := self._routes.get(domain)) is not None:
            return await self._named(*target, None)
        if self._smarthost is not None:
            return await self._named(*self._smarthost, self._credentials)
        if domain.startswith("["):
            return self._literal(domain)
        return await self._by_dns(domain)

    async def _named(self, name: str, port: int, credentials: Credentials | None) -> Route:
        """A host of the configuration. Its absence is our fault, and never the end of a message."""
        try:
            addresses = [str(ipaddress.ip_address(name))]
        except ValueError:
            try:
                addresses = list(await self._resolver.addresses(name) or ())
            except ResolutionError as error:
                raise _temporary("4.4.3", f"Name service error: {error}") from error
        if not addresses:
            raise _temporary("4.3.5", f"The next hop {name} cannot be found")
        hosts = self._hosts(name, addresses, port)[: self._max_hosts]
        return Route(f"{name}:{port}", tuple(hosts), credentials, may_be_us=False)

    def _literal(self, domain: str) -> Route:
        address = domain[1:-1].removeprefix("IPv6:")
        host = Host(address, address, self._mx_port)
        if self._is_us(host):
            raise _loop(domain)
        return Route(domain, (host,))

    async def _by_dns(self, domain: str) -> Route:
        try:
            exchanges = await self._resolver.mx(domain)
            if exchanges is None:
                raise _permanent("5.1.2", f"Domain {domain} does not exist")
            if not exchanges:
                return await self._by_address(domain)
        except ResolutionError as error:
            raise _temporary("4.4.3", f"Name service error: {error}") from error
        names = [(preference, name) for preference, name in exchanges if name]
        if not names:
            raise _permanent("5.1.10", f"Domain {domain} does not accept mail")
        return await self._by_mx(domain, names)

    async def _by_address(self, domain: str) -> Route:
        """No MX: the domain is its own mail server (RFC 5321 §5.1)."""
        addresses = await self._resolver.addresses(domain)
        if addresses is None:
            raise _permanent("5.1.2", f"Domain {domain} does not exist")
        if not addresses:
            raise _permanent("5.1.2", f"Domain {domain} has neither a mail server nor an address")
        hosts = self._hosts(domain, addresses, self._mx_port)
        if domain == self._hostname or any(map(self._is_us, hosts)):
            raise _loop(domain)
        return Route(domain, tuple(hosts[: self._max_hosts]))

    async def _by_mx(self, domain: str, exchanges: list[tuple[int, str]]) -> Route:
        self._random.shuffle(exchanges)  # then a stable sort: equals stay in random order
        exchanges.sort(key=lambda exchange: exchange[0])
        del exchanges[self._max_hosts :]
        found, unresolved = await self._resolve([name for _, name in exchanges])
        offers = [
            (preference, name, self._hosts(name, found.get(name, ()), self._mx_port))
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
        return Route(domain, hosts, unresolved=unresolved)

    async def _resolve(self, names: Sequence[str]) -> tuple[dict[str, Sequence[str]], str]:
        """The addresses of all names, asked for at once, and what went wrong with the last that failed."""
        pending = {name: Deferred.fromCoroutine(self._look_up(name)) for name in names}
        found: dict[str, Sequence[str]] = {}
        unresolved = ""
        for name, deferred in pending.items():
            answer = await deferred
            if isinstance(answer, ResolutionError):
                unresolved = str(answer)
            else:
                found[name] = answer
        return found, unresolved

    async def _look_up(self, name: str) -> Sequence[str] | ResolutionError:
        try:
            return await self._resolver.addresses(name) or ()
        except ResolutionError as error:
            return error

    def _hosts(self, name: str, addresses: Iterable[str], port: int) -> list[Host]:
        """The addresses of a host in the order to try: random within a family, the families in turn. IPv4
        goes first, because many receivers want of IPv6 what few small senders have (a PTR record)."""
        shuffled = list(addresses)
        self._random.shuffle(shuffled)
        families = ([a for a in shuffled if ":" not in a], [a for a in shuffled if ":" in a])
        in_turn = chain.from_iterable(zip_longest(*families))
        return [Host(name, address, port) for address in in_turn if address is not None]

    def _is_us(self, host: Host) -> bool:
        address = ipaddress.ip_address(host.address)
        if address.is_unspecified or (address, host.port) in self._own:
            return True
        everywhere = ipaddress.ip_address("0.0.0.0" if address.version == 4 else "::")
        return address.is_loopback and (everywhere, host.port) in self._own


def _loop(domain: str) -> MailError:
    return _permanent("5.4.6", f"Mail for {domain} loops back to this server")
