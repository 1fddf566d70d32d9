"""Address lists for ENVELOPE (RFC 5322 §3.4 and §4.4, RFC 3501 §7.4.2)."""

import email.utils
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message import address_list
from twisted_mta.message.address_list import (
    MAX_ENTRIES,
    MAX_MEMBER,
    MAX_TOKENS,
    MAX_WORDS,
    Allowance,
    Mailbox,
    parse_addresses,
)
from twisted_mta.message.header_block import HeaderBlock

Entry = tuple[bytes | None, bytes | None, bytes | None, bytes | None]

END: Entry = (None, None, None, None)


@pytest.mark.parametrize(
    ("value", "entries"),
    [
        (b"", []),
        (b" , ,, ", []),
        (b"jdoe@machine.example", [(None, None, b"jdoe", b"machine.example")]),
        (b"John Doe <jdoe@machine.example>", [(b"John Doe", None, b"jdoe", b"machine.example")]),
        # RFC 5322 appendix A.1.2, A.1.3.
        (
            b'"Joe Q. Public" <john.q.public@example.com>, Mary Smith <mary@x.test>,\r\n jdoe@example.org',
            [
                (b"Joe Q. Public", None, b"john.q.public", b"example.com"),
                (b"Mary Smith", None, b"mary", b"x.test"),
                (None, None, b"jdoe", b"example.org"),
            ],
        ),
        (
            b'<boss@nil.test>, "Giant; \\"Big\\" Box" <sysservices@example.net>',
            [(None, None, b"boss", b"nil.test"), (b'Giant; "Big" Box', None, b"sysservices", b"example.net")],
        ),
        (
            b"A Group:Ed Jones <joe@where.test>,joe@where.test,John <jdoe@one.test>;",
            [
                (None, None, b"A Group", None),
                (b"Ed Jones", None, b"joe", b"where.test"),
                (None, None, b"joe", b"where.test"),
                (b"John", None, b"jdoe", b"one.test"),
                END,
            ],
        ),
        (b"Undisclosed recipients:;", [(None, None, b"Undisclosed recipients", None), END]),
        # Appendix A.5: white space and comments.
        (
            b"Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>",
            [(b"Pete", None, b"pete", b"silly.test")],
        ),
        (
            b"A Group(Some people)\r\n     :Chris Jones <c@(Chris's host.)public.example>,\r\n"
            b" joe@example.org,\r\n  John <jdoe@one.test> (my dear friend); (the end of the group)",
            [
                (None, None, b"A Group", None),
                (b"Chris Jones", None, b"c", b"public.example"),
                (None, None, b"joe", b"example.org"),
                (b"John", None, b"jdoe", b"one.test"),
                END,
            ],
        ),
        # Appendix A.6: obsolete forms.
        (
            b"Joe Q. Public <john.q.public@example.com>",
            [(b"Joe Q. Public", None, b"john.q.public", b"example.com")],
        ),
        (
            b"Mary Smith <@node.test,@b.test:mary@example.net>, , jdoe@test   . example",
            [
                (b"Mary Smith", b"@node.test,@b.test", b"mary", b"example.net"),
                (None, None, b"jdoe", b"test.example"),
            ],
        ),
        (b"a . b @ c . d", [(None, None, b"a.b", b"c.d")]),
        (b"carl@d.test (Carl (the) Great)", [(b"Carl (the) Great", None, b"carl", b"d.test")]),
        (b'"a b"@[192.0.2.1]', [(None, None, b"a b", b"[192.0.2.1]")]),
        # Encoded words and 8-bit stay as they are.
        (b"=?utf-8?q?J=C3=BCrgen?= <j@x>", [(b"=?utf-8?q?J=C3=BCrgen?=", None, b"j", b"x")]),
        ("Jürgen <j@x>".encode(), [("Jürgen".encode(), None, b"j", b"x")]),
        # Wrong ones.
        (b"root", [(None, None, b"root", b"")]),
        (b"Moderator Address", [(None, None, b"Moderator Address", b"")]),
        (b"<>", [(None, None, b"", b"")]),
        (b"Nobody <>", [(b"Nobody", None, b"", b"")]),
        (b"A <a@b> B <c@d>", [(b"A", None, b"a", b"b"), (b"B", None, b"c", b"d")]),
        (b"A <a@b, C <c@d>", [(b"A", None, b"a", b"b"), (b"C", None, b"c", b"d")]),
        (b"John Doe john@x.test", [(b"John Doe", None, b"john", b"x.test")]),
        (b"a@b <a@b>", [(b"a@b", None, b"a", b"b")]),
        (b"team: a@b", [(None, None, b"team", None), (None, None, b"a", b"b"), END]),
        (b"a: b: c@d;;", [(None, None, b"a", None), (None, None, b"c", b"d"), END]),
        (b'"never ends <a@b>', [(None, None, b"never ends <a@b>", b"")]),
        (b"a@b (never ends", [(b"never ends", None, b"a", b"b")]),
        (b"@", [(None, None, b"", b"")]),
    ],
)
def test_parse(value: bytes, entries: list[Entry]) -> None:
    assert [tuple(entry) for entry in parse_addresses(value)] == entries


names = (
    st.text('abc ,;<>@"\\().:', min_size=1, max_size=12).map(lambda text: " ".join(text.split())).filter(bool)
)
atoms = st.from_regex(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,8}(\.[a-z]{1,4})?", fullmatch=True)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(names, atoms, atoms), max_size=6))
def test_well_formed_lists(people: list[tuple[str, str, str]]) -> None:
    value = ", ".join(email.utils.formataddr((name, f"{local}@{domain}")) for name, local, domain in people)
    assert parse_addresses(value.encode()) == [
        Mailbox(name.encode(), None, local.encode(), domain.encode()) for name, local, domain in people
    ]


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=60)
    | st.lists(
        st.sampled_from([b"a", b"@", b"<", b">", b",", b":", b";", b"(", b")", b'"', b".", b"[", b"\\", b" "])
    ).map(b"".join)
)
def test_anything_is_a_legal_envelope_list(value: bytes) -> None:
    in_group = False
    for entry in parse_addresses(value):
        if entry.domain is not None:
            assert entry.local is not None
        elif entry.local is not None:
            assert not in_group
            in_group = True
        else:
            assert in_group and entry == END
            in_group = False
    assert not in_group


_PIECES = (
    b'a|b c|a@b|@|a@b, |x <c@d>|"x y" <c@d>,|x<c@d>|<a@b>|<|>|,|:|;|(c)|(|"|.|[|\\| |  |\t|\xff|\0|a.b@c.d|()'
)


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.sampled_from(_PIECES.split(b"|")), max_size=12).map(b"".join))
def test_usual_addresses_are_no_special_case(value: bytes) -> None:
    usual, address_list._USUAL = address_list._USUAL, re.compile(b"(?!)")
    try:
        token_by_token = parse_addresses(value)
    finally:
        address_list._USUAL = usual
    assert parse_addresses(value) == token_by_token


def test_a_hundred_thousand_addresses() -> None:
    people = b", ".join(b'"User %d" <user%d@example.com>' % (number, number) for number in range(100_000))
    found = parse_addresses(people)
    assert len(found) == 100_000
    assert found[-1] == (b"User 99999", None, b"user99999", b"example.com")


def test_an_unusual_address_does_not_slow_down_those_behind_it() -> None:
    people = b", ".join(b"u%d@example.com" % number for number in range(100_000))
    found = parse_addresses(b'(c) "x" y <a@b>, ' + people)
    assert found[0] == (b"x y", None, b"a", b"b") and len(found) == MAX_ENTRIES


def test_how_much_of_unusual_addresses_is_read() -> None:
    assert len(parse_addresses(b"x y@z," * 300_000)) == MAX_TOKENS // 5
    (huge,) = parse_addresses(b'"' + b'\\"' * MAX_MEMBER)
    assert len(huge.local or b"") == MAX_MEMBER // 2 - 1
    words = parse_addresses(b"a." * 10 + b" b" * MAX_MEMBER)
    assert len(words) == 1 and len(words[0].local or b"") < 10 * MAX_WORDS


def test_hostile_lists_cost_no_more_than_their_octets() -> None:
    # Quadratic work would keep this test busy for minutes.
    """Acceptance 39."""
    for piece in (
        b"(",
        b"()",
        b")",
        b'"',
        b"<",
        b"<@",
        b"@",
        b"a ",
        b",",
        b"a,",
        b":",
        b":;",
        b"[",
        b"\\",
        b"\r\n ",
    ):
        assert len(parse_addresses(piece * (200_000 // len(piece)))) <= MAX_ENTRIES + 2


def test_several_fields_share_an_allowance() -> None:
    allowance = Allowance()
    assert len(parse_addresses(b"x y@z," * 10, allowance)) == 10
    assert (MAX_TOKENS - allowance.tokens, MAX_ENTRIES - allowance.entries) == (50, 10)
    few = [len(parse_addresses(b"x y@z," * 15_000, allowance)) for _ in range(3)]
    assert few == [15_000, (MAX_TOKENS - 50) // 5 - 15_000, 0] and allowance.is_spent
    assert len(parse_addresses(b"x@z," * 10, allowance)) == 10  # the usual ones cost no tokens
    allowance.spend(0, MAX_ENTRIES)
    assert parse_addresses(b"x@z," * 10, allowance) == []


def test_all_fields_of_a_header_block_have_one_allowance() -> None:
    """Acceptance 39."""
    block = HeaderBlock(
        b"".join(b"%b: %b\r\n" % (name, b"x y@z," * 15_000) for name in (b"To", b"Cc", b"Bcc"))
    )
    found = [len(block.addresses(name)) for name in (b"to", b"cc", b"bcc")]
    assert found == [15_000, MAX_TOKENS // 5 - 15_000, 0]
