"""[web] in the configuration: what is refused, and what mail programs are told because of it."""

import plistlib

import pytest
from certificates import authority
from configured import configured
from OpenSSL import crypto

from twisted_mta.certificates.pair import CertificatePair
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.wiring.web import base, signed, told_services
from twisted_mta.web.apple_profile import profile
from twisted_mta.web.mail_services import MailService, Setup

LISTEN = {
    "submission": ["127.0.0.1:587"],
    "submissions": ["127.0.0.1:465", "[::1]:10465"],
    "imaps": ["127.0.0.1:10993"],
    "imap": ["127.0.0.1:143"],
    "https": ["127.0.0.1:8443"],
}
TLS = {"self_signed": True}


def told(config):
    return [(each.service, each.host, each.port) for each in told_services(config)]


def test_what_is_told_without_a_word_in_the_configuration(tmp_path):
    config = configured(tmp_path, listen=LISTEN, tls=TLS)
    assert told(config) == [
        ("imaps", "mx.a.test", 10993),
        ("imap", "mx.a.test", 143),
        ("submissions", "mx.a.test", 465),
        ("submission", "mx.a.test", 587),
    ]
    assert base(config) == "https://mx.a.test:8443"


def test_what_is_told_behind_others(tmp_path):
    web = {
        "name": "Mail.A.test",
        "proxies": ["127.0.0.1"],
        "told": {"imap": "none", "imaps": "in.a.test:993", "pop3s": "in.a.test:995", "https": "a.test:443"},
    }
    listen = {**LISTEN, "http": ["127.0.0.1:8080"]}
    config = configured(tmp_path, listen={**listen, "https": []}, tls=TLS, web=web)
    assert told(config) == [
        ("imaps", "in.a.test", 993),
        ("pop3s", "in.a.test", 995),
        ("submissions", "mail.a.test", 465),
        ("submission", "mail.a.test", 587),
    ]
    assert base(config) == "https://a.test"


def test_nothing_is_told_that_would_send_passwords_in_the_clear(tmp_path):
    listen = {"imap": ["127.0.0.1:143"], "submission": ["127.0.0.1:587"], "http": ["127.0.0.1:80"]}
    config = configured(tmp_path, listen=listen, auth={"allow_cleartext": True}, web={"name": ""})
    assert told(config) == [] and base(config) == ""


@pytest.mark.parametrize(
    ("web", "listen", "message"),
    [
        ({"proxies": ["0.0.0.0/0"]}, {"http": ["127.0.0.1:80"]}, r"web\.proxies: 0\.0\.0\.0/0 is everybody"),
        ({"proxies": ["127.0.0.1"]}, {"smtp": ["127.0.0.1:25"]}, r"listen\.http: missing"),
        ({"proxies": ["127.0.0.1"]}, {"http": ["127.0.0.1:80"]}, r"web\.told\.https: missing"),
        ({"told": {"https": "none"}}, {"http": ["127.0.0.1:80"]}, r"web\.told\.https: write web\.setup"),
        ({"told": {"imaps": "mail.a.test"}}, {"http": ["127.0.0.1:80"]}, r"web\.told\.imaps: .*host:port"),
        ({"told": {"lmtp": "a.test:24"}}, {"http": ["127.0.0.1:80"]}, r"web\.told"),
        ({"name": "https://a.test"}, {"http": ["127.0.0.1:80"]}, r"web\.name: "),
    ],
)
def test_what_is_refused(tmp_path, web, listen, message):
    with pytest.raises(ConfigError, match=message):
        configured(tmp_path, listen=listen, web=web)


def test_the_policy_may_be_served_through_a_proxy(tmp_path):
    mta_sts = {"mode": "testing"}
    web = {"proxies": ["127.0.0.1"], "told": {"https": "a.test:443"}}
    configured(tmp_path, listen={"http": ["127.0.0.1:80"]}, mta_sts=mta_sts, web=web)
    with pytest.raises(ConfigError, match=r"listen\.https: missing"):
        configured(tmp_path, listen={"http": ["127.0.0.1:80"]}, mta_sts=mta_sts)


def test_a_profile_is_not_signed_by_who_cannot_be_checked(tmp_path):
    """A self-signed certificate would be worse than none."""
    own = authority()
    pair = CertificatePair(tmp_path, (own.own,), crypto.PKey.from_cryptography_key(own._key))
    assert signed(b"x", (pair,)) == signed(b"x", ()) == b"x"
    server = own.issue("mail.a.test")
    better = CertificatePair(tmp_path, tuple(server.chain), crypto.PKey.from_cryptography_key(server.key))
    assert signed(b"x", (pair, better))[:1] == b"\x30"


def test_a_profile_for_those_who_empty_their_mailbox():
    services = (MailService("pop3", "a.test", 110), MailService("submission", "a.test", 587))
    (account,) = plistlib.loads(profile(Setup(services, "", str.isascii), "x&<y>@a.test"))["PayloadContent"]
    assert account["EmailAccountType"] == "EmailTypePOP" and account["IncomingMailServerUseSSL"] is True
    assert account["EmailAddress"] == "x&<y>@a.test"
