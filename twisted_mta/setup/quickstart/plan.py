"""What the quickstart has decided, as the configuration file that says it, each key with its meaning."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

# By service: the port of its own, what it is for, and whether it needs a certificate to be of use.
SERVICES = {
    "smtp": (25, "mail from other servers"),
    "submissions": (465, "mail from mail programs, TLS from the first octet"),
    "submission": (587, "the same with STARTTLS"),
    "imaps": (993, "reading mail"),
    "managesieve": (4190, "scripts that sort mail"),
    "https": (443, "how mail programs and people find their settings; MTA-STS"),
    "http": (80, "leads there, and answers authorities for certificates"),
}
PORTS = tuple(port for port, _ in SERVICES.values())


@dataclass(frozen=True, slots=True)
class Plan:
    """`account` reads postmaster's mail. `reports`: the address for reports of others. `six`: this machine
    has IPv6. `acme`: the directory of an authority, "" for a certificate that is self-signed; it writes to
    `account`. `authorities`: a file, "" for the system's. `smarthost`: "host:port", "" for none, with
    `password_file` when it wants a login of `user`."""

    hostname: str
    domains: tuple[str, ...]
    account: str
    reports: str
    data_dir: str
    six: bool = True
    acme: str = ""
    authorities: str = ""
    nameservers: tuple[str, ...] = ()
    smarthost: str = ""
    user: str = ""
    password_file: str = ""


def configuration(plan: Plan) -> str:
    """The text of mta.toml."""
    parts = (_beginning(plan), _listening(plan), _certificates(plan), _outwards(plan), _reports(plan))
    return "\n\n".join(parts) + "\n"


def relay_lines(plan: Plan) -> list[str]:
    """What sends everything through the smarthost; nothing without one."""
    if not plan.smarthost:
        return []
    lines = ["[relay]", _line("smarthost", plan.smarthost, "everything is handed to it")]
    if plan.user:
        lines.append(_line("smarthost_user", plan.user, "the login it wants"))
        lines.append(_line("smarthost_password_file", plan.password_file, "its first line is the password"))
    return lines


def _line(key: str, value: object, comment: str) -> str:
    text = f"{key} = {json.dumps(value, ensure_ascii=False)}"
    return f"{text:<43} # {comment}"


def _beginning(plan: Plan) -> str:
    return "\n".join(
        [
            "# The configuration of this mail server, begun by `mta quickstart`. It is yours to change: `mta",
            "# check` says whether it is valid, `mta reload` has a running server read it again. There are",
            "# more keys than these; etc/mta.toml of the source has every one, with its meaning.",
            "",
            _line("hostname", plan.hostname, "how this server calls itself; in the DNS, and back"),
            _line("data_dir", plan.data_dir, "everything the server writes"),
            _line("domains", list(plan.domains), "mail for these ends here"),
            _line("postmaster", plan.account, "who reads mail for postmaster"),
        ]
    )


def _listening(plan: Plan) -> str:
    lines = [
        "# Where it listens, for all addresses of this machine. A service that is left out is off.",
        "[listen]",
    ]
    for service, (port, comment) in SERVICES.items():
        places = [f"0.0.0.0:{port}", f"[::]:{port}"] if plan.six else [f"0.0.0.0:{port}"]
        lines.append(_line(service, places, comment))
    return "\n".join(lines)


def _certificates(plan: Plan) -> str:
    if not plan.acme:
        return "\n".join(
            [
                "# A certificate that is made at the first start, and that nobody trusts: mail programs warn",
                "# of it. To have one that is trusted, do `mta quickstart` once more, or see [tls.acme] in",
                "# etc/mta.toml.",
                "[tls]",
                _line("self_signed", True, "no authority has signed it"),
            ]
        )
    lines = [
        "# Certificates that the server gets and renews by itself; `mta tls certificates` shows them.",
        "[tls.acme]",
        _line("directory", plan.acme, "the authority"),
        _line("agree_tos", True, "you have agreed to its terms of service"),
        _line("email", plan.account, "where it may write to you"),
        _line("challenge", "http-01", "it looks at port 80 whether a name is ours"),
    ]
    if plan.authorities:
        lines.append(_line("authorities", plan.authorities, "whom to believe in, for the authority itself"))
    return "\n".join(
        [
            *lines,
            "",
            "# Others must use TLS with a valid certificate when they send to us (MTA-STS). When nobody has",
            '# reported trouble for some weeks (mta tls reports), write "enforce", and publish the new',
            "# record (mta dns show).",
            "[mta_sts]",
            _line("mode", "testing", '"enforce" comes next'),
        ]
    )


def _outwards(plan: Plan) -> str:
    relay = relay_lines(plan)
    if relay:
        lines = ["# Mail for others goes through a server that they trust already.", *relay]
    else:
        lines = [
            "# Mail for others goes to them directly. Where they refuse it for who we are, this helps:",
            "# [relay]",
            '# smarthost = "smtp.provider.example:587"',
            '# smarthost_use = "fallback"',
            '# smarthost_user = "you"',
            '# smarthost_password_file = "smarthost.password"',
        ]
    if plan.nameservers:
        lines += ["", "[dns]", _line("nameservers", list(plan.nameservers), "who is asked")]
    return "\n".join(lines)


def _reports(plan: Plan) -> str:
    return "\n".join(
        [
            "# Where others report to, daily: on mail in our name (DMARC), and on TLS with us. `mta reports",
            "# summary` and `mta tls reports` tell what they say.",
            "[dmarc_reports]",
            _line("receive", plan.reports, "an alias for the first account"),
            "",
            "[tls_reports]",
            _line("receive", plan.reports, "the same"),
        ]
    )


def table(rows: Sequence[Sequence[str]], widest: int = 48) -> list[str]:
    """Rows of texts as lines with columns; what is wider is cut."""
    cut = [[text if len(text) <= widest else f"{text[: widest - 1]}…" for text in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in cut
    ]
