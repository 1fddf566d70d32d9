"""What every process of a server has, whichever its roles are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypedDict

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool

from twisted_mta.directory.directory import Directory
from twisted_mta.journey.bus import Journey
from twisted_mta.journey.log import LogReader
from twisted_mta.journey.store import DATABASE, JourneyStore
from twisted_mta.resolver import DnsResolver
from twisted_mta.service.log_lines import RENDERERS
from twisted_mta.service.options.config import Config
from twisted_mta.service.wiring.abuse import KnownSenders
from twisted_mta.service.wiring.address import KEYS, build_returns, read_keys
from twisted_mta.service.wiring.directory import build_directory
from twisted_mta.service.wiring.reception import Gate
from twisted_mta.service.wiring.submission import build_allowances
from twisted_mta.service.wiring.trust import Suffixes
from twisted_mta.transfer.mda.srs import ReversePaths
from twisted_mta.transfer.msa.allowances import Allowances


class Part(Protocol):
    """What is started and stopped."""

    async def start(self) -> None:
        """Be of use from now on."""

    async def stop(self) -> None:
        """Finish what is under way and let go of everything."""


NamedParts = list[tuple[str, Part]]


class Told(TypedDict):
    """What tells of mail, and when it is: nearly every part has these."""

    journey: Journey
    reactor: Any


@dataclass
class House:
    """`keys`: the secrets of forwarding. `returns`: None when senders are not rewritten. `first` is started
    before everything else; `senders` and `counting` are parts, too."""

    config: Config
    data: Path
    reactor: Any
    journey: Journey
    directory: Directory
    resolver: DnsResolver
    gate: Gate
    senders: KnownSenders
    counting: Allowances
    keys: tuple[bytes, ...]
    returns: ReversePaths | None
    first: NamedParts = field(default_factory=list)

    def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        """Call a blocking function."""
        return deferToThreadPool(self.reactor, self.reactor.getThreadPool(), function, *arguments)

    @property
    def told(self) -> Told:
        """For parts that tell of mail."""
        return {"journey": self.journey, "reactor": self.reactor}


def build_house(config: Config, *, reactor: Any) -> House:
    """Raises ConfigError for files that cannot be used."""
    data = Path(config.data_dir)
    journey = Journey()
    journey.add_reader(LogReader(render=RENDERERS[config.log.format]))
    kept = JourneyStore(data / DATABASE, reactor=reactor, keep=config.journey.keep)
    if config.journey.keep:
        journey.add_reader(kept)
    directory = build_directory(config, reactor=reactor)
    resolver = DnsResolver(config.dns.nameservers, reactor=reactor, trusted=config.dns.trusted)
    gate = Gate(config, journey=journey, reactor=reactor)
    keys = read_keys(data / KEYS)
    first: NamedParts = [
        *([("journey", kept)] if config.journey.keep else []),
        ("directory", directory),
        ("resolver", resolver),
        *gate.parts,
        ("public suffixes", Suffixes()),
    ]
    return House(
        config,
        data,
        reactor,
        journey,
        directory,
        resolver,
        gate,
        KnownSenders(config, reactor=reactor),
        build_allowances(config, directory=directory, reactor=reactor),
        keys,
        build_returns(config, keys=keys, directory=directory, reactor=reactor),
        first,
    )
