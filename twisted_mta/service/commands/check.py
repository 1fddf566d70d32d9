"""`mta check`: whether the configuration is valid and what is risky about it; and, for a domain or with
`--live`, whether the DNS, the ports and the rest of the world are as they should be.

Looking at the world, the exit code is that of a plugin of Nagios: 0 all is well, 1 something should be looked
at, 2 something is wrong, 3 nothing is, but not all is known. Without, it is 0 for a valid configuration; and
always 1 for one that is not, or for a command that is refused.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from twisted_mta.service.checks.configuration import findings
from twisted_mta.service.checks.live import Live, Looking
from twisted_mta.service.checks.outward import PROVIDER
from twisted_mta.service.commands.terminal import printable
from twisted_mta.service.commands.zone import add_address_option, enter_data, our_domains
from twisted_mta.service.options.config import Config
from twisted_mta.service.own_reactor import run
from twisted_mta.setup.finding import Code, Finding, row_code, worst
from twisted_mta.setup.live import Row

_SUMMARY = {
    Code.OK: "All is well.",
    Code.WARNING: "Something should be looked at.",
    Code.CRITICAL: "Something is wrong: see above what to do.",
    Code.UNKNOWN: "Nothing is wrong as far as can be seen, but not all could be seen.",
}


def add_command(parser: argparse.ArgumentParser) -> None:
    """Fill the parser of `mta check`."""
    parser.add_argument("domain", nargs="?", default="", help="one of ours: its DNS, and this server's ports")
    parser.add_argument("--live", action="store_true", help="the same for all of our domains")
    parser.add_argument(
        "--outbound",
        default=PROVIDER,
        metavar="DOMAIN",
        help=f"whose mail servers are called to see whether mail gets out; {PROVIDER}",
    )
    parser.add_argument("--json", action="store_true")
    add_address_option(parser)
    parser.set_defaults(command=check)


def check(config: Config, options: argparse.Namespace) -> None:
    """`check [DOMAIN]`"""
    domains = our_domains(config, options.domain)
    services, warnings = config.listen.services(), findings(config)
    live: Live | None = None
    if options.domain or options.live:
        enter_data(config)
        live = run(lambda reactor: Looking(config, options.address, options.outbound, reactor).look(domains))
    code = worst([live.code, Code.WARNING if warnings else Code.OK]) if live is not None else Code.OK
    if options.json:
        value: dict[str, Any] = {"listen": services, "warnings": warnings}
        print(json.dumps(value | (_plain(live, code) if live is not None else {})))
    else:
        print(f"{options.config}: the configuration is valid")
        for name, addresses in services.items():
            print(f"  {name:<12} {', '.join(addresses)}")
        for warning in warnings:
            print(f"warning: {warning}")
        if live is not None:
            print("\n".join([*_lines(live), "", _summary(live, len(warnings), code)]))
    if code:
        raise SystemExit(int(code))


def _plain(live: Live, code: Code) -> dict[str, Any]:
    return {
        "code": int(code),
        "domains": {domain: [_plain_row(row) for row in found] for domain, found in live.rows.items()},
        "checks": [
            {"subject": each.subject, "state": each.state, "code": int(each.code), "text": each.text}
            for each in live.findings
        ],
    }


def _plain_row(row: Row) -> dict[str, Any]:
    return {
        "name": row.wanted.name,
        "kind": row.wanted.kind,
        "value": row.wanted.value,
        "need": row.wanted.need,
        "state": row.state,
        "code": int(row_code(row)),
        "found": list(row.found),
        "advice": row.advice,
        "publish": row.publish.line() if row.publish is not None else None,
    }


def _lines(live: Live) -> Iterator[str]:
    for domain, found in live.rows.items():
        yield ""
        yield f"{domain} in the DNS"
        for row in found:
            yield from _row_lines(row)
    yield ""
    yield "This server"
    for finding in live.findings:
        yield from _finding_lines(finding)


def _row_lines(row: Row) -> Iterator[str]:
    optional = " (not needed)" if row.state == "missing" and row_code(row) == Code.OK else ""
    yield f"  {row.state:<8} {row.wanted.kind:<5} {row.wanted.name}{optional}"
    if row.advice:
        yield f"             {printable(row.advice)}"


def _finding_lines(finding: Finding) -> Iterator[str]:
    yield f"  {finding.state:<8} {finding.subject}: {printable(finding.text)}"


def _summary(live: Live, warnings: int, code: Code) -> str:
    codes = [row_code(row) for found in live.rows.values() for row in found]
    counted = Counter([*codes, *(each.code for each in live.findings)])
    counted[Code.WARNING] += warnings
    words = {Code.CRITICAL: "wrong or missing", Code.WARNING: "to be looked at", Code.UNKNOWN: "not known"}
    parts = [f"{counted[each]} {text}" for each, text in words.items() if counted[each]]
    return f"{_SUMMARY[code]} ({', '.join(parts)})" if parts else _SUMMARY[code]
