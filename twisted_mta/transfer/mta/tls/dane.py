"""DANE for SMTP: the certificate that DNSSEC vouches for (RFC 7672, RFC 6698, RFC 7671).

TLSA records are asked for where the address of the host is DNSSEC-secure, and only there (RFC 7672 §2.2.2):
then their absence is as certain as their presence. Secure records bind: TLS is required, and at least one
usable record must fit. A look-up that fails leaves the host out for now, since an attacker could have made
it fail.

Usages 2 (DANE-TA) and 3 (DANE-EE) count; 0 and 1 are not for SMTP and are unusable (§3.1.3), as are records
of unknown selectors or matching types, or with a digest of the wrong length. When none is usable, TLS is
required, with any certificate (§2.2). Under usage 3 only the key or certificate counts, not names, not
dates (§3.1.1). Under usage 2 a certificate of the chain, or the one in the record itself, is the anchor:
the chain must lead to it now, and the server's certificate must bear the name of the TLSA record, of the
domain, or an alias of them (§3.2.2, §3.2.3).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import crypto

from twisted_mta.interfaces import IResolver
from twisted_mta.transfer.mta.route import Host, Route
from twisted_mta.transfer.mta.tls.handshake import EXPIRED, NOT_TRUSTED, OTHER, Check, Doubt, Peer, named
from twisted_mta.wire.client_certificates import UNREADABLE

ANCHOR, END_ENTITY = 2, 3  # usages
_DIGESTS = {1: hashlib.sha256, 2: hashlib.sha512}
_LENGTHS = {1: 32, 2: 64}
_MOST = 30  # records that are looked at
_NOT_NOW = {9, 10}  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED

Record = tuple[int, int, int, bytes]  # usage, selector, matching type, association data


@dataclass(frozen=True, slots=True)
class Associations:
    """What the DNS says of a host's certificate. base: the name under which it says so, which is the name
    to ask the server for. records: those that are usable; with none of them any certificate is right."""

    base: str
    records: tuple[Record, ...]

    def texts(self) -> list[str]:
        """Each as it stands in a zone file."""
        return [
            f"{usage} {selector} {matching} {data.hex()}" for usage, selector, matching, data in self.records
        ]


async def associations(resolver: IResolver, route: Route, host: Host) -> Associations | None:
    """Those of a host, or None: DANE has nothing to say of it. Raises ResolutionError when that cannot be
    known now.

    Without secure MX records their names prove nothing, whatever there is under them (§2.2.1). The end of the
    aliases of the host's name goes before the name itself (§2.2.2).
    """
    if not (host.secure and route.mx_secure):
        return None
    for base in dict.fromkeys(name for name in (host.canonical, host.name) if name):
        found = await resolver.tlsa(f"_{host.port}._tcp.{base}")
        if found is not None and found.records and found.secure:
            return Associations(base, tuple(filter(_usable, found.records[:_MOST])))
    return None


def _usable(record: Record) -> bool:
    usage, selector, matching, data = record
    if usage not in (ANCHOR, END_ENTITY) or selector not in (0, 1):
        return False
    return bool(data) if matching == 0 else len(data) == _LENGTHS.get(matching)


def matcher(records: Sequence[Record], names: Sequence[str]) -> Check:
    """Whether the server's certificate is one of those that the records mean; `names`: which of them it
    must bear where that counts."""

    def check(peer: Peer) -> Doubt | None:
        server, *others = peer.chain
        if any(record[0] == END_ENTITY and _fits(record, server) for record in records):
            return None
        doubt: Doubt | None = None
        for record in records:
            if record[0] == ANCHOR:
                candidates = [
                    *others,
                    *_of_record(record),
                    *([server] if server.issuer == server.subject else ()),
                ]
                for anchor in candidates:
                    if _fits(record, anchor):
                        doubt = _leads_to(anchor, peer.chain) or named(server, names)
                        if doubt is None:
                            return None
        return doubt or Doubt(OTHER, "the certificate is none of those in the TLSA records")

    return check


def _fits(record: Record, certificate: x509.Certificate) -> bool:
    """RFC 6698 §2.1."""
    _, selector, matching, data = record
    if selector == 0:
        selected = certificate.public_bytes(Encoding.DER)
    else:
        try:
            selected = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except UNREADABLE:  # a key of a kind that nobody here knows, in the middle of a chain, say
            return False
    return data == (selected if matching == 0 else _DIGESTS[matching](selected).digest())


def _of_record(record: Record) -> list[x509.Certificate]:
    """A whole certificate in the record need not be sent by the server (RFC 7671 §5.2.1)."""
    if record[1:3] != (0, 0):
        return []
    try:
        return [x509.load_der_x509_certificate(record[3])]
    except UNREADABLE:
        return []


def _leads_to(anchor: x509.Certificate, chain: Sequence[x509.Certificate]) -> Doubt | None:
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)  # the anchor need not be self-signed
    server, *others = map(crypto.X509.from_cryptography, chain)
    try:
        store.add_cert(crypto.X509.from_cryptography(anchor))
        crypto.X509StoreContext(store, server, others).verify_certificate()
    except crypto.X509StoreContextError as error:
        if error.errors[0] in _NOT_NOW:
            return Doubt(EXPIRED, "a certificate of the chain has expired, or is not valid yet")
        return Doubt(NOT_TRUSTED, f"the chain does not lead to the certificate in the TLSA records ({error})")
    return None
