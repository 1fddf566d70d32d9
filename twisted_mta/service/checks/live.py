"""Everything that `mta check` looks at outside of its files, at the same time: the DNS, the ports, this
machine, and what others say of us."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from twisted_mta.https import HttpsClient
from twisted_mta.interfaces import IResolver
from twisted_mta.resolver import ResolutionError
from twisted_mta.service.checks import machine as machine_checks
from twisted_mta.service.checks.outward import outbound, policy
from twisted_mta.service.checks.ports import Door, Look, examine, graded, here, outside, relay_test, together
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.commands.zone import addresses_of, resolver_of
from twisted_mta.service.options.config import Config
from twisted_mta.service.wiring.abuse import dns_lists
from twisted_mta.service.zone_facts import mail_of, without_keys
from twisted_mta.setup.blacklists import WELL_KNOWN, blacklists
from twisted_mta.setup.finding import Code, Finding, row_code, worst
from twisted_mta.setup.live import Row, rows
from twisted_mta.setup.zone import Mail

T = TypeVar("T")
_THREADS = 30  # ports that are looked at, at the same time
_DOMAINS = 20  # whose records are asked for at the same time
_PATIENCE = 20.0  # seconds for the policy


@dataclass
class Live:
    """`rows`: by domain; what several domains need, such as the address of this server, stands with the
    first."""

    rows: dict[str, list[Row]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def code(self) -> Code:
        """What it comes to."""
        found = [row_code(row) for each in self.rows.values() for row in each]
        return worst([*found, *(finding.code for finding in self.findings)])


@dataclass(frozen=True)
class Looking:
    """For one command. `provider`: whose mail servers are called to see whether mail gets out."""

    config: Config
    given: list[str]
    provider: str
    reactor: Any

    async def look(self, domains: Sequence[str]) -> Live:
        """Raises Refused and ConfigError for what of ours cannot be read."""
        config, reactor, live = self.config, self.reactor, Live()
        reactor.suggestThreadPoolSize(_THREADS)
        resolver = resolver_of(config, reactor)
        addresses = await self._addresses(resolver, live)
        facts = [mail_of(config, domain, addresses) for domain in domains]
        zones = [one.zone for one in dns_lists(config) if one.kind == "address" and one.score > 0]
        others: list[Coroutine[Any, Any, list[Finding]]] = [
            self._ports(addresses, domains[0], resolver),
            _listed(outbound(config, self.provider, resolver, reactor)),
            blacklists(addresses, [*WELL_KNOWN, *zones], resolver=resolver),
            _listed(machine_checks.clock(config, resolver, reactor)),
            self._thread(lambda: [machine_checks.disk(config), machine_checks.queue(config)]),
        ]
        begun = [Deferred.fromCoroutine(each) for each in others]
        for start in range(0, len(domains), _DOMAINS):
            await self._domains(facts[start : start + _DOMAINS], resolver, live)
        for waiting in begun:
            live.findings += await waiting
        return live

    async def _domains(self, facts: Sequence[Mail], resolver: IResolver, live: Live) -> None:
        """Some of them, at the same time."""
        seconds = self.reactor.seconds
        asked = [Deferred.fromCoroutine(rows(mail, resolver, seconds=seconds)) for mail in facts]
        https = HttpsClient(reactor=self.reactor, resolver=resolver, patience=_PATIENCE)
        policies = [Deferred.fromCoroutine(policy(self.config, mail.domain, https)) for mail in facts]
        seen = {_key(row) for found in live.rows.values() for row in found}
        for mail, answer in zip(facts, asked, strict=True):
            live.rows[mail.domain] = [row for row in await answer if _key(row) not in seen]
            seen |= set(map(_key, live.rows[mail.domain]))
            if advice := without_keys(self.config, mail):
                live.findings.append(Finding(f"DKIM of {mail.domain}", "warning", advice))
        for waiting in policies:
            live.findings += await waiting

    async def _addresses(self, resolver: IResolver, live: Live) -> tuple[str, ...]:
        try:
            addresses = await addresses_of(self.config, self.given, resolver)
        except Refused as error:
            if self.given:
                raise
            live.findings.append(Finding("addresses", "wrong", str(error)))
            return ()
        live.findings.append(Finding("addresses", "ok", f"public: {', '.join(addresses)}"))
        return addresses

    async def _ports(self, addresses: tuple[str, ...], domain: str, resolver: IResolver) -> list[Finding]:
        running = await self._thread(lambda: machine_checks.server(self.config))
        doors = [] if running.state == "wrong" else list(here(self.config))
        for door in outside(self.config, addresses):
            doors += await _by_address(door, resolver)
        doors = list(dict.fromkeys(doors))
        answers = await self._all([partial(examine, door) for door in doors])
        answered = [
            (door, answer) for door, (_, answer) in zip(doors, answers, strict=True) if answer is not None
        ]
        further: list[Look] = [*graded(answered), relay_test(self.config, answered, domain)]
        found = await self._all(further)
        told = together([finding for finding, _ in answers])
        return [running, *told, *(each for some in found for each in some)]

    async def _all(self, looks: Sequence[Callable[[], T]]) -> list[T]:
        begun = [Deferred.fromCoroutine(self._thread(look)) for look in looks]
        return [await waiting for waiting in begun]

    async def _thread(self, look: Callable[[], T]) -> T:
        found: T = await deferToThreadPool(self.reactor, self.reactor.getThreadPool(), look)
        return found


async def _listed(finding: Coroutine[Any, Any, Finding]) -> list[Finding]:
    return [await finding]


async def _by_address(door: Door, resolver: IResolver) -> list[Door]:
    """The same, for each address of a place that is named."""
    name = door.place.address
    try:
        ipaddress.ip_address(name)
    except ValueError:
        pass
    else:
        return [door]
    try:
        found = await resolver.addresses(name)
    except ResolutionError:
        return []  # the row of its SRV record tells
    return [
        dataclasses.replace(door, place=dataclasses.replace(door.place, address=address))
        for address in (found.records if found is not None else ())
    ]


def _key(row: Row) -> tuple[str, str, str]:
    return row.wanted.name, row.wanted.kind, row.wanted.value
