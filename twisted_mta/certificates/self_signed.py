"""Certificates that sign for themselves; that of the first start, trusted by nobody: P-256, for ten years."""

from __future__ import annotations

import datetime
import fcntl
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from twisted_mta.certificates.pair import PrivateKey, new_key, pem
from twisted_mta.durable import write_whole

_LIFETIME = datetime.timedelta(days=3650)


def self_signed(directory: Path, names: Sequence[str], key: PrivateKey | None = None) -> tuple[Path, Path]:
    """The paths of certificate and key in `directory`, made now unless both are there; of `key`, unless that
    is to be a new one. Raises OSError."""
    certificate, private_key = directory / "certificate.pem", directory / "private_key.pem"
    if certificate.exists() and private_key.exists():
        return certificate, private_key
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    alone = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(alone, fcntl.LOCK_EX)  # the server's other process may have begun to make them
        if not (certificate.exists() and private_key.exists()):
            key = key or new_key("ec")
            write_whole(private_key, pem(key))
            write_whole(certificate, _issue(key, names).public_bytes(serialization.Encoding.PEM), 0o644)
    finally:
        os.close(alone)
    return certificate, private_key


def _issue(key: PrivateKey, names: Sequence[str]) -> x509.Certificate:
    """For `names`, localhost and the loopback addresses."""
    alternatives: list[x509.GeneralName] = [
        x509.DNSName(name) for name in dict.fromkeys([*names, "localhost"])
    ]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in ("127.0.0.1", "::1")]
    return (
        own_certificate(key, names[0][:64], alternatives, _LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )


def own_certificate(
    key: PrivateKey, subject: str, names: Sequence[x509.GeneralName], lifetime: datetime.timedelta
) -> x509.CertificateBuilder:
    """For a key that signs for itself, valid since yesterday; to be completed, and signed."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
