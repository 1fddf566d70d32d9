"""`mta reports …`: what other servers report on mail in the name of our domains (DMARC). While the server
runs or not."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Any

from twisted_mta.message.shown import shown
from twisted_mta.service.commands.database import opened
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.commands.terminal import counted, show_either
from twisted_mta.service.options.config import Config
from twisted_mta.setup.zone import Mail, reporting
from twisted_mta.trust.dmarc.reports.aggregate import Observation
from twisted_mta.trust.dmarc.reports.database import DATABASE, DmarcDatabase, StoredReport
from twisted_mta.trust.dmarc.reports.summary import MOST_SOURCES, Summary, summaries

_DAY = 86400
_MOST_LINES = 30  # of one domain
_NONE = "no reports; see dmarc_reports.receive in the configuration"


def add_commands(reports: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta reports`."""
    group = reports.add_subparsers(required=True)
    summed = group.add_parser("summary", help="who sends in our name, what is proved, and what to do")
    listed = group.add_parser("list", help="the reports that have come in")
    for each, command in ((summed, summary), (listed, list_reports)):
        each.add_argument("domain", nargs="?", default="", help="one of ours; all of them when not given")
        each.add_argument("--days", type=int, default=30, metavar="N", help="of the last N days; 30")
        each.set_defaults(command=command)
    shown = group.add_parser("show", help="all of one report")
    shown.add_argument("number", type=int, help="as `list` shows it")
    shown.set_defaults(command=show)
    published = group.add_parser("records", help="what belongs into the DNS, so that others report")
    published.set_defaults(command=records)
    for each in (summed, listed, shown, published):
        each.add_argument("--json", action="store_true")


def _database(config: Config) -> AbstractContextManager[DmarcDatabase]:
    return opened(config, DmarcDatabase, DATABASE)


def summary(config: Config, options: argparse.Namespace) -> None:
    """`reports summary [DOMAIN]`"""
    with _database(config) as database:
        found = summaries(_chosen(database, options))
    text = [line for each in found for line in _summary_lines(each)]
    show_either(options, [each.to_json() for each in found], text or [_NONE])


def _chosen(database: DmarcDatabase, options: argparse.Namespace) -> Iterator[StoredReport]:
    return database.reports(time.time() - options.days * _DAY, shown(options.domain).lower())


def _summary_lines(found: Summary) -> Iterator[str]:
    messages, proved = found.messages, found.proved
    who = ", ".join(name for name, _ in found.by.most_common(MOST_SOURCES))
    yield (
        f"{found.domain}: {counted(messages, 'message')} from {_date(found.begins)} to {_date(found.ends)}, "
        f"in {counted(found.reports, 'report')} by {who or 'nobody'}"
    )
    if found.unproved:
        yield f"    of {found.unproved} of the reports nobody knows who has sent them: DMARC did not prove it"
    if messages:
        policy = found.newest.p if found.newest is not None else "none"
        yield (
            f"    {proved} ({100 * proved // messages} %) are proved to be yours, "
            f"{messages - proved} are not; policy: {policy}"
        )
    told = found.told()
    for _, words, sources in told[:_MOST_LINES]:
        yield f"    {sources.total():>8}  {words}"
        yield f"              from {_sources(sources)}"
    if len(told) > _MOST_LINES:
        yield f"              and {len(told) - _MOST_LINES} more; see --json"
    if advice := found.advice():
        yield f"    {advice}"


def _sources(sources: Counter[str]) -> str:
    named = [f"{source} ({count})" for source, count in sources.most_common(MOST_SOURCES)]
    more = len(sources) - len(named)
    return ", ".join(named) + (f" and {more} more" if more > 0 else "")


def list_reports(config: Config, options: argparse.Namespace) -> None:
    """`reports list [DOMAIN]`"""
    with _database(config) as database:
        found = list(_chosen(database, options))
    text = [
        f"{stored.number:>6}  {_date(stored.report.begins)}  {stored.report.published.domain}  "
        f"by {stored.report.organization}: {counted(stored.report.messages, 'message')}, "
        f"{_failed(stored)} not proved"
        f"{'' if stored.sender else '; sender unknown'}"
        for stored in found
    ]
    value = [
        {
            "number": stored.number,
            "received": stored.received,
            "sender": stored.sender,
            **_head(stored),
            "messages": stored.report.messages,
            "failed": _failed(stored),
        }
        for stored in found
    ]
    show_either(options, value, text or [_NONE])


def _failed(stored: StoredReport) -> int:
    return sum(count for seen, count in stored.report.rows if not seen.passed)


def show(config: Config, options: argparse.Namespace) -> None:
    """`reports show NUMBER`"""
    with _database(config) as database:
        found = list(database.reports(number=options.number)) if options.number > 0 else []
    if not found:
        raise Refused(f"there is no report {options.number}; see: reports list")
    report = found[0].report
    policy = report.published
    text = [
        f"Report {report.identity} by {report.organization} ({report.contact or 'no contact'})",
        f"sent by {found[0].sender}, as DMARC proved" if found[0].sender else "sent by nobody knows whom",
        f"on {policy.domain}, {_moment(report.begins)} to {_moment(report.ends)}",
        f"policy: p={policy.p} sp={policy.sp or policy.p} adkim={policy.adkim} aspf={policy.aspf} "
        f"pct={policy.percent}",
        *(line for seen, count in report.rows for line in _row_lines(seen, count)),
    ]
    rows = [{**asdict(seen), "messages": count} for seen, count in report.rows]
    show_either(options, {"number": found[0].number, **_head(found[0]), "rows": rows}, text)


def records(config: Config, options: argparse.Namespace) -> None:
    """`reports records`"""
    receive = config.dmarc_reports.receive
    if receive is None:
        raise Refused("dmarc_reports.receive is not set: there is no address for reports")
    found = [
        record.line()
        for domain in config.domains
        for record in reporting(Mail(domain, config.hostname, reports=receive, young=False))
    ]
    text = ["With p=none nothing happens to your mail but that it is reported:", *found]
    show_either(options, found, text)


def _head(stored: StoredReport) -> dict[str, Any]:
    head = {name: value for name, value in asdict(stored.report).items() if name != "rows"}
    return {**head, "domain": stored.report.published.domain}


def _row_lines(seen: Observation, count: int) -> Iterator[str]:
    done = {"none": "let pass", "quarantine": "put aside", "reject": "refused"}[seen.disposition]
    why = f" ({seen.override}{f': {seen.comment}' if seen.comment else ''})" if seen.override else ""
    yield f"{count:>8}  {seen.source}  {'proved' if seen.passed else 'NOT proved'}, {done}{why}"
    yield f"          From {seen.header_from or '?'}, return path {seen.envelope_from or '<>'}"
    for signature in seen.signatures:
        yield f"          DKIM {signature.result}: {signature.domain} ({signature.selector})"
    if seen.sender is not None:
        yield f"          SPF {seen.sender.result}: {seen.sender.domain} ({seen.sender.scope})"


def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(seconds))


def _moment(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
