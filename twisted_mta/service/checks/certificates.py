"""What is wrong, or soon will be, with the certificates that are shown: told by `mta check`."""

from __future__ import annotations

import datetime
import ipaddress
import time

from twisted_mta.certificates.pair import CertificatePair
from twisted_mta.service.certificate import acme_pairs, file_pairs, kept_certificates
from twisted_mta.service.options.config import Config
from twisted_mta.service.wiring.acme import read_key
from twisted_mta.service.wiring.login import client_authorities
from twisted_mta.transfer.mta.tls.handshake import named

_SOON = datetime.timedelta(days=14)


def certificate_findings(config: Config) -> list[str]:
    """Sentences. Raises ConfigError for files that cannot be used."""
    client_authorities(config)
    tls = config.tls
    if not tls.enabled:
        return ["tls: off; other mail servers cannot encrypt what they send here"]
    if tls.self_signed and _is_public(config):
        return ["tls.self_signed: mail programs will ask their users to trust the certificate"]
    files = [sentence for key, pair in file_pairs(config).items() for sentence in _expiring(key, pair)]
    return [*files, *(_acme(config) if tls.acme.directory else []), *_mta_sts(config)]


def _is_public(config: Config) -> bool:
    services = config.listen.services().values()
    return any(
        not ipaddress.ip_address(each.host).is_loopback for addresses in services for each in addresses
    )


def _expiring(key: str, pair: CertificatePair) -> list[str]:
    left = pair.expires - datetime.datetime.now(datetime.UTC)
    if left < datetime.timedelta():
        return [f"{key}: {pair.path} expired on {pair.expires:%Y-%m-%d}; renew it"]
    return [f"{key}: {pair.path} expires on {pair.expires:%Y-%m-%d}; renew it"] if left < _SOON else []


def _acme(config: Config) -> list[str]:
    acme, kept = config.tls.acme, kept_certificates(config)
    if acme.challenge == "dns-01":
        read_key(config)
    found = []
    for name, pair in acme_pairs(config).items():
        progress = kept.progress(name)
        until = "there is none yet" if pair is None else f"that of before lasts until {pair.expires:%Y-%m-%d}"
        if progress.failures:
            found.append(
                f"tls.acme: no new certificate for {name} ({until}): {progress.sentence}; the next attempt "
                f"is at {time.strftime('%Y-%m-%d %H:%M', time.localtime(progress.next))}"
            )
        elif pair is None:
            found.append(f"tls.acme: no certificate for {name} yet; a running server gets it")
        elif pair.expires < datetime.datetime.now(datetime.UTC):
            found.append(f"tls.acme: the certificate for {name} expired; a running server would renew it")
    service, port = {"http-01": ("http", 80), "tls-alpn-01": ("https", 443)}.get(acme.challenge, ("", 0))
    if service and all(address.port != port for address in config.listen.services()[service]):
        found.append(
            f"tls.acme.challenge: the authority looks at port {port}; listen.{service} has another one, so "
            f"something else has to lead from {port} to it"
        )
    return found


def _mta_sts(config: Config) -> list[str]:
    """Others fetch the policy only from port 443, and only with a certificate for its name (RFC 8461
    §3.3)."""
    if not config.mta_sts.mode:
        return []
    if config.tls.self_signed:
        return ["mta_sts: with tls.self_signed nobody will believe the policy; it needs a real certificate"]
    if not config.listen.https:
        return []  # served by a proxy, which has certificates of its own
    shown = [*file_pairs(config).values(), *filter(None, acme_pairs(config).values())]
    missing = [
        name
        for name in (f"mta-sts.{domain}" for domain in config.domains)
        if all(named(pair.certificate, [name]) is not None for pair in shown)
    ]
    found = (
        [f"mta_sts: the certificate is not for {', '.join(missing)}; nobody will believe the policy"]
        if missing
        else []
    )
    if all(address.port != 443 for address in config.listen.https):
        found.append("mta_sts: others look for the policy at port 443; listen.https has another one")
    return found
