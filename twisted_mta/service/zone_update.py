"""The zone of a domain brought to what it should be: which records come, which go, and why some stay (RFC
2136).

What is there and does not fit is somebody's: it goes only when that is demanded, or when this server has put
it there, which it remembers in `dns.json`. Records of others that harm nobody, such as further authorities in
CAA, always stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dns.exception
import dns.message
import dns.query
import dns.rdata
import msgspec
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from twisted_mta.certificates import dns_update
from twisted_mta.durable import write_whole
from twisted_mta.interfaces import Found, IResolver
from twisted_mta.service.zone_facts import is_below
from twisted_mta.setup.live import Row
from twisted_mta.setup.records import Record

FILE = "dns.json"  # in the data directory
_PATIENCE = 10.0  # seconds
_BESIDE = ("CAA", "TLSA")  # others of the kind do no harm
_SINGLE_VALUES = ("A", "AAAA", "TLSA")  # each counts by itself: one that is no longer wanted is stale


class Put(msgspec.Struct, frozen=True):
    """A record that this server has put into a zone. `value` as zone files have it."""

    name: str
    kind: str
    value: str


class Memory:
    """What was put into which zone by us. Blocks. Raises OSError and ValueError."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        known = self._path.read_bytes() if self._path.exists() else b"{}"
        self._zones = msgspec.json.decode(known, type=dict[str, list[Put]])

    def of(self, zone: str) -> list[Put]:
        """What should be there still."""
        return self._zones.get(zone, [])

    def note(self, zone: str, changes: Changes) -> None:
        """Those have been made."""
        gone = {(each.name, each.kind, each.value) for each in changes.remove}
        kept = [each for each in self.of(zone) if (each.name, each.kind, each.value) not in gone]
        new = [Put(each.name, each.kind, each.value) for each in changes.add]
        self._zones[zone] = [*kept, *(each for each in new if each not in kept)]
        write_whole(self._path, msgspec.json.encode(self._zones))


@dataclass
class Changes:
    """`left`: what is not as it should be and stays so, with the reason."""

    add: list[dns_update.Record] = field(default_factory=list)
    remove: list[dns_update.Record] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


@implementer(IResolver)
class ZoneFirst:
    """Asks the zone's primary server for what is in the zone, so that nothing remembered elsewhere counts,
    and `others` for the rest."""

    def __init__(self, zone: str, primary: IResolver, others: IResolver) -> None:
        self._zone, self._primary, self._others = zone, primary, others

    def _of(self, name: str) -> IResolver:
        return self._primary if is_below(name, self._zone) else self._others

    async def mx(self, domain: str) -> Found[tuple[int, str]] | None:
        """See IResolver."""
        return await self._of(domain).mx(domain)

    async def addresses(self, name: str) -> Found[str] | None:
        """See IResolver."""
        return await self._of(name).addresses(name)

    async def ipv4(self, name: str) -> Found[str] | None:
        """See IResolver."""
        return await self._of(name).ipv4(name)

    async def ipv6(self, name: str) -> Found[str] | None:
        """See IResolver."""
        return await self._of(name).ipv6(name)

    async def txt(self, name: str) -> Found[str] | None:
        """See IResolver."""
        return await self._of(name).txt(name)

    async def tlsa(self, name: str) -> Found[tuple[int, int, int, bytes]] | None:
        """See IResolver."""
        return await self._of(name).tlsa(name)

    async def records(self, name: str, kind: str) -> Found[str] | None:
        """See IResolver."""
        return await self._of(name).records(name, kind)

    async def ptr(self, address: str) -> Found[str] | None:
        """See IResolver."""
        return await self._others.ptr(address)


class Primary:
    """The zone's primary server: what it has, to the octet."""

    def __init__(self, address: str, port: int, *, reactor: Any) -> None:
        self._address, self._port, self._reactor = address, port, reactor

    async def has(self, name: str, kind: str) -> list[dns.rdata.Rdata]:
        """The records under a name itself. Raises DnsUpdateError."""
        pool = self._reactor.getThreadPool()
        found: list[dns.rdata.Rdata] = await deferToThreadPool(self._reactor, pool, self._ask, name, kind)
        return found

    def _ask(self, name: str, kind: str) -> list[dns.rdata.Rdata]:
        question = dns.message.make_query(f"{name}.", kind)
        try:
            answer = dns.query.tcp(question, self._address, _PATIENCE, self._port)
        except (OSError, EOFError, dns.exception.DNSException) as error:
            text = f"the name server {self._address} does not answer: {ascii(str(error))[:200]}"
            raise dns_update.DnsUpdateError(text) from error
        asked = question.question[0]
        rrset = answer.get_rrset(answer.answer, asked.name, asked.rdclass, asked.rdtype)
        return list(rrset or ())


async def plan(
    rows: Sequence[Row],
    zone: str,
    primary: Primary,
    own: Iterable[Put],
    others: Iterable[Record],
    *,
    replace: bool,
    ttl: int,
) -> Changes:
    """What is to be done in `zone` for those rows, which were asked of its primary. others: what other
    domains of ours want, who may be in the same zone. Raises DnsUpdateError."""
    changes, own = Changes(), list(own)
    right = {(row.wanted.name, row.wanted.kind, row.wanted.value.lower()) for row in rows}
    for row in rows:
        name = row.wanted.name
        if row.state == "ok" or row.wanted.elsewhere:
            continue
        if not is_below(name, zone):
            changes.left.append(f"{name} {row.wanted.kind}: stands in another zone than {zone}")
            continue
        if row.state == "unknown" or (row.publish is None and row.wanted.value not in row.found):
            changes.left.append(f"{name} {row.wanted.kind}: {row.advice}")
            continue
        conflicts = [] if row.state == "missing" else await _conflicts(row, primary, right)
        is_ours = all(Put(each.name, each.kind, each.value) in own for each in conflicts)
        if row.wanted.kind in _BESIDE and not (replace or is_ours):
            conflicts = []
        elif conflicts and not (replace or is_ours):
            there = ", ".join(each.value for each in conflicts)
            instead = row.publish.rdata() if row.publish is not None else "nothing more"
            changes.left.append(
                f"{name} {row.wanted.kind}: there is {there}; with --replace that goes, for {instead}"
            )
            continue
        changes.remove += [each for each in conflicts if each not in changes.remove]
        if row.publish is not None:
            made = _update(row.publish, ttl)
            changes.add += [made] if made not in changes.add else []
    changes.remove += _stale([*(row.wanted for row in rows), *others], own)
    return changes


async def _conflicts(row: Row, primary: Primary, right: set[tuple[str, str, str]]) -> list[dns_update.Record]:
    """What is there instead. `right`: (name, kind, value) of all that are wanted."""
    wanted, better = row.wanted, row.publish
    if better is not None and better != wanted:
        right = right - {(wanted.name, wanted.kind, wanted.value.lower())}
        right |= {(better.name, better.kind, better.value.lower())}
    kinds = ("CNAME", "A", "AAAA") if wanted.kind == "CNAME" else (wanted.kind,)
    if wanted.kind == "CAA":
        return []
    return [
        dns_update.Record(wanted.name, kind, rdata.to_text())
        for kind in kinds
        for rdata in await primary.has(wanted.name, kind)
        if (wanted.name, kind, (text := _plain(rdata)).lower()) not in right and _competes(wanted, text)
    ]


def _plain(rdata: Any) -> str:
    """As `Record.value` has it."""
    strings = getattr(rdata, "strings", None)
    return b"".join(strings).decode("latin-1") if strings is not None else str(rdata.to_text())


def _competes(wanted: Record, text: str) -> bool:
    """Whether it is of the same sort: a name has texts of many."""
    if wanted.kind != "TXT" or "._domainkey." in wanted.name:
        return True
    return _sort(text) == _sort(wanted.value)


def _sort(text: str) -> str:
    return text.partition(";")[0].partition(" ")[0].strip().lower()


def _stale(wanted: Iterable[Record], own: Iterable[Put]) -> list[dns_update.Record]:
    """What we have put there and is not wanted any more."""
    places: dict[tuple[str, str], set[str]] = {}
    for record in wanted:
        places.setdefault((record.name, record.kind), set()).add(record.rdata())
    return [
        dns_update.Record(each.name, each.kind, each.value)
        for each in own
        if (values := places.get((each.name, each.kind))) is None
        or (each.kind in _SINGLE_VALUES and each.value not in values)
    ]


def _update(record: Record, ttl: int) -> dns_update.Record:
    return dns_update.Record(record.name, record.kind, record.rdata(), ttl)
