"""The part of the configuration that says which certificates are shown, and how they are got."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace

from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.quantities import Domain, DurationOrNever, MailAddress, Nameserver

if TYPE_CHECKING:
    from twisted_mta.service.options.config import Config

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


class AcmeDns(Struct, frozen=True, forbid_unknown_fields=True):
    """Where DNS-01 puts its records: at the primary `server` of `zone` ("": the one of `domains` that the
    name is in), by the TSIG key of `key_file`. `settle`: seconds until all name servers have them."""

    server: str = ""
    zone: str = ""
    key_file: str = ""
    settle: DurationOrNever = DurationOrNever(30)


class Acme(Struct, frozen=True, forbid_unknown_fields=True):
    """`directory`: of the authority, "" for none. `domains`: the names to have certificates for; none: all
    that are needed. `key`: its kind; the same one with each certificate if `keep_key`."""

    directory: str = ""
    email: str = ""
    challenge: Literal["http-01", "tls-alpn-01", "dns-01"] = "http-01"
    domains: tuple[str, ...] = ()
    agree_tos: bool = False
    key: Literal["ec", "rsa"] = "ec"
    keep_key: bool = True
    authorities: str = ""
    dns: AcmeDns = AcmeDns()


class CertificateFiles(Struct, frozen=True, forbid_unknown_fields=True):
    """PEM, the chain in `certificate`."""

    certificate: str
    private_key: str


class Tls(Struct, frozen=True, forbid_unknown_fields=True):
    """A certificate made at the first start, one from files, or those of an authority. `more` are shown to
    who asks for a name of theirs, each by a name of the administrator's choice."""

    self_signed: bool = False
    certificate: str = ""
    private_key: str = ""
    more: dict[str, CertificateFiles] = {}
    acme: Acme = Acme()

    @property
    def enabled(self) -> bool:
        """Whether STARTTLS and implicit TLS can be offered."""
        return self.self_signed or bool(self.certificate) or bool(self.acme.directory)

    def files(self) -> dict[str, str]:
        """Every file that is named, by its key."""
        named = {"tls.certificate": self.certificate, "tls.private_key": self.private_key}
        for name, pair in self.more.items():
            named |= {
                f"tls.more.{name}.certificate": pair.certificate,
                f"tls.more.{name}.private_key": pair.private_key,
            }
        if self.acme.directory:
            named["tls.acme.authorities"] = self.acme.authorities
            named["tls.acme.dns.key_file"] = self.acme.dns.key_file
        return {key: path for key, path in named.items() if path}

    def secrets(self) -> dict[str, str]:
        """Those of the files that nobody else may read."""
        return {key: path for key, path in self.files().items() if key.endswith(("private_key", "key_file"))}

    def absolute(self, resolve: Callable[[str], str]) -> Tls:
        """With the paths that `resolve` makes of those in the file."""
        dns = replace(self.acme.dns, key_file=resolve(self.acme.dns.key_file))
        return replace(
            self,
            certificate=resolve(self.certificate),
            private_key=resolve(self.private_key),
            more={
                name: CertificateFiles(resolve(pair.certificate), resolve(pair.private_key))
                for name, pair in self.more.items()
            },
            acme=replace(self.acme, authorities=resolve(self.acme.authorities), dns=dns),
        )


def check_tls(config: Config) -> None:
    """Whether it fits together. Raises ConfigError."""
    tls = config.tls
    if tls.self_signed and (tls.certificate or tls.private_key):
        raise ConfigError("tls: either self_signed = true or certificate and private_key, not both")
    if bool(tls.certificate) != bool(tls.private_key):
        missing = "private_key" if tls.certificate else "certificate"
        raise ConfigError(f"tls.{missing}: missing; certificate and private_key go together")
    if tls.acme.directory:
        _check_acme(config)
    elif tls.acme != Acme():
        raise ConfigError(
            f'tls.acme.directory: missing; write for example directory = "{LETS_ENCRYPT}", or remove '
            "[tls.acme]"
        )
    elif tls.more and not tls.enabled:
        raise ConfigError(
            "tls.certificate: missing; who asks for none of the names of tls.more has to see one too"
        )


def _check_acme(config: Config) -> None:
    acme = config.tls.acme
    parts = urlsplit(acme.directory)
    if parts.scheme != "https" or not parts.hostname:
        raise ConfigError(f'tls.acme.directory: expected an https URL such as "{LETS_ENCRYPT}"')
    if config.tls.self_signed:
        raise ConfigError(
            "tls.self_signed: not together with tls.acme, which makes such a certificate by itself until the "
            "first of its own has come; remove it"
        )
    if not acme.agree_tos:
        raise ConfigError(
            "tls.acme.agree_tos: read the terms of service of the authority (Let's Encrypt: "
            "https://letsencrypt.org/repository/) and write agree_tos = true if you agree to them"
        )
    if acme.email:
        _said("tls.acme.email", MailAddress.read, acme.email)
    for name in acme.domains:
        _said("tls.acme.domains", Domain.read, name.removeprefix("*."))
        if name != name.lower():
            raise ConfigError(f"tls.acme.domains: write {name!r} in small letters")
        if name.startswith("*.") and acme.challenge != "dns-01":
            raise ConfigError(f'tls.acme.domains: {name} can be had only with challenge = "dns-01"')
    port, needed = {"http-01": (80, "http"), "tls-alpn-01": (443, "https")}.get(acme.challenge, (0, ""))
    if needed and needed not in config.listen.services():
        raise ConfigError(
            f"listen.{needed}: missing; the challenge {acme.challenge} of tls.acme is answered there, for "
            f'example write {needed} = ["0.0.0.0:{port}", "[::]:{port}"]'
        )
    if acme.challenge == "dns-01":
        _check_dns(config)


def _check_dns(config: Config) -> None:
    dns = config.tls.acme.dns
    if not dns.server or not dns.key_file:
        missing = "key_file" if dns.server else "server"
        raise ConfigError(
            f"tls.acme.dns.{missing}: missing; dns-01 needs the primary name server of the zone, and a file "
            "with the TSIG key that may change it"
        )
    _said("tls.acme.dns.server", Nameserver.read, dns.server)
    if dns.zone:
        _said("tls.acme.dns.zone", Domain.read, dns.zone)
        return
    for name in acme_names(config):
        if not any(f".{name}".endswith(f".{domain}") for domain in config.domains):
            raise ConfigError(
                f"tls.acme.dns.zone: {name} is in none of `domains`; write the zone that it is in"
            )


def acme_names(config: Config) -> tuple[str, ...]:
    """The names to have certificates for, each its own; the host's first."""
    if config.tls.acme.domains:
        return config.tls.acme.domains
    return tuple(dict.fromkeys((config.hostname, *web_names(config))))


def web_names(config: Config) -> list[str]:
    """The names that our own https is answered at, beside the host's."""
    if not config.listen.https:
        return []
    labels = ["mta-sts"] if config.mta_sts.mode else []
    labels += ["autoconfig", "autodiscover"] if config.web.setup else []
    found = [config.web.name] if config.web.setup and config.web.name is not None else []
    return [*found, *(f"{label}.{domain}" for domain in config.domains for label in labels)]


def _said(key: str, read: Callable[[object], object], text: str) -> None:
    try:
        read(text)
    except ValueError as error:
        raise ConfigError(f"{key}: {error}") from error
