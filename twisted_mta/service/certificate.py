"""The server's certificate: the administrator's, or a self-signed one made at the first start.

TLS 1.2 is the least (RFC 8996, RFC 8314 §4.1). The self-signed key is P-256, readable by the owner only;
renewal, ACME and several certificates (SNI) are left out for now.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto
from twisted.internet.ssl import CertificateOptions

from twisted_mta.service.complaint import ConfigError
from twisted_mta.service.config import Config

_LIFETIME = datetime.timedelta(days=3650)


def tls_context(config: Config) -> CertificateOptions | None:
    """What every listener offers; None when TLS is off. Makes the self-signed files if they are missing.

    Raises ConfigError for files that are no certificate and its key.
    """
    if not config.tls.enabled:
        return None
    if config.tls.self_signed:
        certificate, private_key = self_signed(
            Path(config.data_dir) / "tls", [config.hostname, *config.domains]
        )
    else:
        certificate, private_key = Path(config.tls.certificate), Path(config.tls.private_key)
    return _context(certificate, private_key)


def self_signed(directory: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """The paths of certificate and key in `directory`, made now unless both are there."""
    certificate, private_key = directory / "certificate.pem", directory / "private_key.pem"
    if certificate.exists() and private_key.exists():
        return certificate, private_key
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(private_key, encoded, 0o600)
    _write(certificate, _issue(key, names).public_bytes(serialization.Encoding.PEM), 0o644)
    return certificate, private_key


def _issue(key: ec.EllipticCurvePrivateKey, names: Sequence[str]) -> x509.Certificate:
    """For `names`, localhost and the loopback addresses."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    alternatives: list[x509.GeneralName] = [
        x509.DNSName(name) for name in dict.fromkeys([*names, "localhost"])
    ]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def _write(path: Path, data: bytes, mode: int) -> None:
    """Whole or not at all; never readable by others for a moment."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)


def _context(certificate: Path, private_key: Path) -> CertificateOptions:
    try:
        chain = [
            crypto.X509.from_cryptography(one)
            for one in x509.load_pem_x509_certificates(certificate.read_bytes())
        ]
    except ValueError as error:
        raise ConfigError(f"tls.certificate: {certificate} is not a certificate in PEM form") from error
    try:
        key = crypto.load_privatekey(crypto.FILETYPE_PEM, private_key.read_bytes(), b"")
    except (crypto.Error, ValueError, TypeError) as error:
        raise ConfigError(
            f"tls.private_key: {private_key} is not a private key in PEM form without a passphrase"
        ) from error
    options = CertificateOptions(
        privateKey=key,
        certificate=chain[0],
        extraCertChain=chain[1:],
        enableSessions=True,
        enableSessionTickets=True,
    )
    try:
        options.getContext()
    except SSL.Error as error:
        raise ConfigError(f"tls: {private_key} is not the key of {certificate}") from error
    return options
