"""Certificates that clients show in their TLS handshake, for the mechanism EXTERNAL (RFC 4422 appendix A).

A client is asked for one and may have none, or one of somebody else's: that alone keeps nobody out. Whose
it is counts when the client logs in with it, and is then found out: signed by one of our authorities, in
its time, made for clients if it says what for (RFC 5280 §4.2.1.12). The mail addresses are those of the
subject's alternative names (RFC 5280 §4.2.1.6, RFC 9598), or else of the subject itself.

Left out on purpose: revocation. What is not to count any more is replaced together with its authority, or
its account goes.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import crypto

_SMTP_UTF8_MAILBOX = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9")  # RFC 9598 §3
_UTF8_STRING = 0x0C

# What comes of a certificate that OpenSSL has taken in a handshake, and that cannot be read: no version that
# there is, a key of an unknown kind, an extension twice, a name of a strange kind.
UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class ClientAuthorities:
    """`certificates` are the authorities, and those between them and the clients: a client that resumes a
    session does not show them again."""

    def __init__(self, certificates: Sequence[x509.Certificate]) -> None:
        self._store = crypto.X509Store()
        for certificate in certificates:
            self._store.add_cert(crypto.X509.from_cryptography(certificate))

    def addresses(self, certificate: x509.Certificate) -> tuple[str, ...]:
        """The mail addresses that the certificate speaks for; none when it does not count."""
        context = crypto.X509StoreContext(self._store, crypto.X509.from_cryptography(certificate))
        try:
            context.verify_certificate()
            return _addresses(certificate) if _is_for_clients(certificate) else ()
        except (crypto.X509StoreContextError, *UNREADABLE):
            return ()


def _is_for_clients(certificate: x509.Certificate) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    wanted = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    return any(purpose in usage for purpose in wanted)


def _addresses(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    found = names.get_values_for_type(x509.RFC822Name)
    others = names.get_values_for_type(x509.OtherName)
    found += [_utf8_string(other.value) for other in others if other.type_id == _SMTP_UTF8_MAILBOX]
    if not found:
        fields = certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS)
        found = [field.value for field in fields if isinstance(field.value, str)]
    return tuple(filter(None, found))


def _utf8_string(value: bytes) -> str:
    """The text of a UTF8String (X.690 §8.14) of less than 128 octets, or as long as one octet can say; ""
    for anything else."""
    head = 3 if value[1:2] == b"\x81" else 2
    if len(value) < head or value[0] != _UTF8_STRING or value[head - 1] != len(value) - head:
        return ""
    return value[head:].decode("utf-8", "replace")
