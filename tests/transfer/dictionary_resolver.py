"""A resolver that knows what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zope.interface import implementer

from twisted_mta.interfaces import IResolver
from twisted_mta.resolver import ResolutionError

FAILURE = ResolutionError("SERVFAIL")


@implementer(IResolver)
class DictionaryResolver:
    """`exchanges`: domain to MX records; `hosts`: name to addresses. FAILURE as a value is raised. What is in
    neither does not exist. `asked` collects the questions."""

    def __init__(
        self,
        exchanges: Mapping[str, Sequence[tuple[int, str]] | ResolutionError] | None = None,
        hosts: Mapping[str, Sequence[str] | ResolutionError] | None = None,
    ) -> None:
        self.exchanges = exchanges or {}
        self.hosts = hosts or {}
        self.asked: list[str] = []

    async def mx(self, domain: str) -> Sequence[tuple[int, str]] | None:
        self.asked.append(f"MX {domain}")
        found = self.exchanges.get(domain)
        if isinstance(found, ResolutionError):
            raise found
        return [] if found is None and domain in self.hosts else found

    async def addresses(self, name: str) -> Sequence[str] | None:
        self.asked.append(name)
        found = self.hosts.get(name)
        if isinstance(found, ResolutionError):
            raise found
        return found
