"""The DNS of a mail domain: every record that others look for, and what each is good for.

Mail comes by MX and addresses (RFC 5321 §5.1); it is believed because of PTR, SPF (RFC 7208), DKIM (RFC
6376) and DMARC (RFC 7489); it is protected on the way by MTA-STS (RFC 8461), TLSRPT (RFC 8460), TLSA (RFC
7672) and CAA (RFC 8659); mail programs find us by SRV (RFC 6186, RFC 8314, RFC 5804) and by the names that
Thunderbird and Outlook ask.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from twisted_mta.setup.records import Need, Record

# What mail programs look for, and whether it is worth saying that there is none of it (RFC 6186 §3.4).
SERVICES = {
    "submissions": True,
    "submission": True,
    "imaps": True,
    "imap": True,
    "pop3s": True,
    "pop3": True,
    "sieve": False,
}


@dataclass(frozen=True, slots=True)
class ClientService:
    """Where mail programs reach a service of SERVICES from outside."""

    service: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Mail:
    """What the records depend on. `hostname` has the public `addresses`. `keys`: (name, record) of DKIM, of
    which the names in `spare` do not sign now, since others do.
    `reports`, `tls_reports`: the addresses that others report to, "" for none. `sts_id`: of the MTA-STS
    policy, "" for none. `tls_digests`: SHA-256 of the public keys that port 25 shows now or next, in hex.
    `issuers`: of certificates, as CAA has them. `web`: autoconfig and autodiscover are answered for the
    domain. `smarthost`: what is handed all our mail, "" for nothing. `young`: nobody has sent mail in the
    domain's name before us, so that we know all who do."""

    domain: str
    hostname: str
    addresses: tuple[str, ...] = ()
    keys: tuple[tuple[str, str], ...] = ()
    spare: tuple[str, ...] = ()
    reports: str = ""
    tls_reports: str = ""
    sts_id: str = ""
    tls_digests: tuple[str, ...] = ()
    issuers: tuple[str, ...] = ()
    services: tuple[ClientService, ...] = ()
    web: bool = False
    smarthost: str = ""
    young: bool = True


def records(mail: Mail) -> tuple[Record, ...]:
    """All that belongs into the DNS for one domain, what matters most first."""
    return (*_ways_in(mail), *_names_of_addresses(mail), *_belief(mail), *protection(mail), *_programs(mail))


def _ways_in(mail: Mail) -> Iterator[Record]:
    yield Record(
        mail.domain,
        "MX",
        f"10 {mail.hostname}.",
        f"Mail for {mail.domain} goes to {mail.hostname}. Other MX records of the domain must go.",
        "must",
    )
    for address in mail.addresses:
        kind = "A" if ipaddress.ip_address(address).version == 4 else "AAAA"
        yield Record(mail.hostname, kind, address, "Where this server is.", "must")


def _names_of_addresses(mail: Mail) -> Iterator[Record]:
    for address in mail.addresses:
        yield Record(
            ipaddress.ip_address(address).reverse_pointer,
            "PTR",
            f"{mail.hostname}.",
            "The name of this server's address. Many refuse mail without it. Only who rents the address to "
            'you can set it: look for "reverse DNS" in his customer pages, or write to him.',
            "should" if mail.smarthost else "must",
            elsewhere=True,
        )


def _belief(mail: Mail) -> Iterator[Record]:
    yield from _senders(mail)
    for name, key in mail.keys:
        yield key_record(name, key, "should" if name in mail.spare else "must")
    yield from reporting(mail)


def key_record(name: str, key: str, need: Need = "must") -> Record:
    """Of DKIM."""
    return Record(name, "TXT", key, "The key that mail is signed with (DKIM).", need)


def reporting(mail: Mail) -> Iterator[Record]:
    """What others shall do, and whom they tell (RFC 7489 §6.3, §7.1)."""
    policy = "quarantine" if mail.young else "none"
    reports = f"; rua=mailto:{mail.reports}" if mail.reports else ""
    yield Record(
        f"_dmarc.{mail.domain}",
        "TXT",
        f"v=DMARC1; p={policy}{reports}",
        "What others shall do with mail in our name that is not ours (DMARC)."
        + (
            ""
            if mail.young
            else ' When the reports show no mail of your own that fails, write "p=quarantine".'
        ),
        "must",
    )
    host = mail.reports.rpartition("@")[2]
    if host not in ("", mail.domain):
        yield Record(
            f"{mail.domain}._report._dmarc.{host}",
            "TXT",
            "v=DMARC1",
            f"Reports on {mail.domain} may be sent to {host}.",
            "may",
        )


def _senders(mail: Mail) -> Iterator[Record]:
    also = f" {_mechanism(mail.smarthost)}" if mail.smarthost else ""
    hint = (
        f" Ask who runs {mail.smarthost} for the right mechanism of his, often include:…"
        if mail.smarthost
        else ""
    )
    if not mail.young:
        hint += " A domain has one such record: where there is one, add to it what it lacks of this one."
    yield Record(
        mail.domain,
        "TXT",
        f"v=spf1 mx{also} ~all",
        f"Who sends mail in the domain's name (SPF).{hint}",
        "must",
    )
    if mail.hostname != mail.domain:
        yield Record(
            mail.hostname,
            "TXT",
            "v=spf1 a -all",
            "The same for reports on failed deliveries, which the server sends in its own name.",
        )


def _mechanism(host: str) -> str:
    """That lets pass what comes from there (RFC 7208 §5.3, §5.6)."""
    try:
        return f"ip{ipaddress.ip_address(host).version}:{host}"
    except ValueError:
        return f"a:{host}"


def protection(mail: Mail) -> Iterator[Record]:
    """What others know of our TLS, and who may certify it."""
    if mail.sts_id:
        why = "Who sends to us must use TLS with a valid certificate (MTA-STS)."
        yield Record(f"_mta-sts.{mail.domain}", "TXT", f"v=STSv1; id={mail.sts_id};", why)
        yield Record(f"mta-sts.{mail.domain}", "CNAME", f"{mail.hostname}.", why)
    if mail.tls_reports:
        yield Record(
            f"_smtp._tls.{mail.domain}",
            "TXT",
            f"v=TLSRPTv1; rua=mailto:{mail.tls_reports}",
            "Where others report on TLS with us.",
            "may",
        )
    for digest in mail.tls_digests:
        yield Record(
            f"_25._tcp.{mail.hostname}",
            "TLSA",
            f"3 1 1 {digest}",
            "The certificate's key (DANE). It counts only where the zone is signed by DNSSEC.",
            "may",
        )
    for issuer in mail.issuers:
        for name in _apart(mail.hostname, mail.domain):
            yield Record(
                name,
                "CAA",
                f'0 issue "{issuer}"',
                "Nobody else may issue certificates for these names.",
                "may",
            )


def _apart(hostname: str, domain: str) -> tuple[str, ...]:
    """CAA of a domain counts for what is below it, too (RFC 8659 §3)."""
    return (domain,) if hostname == domain or hostname.endswith(f".{domain}") else (domain, hostname)


def _programs(mail: Mail) -> Iterator[Record]:
    why = "Mail programs set themselves up."
    if mail.web:
        for name in ("autoconfig", "autodiscover"):
            yield Record(f"{name}.{mail.domain}", "CNAME", f"{mail.hostname}.", why, "may")
        yield Record(f"_autodiscover._tcp.{mail.domain}", "SRV", f"0 1 443 {mail.hostname}.", why, "may")
    there = {offered.service: offered for offered in mail.services}
    for service, missed in SERVICES.items():
        offered = there.get(service)
        if offered is not None:
            value = f"{_preference(service)} 1 {offered.port} {offered.host}."
            yield Record(f"_{service}._tcp.{mail.domain}", "SRV", value, why, "may")
        elif missed and there:
            yield Record(f"_{service}._tcp.{mail.domain}", "SRV", "0 0 0 .", why, "may")


def _preference(service: str) -> int:
    """TLS from the first octet before STARTTLS (RFC 8314 §5.1), IMAP before POP3 (RFC 6186 §3.3)."""
    return (0 if service in ("submissions", "imaps", "sieve") else 10) + (10 if "pop3" in service else 0)
