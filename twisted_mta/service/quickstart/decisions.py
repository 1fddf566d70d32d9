"""What `mta quickstart` decides: it looks around, says what it finds, and asks what it cannot know."""

from __future__ import annotations

import argparse
import getpass
import ipaddress
import os
import shutil
import socket
import sys
import textwrap
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from twisted_mta.directory.database import DATABASE, DirectoryDatabase
from twisted_mta.directory.passwords import BadPassword, prepare
from twisted_mta.directory.weak_password import refuse_weak
from twisted_mta.interfaces import IResolver
from twisted_mta.resolver import DnsResolver
from twisted_mta.service.checks.outward import outbound
from twisted_mta.service.commands.refused import Misused
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.quantities import Domain, IpAddress, MailAddress, Nameserver, NextHop
from twisted_mta.service.options.relay import Relay
from twisted_mta.service.options.tls import LETS_ENCRYPT
from twisted_mta.service.own_reactor import run
from twisted_mta.service.quickstart.user import owner_of
from twisted_mta.setup.blacklists import WELL_KNOWN, blacklists
from twisted_mta.setup.finding import Finding
from twisted_mta.setup.quickstart import surroundings
from twisted_mta.setup.quickstart.plan import PORTS, Plan
from twisted_mta.setup.quickstart.questions import Interview, Unanswered

T = TypeVar("T")

USER = "twisted_mta"
REPORTS = "reports"  # the name of the alias for reports
PASSWORD_FILE = "smarthost.password"
_SUBMISSION = 587  # RFC 6409 §3.1
_PATIENCE = 5.0  # seconds for a question to the DNS
_NO_HOST = ("localhost", "localdomain", "local", "internal", "lan", "home", "invalid")
_INDENT = 11  # where the text of a finding begins
_MARKS = {
    "ok": "ok       ",
    "warning": "note     ",
    "wrong": "trouble  ",
    "unknown": "unknown  ",
    "skipped": "note     ",
}


@dataclass(frozen=True, slots=True)
class Found:
    """`address`: of who is to have the first account. `path`: of the configuration. `before`: the one that is
    there already."""

    address: MailAddress
    path: Path
    data_dir: Path
    before: Config | None

    @property
    def has_account(self) -> bool:
        """Whether the data directory knows it."""
        database = self.data_dir / DATABASE
        if not database.exists():
            return False
        opened = DirectoryDatabase(database)
        try:
            return str(self.address) in [name for name, _ in opened.accounts()]
        finally:
            opened.close()


@dataclass(frozen=True, slots=True)
class Decisions:
    """`addresses`: the public ones. `young`: nobody else sends in the domain's name. `password`: of the
    account, "" for a random one. `secret`: of the smarthost, "" to keep what there is. `user`: whom the
    server runs as; `create_user`: make it."""

    plan: Plan
    addresses: tuple[str, ...]
    young: bool
    password: str
    secret: str
    user: str
    create_user: bool


def decide(found: Found, interview: Interview, options: argparse.Namespace) -> Decisions:
    """Raises Unanswered, Refused, ResolutionError and OSError."""
    before, domain = found.before, found.address.address.domain
    look = _Look(options)
    print(f"A mail server for {domain}. Nothing is written before you have agreed to it.\n")
    name = before.hostname if before is not None else _hostname(domain, look)
    hostname = interview.ask("hostname", "The name of this server", name, _host)
    near = surroundings.taken_ports(PORTS) if before is None else []
    look.tell(near)
    young = look.at_domain(domain, hostname)
    addresses = _addresses(interview, look, hostname, options.public_address)
    in_trouble = look.at_addresses(addresses, hostname)
    smarthost, user, secret = _smarthost(interview, before, in_trouble)
    acme, authorities = _authority(interview, before, options)
    password = "" if found.has_account else _password(interview, str(found.address))
    server_user, create_user = _user(interview)
    plan = replace(
        _plan(found),
        hostname=hostname,
        acme=acme,
        authorities=authorities,
        nameservers=tuple(before.dns.nameservers if before is not None else look.nameservers),
        smarthost=smarthost,
        user=user,
        password_file=_password_file(found, secret) if user else "",
    )
    if not interview.confirm(
        f"Write the configuration to {found.path.parent}, and data to {found.data_dir}?"
    ):
        raise Unanswered("as you wish; nothing was written")
    return Decisions(plan, addresses, young, password, secret, server_user, create_user)


def _plan(found: Found) -> Plan:
    """What nobody is asked."""
    before, domain = found.before, found.address.address.domain
    domains = tuple(dict.fromkeys((*(before.domains if before is not None else ()), domain)))
    first = (before.postmaster if before is not None else None) or found.address
    reports = (before.dmarc_reports.receive if before is not None else None) or f"{REPORTS}@{domains[0]}"
    return Plan("", domains, str(first), str(reports), str(found.data_dir), six=_has_six())


def _password_file(found: Found, secret: str) -> str:
    """The one there is, unless there is a new `secret` to be written."""
    if found.before is not None and found.before.relay.smarthost_password_file and not secret:
        return found.before.relay.smarthost_password_file
    return str(found.path.parent / PASSWORD_FILE)


class _Look:
    """The world outside, unless the options forbid to look at it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        try:
            self.nameservers = tuple(Nameserver.read(text) for text in options.nameserver)
        except ValueError as error:
            raise Misused(f"--nameserver: {error}") from error

    def tell(self, findings: Sequence[Finding]) -> None:
        """As lines, folded for who reads them at a terminal."""
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
        for finding in findings:
            text = f"  {_MARKS.get(finding.state, '')}{finding.subject}: {finding.text}"
            print(textwrap.fill(text, width, subsequent_indent=" " * _INDENT, break_on_hyphens=False))

    def at_domain(self, domain: str, hostname: str) -> bool:
        """Whether nobody else sends in its name. Raises ResolutionError."""
        if self._options.offline:
            print("  Nothing outside this machine is looked at (--offline).")
            return False
        print("  Looking around, which takes a minute where nobody answers.")

        async def look(resolver: IResolver, _: Any) -> list[Finding]:
            trusted = await surroundings.dnssec(self._options.signed, self._options.provider, resolver)
            return [await surroundings.mail_so_far(domain, hostname, resolver), trusted]

        findings = self._ask(look)
        self.tell(findings)
        return findings[0].state == "ok"

    def names(self) -> list[str]:
        """Those of our public addresses (PTR)."""
        own = [address for address in surroundings.own_addresses() if surroundings.is_public(address)]
        if self._options.offline or not own:
            return []

        async def look(resolver: IResolver, _: Any) -> list[str]:
            return [name for address in own for name in await surroundings.all_names_of(address, resolver)]

        return [name for name in map(_named, self._ask(look)) if name]

    def addresses_of(self, hostname: str) -> tuple[str, ...]:
        """The public ones."""
        if self._options.offline:
            return ()
        return self._ask(lambda resolver, _: surroundings.addresses_of(hostname, resolver))

    def at_addresses(self, addresses: Sequence[str], hostname: str) -> bool:
        """Whether mail is likely to be refused that comes directly from there."""
        if self._options.offline:
            return False
        lists, port = self._options.blacklist or WELL_KNOWN, self._options.provider_port

        async def look(resolver: IResolver, reactor: Any) -> list[Finding]:
            named = [await surroundings.names_of(address, hostname, resolver) for address in addresses]
            out = await outbound(_calling(hostname, port), self._options.provider, resolver, reactor)
            return [*named, *await blacklists(addresses, lists, resolver=resolver), out]

        findings = self._ask(look)
        self.tell(findings)
        return any(finding.state == "wrong" for finding in findings)

    def _ask(self, task: Callable[[IResolver, Any], Coroutine[Any, Any, T]]) -> T:
        async def asking(reactor: Any) -> T:
            resolver = DnsResolver(self.nameservers, reactor=reactor, timeout=2.0, lifetime=_PATIENCE)
            try:
                return await task(resolver, reactor)
            finally:
                await resolver.stop()

        return run(asking)


def _calling(hostname: str, port: int) -> Config:
    """What a server of that name goes by when it calls others at that port."""
    return Config(Domain(hostname), "", (Domain(hostname),), relay=Relay(port=port))


def _hostname(domain: str, look: _Look) -> str:
    """The one that is known already: in the domain, by the machine or by the names of its addresses; else
    another one by which the machine goes; else the usual one."""
    own = _named(socket.getfqdn())
    inside = [name for name in (own, *look.names()) if name.endswith(f".{domain}")]
    return next(iter(inside), own or f"mail.{domain}")


def _named(text: str) -> str:
    """The name of a host that others may know, or ""."""
    name = text.rstrip(".").lower()
    last = name.rpartition(".")[2]
    with suppress(ValueError):
        if "." in name and last not in _NO_HOST and not name.endswith(".arpa"):
            return Domain.read(name)
    return ""


def _host(text: str) -> str:
    name = Domain.read(text)
    if "." not in name:
        raise ValueError(f"{name!r} is no full name, such as mail.example.org")
    return name


def _addresses(interview: Interview, look: _Look, hostname: str, given: Sequence[str]) -> tuple[str, ...]:
    if given:
        try:
            return _public(" ".join(given))
        except ValueError as error:
            raise Misused(f"--public-address: {error}") from error
    own = surroundings.own_addresses()
    public = tuple(filter(surroundings.is_public, own))
    if not any("." in address for address in public):  # many have nothing but IPv4
        where = f"its addresses are {', '.join(own)}" if own else "no address to call others from"
        text = (
            f"{where}, none of them public IPv4: if a router stands before it (NAT), let that pass the ports "
            f"{', '.join(map(str, PORTS))} on to this machine"
        )
        look.tell([Finding("this machine", "warning", text)])
        public = tuple(dict.fromkeys((*public, *look.addresses_of(hostname))))
    return interview.ask(
        "public_addresses", "The addresses by which others reach this server", " ".join(public), _public
    )


def _public(text: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(IpAddress.read(each) for each in text.replace(",", " ").split()))
    if not found:
        raise ValueError("name at least one, such as 203.0.113.7; your provider, or your router, knows it")
    for each in found:
        address = ipaddress.ip_address(each)
        if address.is_loopback or address.is_unspecified or address.is_multicast or address.is_link_local:
            raise ValueError(f"{each}: nobody else can reach that")
    return found


def _smarthost(interview: Interview, before: Config | None, in_trouble: bool) -> tuple[str, str, str]:
    """Next hop, user, password."""
    there = before.relay if before is not None else None
    known = str(there.smarthost or "") if there is not None else ""
    if in_trouble or known:
        print(
            "\nWhere mail that comes from here directly is refused, a smarthost sends it: most simply the\n"
            "mail server of your provider, with the login you have there."
        )
        hop = interview.ask(
            "smarthost", 'Smarthost, such as smtp.provider.example:587; "none"', known or "none", _hop
        )
    else:
        hop = interview.option("smarthost", "", _hop)
    if not hop:
        return "", "", ""
    user = interview.ask("smarthost_user", "The login there", there.smarthost_user if there else "", str)
    secret = interview.ask_secret("smarthost_password", "Its password", _line) if user else ""
    keeps = there is not None and there.smarthost_password_file
    if user and not secret and not keeps:
        raise Unanswered(
            "smarthost_password: missing; the login at the smarthost needs one. Nothing was written"
        )
    return hop, user, secret


def _line(text: str) -> None:
    if not text.isprintable():
        raise ValueError("a password has printable characters only, in one line")


def _hop(text: str) -> str:
    """At the port of submission, unless one is written: 25 is what many cannot reach, and takes no logins."""
    if text in ("", "none"):
        return ""
    is_bare = ":" not in text or (text.endswith("]") and text.startswith("["))
    hop = NextHop.read(f"{text}:{_SUBMISSION}" if is_bare and text.lower() != "dns" else text)
    if hop.startswith(("dns", "mx:", "lmtp:")):
        raise ValueError('name one mail server, such as "smtp.provider.example:587"')
    return hop


def _authority(interview: Interview, before: Config | None, options: argparse.Namespace) -> tuple[str, str]:
    """The directory of the authority for certificates, "" for none; whom to believe in for that."""
    acme = before.tls.acme if before is not None else None
    there = acme.directory if acme is not None else ""
    directory = interview.option("authority", options.authority or there or LETS_ENCRYPT, str)
    agreed = acme is not None and acme.agree_tos and directory == there
    whose, terms = f"by {urlsplit(directory).hostname or directory}", ""
    if directory == LETS_ENCRYPT:
        whose, terms = "free, by Let's Encrypt", " https://letsencrypt.org/repository/"
    print()
    chosen = interview.ask(
        "certificate",
        f'Certificate: "acme" ({whose}, needs port 80 from outside), or "self-signed"',
        "acme" if agreed or before is None or options.authority else "self-signed",
        _certificate,
    )
    if chosen == "self-signed":
        return "", ""
    question = f"Do you agree to its terms of service?{terms}"
    if not agreed and not interview.ask_whether("agree_tos", question, False):
        if not interview.asks:
            raise Unanswered(
                "agree_tos: read the terms of service of the authority and write agree_tos = true, or "
                'certificate = "self-signed". Nothing was written'
            )
        print("  So the certificate is self-signed, and mail programs warn of it.")
        return "", ""
    believed = acme.authorities if acme is not None else ""
    if options.authorities:
        believed = os.path.abspath(options.authorities)
    return directory, interview.option("authorities", believed, str)


def _certificate(text: str) -> str:
    if text not in ("acme", "self-signed"):
        raise ValueError(f'{text!r} is neither "acme" nor "self-signed"')
    return text


def _password(interview: Interview, address: str) -> str:
    def good(password: str) -> None:
        try:
            refuse_weak(prepare(password), address)
        except BadPassword as error:
            raise ValueError(str(error)) from error

    return interview.ask_secret("password", "\nA password for you (none: one is made and shown)", good)


def _user(interview: Interview) -> tuple[str, bool]:
    """Whom the server runs as, and whether to make it."""
    if os.geteuid() != 0:
        return getpass.getuser(), False
    if owner_of(USER) is not None:
        return USER, False
    text = f"Make the system user {USER}, whom the server runs as?"
    return USER, interview.ask_whether("create_user", text, True)


def _has_six() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
        probe.bind(("::1", 0))
        return True
    return False
