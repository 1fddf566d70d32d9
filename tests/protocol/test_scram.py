"""SCRAM from both sides: the examples of the RFCs, and what a liar on either side gets."""

from base64 import b64decode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.protocol.sasl.credentials import FailedProof, KeysWanted, ProvenCredentials
from twisted_mta.protocol.sasl.error import SaslError
from twisted_mta.protocol.sasl.scram import Keys, ScramClient
from twisted_mta.protocol.sasl.scram_server import ScramServer

EXAMPLES = {
    # RFC 5802 §5
    "SCRAM-SHA-1": (
        "fyko+d2lbbFgONRv9qkxdawL",
        b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        "3rfcNHYJY1ZVvWVs7j",
        b64decode("QSXCR+Q6sek8bf92"),
    ),
    # RFC 7677 §3
    "SCRAM-SHA-256": (
        "rOprNGfwEbeRWgbNEkqO",
        b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="),
    ),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example(name):
    nonce, client_first, server_first, client_final, server_final, server_nonce, salt = EXAMPLES[name]
    client = ScramClient(name, "user", "pencil", nonce=nonce, binding=None, server_binds=False)
    assert client.initial == client_first
    assert client.respond(server_first) == client_final
    assert not client.proven
    assert client.respond(server_final) == b"" and client.proven
    server = ScramServer(name, nonce=server_nonce)
    assert server.start(client_first) == KeysWanted(name, "user")
    keys = Keys.derive(name, "pencil", salt, 4096)
    assert server.provide([keys]) == server_first
    assert server.step(client_final) == ProvenCredentials(name, "user", keys, "", server_final)


def exchange(
    name,
    password,
    *,
    login="user",
    client_binding=None,
    server_binding=None,
    offered=False,
    known=("pencil",),
):
    """Both sides, up to server-final; the client and what the server thinks of it."""
    client = ScramClient(name, login, password, nonce="abc", binding=client_binding, server_binds=offered)
    server = ScramServer(name, nonce="def", binding=server_binding)
    assert server.start(client.initial) == KeysWanted(name.removesuffix("-PLUS"), login)
    first = server.provide([Keys.derive(name, each, b"salt", 4096) for each in known])
    return client, server.step(client.respond(first))


@pytest.mark.parametrize("name", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_right_and_wrong_passwords(name):
    client, proven = exchange(name, "pencil")
    assert client.respond(proven.final) == b"" and client.proven
    client, failed = exchange(name, "pen")
    assert failed == FailedProof("user")  # the reply says it all


def test_one_of_several_passwords():
    """The account's own, and those of its apps."""
    for password in ("pencil", "of a telephone", "of a tablet"):
        client, proven = exchange(
            "SCRAM-SHA-256", password, known=("pencil", "of a telephone", "of a tablet")
        )
        assert client.respond(proven.final) == b"" and client.proven
        assert proven.keys == Keys.derive("SCRAM-SHA-256", password, b"salt", 4096)


def test_channel_binding():
    client, proven = exchange(
        "SCRAM-SHA-256-PLUS", "pencil", client_binding=b"x" * 32, server_binding=b"x" * 32, offered=True
    )
    client.respond(proven.final)
    assert client.proven
    _, failed = exchange(  # somebody is in between
        "SCRAM-SHA-256-PLUS", "pencil", client_binding=b"x" * 32, server_binding=b"y" * 32
    )
    assert failed == FailedProof("user", b"e=channel-bindings-dont-match")


def test_an_offer_that_was_taken_away_on_the_way():
    """The client could bind and was not offered it; the server had offered it (RFC 5802 §6)."""
    client = ScramClient("SCRAM-SHA-256", "u", "p", nonce="abc", binding=b"x", server_binds=False)
    assert client.initial.startswith(b"y,,")
    assert ScramServer("SCRAM-SHA-256", nonce="d").start(client.initial) == KeysWanted("SCRAM-SHA-256", "u")
    binding = ScramServer("SCRAM-SHA-256", nonce="d", binding=b"x")
    assert binding.start(client.initial) == FailedProof("u", b"e=server-does-support-channel-binding")


@pytest.mark.parametrize(
    ("name", "client_first", "error"),
    [
        ("SCRAM-SHA-256-PLUS", b"p=tls-unique,,n=u,r=a", b"unsupported-channel-binding-type"),
        ("SCRAM-SHA-256-PLUS", b"p=tls-exporter2,,n=u,r=a", b"unsupported-channel-binding-type"),
        ("SCRAM-SHA-256", b"n,,m=x,n=u,r=a", b"extensions-not-supported"),
        ("SCRAM-SHA-256", "n,,n=\u0627x,r=a".encode(), b"invalid-username-encoding"),
        ("SCRAM-SHA-256", b"n,,n=\x07,r=a", b"invalid-username-encoding"),
        ("SCRAM-SHA-256", "n,,n=\xad,r=a".encode(), b"invalid-username-encoding"),
    ],
)
def test_what_scram_has_a_name_for(name, client_first, error):
    failed = ScramServer(name, nonce="d", binding=b"x").start(client_first)
    assert isinstance(failed, FailedProof) and failed.refusal == b"e=" + error


def test_login_names_are_prepared_and_hashed_as_they_came():
    """RFC 5802 §5.1."""
    server = ScramServer("SCRAM-SHA-1", nonce="def")
    first = "n,a=b=2Cob,n=\u2168=3Dx,r=abc,z=whatever".encode()
    assert server.start(first) == KeysWanted("SCRAM-SHA-1", "IX=x", "b,ob")


GOOD = b"c=biws,r=abcdef,p=" + b"A" * 27 + b"="


@pytest.mark.parametrize(
    ("client_final", "error"),
    [
        (GOOD, b""),
        (GOOD.replace(b",p=", b",x=y,z=,p="), b""),  # extensions
        (GOOD.replace(b"abcdef", b"abcdeg"), b"e=other-error"),
        (GOOD.replace(b"abcdef", b"abc"), b"e=other-error"),
        (GOOD.replace(b"biws", b"eSws"), b"e=channel-bindings-dont-match"),  # y,,
        (GOOD.replace(b"biws", b"biwsAA=="), b"e=channel-bindings-dont-match"),
        (GOOD[:-4], None),
        (GOOD + b"=", None),
        (b"r=abcdef,c=biws,p=" + b"A" * 27 + b"=", None),
        (b"c=biws,r=abcdef", None),
        (b"c=biws,r=abcdef,p=", None),
        (b"c=,r=abcdef,p=AAAA", None),
        (GOOD + b",x=y", None),
        (GOOD.replace(b",p=", b",m=x,p="), None),
        (GOOD.replace(b",p=", b",r=abcdef,p="), None),
        (b"", None),
        (b"\xff\0", None),
    ],
)
def test_the_last_word_of_a_client(client_final, error):
    """None: it makes no sense."""
    server = ScramServer("SCRAM-SHA-1", nonce="def")
    server.start(b"n,,n=u,r=abc")
    server.provide([Keys.derive("SCRAM-SHA-1", "pencil", b"salt", 4096)])
    if error is None:
        with pytest.raises(SaslError):
            server.step(client_final)
    else:
        assert server.step(client_final) == FailedProof("u", error)


@pytest.mark.parametrize(
    "server_first",
    [
        b"",
        b"r=abc,s=c2FsdA==,i=4096",  # adds nothing to our nonce
        b"r=xbcdef,s=c2FsdA==,i=4096",
        b"r=abc de,s=c2FsdA==,i=4096",
        b"r=abcdef,s=,i=4096",
        b"r=abcdef,s=!,i=4096",
        b"r=abcdef,s=c2FsdA==,i=4095",
        b"r=abcdef,s=c2FsdA==,i=1000001",
        b"r=abcdef,s=c2FsdA==,i=99999999999999999999",
        b"r=abcdef,s=c2FsdA==,i=-4096",
        b"m=ext,r=abcdef,s=c2FsdA==,i=4096",
        b"r=abcdef,r=abcxyz,s=c2FsdA==,i=4096",
        b"\xff\xfe",
    ],
)
def test_a_server_that_makes_no_sense(server_first):
    client = ScramClient("SCRAM-SHA-256", "user", "pencil", nonce="abc", binding=None, server_binds=False)
    with pytest.raises(SaslError):
        client.respond(server_first)


@pytest.mark.parametrize("final", [b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=", b"e=other-error", b"v=", b"", b"x"])
def test_a_server_that_does_not_know_the_password(final):
    client = ScramClient("SCRAM-SHA-256", "user", "pencil", nonce="abc", binding=None, server_binds=False)
    client.respond(b"r=abcdef,s=c2FsdA==,i=4096")
    with pytest.raises(SaslError):
        client.respond(final)
    assert not client.proven


def test_more_after_the_end():
    client, proven = exchange("SCRAM-SHA-256", "pencil")
    client.respond(proven.final)
    with pytest.raises(SaslError):
        client.respond(proven.final)


@pytest.mark.parametrize(
    "client_first",
    [b"", b"n,,", b"n", b"x,,n=u,r=a", b"p=tls-unique,,n=u,r=a", b"n,a=,n=u", b"n,b=x,n=u,r=a", b"n,,r=a,n=u",
     b"n,,n=u=2X,r=a", b"n,,n=\xff,r=a", b"n,,n=u,r=", b"n,a=,n=u,r=a", b"n,a==,n=u,r=a", b"n,,n=,r=a",
     b"n,,x=y,n=u,r=a", b"n,,n=u,x=y,r=a", b"n,,n=u,r=a b", b"n,,n=u,r=a,n=v", b",,n=u,r=a", b"n,n=u,r=a"],
)  # fmt: skip
def test_a_client_that_makes_no_sense(client_first):
    with pytest.raises(SaslError):
        ScramServer("SCRAM-SHA-256", nonce="def").start(client_first)


@pytest.mark.parametrize("flag", [b"n", b"y"])
def test_binding_is_the_mechanism_with_plus(flag):
    with pytest.raises(SaslError):
        ScramServer("SCRAM-SHA-256-PLUS", nonce="def", binding=b"x").start(flag + b",,n=u,r=a")


@settings(max_examples=20, deadline=None)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40))
def test_any_login_name(login):
    client, proven = exchange("SCRAM-SHA-1", "pencil", login=login)
    client.respond(proven.final)
    assert client.proven


def test_passwords_are_prepared():
    """RFC 4013 §3: one password, typed in different ways; what SASLprep prohibits stays as it is."""
    for typed, known in (
        ("I\xadX", "IX"),
        ("\u2168", "IX"),
        ("\xaa", "a"),
        ("a\xa0b", "a b"),
        ("\u06271", "\u06271"),
    ):
        client, proven = exchange("SCRAM-SHA-1", typed, known=(known,))
        client.respond(proven.final)
        assert client.proven
