"""Words, strings, lists, mailbox names, sequence sets, and the spelling of responses."""

from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.protocol.imap4 import responses
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor, canonical
from twisted_mta.protocol.imap4.mailbox_name import InvalidName, decode_name, encode_name, list_matcher
from twisted_mta.protocol.imap4.sequence_set import MAX_RANGES, SequenceSet, parse_sequence_set, render_uids


def sequence(text):
    cursor = Cursor(text)
    found = parse_sequence_set(cursor)
    cursor.end()
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"a]b", b"a]b"),
        (b'"a \\"b\\\\"', b'a "b\\'),
        (b"{3}\r\na\r\n", b"a\r\n"),
        (b"{0+}\r\n", b""),
        (b'""', b""),
    ],
)
def test_astrings(text, value):
    cursor = Cursor(text)
    assert cursor.astring() == value and cursor.at_end()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"(a",
        b'"a',
        b'"a\\b"',
        b'"a\0"',
        b"{3}\r\nab",
        b"{3}\r\na\0b",
        b"{x}\r\n",
        b"a\x80"[1:],
        b'"a\r\n"',
    ],
)
def test_what_is_no_astring(text):
    with pytest.raises(CommandError):
        Cursor(text).astring()


def test_a_long_quoted_string_full_of_escapes():
    text = b'"' + b'\\"' * 1_000_000 + b'"'
    assert len(Cursor(text).astring()) == 1_000_000
    with pytest.raises(CommandError):
        Cursor(text[:-1]).astring()


def test_numbers():
    assert Cursor(b"4294967295").number() == 0xFFFFFFFF
    for text in (b"4294967296", b"99999999999", b"-1", b"x"):
        with pytest.raises(CommandError):
            cursor = Cursor(text)
            cursor.number()
            cursor.end()
    assert Cursor(b"9223372036854775807").number64() == 2**63 - 1
    for text in (b"9223372036854775808", b"1" * 20, b"-1", b"x"):
        with pytest.raises(CommandError):
            cursor = Cursor(text)
            cursor.number64()
            cursor.end()


def test_flags():
    assert Cursor(b"(\\seen $Junk \\DELETED)").flags() == {"\\Seen", "$Junk", "\\Deleted"}
    assert Cursor(b"\\Seen foo").flags() == {"\\Seen", "foo"}
    assert Cursor(b"(Foo bar fOO BAR foo)").flag_list() == {"Foo", "bar"}
    assert Cursor(b"()").flag_list() == frozenset()
    for text in (b"(\\Recent)", b"(\\Bogus)", b"(a  b)", b"(a b", b"((a))", b"(" + b"a" * 101 + b")"):
        with pytest.raises(CommandError):
            Cursor(text).flags()


# Mailbox names


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        (b"~peter/mail/&U,BTFw-/&ZeVnLIqe-", "~peter/mail/台北/日本語"),
        (b"a&-b", "a&b"),
        (b"Entw&APw-rfe", "Entwürfe"),
        (b"&2D3eAA-", "😀"),
    ],
)
def test_modified_utf7(raw, name):
    assert decode_name(raw) == name and encode_name(name) == raw


@pytest.mark.parametrize(
    "raw", [b"&", b"&AGE", b"&AGE-", b"&A-", b"\xc3\xbc", b"a\tb", b"&2D0-", b"&APw-&APw-", b"&U,BT-"]
)
def test_what_is_not_modified_utf7(raw):
    with pytest.raises(InvalidName):
        decode_name(raw)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_name_comes_back(name):
    assert decode_name(encode_name(name)) == name


@given(st.binary(max_size=30))
def test_two_spellings_never_name_one_mailbox(raw):
    try:
        assert encode_name(decode_name(raw)) == raw
    except InvalidName:
        pass


def test_inbox_in_any_case():
    assert [canonical(name) for name in ("inbox", "Inbox/a", "inboxes", "a/inbox")] == [
        "INBOX",
        "INBOX/a",
        "inboxes",
        "a/inbox",
    ]


def _matches(pattern, name):
    """The definition, word for word."""
    if not pattern:
        return not name
    if pattern[0] in "*%":
        run = 0
        while True:
            if _matches(pattern[1:], name[run:]):
                return True
            if run == len(name) or (pattern[0] == "%" and name[run] == "/"):
                return False
            run += 1
    return bool(name) and name[0] == pattern[0] and _matches(pattern[1:], name[1:])


@settings(max_examples=300)
@given(st.text("ab/*%", max_size=8), st.text("ab/", max_size=8))
def test_wildcards(pattern, name):
    assert list_matcher(pattern)(name) == _matches(pattern, name)


def test_hostile_patterns():
    matches = list_matcher("*a" * 400)
    assert not any(matches("a" * 390 + "b") for _ in range(100))
    assert not list_matcher("a*" * 100_000)("a")


# Sequence sets


def test_the_examples_of_the_rfc():
    assert sequence(b"2,4:7,9,12:*").resolve(15) == [(2, 2), (4, 7), (9, 9), (12, 15)]
    assert sequence(b"*:4,5:7").resolve(10) == [(4, 10)]
    uids = array("I", [3, 5, 490])
    assert sequence(b"559:*").positions_of_uids(uids, 3) == [range(2, 3)]
    assert sequence(b"4:2").positions_of_uids(uids, 3) == [range(1)]
    assert sequence(b"1:4294967295").positions_of_uids(uids, 2) == [range(2)]
    assert sequence(b"*").positions_of_uids(uids, 0) == []
    assert sequence(b"*,1").positions_of_numbers(3) == [range(1), range(2, 3)]


@pytest.mark.parametrize(
    "text", [b"", b"0", b"01", b"1:", b":1", b"1,", b",1", b"1:2:3", b"4294967296", b"**", b"1 :2", b"a"]
)
def test_what_is_no_sequence_set(text):
    with pytest.raises(CommandError):
        sequence(text)


def test_numbers_that_nobody_has():
    for text in (b"4", b"1:4", b"*:4"):
        with pytest.raises(CommandError):
            sequence(text).positions_of_numbers(3)
    with pytest.raises(CommandError):
        sequence(b"*").positions_of_numbers(0)


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=8),
    st.sets(st.integers(1, 30), max_size=20),
)
def test_sets_against_their_definition(ranges, uids):
    ordered = array("I", sorted(uids))
    found = [
        uid
        for part in SequenceSet(tuple(ranges)).positions_of_uids(ordered, len(ordered))
        for uid in ordered[part.start : part.stop]
    ]
    largest = max(uids, default=0)
    pairs = [(first or largest, last or largest) for first, last in ranges]
    assert found == [uid for uid in ordered if any(min(pair) <= uid <= max(pair) for pair in pairs)]


def test_so_many_ranges_and_no_more():
    text = b",".join(b"%d:%d" % (4 * n + 1, 4 * n + 2) for n in range(MAX_RANGES))
    uids = array("I", range(1, 20_001))
    assert len(sequence(text).positions_of_uids(uids, 20_000)) == 5000
    for more in (b"," + text, b",7"):
        with pytest.raises(CommandError) as refused:
            sequence(text + more)
        assert (refused.value.condition, refused.value.code) == ("NO", "LIMIT")
    cursor = Cursor(text + b" 7")  # all sets of a command count together
    parse_sequence_set(cursor)
    cursor.space()
    with pytest.raises(CommandError):
        parse_sequence_set(cursor)


@given(st.lists(st.integers(1, 40), max_size=20))
def test_uid_sets_keep_their_order(uids):
    text = render_uids(uids)
    found = []
    for element in text.split(",") if text else []:
        first, _, last = element.partition(":")
        found += range(int(first), int(last or first) + 1)
    assert found == uids


# Responses


@pytest.mark.parametrize(
    ("octets", "rendered"),
    [
        (b"", b'""'),
        (b"a b", b'"a b"'),
        (b'a"\\', b'"a\\"\\\\"'),
        (b"a\r\nb", b"{4}\r\na\r\nb"),
        (b"\xfc", b"{1}\r\n\xfc"),
        (b"a\0b\xff", b"{3}\r\nab\xff"),
    ],
)
def test_strings(octets, rendered):
    assert responses.string(octets) == rendered


@given(st.binary(max_size=50).filter(lambda octets: b"\0" not in octets))
def test_strings_come_back(octets):
    rendered = responses.string(octets)
    assert Cursor(rendered).string() == octets
    assert Cursor(responses.astring(octets)).astring() == octets


def test_status_lines_are_one_printable_line():
    line = responses.status_line("a", "NO", "bad\r\nb OK über", "CODE")
    assert line == b"a NO [CODE] bad??b OK ?ber\r\n"


def test_flag_lists_and_dates():
    assert responses.flags(frozenset({"b", "\\Seen", "$A"}), True) == b"(\\Recent \\Seen $A b)"
    assert responses.date_time(0) == b'" 1-Jan-1970 00:00:00 +0000"'
