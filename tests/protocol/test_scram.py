"""SCRAM from both sides: the examples of the RFCs, and what a liar on either side gets."""

from base64 import b64decode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.protocol.sasl.credentials import SaslError
from twisted_mta.protocol.sasl.scram import Keys, ScramClient, ScramServer

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
    assert server.begin(client_first) == ("user", "")
    assert server.challenge(Keys.derive(name, "pencil", salt, 4096)) == server_first
    assert server.finish(client_final) == server_final


def exchange(
    name, password, *, login="user", client_binding=None, server_binding=None, offered=False, known="pencil"
):
    """Both sides, up to server-final; the client and what the server said in the end."""
    client = ScramClient(name, login, password, nonce="abc", binding=client_binding, server_binds=offered)
    server = ScramServer(name, nonce="def", binding=server_binding, binds=offered)
    found, acting = server.begin(client.initial)
    assert (found, acting) == (login, "")
    first = server.challenge(Keys.derive(name, known, b"salt", 4096))
    return client, server.finish(client.respond(first))


@pytest.mark.parametrize("name", ["SCRAM-SHA-1", "SCRAM-SHA-256"])
def test_right_and_wrong_passwords(name):
    client, final = exchange(name, "pencil")
    assert client.respond(final) == b"" and client.proven
    client, final = exchange(name, "pen")
    assert final is None and not client.proven


def test_channel_binding():
    client, final = exchange(
        "SCRAM-SHA-256-PLUS", "pencil", client_binding=b"x" * 32, server_binding=b"x" * 32, offered=True
    )
    client.respond(final)
    assert client.proven
    with pytest.raises(SaslError):  # somebody is in between
        exchange("SCRAM-SHA-256-PLUS", "pencil", client_binding=b"x" * 32, server_binding=b"y" * 32)


def test_an_offer_that_was_taken_away_on_the_way():
    """The client could bind and was not offered it; the server had offered it (RFC 5802 §6)."""
    client = ScramClient("SCRAM-SHA-256", "u", "p", nonce="abc", binding=b"x", server_binds=False)
    assert client.initial.startswith(b"y,,")
    ScramServer("SCRAM-SHA-256", nonce="d").begin(client.initial)
    with pytest.raises(SaslError):
        ScramServer("SCRAM-SHA-256", nonce="d", binding=b"x", binds=True).begin(client.initial)


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
    client, final = exchange("SCRAM-SHA-256", "pencil")
    client.respond(final)
    with pytest.raises(SaslError):
        client.respond(final)


@pytest.mark.parametrize(
    "client_first",
    [b"", b"n,,", b"n", b"x,,n=u,r=a", b"p=tls-unique,,n=u,r=a", b"n,a=,n=u", b"n,b=x,n=u,r=a", b"n,,r=a,n=u",
     b"n,,n=u=2X,r=a", b"n,,n=\xff,r=a", b"n,,m=x,n=u,r=a", b"n,,n=u,r="],
)  # fmt: skip
def test_a_client_that_makes_no_sense(client_first):
    with pytest.raises(SaslError):
        ScramServer("SCRAM-SHA-256", nonce="def").begin(client_first)


@settings(max_examples=20, deadline=None)
@given(st.text(st.characters(codec="ascii", min_codepoint=33), min_size=1, max_size=40))
def test_any_login_name(login):
    client, final = exchange("SCRAM-SHA-1", "pencil", login=login)
    client.respond(final)
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
        client, final = exchange("SCRAM-SHA-1", typed, known=known)
        client.respond(final)
        assert client.proven
