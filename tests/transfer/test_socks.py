"""The SOCKS5 engine, one octet at a time and all at once (RFC 1928, RFC 1929)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.transfer.mta.relay.socks import SocksEngine, SocksError

ASK_V4 = b"\5\1\0\1\xc0\0\2\1\0\x19"
DONE = b"\5\0\0\1\x7f\0\0\1\x12\x34"


@pytest.fixture(params=[1, 1000], ids=["octets", "whole"])
def step(request):
    return request.param


def talk(engine, step, *said):
    """What the engine answers to each of these, its greeting first."""
    answers = [engine.take_output()]
    for octets in said:
        for start in range(0, len(octets), step):
            engine.receive(octets[start : start + step])
        answers.append(engine.take_output())
    return answers


def test_without_login(step):
    engine = SocksEngine("192.0.2.1", 25)
    assert talk(engine, step, b"\5\0", DONE[:-1]) == [b"\5\1\0", ASK_V4, b""]
    assert not engine.established
    engine.receive(DONE[-1:] + b"220 mx\r\n")
    assert engine.established and engine.rest == b"220 mx\r\n"


def test_with_login(step):
    engine = SocksEngine("2001:db8::1", 587, user="me", password="pass")
    ask = b"\5\1\0\4" + bytes.fromhex("20010db8000000000000000000000001") + b"\x02\x4b"
    assert talk(engine, step, b"\5\2", b"\1\0") == [b"\5\2\0\2", b"\1\2me\4pass", ask]
    talk(engine, step, b"\5\0\0\4" + bytes(18))
    assert engine.established and engine.rest == b""


def test_a_login_that_is_not_wanted(step):
    engine = SocksEngine("192.0.2.1", 25, user="me", password="pass")
    assert talk(engine, step, b"\5\0") == [b"\5\2\0\2", ASK_V4]


def test_a_name_in_the_reply(step):
    engine = SocksEngine("192.0.2.1", 25)
    talk(engine, step, b"\5\0", b"\5\0\0\3\5proxy\0\1")
    assert engine.established and engine.rest == b""


@pytest.mark.parametrize(
    ("user", "said", "words"),
    [
        ("", b"HTTP/1.1 400", "does not speak SOCKS5"),
        ("", b"\4\0", "does not speak SOCKS5"),
        ("", b"\5\xff", "wants a login"),
        ("", b"\5\2", "wants a login"),
        ("me", b"\5\xff", "no way to log in"),
        ("me", b"\5\2\1\1", "refuses the login"),
        ("", b"\5\0\5\5\0\1", "connection refused"),
        ("", b"\5\0\5\2", "not allowed by its rules"),
        ("", b"\5\0\5\x63", "error 99"),
        ("", b"\5\0\5\0\0\7\0", "does not speak SOCKS5"),
        ("", b"\5\0\4\0\0\1\0", "does not speak SOCKS5"),
    ],
)
def test_refusals(step, user, said, words):
    engine = SocksEngine("192.0.2.1", 25, user=user, password=user)
    with pytest.raises(SocksError, match=words):
        talk(engine, step, said)
    assert not engine.established


@pytest.mark.parametrize(("user", "password"), [("x" * 256, "y"), ("x", "y" * 256), ("x", "")])
def test_a_login_that_cannot_be_said(user, password):
    with pytest.raises(ValueError):
        SocksEngine("192.0.2.1", 25, user=user, password=password)


@given(st.lists(st.binary(max_size=8), max_size=20))
def test_anything_at_all(chunks):
    engine = SocksEngine("192.0.2.1", 25)
    try:
        for chunk in chunks:
            engine.receive(chunk)
    except SocksError as error:
        assert str(error).startswith("The proxy")
