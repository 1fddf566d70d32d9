"""`mta dns show` and `mta dns publish`: what belongs into the DNS for our domains, shown, or sent to the name
server. Whether the server runs or not."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from twisted_mta.certificates.dns_update import DnsUpdateError, DnsUpdates, TsigKey
from twisted_mta.resolver import DnsResolver
from twisted_mta.service.commands.domain import our_domain
from twisted_mta.service.commands.refused import Misused, Refused
from twisted_mta.service.commands.terminal import printable, show_either
from twisted_mta.service.commands.zone import (
    add_address_option,
    addresses_of,
    enter_data,
    our_domains,
    resolver_of,
)
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.quantities import Domain, Nameserver
from twisted_mta.service.own_reactor import run
from twisted_mta.service.zone_facts import all_records, is_below, mail_of, without_keys
from twisted_mta.service.zone_update import Changes, Memory, Primary, ZoneFirst, plan
from twisted_mta.setup.live import Row, rows
from twisted_mta.setup.records import Record, zone_file

_ROUNDS = 4  # what one change makes wrong, the next one makes right; the last one only looks
_HEADING = (
    "The records of {domain} for its mail, to be put into its zone.",
    "What begins with ; is for other zones. Whether all is there: mta check {domain}",
)


def add_commands(dns: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta dns`."""
    group = dns.add_subparsers(required=True)
    shown = group.add_parser("show", help="what belongs into the DNS, and what for")
    shown.add_argument("domain", nargs="?", default="", help="one of ours; all of them when not given")
    form = shown.add_mutually_exclusive_group()
    form.add_argument("--zone-file", action="store_true", help="as a zone file")
    form.add_argument("--json", action="store_true")
    shown.set_defaults(command=show)
    sent = group.add_parser("publish", help="have the name server take it (RFC 2136)")
    sent.add_argument("domain", help="one of ours")
    sent.add_argument(
        "--server", metavar="HOST[:PORT]", help="the primary of the zone; that of tls.acme.dns when not given"
    )
    sent.add_argument(
        "--key-file", type=Path, metavar="FILE", help="its TSIG key; that of tls.acme.dns when not given"
    )
    sent.add_argument("--zone", default="", help="the zone, when it is not DOMAIN itself")
    sent.add_argument(
        "--replace", action="store_true", help="remove what is in the way, whoever put it there"
    )
    sent.add_argument("--dry-run", action="store_true", help="only say what would be done")
    sent.add_argument("--ttl", type=int, default=3600, metavar="SECONDS", help="of new records; 3600")
    sent.add_argument("--json", action="store_true")
    sent.set_defaults(command=publish)
    for each in (shown, sent):
        add_address_option(each)


def show(config: Config, options: argparse.Namespace) -> None:
    """`dns show [DOMAIN]`"""
    enter_data(config)
    domains = our_domains(config, options.domain)

    async def ask(reactor: Any) -> tuple[str, ...]:
        return await addresses_of(config, options.address, resolver_of(config, reactor))

    addresses = run(ask)
    facts = [mail_of(config, domain, addresses) for domain in domains]
    found = all_records(facts)
    missing = {mail.domain: without_keys(config, mail) for mail in facts}
    if options.json:
        show_either(options, {domain: list(map(_plain, found[domain])) for domain in domains}, [])
    elif options.zone_file:
        for domain in domains:
            heading = [line.format(domain=domain) for line in _HEADING]
            heading += filter(None, [missing[domain]])
            print(zone_file([_within(record, domain) for record in found[domain]], heading))
    else:
        lines = [line for domain in domains for line in _table(domain, found[domain])]
        print("\n".join([*lines, *filter(None, missing.values())]))


def _within(record: Record, domain: str) -> Record:
    """What stands in another zone is no line of this one's file."""
    return record if is_below(record.name, domain) else replace(record, elsewhere=True)


def _plain(record: Record) -> dict[str, Any]:
    return {
        "name": record.name,
        "kind": record.kind,
        "value": record.value,
        "line": record.line(),
        "need": record.need,
        "elsewhere": record.elsewhere,
        "purpose": record.purpose,
    }


def _table(domain: str, records: list[Record]) -> list[str]:
    lines, purpose = [domain], ""
    for record in records:
        if record.purpose != purpose:
            purpose = record.purpose
            lines.append(f"  {purpose} ({record.need})")
        where = "  (not in your zone)" if record.elsewhere else ""
        lines.append(f"    {record.name:<40} {record.kind:<5} {record.rdata()}{where}")
    return lines


def publish(config: Config, options: argparse.Namespace) -> None:
    """`dns publish DOMAIN`"""
    domain, server, key = our_domain(config, options.domain), _server(config, options), _key(config, options)
    if not 0 < options.ttl < 2**31:
        raise Misused("--ttl: a number of seconds, such as 3600")
    enter_data(config)
    zone = _zone(config, domain, options)
    try:
        memory = Memory(Path(config.data_dir))
    except (OSError, ValueError) as error:
        raise Refused(f"what was published before cannot be read: {error}") from error

    async def work(reactor: Any) -> tuple[Changes, list[Row]]:
        usual, first = resolver_of(config, reactor), DnsResolver([server], reactor=reactor)
        given = await addresses_of(config, options.address, ZoneFirst(zone, first, usual))
        mail = mail_of(config, domain, given)
        facts = [mail_of(config, each, given) for each in config.domains if each != domain]
        others = [record for each in all_records(facts).values() for record in each]
        primary = Primary(server.host, server.port, reactor=reactor)
        updates = DnsUpdates(server.host, server.port, zone=zone, key=key, reactor=reactor)
        made = Changes()
        for _ in range(_ROUNDS):
            resolver = ZoneFirst(zone, DnsResolver([server], reactor=reactor), usual)
            found = await rows(mail, resolver, seconds=reactor.seconds)
            own = memory.of(zone)
            changes = await plan(found, zone, primary, own, others, replace=options.replace, ttl=options.ttl)
            if options.dry_run:
                return changes, found
            made.left = changes.left
            if not (changes.add or changes.remove):
                break
            await updates.send(add=changes.add, remove=changes.remove)
            memory.note(zone, changes)
            made.add += changes.add
            made.remove += changes.remove
        return made, found

    try:
        changes, after = run(work)
    except DnsUpdateError as error:
        raise Refused(str(error)) from error
    except OSError as error:
        raise Refused(f"published, but it cannot be remembered: {error}") from error
    _tell(options, changes, [row for row in after if is_below(row.wanted.name, zone)])


def _tell(options: argparse.Namespace, changes: Changes, after: list[Row]) -> None:
    """`after`: the rows of the zone. Raises Refused when something is left to do."""
    bad = {
        f"{row.wanted.name} {row.wanted.kind}": row.advice
        for row in after
        if row.state in ("missing", "wrong") and not row.wanted.elsewhere
    }
    left = {text.partition(":")[0] for text in changes.left}
    failed = [f"{what}: {why}" for what, why in bad.items() if what not in left and not options.dry_run]
    added = [f"{each.name}. IN {each.kind} {each.value}" for each in changes.add]
    removed = [f"{each.name}. IN {each.kind} {each.value}" for each in changes.remove]
    lines = [f"- {line}" for line in removed] + [f"+ {line}" for line in added]
    if not lines:
        lines = ["nothing to change"]
    elif options.dry_run:
        lines.append("nothing was changed (--dry-run)")
    elif not failed:
        lines.append("done, and the name server has it")
    value = {
        "added": added,
        "removed": removed,
        "left": changes.left,
        "failed": failed,
        "done": not options.dry_run,
    }
    show_either(options, value, [*lines, *(printable(f"! {text}") for text in [*changes.left, *failed])])
    if failed:
        raise Refused("the name server has taken the change, but does not show all of it")
    if changes.left:
        raise Refused(f"left as it is: {len(changes.left)} of the records, each with its reason above")


def _server(config: Config, options: argparse.Namespace) -> Nameserver:
    server = options.server or config.tls.acme.dns.server
    if not server:
        raise Misused("--server: missing; the primary of the zone, unless tls.acme.dns.server names it")
    try:
        return Nameserver.read(server)
    except ValueError as error:
        raise Misused(f"--server: {error}") from error


def _key(config: Config, options: argparse.Namespace) -> TsigKey:
    path = options.key_file or config.tls.acme.dns.key_file
    if not path:
        raise Misused(
            "--key-file: missing; a file with the TSIG key that may change the zone, unless "
            "tls.acme.dns.key_file names it"
        )
    try:
        return TsigKey.parse(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(f"--key-file: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Refused(f"--key-file: {path}: {error}") from error


def _zone(config: Config, domain: str, options: argparse.Namespace) -> str:
    try:
        if options.zone:
            return Domain.read(options.zone)
    except ValueError as error:
        raise Misused(f"--zone: {error}") from error
    configured = config.tls.acme.dns.zone
    return configured if configured and is_below(domain, configured) else domain
