"""What the commands that look at the DNS of our domains have in common: which domains, which addresses, whom
they ask."""

from __future__ import annotations

import argparse
import ipaddress
from pathlib import Path
from typing import Any

from twisted_mta.interfaces import IResolver
from twisted_mta.resolver import DnsResolver, ResolutionError
from twisted_mta.service import data_dir
from twisted_mta.service.commands.domain import our_domain
from twisted_mta.service.commands.refused import Misused, Refused
from twisted_mta.service.options.config import Config
from twisted_mta.service.zone_facts import public_addresses

_PATIENCE = 3.0  # seconds for one name server
_LIFETIME = 6.0  # for a question


def add_address_option(parser: argparse.ArgumentParser) -> None:
    """`--address`, as often as there are some."""
    parser.add_argument(
        "--address",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a public address of this server, where neither the configuration nor the DNS has it yet",
    )


def our_domains(config: Config, text: str) -> list[str]:
    """The one, or all for "". Raises Refused."""
    return [our_domain(config, text)] if text else list(config.domains)


def resolver_of(config: Config, reactor: Any) -> DnsResolver:
    """One that does not wait as long as mail may."""
    dns = config.dns
    return DnsResolver(
        dns.nameservers, reactor=reactor, trusted=dns.trusted, timeout=_PATIENCE, lifetime=_LIFETIME
    )


async def addresses_of(config: Config, given: list[str], resolver: IResolver) -> tuple[str, ...]:
    """Those that are given, or those that can be found out. Raises Refused."""
    try:
        if given:
            return tuple(str(ipaddress.ip_address(each)) for each in given)
        found = await public_addresses(config, resolver)
    except ValueError as error:
        raise Misused(f"--address: {error}") from error
    except ResolutionError as error:
        raise Refused(
            f"{error}; without the DNS, say the public address of this server: --address"
        ) from error
    if not found:
        raise Refused(
            f"the DNS has no public address of {config.hostname}; say it: --address ADDRESS, or name it in "
            "relay.sources"
        )
    return found


def enter_data(config: Config) -> None:
    """Become the owner of what is read there; makes nothing where there is none."""
    path = Path(config.data_dir)
    if path.exists():
        data_dir.enter(path)
