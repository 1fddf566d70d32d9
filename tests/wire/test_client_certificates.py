"""Whose a client's certificate is, and whether it counts."""

import datetime

import pytest
from certificates import Authority, authority
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from twisted_mta.wire.client_certificates import ClientAuthorities

UTF8_MAILBOX = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.9")


def certificate(*names, signer=None, usage=None, subject="", until=2099):
    key = ec.generate_private_key(ec.SECP256R1())
    signer = signer or authority()
    fields = [x509.NameAttribute(NameOID.EMAIL_ADDRESS, subject)] if subject else []
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x@cn.test"), *fields]))
        .issuer_name(signer.own.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2020, 1, 1))
        .not_valid_after(datetime.datetime(until, 1, 1))
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if usage:
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(signer._key, hashes.SHA256())


def addresses(shown, *more):
    return ClientAuthorities([authority().own, *more]).addresses(shown)


def test_alternative_names_come_first_in_their_order():
    names = [x509.RFC822Name("b@a.test"), x509.DNSName("a.test"), x509.RFC822Name("a@a.test")]
    assert addresses(certificate(*names, subject="s@a.test")) == ("b@a.test", "a@a.test")


def test_the_subject_when_there_are_none():
    assert addresses(certificate(subject="s@a.test")) == ("s@a.test",)
    assert addresses(certificate()) == ()


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"\x0c\x0a" + "bü@a.test".encode(), ("bü@a.test",)),
        (b"\x0c\x81\x80" + b"x" * 121 + b"@a.test", ("x" * 121 + "@a.test",)),
        (b"\x16\x09bu@a.test", ()),  # no UTF8String
        (b"\x0c\x82\x01\x00" + b"x" * 249 + b"@a.test", ()),  # no address is so long
    ],
)
def test_internationalised_addresses(value, found):
    """RFC 9598 §3."""
    assert addresses(certificate(x509.OtherName(UTF8_MAILBOX, value))) == found


@pytest.mark.parametrize(
    "usage", [None, ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]
)
def test_certificates_for_clients(usage):
    assert addresses(certificate(subject="s@a.test", usage=usage)) == ("s@a.test",)


def test_certificates_that_do_not_count():
    stranger = Authority()
    assert addresses(certificate(subject="s@a.test", signer=stranger)) == ()
    assert addresses(certificate(subject="s@a.test", until=2021)) == ()
    assert addresses(certificate(subject="s@a.test", usage=ExtendedKeyUsageOID.SERVER_AUTH)) == ()
    intermediate = Authority(authority())
    shown = certificate(subject="s@a.test", signer=intermediate)
    assert addresses(shown) == ()
    assert addresses(shown, intermediate.own) == ("s@a.test",)
