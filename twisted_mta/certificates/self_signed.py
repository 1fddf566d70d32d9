"""The certificate that is made at the first start, and that nobody trusts: P-256, for ten years."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from twisted_mta.certificates.files import write_whole
from twisted_mta.certificates.pair import PrivateKey, new_key, pem

_LIFETIME = datetime.timedelta(days=3650)


def self_signed(directory: Path, names: Sequence[str]) -> tuple[Path, Path]:
    """The paths of certificate and key in `directory`, made now unless both are there. Raises OSError."""
    certificate, private_key = directory / "certificate.pem", directory / "private_key.pem"
    if certificate.exists() and private_key.exists():
        return certificate, private_key
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = new_key("ec")
    write_whole(private_key, pem(key))
    write_whole(certificate, _issue(key, names).public_bytes(serialization.Encoding.PEM), 0o644)
    return certificate, private_key


def _issue(key: PrivateKey, names: Sequence[str]) -> x509.Certificate:
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
