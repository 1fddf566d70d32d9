"""The server's certificates: those of files, those of an authority (ACME), or a self-signed one made at the
first start. TLS 1.2 is the least (RFC 8996, RFC 8314 §4.1)."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable
from pathlib import Path

from twisted_mta.certificates.acme.kept import KeptCertificates
from twisted_mta.certificates.challenges import Challenges
from twisted_mta.certificates.pair import CertificatePair, NoPair
from twisted_mta.certificates.self_signed import self_signed
from twisted_mta.certificates.shown import ShownCertificates
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.tls import acme_names

DIRECTORY = "tls"  # in the data directory


def kept_certificates(config: Config) -> KeptCertificates:
    """Those that ACME has got."""
    return KeptCertificates(Path(config.data_dir) / DIRECTORY / "acme")


def name_for_mail(config: Config) -> str:
    """Whose certificate other mail servers are shown, of those that an authority makes."""
    names = acme_names(config)
    return config.hostname if config.hostname in names else names[0]


def file_pairs(config: Config) -> dict[str, CertificatePair]:
    """The administrator's own, by the key of the certificate's file. Raises ConfigError for files that are no
    certificate and its key."""
    tls = config.tls
    found = {}
    if tls.certificate:
        found["tls.certificate"] = _read("tls.", tls.certificate, tls.private_key)
    for name, files in tls.more.items():
        key = f"tls.more.{name}."
        found[f"{key}certificate"] = _read(key, files.certificate, files.private_key)
    return found


def acme_pairs(config: Config) -> dict[str, CertificatePair | None]:
    """Of an authority, by the name that each is for; None for one that is yet to come. Raises ConfigError
    when they cannot be read."""
    if not config.tls.acme.directory:
        return {}
    kept = kept_certificates(config)
    try:
        return {name: kept.pair(name) for name in acme_names(config)}
    except OSError as error:
        raise ConfigError(f"tls.acme: cannot read {error.filename}: {error.strerror}") from error


def pairs(config: Config) -> list[CertificatePair]:
    """What is to be shown, the one for everybody first; nothing when TLS is off. Makes the self-signed files
    if they are needed and missing. Raises ConfigError for files that cannot be used."""
    return _in_order(config, file_pairs(config).values(), acme_pairs(config).values())


def _in_order(
    config: Config,
    files: Iterable[CertificatePair],
    got: Iterable[CertificatePair | None],
    before: CertificatePair | None = None,
) -> list[CertificatePair]:
    """before: what everybody was shown until now, and is while an authority has not made the first of its
    names yet: a certificate that somebody trusts is not replaced by one that nobody does."""
    files, got = list(files), list(got)
    if config.tls.enabled and not config.tls.certificate:
        first = (got.pop(0) or _while_valid(before)) if got else None
        files.insert(0, first if first is not None else _own(config))
    return [*files, *filter(None, got)]


def _while_valid(pair: CertificatePair | None) -> CertificatePair | None:
    return pair if pair is not None and pair.expires > datetime.datetime.now(datetime.UTC) else None


def _own(config: Config) -> CertificatePair:
    """Until an authority has made another one it is of the key that this will have, which the DNS may name
    already (TLSA)."""
    acme = config.tls.acme.directory
    try:
        key = kept_certificates(config).waiting_key(name_for_mail(config)) if acme else None
        directory = Path(config.data_dir) / DIRECTORY
        return CertificatePair.read(*self_signed(directory, [config.hostname, *config.domains], key))
    except (NoPair, OSError) as error:
        raise ConfigError(f"tls: the self-signed certificate: {error}") from error


def _read(key: str, certificate: str, private_key: str) -> CertificatePair:
    try:
        return CertificatePair.read(Path(certificate), Path(private_key))
    except NoPair as error:
        name = "private_key" if error.key else "certificate"
        raise ConfigError(f"{key}{name}: {error}") from error


class Certificates:
    """What is shown, None when TLS is off, and what challenges are open. Raises ConfigError when made of
    files that are no certificate and its key."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.challenges = Challenges()
        self._files, self._got = list(file_pairs(config).values()), acme_pairs(config)
        found = _in_order(config, self._files, self._got.values())
        path = config.auth.client_certificates
        try:
            self.shown = ShownCertificates(found, client_authorities=path) if found else None
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"auth.client_certificates: {path} is not a file of certificates (PEM)"
            ) from error

    def show(self, name: str, pair: CertificatePair) -> None:
        """The new one of an authority, from the next handshake on. Whatever has become of other files
        meanwhile, they are not read."""
        if self.shown is not None and name in self._got:
            self._got[name] = pair
            now = self.shown.pairs[0]
            self.shown.show(_in_order(self._config, self._files, self._got.values(), now))

    def shows(self, name: str, pair: CertificatePair) -> bool:
        """Whether that is the one of an authority that is shown for the name."""
        known = self._got.get(name)
        return known is not None and known.certificate == pair.certificate

    def prepare(self, config: Config) -> Callable[[], None] | None:
        """What follows another configuration, and reads all files again; None when only a restart can, since
        TLS is switched on or off. Raises ConfigError, and changes nothing."""
        files, got, shown = list(file_pairs(config).values()), acme_pairs(config), self.shown
        found = _in_order(config, files, got.values(), shown.pairs[0] if shown is not None else None)
        if bool(found) != (shown is not None):
            return None

        def change() -> None:
            if shown is not None:
                shown.show(found)
            self._config, self._files, self._got = config, files, got

        return change
