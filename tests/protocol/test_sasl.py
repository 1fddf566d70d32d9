"""SASL on the server's side: the mechanisms, what is offered when, and the base64 lines (RFC 4422, RFC 4616,
draft-murchison-sasl-login-00, RFC 4954 §4, RFC 7628)."""

import json
from base64 import b64decode, b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.protocol.sasl.bearer import OAuthBearer, TokenAdvice, XOAuth2
from twisted_mta.protocol.sasl.credentials import (
    CertificateCredentials,
    FailedProof,
    KeysWanted,
    PasswordCredentials,
    ProvenCredentials,
    TokenCredentials,
)
from twisted_mta.protocol.sasl.error import SaslError
from twisted_mta.protocol.sasl.exchange import Exchange, SaslCancelled, SaslRefused
from twisted_mta.protocol.sasl.lines import CANCEL, decode, encode
from twisted_mta.protocol.sasl.offer import Offer
from twisted_mta.protocol.sasl.plain import Plain
from twisted_mta.protocol.sasl.scram import Keys, ScramClient

TIM = PasswordCredentials("tim", "tanstaaftanstaaf")
ADVICE = TokenAdvice("example_scope", "https://example.com/.well-known/openid-configuration")
EVERYTHING = Offer(private=True, binding=b"x" * 32, certificate=True, tokens=ADVICE, nonce=lambda: "server")


def exchange(name: str, **how) -> Exchange:
    begun = EVERYTHING.begin(name, **how)
    assert begun is not None
    return begun


# What is offered


def test_everything_strongest_first():
    assert EVERYTHING.names == (
        "EXTERNAL", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1",
        "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN",
    )  # fmt: skip


def test_nothing_where_others_can_listen():
    offer = Offer(private=False, binding=b"x", certificate=True, tokens=ADVICE)
    assert offer.names == ()
    assert all(offer.begin(name) is None for name in EVERYTHING.names)


def test_only_what_can_be_had_now():
    assert Offer(private=True).names == ("SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN", "LOGIN")
    assert Offer(private=True, keys=False, binding=b"x").names == ("PLAIN", "LOGIN")
    assert Offer(private=True).begin("SCRAM-SHA-256-PLUS") is None
    assert Offer(private=True).begin("OAUTHBEARER") is None
    assert Offer(private=True).begin("EXTERNAL") is None


@pytest.mark.parametrize("name", ["CRAM-MD5", "", "SCRAM", "PLAIN-PLUS", "GSSAPI"])
def test_unknown_mechanisms(name):
    assert EVERYTHING.begin(name) is None


# PLAIN and LOGIN


def test_plain_with_initial_response():
    assert exchange("PLAIN").start(b64encode(b"\0tim\0tanstaaftanstaaf")) == TIM


def test_plain_asks_with_an_empty_challenge():
    plain = exchange("plain")
    assert plain.start(None) == b""
    assert plain.respond(b64encode(b"\0tim\0tanstaaftanstaaf")) == TIM


def test_plain_with_authorization_identity():
    # RFC 4616 §4, second example
    assert Plain().start(b"Ursel\0Kurt\0xipj3plmq") == PasswordCredentials("Kurt", "xipj3plmq", "Ursel")


def test_plain_carries_utf8():
    message = "\0bücher@a.test\0päß wörd".encode()
    assert Plain().start(message) == PasswordCredentials("bücher@a.test", "päß wörd")


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"tim",
        b"\0tim",
        b"\0\0",
        b"\0tim\0",
        b"\0\0secret",
        b"\0tim\0secret\0",
        b"\0t\xff\0secret",
        b"\0t\0\xc3",
    ],
)
def test_plain_refuses_malformed_messages(message):
    with pytest.raises(SaslError):
        Plain().start(message)


def test_login_prompts_twice():
    login = exchange("LOGIN")
    assert login.start(None) == b"VXNlcm5hbWU6"
    assert login.respond(b"dGlt") == b"UGFzc3dvcmQ6"
    assert login.respond(b"dGFuc3RhYWZ0YW5zdGFhZg==") == TIM


def test_login_takes_the_name_as_initial_response():
    login = exchange("login")
    assert login.start(b"dGlt") == b"UGFzc3dvcmQ6"
    assert login.respond(b"dGFuc3RhYWZ0YW5zdGFhZg==") == TIM


@pytest.mark.parametrize("answers", [[b""], [b"t\0"], [b"\xff"], [b"tim", b""], [b"tim", b"a\0b"]])
def test_login_refuses_malformed_answers(answers):
    login = exchange("LOGIN")
    login.start(None)
    with pytest.raises(SaslError):
        for answer in answers:
            login.respond(encode(answer))


# EXTERNAL


def test_external():
    assert exchange("EXTERNAL").start(b"=") == CertificateCredentials()
    waiting = exchange("EXTERNAL")
    assert waiting.start(None) == b""
    assert waiting.respond(encode(b"fred@example.com")) == CertificateCredentials("fred@example.com")
    with pytest.raises(SaslError):
        exchange("EXTERNAL").start(encode(b"a\0b"))


# OAUTHBEARER and XOAUTH2

RFC_7628 = {  # the examples of §4 in base64, as they stand there
    "4.1 IMAP": (
        "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyI"
        "HZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB",
        ("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==", "", "user@example.com"),
    ),
    "4.1 SMTP": (
        "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9NTg3AWF1dGg9QmVhcmVyIHZGOWRmd"
        "DRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB",
        ("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==", "", "user@example.com"),
    ),
    "4.3 asks": (
        "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9AQE=",
        ("", "", "user@example.com"),
    ),
    "4.4": (
        "bix1c2VyPXNvbWV1c2VyQGV4YW1wbGUuY29tLAFhdXRoPUJlYXJlciB2RjlkZnQ0cW1UYzJOdmIzUmxja0JoZEhSaGRtbHpkR0V1"
        "WTI5dENnPT0BAQ==",
        ("vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg==", "someuser@example.com", ""),
    ),
}


@pytest.mark.parametrize("name", RFC_7628)
def test_the_examples_of_rfc_7628(name):
    line, (token, login, authorization_id) = RFC_7628[name]
    found = exchange("OAUTHBEARER").start(line.encode())
    assert (found.token, found.login, found.authorization_id) == (token, login, authorization_id)
    assert token == "" or token not in repr(found)


@pytest.mark.parametrize("dummy", [encode(b"\1"), CANCEL, b"", b"!!!"])
def test_a_bad_token_is_told_what_would_be_a_good_one(dummy):
    """RFC 7628 §3.2.3: whatever the client says to it, the exchange is over."""
    bearer = exchange("OAUTHBEARER")
    bearer.start(RFC_7628["4.3 asks"][0].encode())
    assert json.loads(b64decode(bearer.refused())) == {
        "status": "invalid_token",
        "schemes": "bearer",
        "scope": "example_scope",
        "openid-configuration": "https://example.com/.well-known/openid-configuration",
    }
    with pytest.raises(SaslRefused):
        bearer.respond(dummy)


def test_xoauth2():
    # The example of Google's page on the protocol.
    line = (
        b"dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhkSFJoZG1semRH"
        b"RXVZMjl0Q2cBAQ=="
    )
    token = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
    xoauth2 = exchange("XOAUTH2")
    found = xoauth2.start(line)
    assert (found.token, found.login, found.authorization_id) == (token, "someuser@example.com", "")
    assert json.loads(b64decode(xoauth2.refused()))["status"] == "401"


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\1", b"\1\1", b"n,,", b"n,,\1", b"n,,\1\1", b"n,,\1host=x\1\1", b"n,,\1auth=Bearer a\1",
        b"n,,auth=Bearer a\1\1", b"n,,\1auth=Basic a\1\1", b"n,,\1auth=Bearer a b\1\1",
        b"n,,\1auth=Bearer \1\1",
        b"n,,\1auth=Bearer a\1auth=Bearer b\1\1", b"n,,\1auth=Bearer a\1\1\1", b"n,,\1auth=Bearer a\1\1x",
        b"p=tls-exporter,,\1auth=Bearer a\1\1", b"n,x=y,\1auth=Bearer a\1\1", b"n,\1auth=Bearer a\1\1",
        b"n,a=b=,\1auth=Bearer a\1\1", b"n,,\1=x\1auth=Bearer a\1\1", b"n,,\1h\xff=x\1auth=Bearer a\1\1",
        b"n,a=\xff,\1auth=Bearer a\1\1", b"n,,,\1auth=Bearer a\1\1",
    ],
)  # fmt: skip
def test_oauthbearer_refuses_malformed_messages(message):
    with pytest.raises(SaslError):
        OAuthBearer(ADVICE).start(message)


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\1\1", b"user=a\1\1", b"user=a\1auth=Bearer b\1", b"auth=Bearer b\1user=a\1\1",
        b"user=a\1auth=b\1\1",
        b"user=\xff\1auth=Bearer b\1\1", b"user=a\1auth=Bearer b\1x=y\1\1", b"xuser=a\1auth=Bearer b\1\1",
    ],
)  # fmt: skip
def test_xoauth2_refuses_malformed_messages(message):
    with pytest.raises(SaslError):
        XOAuth2(ADVICE).start(message)


def test_unknown_pairs_are_ignored_and_the_scheme_has_no_case():
    found = OAuthBearer().start(b"y,,\1new=a,b =\r\n\1auth=bEARER  x.y-z_~+/==\1qs=\1\1")
    assert isinstance(found, TokenCredentials) and found.token == "x.y-z_~+/=="


# SCRAM through lines: where what the server says with success goes


def scram(**how):
    """An exchange up to where the keys have been provided, and what the client says to it."""
    server = exchange("SCRAM-SHA-256", **how)
    client = ScramClient("SCRAM-SHA-256", "user", "pencil", nonce="client", binding=None, server_binds=False)
    assert server.start(encode(client.initial)) == KeysWanted("SCRAM-SHA-256", "user")
    challenge = server.provide([Keys.derive("SCRAM-SHA-256", "pencil", b"salt", 4096)])
    return server, client, encode(client.respond(decode(challenge)))


def test_the_final_word_has_a_challenge_of_its_own():
    server, client, response = scram()
    final = server.respond(response)
    client.respond(decode(final))
    assert client.proven
    proven = server.respond(b"")
    assert isinstance(proven, ProvenCredentials) and proven.final == b""


def test_the_final_word_goes_along():
    server, client, response = scram(final_apart=False)
    proven = server.respond(response)
    client.respond(proven.final)
    assert client.proven


@pytest.mark.parametrize("line", [b"AQ==", b"=", b"x"])
def test_the_final_word_is_answered_with_nothing(line):
    server, _, response = scram()
    server.respond(response)
    with pytest.raises(SaslError):
        server.respond(line)


def test_a_client_that_does_not_believe_the_final_word():
    server, _, response = scram()
    server.respond(response)
    with pytest.raises(SaslCancelled):
        server.respond(CANCEL)


def test_scram_says_what_is_wrong():
    server = exchange("SCRAM-SHA-256")
    assert isinstance(server.start(encode(b"y,,n=user,r=abc")), FailedProof)
    assert decode(server.refused()) == b"e=server-does-support-channel-binding"
    with pytest.raises(SaslRefused):
        server.respond(b"")
    wrong, _, response = scram()
    without_proof = decode(response).rpartition(b"p=")[0]
    assert wrong.respond(encode(without_proof + b"p=" + encode(bytes(32)))) == FailedProof("user")
    assert wrong.refused() == b""


# Lines


@pytest.mark.parametrize("name", EVERYTHING.names)
def test_cancelled(name):
    begun = exchange(name)
    begun.start(None)
    with pytest.raises(SaslCancelled):
        begun.respond(CANCEL)


def test_an_equals_sign_is_an_empty_initial_response_only():
    assert exchange("EXTERNAL").start(b"=") == CertificateCredentials()
    begun = exchange("EXTERNAL")
    begun.start(None)
    with pytest.raises(SaslError):
        begun.respond(b"=")


@pytest.mark.parametrize(
    "line",
    [b"*", b"=", b"==", b"a", b"ab", b"abc", b"dGl0=", b"dGlt\r", b" dGlt", b"dG\0t", b"dGlt=", b"dGltYQ",
     b"dGlu\xff", b"YR=="],
)  # fmt: skip
def test_base64_is_strict(line):
    with pytest.raises(SaslError):
        decode(line)


def test_secrets_stay_out_of_representations():
    keys = Keys(b"salt", 4096, b"stored", b"server")
    assert "tanstaaf" not in repr(TIM)
    assert "stored" not in repr(ProvenCredentials("SCRAM-SHA-1", "tim", keys)).replace("stored_key", "")


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_lines_round_trip(octets):
    assert decode(encode(octets)) == octets


pieces = st.sampled_from(
    [b"n,,", b"y,,", b"p=tls-exporter,,", b"n=user", b",r=", b"client", b"server", b",c=biws", b",p=", b"m=",
     b"e=",
     b"user=", b"auth=", b"Bearer ", b"token", b"\1", b"\1\1", b"\0", b"=2C", b"=", b",", b"\xff", b"a="]
)  # fmt: skip
messages = st.one_of(st.binary(max_size=60), st.lists(pieces, max_size=9).map(b"".join))


@settings(max_examples=600, deadline=None)
@given(
    st.sampled_from(EVERYTHING.names),
    st.none() | messages.map(encode),
    st.lists(st.one_of(messages, messages.map(encode)), max_size=4),
)
def test_no_line_raises_anything_but_sasl_errors(name, initial, lines):
    begun = exchange(name)
    try:
        result = begun.start(initial)
        for line in lines:
            if isinstance(result, KeysWanted):
                result = begun.provide([Keys(b"salt", 4096, b"x" * 20, b"y" * 20)])
            elif not isinstance(result, bytes):
                assert isinstance(begun.refused(), bytes)
                assert not isinstance(result, ProvenCredentials)
                return
            result = begun.respond(line)
    except SaslError:
        return
