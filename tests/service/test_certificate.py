"""The self-signed certificate, and certificates from files."""

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from process import to_toml

from twisted_mta.certificates.pair import PrivateKey, new_key
from twisted_mta.certificates.self_signed import own_certificate, self_signed
from twisted_mta.service.certificate import Certificates, kept_certificates, pairs
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config, load


def config(tmp_path: Path, **tls: object) -> Config:
    path = tmp_path / "mta.toml"
    listen = {"smtp": ["127.0.0.1:2525"], "http": ["127.0.0.1:2580"]}
    path.write_text(
        to_toml(
            {"hostname": "mx.a.test", "data_dir": "d", "domains": ["a.test"], "listen": listen, "tls": tls}
        )
    )
    return load(path)


def test_it_is_made_once_for_every_name_and_its_key_is_private(tmp_path: Path) -> None:
    certificate, private_key = self_signed(tmp_path / "tls", ["mx.a.test", "a.test", "b.test"])
    assert private_key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "tls").stat().st_mode & 0o777 == 0o700
    made = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["mx.a.test", "a.test", "b.test", "localhost"]
    assert "127.0.0.1" in map(str, names.get_values_for_type(x509.IPAddress))
    before = certificate.read_bytes(), private_key.read_bytes()
    self_signed(tmp_path / "tls", ["other.test"])
    assert (certificate.read_bytes(), private_key.read_bytes()) == before
    ssl.create_default_context(cafile=str(certificate))


def test_tls_may_be_off(tmp_path: Path) -> None:
    assert Certificates(config(tmp_path)).shown is None


def test_a_pair_from_files(tmp_path: Path) -> None:
    self_signed(tmp_path, ["mx.a.test"])
    (found,) = pairs(config(tmp_path, certificate="certificate.pem", private_key="private_key.pem"))
    assert "mx.a.test" in found.names
    assert found.issuer == "itself"


def test_before_the_first_one_of_an_authority_its_key_is_shown(tmp_path: Path) -> None:
    """The DNS may name it already."""
    asked = config(tmp_path, acme={"directory": "https://acme.test/dir", "agree_tos": True})
    key = kept_certificates(asked).key_for("mx.a.test", "rsa", keep=True)
    (found,) = pairs(asked)
    assert found.issuer == "itself" and found.certificate.public_key() == key.public_key()
    (again,) = pairs(asked)
    assert again.certificate == found.certificate


def test_what_everybody_is_shown_stays_until_an_authority_has_made_the_next(tmp_path: Path) -> None:
    def asked(*names: str) -> Config:
        acme = {"directory": "https://acme.test/dir", "agree_tos": True, "domains": list(names)}
        return config(tmp_path, acme=acme)

    first = asked("mx.a.test")
    made = kept_certificates(first).put("mx.a.test", *signed("mx.a.test"))
    certificates = Certificates(first)
    assert certificates.shown is not None
    change = certificates.prepare(asked("new.a.test", "mail.a.test"))
    assert change is not None
    change()
    assert certificates.shown.pairs[0].certificate == made.certificate
    mail = kept_certificates(first).put("mail.a.test", *signed("mail.a.test"))
    certificates.show("mail.a.test", mail)
    assert [pair.names for pair in certificates.shown.pairs] == [("mx.a.test",), ("mail.a.test",)]
    new = kept_certificates(first).put("new.a.test", *signed("new.a.test"))
    certificates.show("new.a.test", new)
    assert [pair.names for pair in certificates.shown.pairs] == [("new.a.test",), ("mail.a.test",)]
    change = certificates.prepare(config(tmp_path, self_signed=True))
    assert change is not None
    change()
    assert [pair.issuer for pair in certificates.shown.pairs] == ["itself"]


def signed(name: str) -> tuple[PrivateKey, bytes]:
    """A key, and a certificate for it that is valid."""
    key = new_key("ec")
    certificate = own_certificate(key, name, [x509.DNSName(name)], timedelta(days=80)).sign(
        key, hashes.SHA256()
    )
    return key, certificate.public_bytes(serialization.Encoding.PEM)


def test_files_that_are_no_pair_are_refused(tmp_path: Path) -> None:
    self_signed(tmp_path, ["mx.a.test"])
    self_signed(tmp_path / "other", ["mx.a.test"])
    (tmp_path / "junk").write_text("junk")
    for certificate, private_key, sentence in (
        ("junk", "private_key.pem", "tls.certificate: .*junk is not a certificate in PEM form"),
        ("certificate.pem", "junk", "tls.private_key: .*junk is not a private key in PEM form"),
        ("certificate.pem", "other/private_key.pem", "is not the key of"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            pairs(config(tmp_path, certificate=certificate, private_key=private_key))
