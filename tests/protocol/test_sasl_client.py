"""Which mechanism the client chooses, and what it says in it."""

import pytest

from twisted_mta.protocol.sasl.client import choose
from twisted_mta.protocol.sasl.error import SaslError

ALL = [
    "LOGIN",
    "PLAIN",
    "SCRAM-SHA-1",
    "SCRAM-SHA-256",
    "SCRAM-SHA-256-PLUS",
    "XOAUTH2",
    "OAUTHBEARER",
    "GSSAPI",
]


def chosen(offered, **settings):
    usual = {
        "login": "user",
        "password": "secret",
        "token": "",
        "secure": True,
        "nonce": "abc",
        "binding": None,
    }
    mechanism = choose(offered, **{**usual, **settings}, host="mx.b.test", port=587)
    return mechanism and mechanism.name


@pytest.mark.parametrize(
    ("offered", "settings", "name"),
    [
        (ALL, {}, "SCRAM-SHA-256"),
        (ALL, {"binding": b"x"}, "SCRAM-SHA-256-PLUS"),
        (["SCRAM-SHA-1", "PLAIN"], {}, "SCRAM-SHA-1"),
        (["SCRAM-SHA-1-PLUS", "SCRAM-SHA-256"], {"binding": b"x"}, "SCRAM-SHA-1-PLUS"),
        (["LOGIN", "PLAIN"], {}, "PLAIN"),
        (["LOGIN", "CRAM-MD5"], {}, "LOGIN"),
        (["GSSAPI"], {}, None),
        ([], {}, None),
        (ALL, {"secure": False}, "SCRAM-SHA-256"),
        (["LOGIN", "PLAIN"], {"secure": False}, None),
        (ALL, {"token": "t"}, "OAUTHBEARER"),
        (["PLAIN", "XOAUTH2"], {"token": "t"}, "XOAUTH2"),
        (["PLAIN"], {"token": "t", "password": ""}, None),
        (ALL, {"token": "t", "secure": False}, None),
    ],
)
def test_the_strongest_first(offered, settings, name):
    assert chosen(offered, **settings) == name


@pytest.mark.parametrize("field", ["login", "password", "token"])
@pytest.mark.parametrize("octet", ["\0", "\1", "\n", "\x7f"])
def test_control_characters_are_refused(field, octet):
    with pytest.raises(SaslError):
        chosen(ALL, **{field: f"a{octet}b"})


def begun(name, **settings):
    usual = {
        "login": "üser",
        "password": "sécret",
        "token": "",
        "secure": True,
        "nonce": "abc",
        "binding": None,
    }
    return choose([name], **{**usual, **settings}, host="mx.b.test", port=587)


def test_plain():
    mechanism = begun("PLAIN")
    assert mechanism.initial == "\0üser\0sécret".encode() and mechanism.proven
    with pytest.raises(SaslError):
        mechanism.respond(b"")


def test_login():
    mechanism = begun("LOGIN")
    assert mechanism.initial is None
    assert mechanism.respond(b"Username:") == "üser".encode()
    assert mechanism.respond(b"Password:") == "sécret".encode()
    with pytest.raises(SaslError):
        mechanism.respond(b"PIN:")


def test_oauthbearer():
    """RFC 7628 §4.1 and §4.3, but for the host."""
    mechanism = begun(
        "OAUTHBEARER", login="user@example.com", token="vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="
    )
    assert mechanism.initial == (
        b"n,a=user@example.com,\x01host=mx.b.test\x01port=587\x01"
        b"auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01"
    )
    assert mechanism.respond(b'{"status":"invalid_token"}') == b"\1"
    with pytest.raises(SaslError):
        mechanism.respond(b"more")


def test_xoauth2():
    mechanism = begun("XOAUTH2", login="someuser@example.com", token="ya29.vF9dft4q")
    assert mechanism.initial == b"user=someuser@example.com\x01auth=Bearer ya29.vF9dft4q\x01\x01"
    assert mechanism.respond(b"{}") == b""
