"""`mta bans …`: who is shut out for guessing passwords. While the server runs, which follows within seconds,
or not."""

from __future__ import annotations

import argparse
import ipaddress
import json
import math
import time
from contextlib import AbstractContextManager

from twisted_mta.message.networks import LOOPBACK, NARROW, Network, address_of, range_of
from twisted_mta.service.commands.database import opened
from twisted_mta.service.commands.refused import Misused, Refused
from twisted_mta.service.commands.terminal import printable
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.quantities import Duration
from twisted_mta.wire.ban_store import DATABASE, BanDatabase
from twisted_mta.wire.bans import Ban, Kind, by_hand


def add_commands(bans: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta bans`."""
    group = bans.add_subparsers(required=True)
    listed = group.add_parser("list", help="who is banned now, and which logins are locked")
    listed.add_argument("--all", action="store_true", help="also what is over and still counts")
    listed.add_argument("--json", action="store_true")
    listed.set_defaults(command=list_bans)
    added = group.add_parser("add", help="ban an address or a network from the services with logins")
    added.add_argument("network", help="192.0.2.7, 192.0.2.0/24, 2001:db8::/48; an IPv6 address: its /64")
    added.add_argument(
        "--for", dest="time", default="", metavar="TIME", help="such as 7d; else until it is lifted"
    )
    added.add_argument("--reason", default="by hand", help="for `mta bans list`")
    added.set_defaults(command=add)
    lifted = group.add_parser("lift", help="end a ban, or unlock a login")
    lifted.add_argument("subject", help="an address, a network as `mta bans list` shows it, or a login")
    lifted.set_defaults(command=lift)


def _database(config: Config) -> AbstractContextManager[BanDatabase]:
    return opened(config, BanDatabase, DATABASE)


def list_bans(config: Config, options: argparse.Namespace) -> None:
    """`bans list`"""
    now = time.time()
    with _database(config) as database:
        found = [ban for ban in database.bans() if options.all or ban.until > now]
    if options.json:
        print(json.dumps([_plain(ban) for ban in found]))
        return
    print("\n".join(_line(ban, now) for ban in found) or "nobody is banned")


def _plain(ban: Ban) -> dict[str, object]:
    return {**ban._asdict(), "until": None if ban.until == math.inf else ban.until}


def _line(ban: Ban, now: float) -> str:
    if ban.until == math.inf:
        end = "until it is lifted"
    else:
        moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ban.until))
        end = f"until {moment}" if ban.until > now else f"over since {moment}"
    often = f", ban number {ban.grade}" if ban.grade > 1 else ""
    what = "" if ban.kind == "range" else "login "
    return printable(f"{what}{ban.subject}  {end}{often}: {ban.reason}")


def add(config: Config, options: argparse.Namespace) -> None:
    """`bans add NETWORK`"""
    network = _network(options.network)
    try:
        seconds = Duration.read(options.time) if options.time else math.inf
    except ValueError as error:
        raise Misused(f"--for: {error}") from error
    if any(network.version == own.version and network.overlaps(own) for own in _never_banned(config)):
        raise Refused(
            f"{network} has addresses that are never banned (the loopback, relay.allow_networks, "
            "smtp.xclient, bans.exempt)"
        )
    with _database(config) as database:
        database.write([by_hand(str(network), time.time(), seconds, options.reason)], [])
    print(f"{network} is banned")


def _never_banned(config: Config) -> tuple[Network, ...]:
    return (*LOOPBACK, *config.trusted_networks, *(one.network for one in config.bans.exempt))


def _network(text: str) -> Network:
    """Raises Refused."""
    if address_of(text) is not None:
        text = range_of(text, *NARROW)
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise Refused(f"{text!r} is neither an address nor a network such as 192.0.2.0/24") from error
    if network.prefixlen < 8:
        raise Refused(f"{network} is too much of the world")
    return network


def lift(config: Config, options: argparse.Namespace) -> None:
    """`bans lift SUBJECT`"""
    now = time.time()
    with _database(config) as database:
        fitting = [ban for ban in database.bans() if ban.until > now and _is_meant(ban, options.subject)]
        for ban in fitting:
            database.remove(ban.kind, ban.subject)
    if not fitting:
        raise Refused(f"{options.subject} is not banned; see: bans list")
    for ban in fitting:
        print(f"{ban.subject} is {_FREE[ban.kind]}")


_FREE: dict[Kind, str] = {"range": "banned no longer", "login": "locked no longer"}


def _is_meant(ban: Ban, subject: str) -> bool:
    """An address means every ban that it is under."""
    if ban.kind == "login":
        return ban.subject == subject.lower()
    address = address_of(subject)
    return ban.subject == subject if address is None else address in ipaddress.ip_network(ban.subject)
