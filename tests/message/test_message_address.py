"""Mail addresses (RFC 5321 §4.1.2)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.address import Address, parse_domain
from twisted_mta.message.status import MailError


@pytest.mark.parametrize(
    ("text", "local", "domain"),
    [
        ("alice@a.test", "alice", "a.test"),
        ("Alice+tag@A.Test", "Alice+tag", "a.test"),
        ("o'brien=x@sub_domain.a.test", "o'brien=x", "sub_domain.a.test"),
        ('"a b"@a.test', "a b", "a.test"),
        (r'"a\"b\\c"@a.test', r'a"b\c', "a.test"),
        ('"a@b"@us', "a@b", "us"),
        ('"alice"@a.test', "alice", "a.test"),
        ("a%b@us", "a%b", "us"),
        ("b!a@us", "b!a", "us"),
        ("a@[192.0.2.1]", "a", "[192.0.2.1]"),
        ("a@[ipv6:2001:DB8:0::1]", "a", "[IPv6:2001:db8::1]"),
    ],
)
def test_parse(text: str, local: str, domain: str) -> None:
    address = Address.parse(text)
    assert (address.local, address.domain) == (local, domain)
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "alice",
        "alice@",
        "@a.test",
        '""@a.test',
        "a..b@a.test",
        ".a@a.test",
        "a.@a.test",
        "a b@a.test",
        "a@b@c.test",
        "@us:a@b",
        "a@-a.test",
        "a@a-.test",
        "a@a..test",
        "a@a.test.",
        "a@a.test\n",
        "a@a.test\r\nDATA",
        "a\0b@a.test",
        '"a\r\nb"@a.test',
        '"a"b@a.test',
        '"a@a.test',
        "jürgen@a.test",
        "a@bücher.test",
        "x" * 65 + "@a.test",
        "a@" + "x" * 64 + ".test",
        "a@" + "x." * 130 + "test",
        "a@[1.2.3]",
        "a@[1.2.3.4",
        "a@[]",
        "a@[IPv6:fe80::1%eth0]",
        "a@[IPv6:::1%x> y]",
        "a@[2001:db8::1]",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(MailError) as refusal:
        Address.parse(text)
    assert (refusal.value.code, refusal.value.status) == (553, "5.1.3")


def test_key_ignores_case_and_quotes() -> None:
    assert Address.parse('"Alice"@A.test').key == Address.parse("alice@a.TEST").key == "alice@a.test"


def test_literals_are_told_from_names() -> None:
    assert Address.parse("a@[192.0.2.1]").is_literal
    assert not Address.parse("a@192.0.2.1").is_literal
    assert parse_domain("[192.0.2.1]") == "[192.0.2.1]"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.text('ab."\\@[]:%<> 1', max_size=20))
def test_anything_is_refused_or_survives_a_round_trip(text: str) -> None:
    try:
        address = Address.parse(text)
    except MailError:
        return
    assert str(address).isascii() and str(address).isprintable()
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(
    "text, local, domain",
    [
        (
            "δοκιμή@παράδειγμα.test",
            "δοκιμή",
            "xn--hxajbheg2az3al.test",
        ),
        ("用户@例子.广告", "用户", "xn--fsqu00a.xn--4rr70v"),
        ("plain@BÜCHER.test", "plain", "xn--bcher-kva.test"),
        ("plain@b.test", "plain", "b.test"),
    ],
)
def test_an_internationalised_address_has_its_domain_as_in_the_dns(text, local, domain):
    assert Address.parse(text, utf8=True) == Address(local, domain)
    with pytest.raises(MailError):
        Address.parse("é" + text)


@pytest.mark.parametrize(
    "text",
    [
        "a\u200bb@c.test",
        "a\u202eb@c.test",
        "a\x85b@c.test",
        '"é"@c.test',
        "é" * 33 + "@c.test",
        "a@\u2044.test",
        "é@-.é",
    ],
)
def test_what_nobody_can_see_or_type_is_no_local_part_and_not_all_is_a_domain(text):
    with pytest.raises(MailError):
        Address.parse(text, utf8=True)


def test_an_internationalised_address_is_written_as_it_was_read_and_compared_composed():
    address = Address.parse("E\u0301te@c.test", utf8=True)
    assert str(address) == "E\u0301te@c.test" and not address.is_ascii
    assert address.key == Address.parse("\u00e9te@c.test", utf8=True).key


def test_an_address_that_is_too_long_in_the_dns_is_none() -> None:
    """What was read can be read again from what it is written as."""
    local, domain = "x" * 60, ".".join(["ü"] * 20)
    address = Address.parse(f"{local}@{domain}", utf8=True)
    assert Address.parse(str(address)) == address
    with pytest.raises(MailError):
        Address.parse(f"{local}@{domain}.{domain[:20]}", utf8=True)
