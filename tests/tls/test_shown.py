"""Which certificate is shown to whom, and what changes while clients come and go."""

import datetime
import socket
import ssl
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from certificates import Authority, authority
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from OpenSSL import SSL

from twisted_mta.certificates.pair import CertificatePair, NoPair, new_key, pem
from twisted_mta.certificates.shown import ShownCertificates


def pair(directory: Path, name: str, signer: Authority | None = None) -> CertificatePair:
    """In one file."""
    server = (signer or authority()).issue(name)
    path = directory / f"{name.replace('*', '_')}.pem"
    path.write_bytes(
        server.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + server.chain[0].public_bytes(Encoding.PEM)
    )
    return CertificatePair.read(path, path)


class Handshake:
    """One between a context of ours and a client of Python's, who asks for `name`; `before`: another one to
    go on from."""

    def __init__(
        self,
        context: SSL.Context,
        name: str | None,
        before: "Handshake | None" = None,
        most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
        protocols: Sequence[str] = (),
    ) -> None:
        self.client = before.client if before is not None else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.client.check_hostname, self.client.verify_mode = False, ssl.CERT_NONE
        if before is None:
            self.client.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            self.client.maximum_version = most
        if protocols:
            self.client.set_alpn_protocols(list(protocols))
        ours, theirs = socket.socketpair()
        connection = SSL.Connection(context, ours)
        connection.set_accept_state()
        serving = threading.Thread(target=self.serve, args=(connection,))
        serving.start()
        try:
            with self.client.wrap_socket(
                theirs, server_hostname=name, session=before.session if before is not None else None
            ) as wrapped:
                wrapped.recv(1)
                self.session, self.resumed = wrapped.session, wrapped.session_reused
                self.shown = wrapped.getpeercert(binary_form=True)
        finally:
            serving.join()
            ours.close()

    def serve(self, connection: SSL.Connection) -> None:
        try:
            connection.do_handshake()
            connection.send(b"!")
        except SSL.Error:
            connection.sock_shutdown(socket.SHUT_RDWR)


def shows(handshake: Handshake, expected: CertificatePair) -> bool:
    return handshake.shown == expected.certificate.public_bytes(Encoding.DER)


def test_the_name_that_is_asked_for_decides_and_the_first_is_for_everybody_else(tmp_path: Path) -> None:
    first, second, below = (pair(tmp_path, name) for name in ("mx.a.test", "mail.b.test", "*.c.test"))
    context = ShownCertificates([first, second, below]).context
    for name, expected in (
        ("mx.a.test", first),
        ("mail.b.test", second),
        ("MAIL.B.test", second),
        ("one.c.test", below),
        ("two.one.c.test", first),
        ("c.test", first),
        ("elsewhere.test", first),
        (None, first),
    ):
        assert shows(Handshake(context.getContext(), name), expected), name


def test_what_is_newest_is_shown_by_the_same_object(tmp_path: Path) -> None:
    before = pair(tmp_path, "mx.a.test")
    shown = ShownCertificates([before])
    context = shown.context
    after = pair(tmp_path, "mx.a.test", Authority())
    shown.show([after])
    assert shown.context is context
    assert shows(Handshake(context.getContext(), "mx.a.test"), after)
    assert shown.pairs == (after,)


@pytest.mark.parametrize("name", ["mx.a.test", "mail.b.test"])
@pytest.mark.parametrize("most", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_until_the_keys_of_tickets_are_renewed(
    tmp_path: Path, name: str, most: ssl.TLSVersion
) -> None:
    shown = ShownCertificates([pair(tmp_path, "mx.a.test"), pair(tmp_path, "mail.b.test")])
    whole = Handshake(shown.context.getContext(), name, most=most)
    assert not whole.resumed
    again = Handshake(shown.context.getContext(), name, whole)
    assert again.resumed
    shown.renew_tickets()
    assert not Handshake(shown.context.getContext(), name, again).resumed


def test_only_where_clients_log_in_are_they_asked_for_certificates(tmp_path: Path) -> None:
    authorities = tmp_path / "authorities.pem"
    authorities.write_bytes(authority().own.public_bytes(Encoding.PEM))
    pairs = [pair(tmp_path, "mx.a.test"), pair(tmp_path, "mail.b.test")]
    shown = ShownCertificates(pairs, client_authorities=str(authorities))
    assert shown.asking is not shown.context
    for _ in range(2):
        assert shown.asking.getContext().get_verify_mode() == SSL.VERIFY_PEER
        assert shown.context.getContext().get_verify_mode() == SSL.VERIFY_NONE
        assert shows(Handshake(shown.asking.getContext(), "mail.b.test"), pairs[1])
        shown.renew_tickets()
        authorities.unlink(missing_ok=True)  # it was read once
    with pytest.raises(FileNotFoundError):
        ShownCertificates(pairs, client_authorities=str(authorities))
    plain = ShownCertificates(pairs)
    assert plain.asking is plain.context


@pytest.mark.parametrize("protocols", [["imap"], ["h2", "http/1.1"]])
def test_clients_may_name_protocols(tmp_path: Path, protocols: list[str]) -> None:
    shown = ShownCertificates([pair(tmp_path, "mx.a.test"), pair(tmp_path, "mail.b.test")])
    for name in ("mx.a.test", "mail.b.test"):
        assert Handshake(shown.context.getContext(), name, protocols=protocols).shown


def test_nothing_older_than_tls_1_2(tmp_path: Path) -> None:
    context = ShownCertificates([pair(tmp_path, "mx.a.test")]).context.getContext()
    with pytest.raises(ssl.SSLError):
        Handshake(context, "mx.a.test", most=ssl.TLSVersion.TLSv1_1)
    ciphers = SSL.Connection(context, None).get_cipher_list()
    assert ciphers
    assert all(name.startswith(("TLS_", "ECDHE-")) for name in ciphers), ciphers  # nothing can be read later
    assert not [name for name in ciphers if any(weak in name for weak in ("RC4", "DES", "NULL", "CCM"))]
    strong = [name for name in ciphers if "GCM" in name or "CHACHA20" in name]
    assert ciphers[: len(strong)] == strong


def test_what_a_pair_says_of_itself(tmp_path: Path) -> None:
    found = pair(tmp_path, "mx.a.test")
    assert found.names == ("mx.a.test",)
    assert found.issuer == "Test Authority"
    begins = found.certificate.not_valid_before_utc
    assert (found.renewal - begins) * 3 == (found.expires - begins) * 2
    with pytest.raises(NoPair, match="cannot be read: No such file"):
        CertificatePair.read(tmp_path / "nothing", found.path)


def test_names_that_stand_there_twice_are_none(tmp_path: Path) -> None:
    """It is shown all the same: a reload must not fail over it half way."""
    key, now = new_key("ec"), datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("mx.a.test")])
    twice = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.99"), names.public_bytes())
    certificate = (
        x509.CertificateBuilder(x509.Name([]), x509.Name([]), key.public_key(), 1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(twice, critical=False)
        .sign(key, hashes.SHA256())
    )
    forged = certificate.public_bytes(Encoding.DER).replace(b"\x06\x03\x55\x1d\x63", b"\x06\x03\x55\x1d\x11")
    path = tmp_path / "twice.pem"
    path.write_bytes(pem(key) + ssl.DER_cert_to_PEM_cert(forged).encode())
    assert CertificatePair.read(path, path).names == ()
    ShownCertificates([CertificatePair.read(path, path)])
