"""[tls]: what fits together, and what the administrator is told of what does not."""

from pathlib import Path

import pytest
from certificates import authority
from configured import configured
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from twisted_mta.certificates.acme.kept import KeptCertificates, Progress
from twisted_mta.service.certificate import Certificates
from twisted_mta.service.checks.certificates import certificate_findings
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.tls import LETS_ENCRYPT, acme_names

ACME = {"directory": LETS_ENCRYPT, "agree_tos": True}
HTTP = {"smtp": ["127.0.0.1:2525"], "http": ["127.0.0.1:80"]}
HTTPS = {"smtp": ["127.0.0.1:2525"], "https": ["127.0.0.1:443"]}
DNS = {**ACME, "challenge": "dns-01", "dns": {"server": "192.0.2.53", "key_file": "key"}}
KEY = "hmac-sha256:mail:c2VjcmV0"


@pytest.mark.parametrize(
    ("acme", "sentence"),
    [
        ({"email": "me@a.test"}, r"tls\.acme\.directory: missing; write for example directory = "),
        ({**ACME, "directory": "http://acme.test/"}, r"tls\.acme\.directory: expected an https URL"),
        ({"directory": LETS_ENCRYPT}, r"tls\.acme\.agree_tos: read the terms"),
        ({**ACME, "email": "me"}, r"tls\.acme\.email: 'me' is not a mail address"),
        ({**ACME, "domains": ["a b"]}, r"tls\.acme\.domains: 'a b' is not a domain name"),
        ({**ACME, "domains": ["*.a.test"]}, r'can be had only with challenge = "dns-01"'),
        ({**ACME, "domains": ["MX.a.test"]}, r"write 'MX\.a\.test' in small letters"),
        ({**ACME, "challenge": "tls-alpn-01"}, r"listen\.https: missing; the challenge tls-alpn-01"),
        ({**ACME, "challenge": "dns-01"}, r"tls\.acme\.dns\.server: missing; dns-01 needs the primary"),
        ({**DNS, "dns": {"server": "192.0.2.53"}}, r"tls\.acme\.dns\.key_file: missing"),
        (
            {**DNS, "dns": {"server": "ns", "key_file": "key"}},
            r"tls\.acme\.dns\.server: 'ns': ns is not an IP",
        ),
        ({**DNS, "domains": ["mx.b.test"]}, r"tls\.acme\.dns\.zone: mx\.b\.test is in none of `domains`"),
        (
            {**ACME, "challenge": "smtp"},
            r'tls\.acme\.challenge: expected "dns-01" or "http-01" or "tls-alpn-01"',
        ),
        ({**ACME, "directry": ""}, r"tls\.acme\.directry: unknown key; did you mean directory\?"),
    ],
)
def test_what_does_not_fit(tmp_path: Path, acme: dict[str, object], sentence: str) -> None:
    (tmp_path / "key").write_text(KEY)
    with pytest.raises(ConfigError, match=sentence):
        configured(tmp_path, listen=HTTP, tls={"acme": acme})


def test_either_or(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tls\.self_signed: not together with tls\.acme"):
        configured(tmp_path, listen=HTTP, tls={"self_signed": True, "acme": ACME})
    with pytest.raises(ConfigError, match=r"listen\.http: missing; the challenge http-01 of tls\.acme"):
        configured(tmp_path, tls={"acme": ACME})
    more = {"b": {"certificate": "nothing.pem", "private_key": "nothing.key"}}
    with pytest.raises(ConfigError, match=r"tls\.certificate: missing; who asks for none"):
        configured(tmp_path, tls={"more": more})
    with pytest.raises(ConfigError, match=r"tls\.more\.b\.certificate: cannot read .*nothing\.pem"):
        configured(tmp_path, tls={"self_signed": True, "more": more})


def test_the_names_that_are_needed(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    tables = {"listen": HTTPS, "domains": ["a.test", "b.test"], "web": {"setup": False}}
    sts = {"mode": "testing"}
    config = configured(tmp_path, **tables, mta_sts=sts, tls={"acme": {**ACME, "challenge": "tls-alpn-01"}})
    assert acme_names(config) == ("mx.a.test", "mta-sts.a.test", "mta-sts.b.test")
    tables["web"] = {"setup": True}
    config = configured(tmp_path, **tables, tls={"acme": {**ACME, "challenge": "tls-alpn-01"}})
    assert acme_names(config)[1:3] == ("autoconfig.a.test", "autodiscover.a.test")
    config = configured(tmp_path, listen=HTTP, tls={"acme": ACME})
    assert acme_names(config) == ("mx.a.test",)
    assert configured(tmp_path, tls={"acme": DNS}).tls.acme.dns.key_file == str(tmp_path / "key")


def test_until_the_first_one_has_come_there_is_a_self_signed_one(tmp_path: Path) -> None:
    config = configured(tmp_path, listen=HTTP, tls={"acme": ACME})
    certificates = Certificates(config)
    assert certificates.shown is not None
    assert certificates.shown.pairs[0].issuer == "itself"
    pair = got(tmp_path, "mx.a.test")
    certificates.show("mx.a.test", pair)
    assert certificates.shown.pairs == (pair,)


def got(tmp_path: Path, name: str):
    server = authority().issue(name)
    return KeptCertificates(tmp_path / "data/tls/acme").put(
        name, server.key, server.chain[0].public_bytes(Encoding.PEM)
    )


def test_a_new_one_is_shown_whatever_became_of_other_files(tmp_path: Path) -> None:
    other = authority().issue("b.test")
    key = other.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "b.pem").write_bytes(key + other.chain[0].public_bytes(Encoding.PEM))
    more = {"b": {"certificate": "b.pem", "private_key": "b.pem"}}
    certificates = Certificates(configured(tmp_path, listen=HTTP, tls={"more": more, "acme": ACME}))
    (tmp_path / "b.pem").write_bytes(b"junk")
    certificates.show("mx.a.test", got(tmp_path, "mx.a.test"))
    assert certificates.shown is not None
    assert [pair.names for pair in certificates.shown.pairs] == [("mx.a.test",), ("b.test",)]


def test_what_the_check_says(tmp_path: Path) -> None:
    config = configured(tmp_path, listen={**HTTP, "http": ["127.0.0.1:8080"]}, tls={"acme": ACME})
    assert certificate_findings(config) == [
        "tls.acme: no certificate for mx.a.test yet; a running server gets it",
        "tls.acme.challenge: the authority looks at port 80; listen.http has another one, so something else "
        "has to lead from 80 to it",
    ]
    got(tmp_path, "mx.a.test")
    kept = KeptCertificates(tmp_path / "data/tls/acme")
    assert len(certificate_findings(config)) == 1
    kept.put_progress("mx.a.test", Progress(next=1e9, failures=3, sentence="for some reason"))
    (first, _) = certificate_findings(config)
    assert first.startswith(
        "tls.acme: no new certificate for mx.a.test (that of before lasts until 2099-01-01): for some reason"
    )


def test_the_check_reads_the_key_of_the_name_server(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    with pytest.raises(
        ConfigError, match=r"tls\.acme\.dns\.key_file: .*no TSIG key; expected what tsig-keygen"
    ):
        certificate_findings(configured(tmp_path, tls={"acme": DNS}))
