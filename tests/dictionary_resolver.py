"""A resolver that knows what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zope.interface import implementer

from twisted_mta.interfaces import Found, IResolver
from twisted_mta.resolver import ResolutionError

FAILURE = ResolutionError("SERVFAIL")


@implementer(IResolver)
class DictionaryResolver:
    """`exchanges`: domain to MX records; `hosts`: name to addresses; `texts` and `associations`: name to
    TXT and TLSA records; `names`: address to PTR records; `zone`: (name, kind) to what
    `records` gives. FAILURE as a value is raised; a Found is returned as it is. What is nowhere does not
    exist. `asked` collects the questions."""

    def __init__(
        self,
        exchanges: Mapping[str, Any] | None = None,
        hosts: Mapping[str, Any] | None = None,
        texts: Mapping[str, Any] | None = None,
        associations: Mapping[str, Any] | None = None,
        names: Mapping[str, Any] | None = None,
        zone: Mapping[tuple[str, str], Any] | None = None,
    ) -> None:
        self.exchanges = exchanges or {}
        self.hosts = hosts or {}
        self.texts = texts or {}
        self.associations = associations or {}
        self.names = names or {}
        self.zone = zone or {}
        self.asked: list[str] = []

    async def mx(self, domain: str) -> Found[tuple[int, str]] | None:
        self.asked.append(f"MX {domain}")
        found = self._found(self.exchanges, domain)
        return Found() if found is None and domain in self.hosts else found

    async def addresses(self, name: str) -> Found[str] | None:
        self.asked.append(name)
        return self._found(self.hosts, name)

    async def ipv4(self, name: str) -> Found[str] | None:
        return _of_family(await self.addresses(name), ".")

    async def ipv6(self, name: str) -> Found[str] | None:
        return _of_family(await self.addresses(name), ":")

    async def txt(self, name: str) -> Found[str] | None:
        self.asked.append(f"TXT {name}")
        return self._found(self.texts, name)

    async def tlsa(self, name: str) -> Found[tuple[int, int, int, bytes]] | None:
        self.asked.append(f"TLSA {name}")
        return self._found(self.associations, name)

    async def records(self, name: str, kind: str) -> Found[str] | None:
        self.asked.append(f"{kind} {name}")
        return self._found(self.zone, (name, kind))

    async def ptr(self, address: str) -> Found[str] | None:
        self.asked.append(f"PTR {address}")
        return self._found(self.names, address)

    def _found(self, records: Mapping[str, Any], name: str) -> Any:
        found: Sequence[Any] | Found[Any] | ResolutionError | None = records.get(name)
        if isinstance(found, ResolutionError):
            raise found
        return found if found is None or isinstance(found, Found) else Found(tuple(found))


def _of_family(found: Found[str] | None, mark: str) -> Found[str] | None:
    return found and Found(tuple(address for address in found.records if mark in address), found.secure)
