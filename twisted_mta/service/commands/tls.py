"""`mta tls …`: what is known of the TLS of others, and what they are to know of ours; our certificates are in
`certificate_commands`. While the server runs or not."""

from __future__ import annotations

import argparse
import json
import time
from contextlib import AbstractContextManager
from typing import Any

from twisted_mta.service.commands import certificate as certificate_commands
from twisted_mta.service.commands.database import opened
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.commands.terminal import show_either
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.quantities import Domain
from twisted_mta.service.own_policy import own_policy
from twisted_mta.service.zone_facts import mail_of
from twisted_mta.setup.zone import protection
from twisted_mta.transfer.mta.tls.database import DATABASE, StoredPolicy, StoredReport, TlsDatabase
from twisted_mta.transfer.mta.tls.mta_sts import StsPolicy
from twisted_mta.transfer.mta.tls.received_report import failures_of
from twisted_mta.transfer.mta.tls.rules import rule_for

_DAY = 86400
_MOST_FAILURES = 5  # lines for one report
_MOST = 1_000_000


def add_commands(tls: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta tls`."""
    group = tls.add_subparsers(required=True)
    shown = group.add_parser(
        "policy", help="what counts for a domain; for one of ours, what to publish in the DNS"
    )
    shown.add_argument("domain")
    shown.set_defaults(command=policy)
    reported = group.add_parser("reports", help="what others report on TLS with us")
    reported.add_argument("domain", nargs="?", default="", help="one of ours; all of them when not given")
    reported.add_argument("--days", type=int, default=30, metavar="N", help="of the last N days; 30")
    reported.set_defaults(command=reports)
    known = group.add_parser("memory", help="the mail servers that have spoken TLS with us")
    known.add_argument("--lost", action="store_true", help="only those that do no longer")
    known.add_argument("--forget", metavar="HOST", help="know nothing more of it")
    known.set_defaults(command=memory)
    certificate_commands.add_commands(group)
    for each in (shown, reported, known):
        each.add_argument("--json", action="store_true")


def _database(config: Config) -> AbstractContextManager[TlsDatabase]:
    return opened(config, TlsDatabase, DATABASE)


def policy(config: Config, options: argparse.Namespace) -> None:
    """`tls policy DOMAIN`"""
    try:
        domain = Domain.read(options.domain)
    except ValueError as error:
        raise Refused(str(error)) from error
    if domain in config.domains:
        show_either(options, *_ours(config, domain))
    else:
        show_either(options, *_theirs(config, domain))


def _ours(config: Config, domain: str) -> tuple[dict[str, Any], list[str]]:
    own = own_policy(config)
    records = [record.line() for record in protection(mail_of(config, domain, ()))]
    lines = own.lines() if own is not None else []
    text = (
        ["No MTA-STS policy: mta_sts.mode is not set."] if own is None else ["The policy:", *_indented(lines)]
    )
    if records:
        text += ["What belongs into the DNS (TLSA only where the zone is signed):", *_indented(records)]
    return {"domain": domain, "policy": lines, "records": records}, text


def _theirs(config: Config, domain: str) -> tuple[dict[str, Any], list[str]]:
    with _database(config) as database:
        kept = [each for each in database.policies(time.time(), _MOST) if each.domain == domain]
    rules = {name: demanded.rule for name, demanded in config.relay.tls.domains.items()}
    rule = rule_for(rules, domain, "")
    words = "" if rule is None else f"{rule.level.value} {rule.version.value}"
    text = [f"The configuration says: {words}."] if rule is not None else []
    text += _kept_lines(kept[0]) if kept else [f"No MTA-STS policy of {domain} is kept."]
    policy = StsPolicy.parse(kept[0].body).lines() if kept else []
    value = {"domain": domain, "rule": words, "policy": policy, **(_times(kept[0]) if kept else {})}
    return value, text


def _kept_lines(kept: StoredPolicy) -> list[str]:
    return [
        f"MTA-STS, fetched {_when(kept.fetched)}, kept until {_when(kept.expires)}:",
        *_indented(StsPolicy.parse(kept.body).lines()),
    ]


def _times(kept: StoredPolicy) -> dict[str, Any]:
    return {"id": kept.id, "fetched": kept.fetched, "expires": kept.expires}


def reports(config: Config, options: argparse.Namespace) -> None:
    """`tls reports [DOMAIN]`"""
    with _database(config) as database:
        found = database.reports(time.time() - options.days * _DAY, options.domain.lower())
    value = [{**report._asdict(), "body": json.loads(report.body)} for report in found]
    text = [line for report in found for line in _report_lines(report)]
    show_either(options, value, text or ["no reports; see tls_reports.receive in the configuration"])


def _report_lines(report: StoredReport) -> list[str]:
    failures = failures_of(report.body)
    more = len(failures) - _MOST_FAILURES
    return [
        f"{report.begins[:10]}  {report.domain}  by {report.organization}: "
        f"{report.successes} with TLS as it should be, {report.failures} not",
        *(
            f"    {count} times {result}{f' at {host}' if host else ''}{f': {words}' if words else ''}"
            for result, host, words, count in failures[:_MOST_FAILURES]
        ),
        *([f"    and {more} more"] if more > 0 else []),
    ]


def memory(config: Config, options: argparse.Namespace) -> None:
    """`tls memory`"""
    with _database(config) as database:
        if options.forget:
            if not database.forget_host(options.forget.lower()):
                raise Refused(f"nothing is known of {options.forget}; see: tls memory")
            print(f"{options.forget} forgotten; a running server does so at its next start")
            return
        hosts = [host for host in database.hosts(_MOST) if host.lost is not None or not options.lost]
    text = [
        f"{host.name}  since {_when(host.first)}, last {_when(host.last)}"
        + (f"; WITHOUT since {_when(host.lost)}" if host.lost is not None else "")
        for host in hosts
    ]
    show_either(options, [host._asdict() for host in hosts], text or ["no mail server yet"])


def _indented(lines: list[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
