"""What the DNS is to have for our domains, found in the configuration and the data directory: the facts that
`setup/zone.py` makes records of."""

from __future__ import annotations

import hashlib
import ipaddress
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from twisted_mta.interfaces import IResolver
from twisted_mta.service.certificate import acme_pairs, file_pairs, kept_certificates, name_for_mail
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.options.config import Config
from twisted_mta.service.own_policy import own_policy, policy_id
from twisted_mta.service.wiring.web import base, told_services
from twisted_mta.setup.records import Record
from twisted_mta.setup.zone import ClientService, Mail, records
from twisted_mta.trust.dkim.keyring import ACTIVE, DATABASE, DIRECTORY, RETIRED, Keyring, StoredKey

# The names that authorities have in CAA records (RFC 8659 §4.2), by the end of their hosts' names.
_ISSUERS = {
    "letsencrypt.org": "letsencrypt.org",
    "pki.goog": "pki.goog",
    "buypass.com": "buypass.com",
    "zerossl.com": "sectigo.com",
    "ssl.com": "ssl.com",
}
_SERVICES = {"managesieve": "sieve"}  # what SRV records call them


def mail_of(config: Config, domain: str, addresses: Sequence[str], *, young: bool = False) -> Mail:
    """The facts for one of our domains; `addresses` are the public ones of this server. Makes nothing. Raises
    Refused and ConfigError for what cannot be read."""
    policy, keys = own_policy(config), _keys(config, domain)
    signs = any(key.state == ACTIVE for key in keys)
    return Mail(
        str(domain),
        str(config.hostname),
        tuple(addresses),
        keys=tuple((key.name, key.record) for key in keys),
        spare=tuple(key.name for key in keys if signs and key.state != ACTIVE),
        reports=str(config.dmarc_reports.receive or ""),
        tls_reports=str(config.tls_reports.receive or ""),
        sts_id=policy_id(policy) if policy is not None else "",
        tls_digests=tuple(dict.fromkeys(_digests(config))),
        issuers=_issuers(config),
        services=tuple(
            ClientService(_SERVICES.get(told.service, told.service), str(told.host), told.port)
            for told in told_services(config)
        ),
        web=config.web.setup and bool(base(config)),
        smarthost=_smarthost(config),
        young=young,
    )


def without_keys(config: Config, mail: Mail) -> str:
    """What to do when mail is to be signed and there are no keys; "" when all is well."""
    if mail.keys or not config.dkim.enabled:
        return ""
    return (
        f"there are no DKIM keys of {mail.domain} yet; a server that runs makes them soon, or: "
        f"mta dkim create {mail.domain}"
    )


def all_records(mails: Sequence[Mail]) -> dict[str, list[Record]]:
    """By domain; what several of them need, such as the address of this server, with the one whose zone it
    stands in, or the first."""
    found: dict[str, list[Record]] = {mail.domain: [] for mail in mails}
    seen: set[tuple[str, str, str]] = set()
    for mail in mails:
        for record in records(mail):
            key = (record.name, record.kind, record.value)
            if key not in seen:
                seen.add(key)
                found[_home(record, mail.domain, found)].append(record)
    return found


def _home(record: Record, domain: str, domains: Iterable[str]) -> str:
    fitting = [each for each in domains if is_below(record.name, each)]
    return max(fitting, key=len, default=domain)


def is_below(name: str, zone: str) -> bool:
    """Whether it is the zone's own name or one below."""
    return f".{name}".endswith(f".{zone}")


async def public_addresses(config: Config, resolver: IResolver) -> tuple[str, ...]:
    """Where the world reaches this server: the public ones of relay.sources and listen.smtp or, where these
    name none, those that the host's name has in the DNS. Raises ResolutionError."""
    named = [*config.relay.sources, *(address.host for address in config.listen.smtp)]
    if chosen := _public(named):
        return chosen
    found = await resolver.addresses(config.hostname)
    return _public(found.records if found is not None else ())


def _public(addresses: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for each in addresses if ipaddress.ip_address(each).is_global))


def _keys(config: Config, domain: str) -> list[StoredKey]:
    directory = Path(config.data_dir) / DIRECTORY
    if not config.dkim.enabled or not (directory / DATABASE).exists():
        return []
    try:
        keyring = Keyring(directory)
        try:
            return [key for key in keyring.stored(domain) if key.state != RETIRED]
        finally:
            keyring.close()
    except (sqlite3.Error, OSError) as error:
        raise Refused(f"{directory / DATABASE} cannot be used: {error}") from error


def _digests(config: Config) -> Iterable[str]:
    """Of the keys that those see who ask for the host's name, now and after the next renewal; nothing where
    each certificate has another key, or is self-signed."""
    if config.tls.certificate:
        yield _digest(file_pairs(config)["tls.certificate"].certificate.public_key())
    elif config.tls.acme.directory and config.tls.acme.keep_key:
        pairs = acme_pairs(config)
        name = name_for_mail(config)
        if (pair := pairs[name]) is not None:
            yield _digest(pair.certificate.public_key())
        if (waiting := kept_certificates(config).waiting_key(name)) is not None:
            yield _digest(waiting.public_key())


def _digest(key: PublicKeyTypes) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _issuers(config: Config) -> tuple[str, ...]:
    host = urlsplit(config.tls.acme.directory).hostname or ""
    return tuple(issuer for end, issuer in _ISSUERS.items() if is_below(host, end))


def _smarthost(config: Config) -> str:
    """The name or address of what all our mail goes to."""
    hop = config.relay.smarthost
    if hop is None or config.relay.smarthost_use != "always":
        return ""
    return hop.host.removeprefix("smtps:").removeprefix("lmtp:").strip("[]")
