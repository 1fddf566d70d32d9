"""SASL mechanisms and their base64 lines (RFC 4616, draft-murchison-sasl-login-00, RFC 4954 §4)."""

from base64 import b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.protocol.sasl.exchange import CANCEL, Exchange, SaslCancelled, begin, decode, encode
from twisted_mta.protocol.sasl.mechanism import MECHANISMS, PasswordCredentials, SaslError

TIM = PasswordCredentials("tim", "tanstaaftanstaaf")


def exchange(name: str) -> Exchange:
    begun = begin(name)
    assert begun is not None
    return begun


def test_plain_with_initial_response():
    assert exchange("PLAIN").start(b64encode(b"\0tim\0tanstaaftanstaaf")) == TIM


def test_plain_asks_with_an_empty_challenge():
    plain = exchange("plain")
    assert plain.start(None) == b""
    assert plain.respond(b64encode(b"\0tim\0tanstaaftanstaaf")) == TIM


def test_plain_with_authorization_identity():
    # RFC 4616 §4, second example
    assert MECHANISMS["PLAIN"]().start(b"Ursel\0Kurt\0xipj3plmq") == PasswordCredentials(
        "Kurt", "xipj3plmq", "Ursel"
    )


def test_plain_carries_utf8():
    message = "\0bücher@a.test\0päß wörd".encode()
    assert MECHANISMS["PLAIN"]().start(message) == PasswordCredentials("bücher@a.test", "päß wörd")


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
        MECHANISMS["PLAIN"]().start(message)


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
    login = MECHANISMS["LOGIN"]()
    login.start(None)
    with pytest.raises(SaslError):
        for answer in answers:
            login.step(answer)


@pytest.mark.parametrize("name", list(MECHANISMS))
def test_cancelled(name):
    begun = exchange(name)
    begun.start(None)
    with pytest.raises(SaslCancelled):
        begun.respond(CANCEL)


def test_unknown_mechanism():
    assert begin("CRAM-MD5") is None
    assert begin("") is None


def test_empty_initial_response_is_an_equals_sign():
    assert decode(b"=") == b""
    assert decode(b"") == b""


@pytest.mark.parametrize(
    "line",
    [
        b"*",
        b"==",
        b"a",
        b"ab",
        b"abc",
        b"dGl0=",
        b"dGlt\r",
        b" dGlt",
        b"dG\0t",
        b"dGlt=",
        b"dGltYQ",
        b"dGlu\xff",
        b"YR==",
    ],
)
def test_base64_is_strict(line):
    with pytest.raises(SaslError):
        decode(line)


def test_the_password_stays_out_of_the_representation():
    assert "tanstaaf" not in repr(TIM)


@settings(max_examples=200)
@given(st.binary(max_size=300))
def test_lines_round_trip(octets):
    assert decode(encode(octets)) == octets


@settings(max_examples=200)
@given(
    st.sampled_from(sorted(MECHANISMS)),
    st.lists(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(encode)), max_size=4),
)
def test_no_line_raises_anything_but_sasl_errors(name, lines):
    begun = exchange(name)
    begun.start(None)
    for line in lines:
        try:
            result = begun.respond(line)
        except SaslError:
            return
        if isinstance(result, PasswordCredentials):
            assert result.login and result.password
            return
