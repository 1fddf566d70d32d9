"""Every command as it is read: by the RFC's examples, and what must be refused."""

import re
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.protocol.imap4.commands.appending import AppendOptions, AppendReader, TextPart
from twisted_mta.protocol.imap4.commands.command import State
from twisted_mta.protocol.imap4.commands.connection import Id
from twisted_mta.protocol.imap4.commands.copying import Copy, Move
from twisted_mta.protocol.imap4.commands.fetching import Fetch
from twisted_mta.protocol.imap4.commands.mailboxes import Create, Rename, Status
from twisted_mta.protocol.imap4.commands.selecting import Select
from twisted_mta.protocol.imap4.commands.storing import Expunge, Store
from twisted_mta.protocol.imap4.commands.table import COMMANDS, find_reader
from twisted_mta.protocol.imap4.fetch_items import Attribute, Body, Section, Text
from twisted_mta.protocol.imap4.framing import Literal
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor
from twisted_mta.protocol.imap4.search_keys import (
    NEVER,
    All,
    And,
    BodyText,
    Flag,
    Header,
    InternalDate,
    Larger,
    Not,
    Or,
    Recent,
    SentDate,
    Uids,
)
from twisted_mta.protocol.imap4.sequence_set import SequenceSet

ONE = SequenceSet(((1, 1),))


def read(text, state=State.SELECTED):
    cursor = Cursor(text)
    tag = cursor.tag()
    cursor.space()
    _, reader = find_reader(cursor, state)
    command = reader(cursor, tag)
    cursor.end()
    return command


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (b"t select {5}\r\nInbox", Select("t", "INBOX", False)),
        (b't EXAMINE "a b"', Select("t", "a b", True)),
        (b"t CREATE foo/bar/", Create("t", "foo/bar")),
        (b"t RENAME a b/", Rename("t", "a", "b")),
        (b"t STATUS x (UNSEEN messages UNSEEN)", Status("t", "x", ("UNSEEN", "MESSAGES"))),
        (b"t EXPUNGE", Expunge("t")),
        (b"t UID EXPUNGE 1", Expunge("t", ONE)),
        (b"t COPY 1 meeting", Copy("t", False, ONE, "meeting")),
        (b"t uid move 1 foo", Move("t", True, ONE, "foo")),
        (
            b"t STORE 1 +flags.silent (\\Deleted)",
            Store("t", False, ONE, "add", True, frozenset({"\\Deleted"})),
        ),
        (
            b"t UID STORE 1 FLAGS \\Seen x",
            Store("t", True, ONE, "replace", False, frozenset({"\\Seen", "x"})),
        ),
        (b't ID ("a" NIL "b" {1}\r\nc)', Id("t", ((b"a", None), (b"b", b"c")))),
        (b"t FETCH 1 FLAGS", Fetch("t", False, ONE, (Attribute.FLAGS,))),
        (b"t FETCH 1 (UID UID uid)", Fetch("t", False, ONE, (Attribute.UID,))),
    ],
)
def test_commands(text, command):
    assert read(text) == command


REFUSED = b"""t|t |t NOOP |t SELECT|t SELECT |t SELECT a b|t SELECT (a)|t UID|t UID NOOP|t UID SELECT x
t STATUS x ()|t STATUS x MESSAGES|t STORE 1 FLAG (x)|t STORE 1 +FLAGS|t STORE a +FLAGS (x)|t FETCH 1
t FETCH 1 ()|t FETCH 1 (ALL)|t FETCH 1 BODY[|t FETCH 1 BODY[]<1>|t FETCH 1 BODY[]<1.0>|t FETCH 1 BODY[1.]
t FETCH 1 BODY[TEXT.1]|t FETCH 1 BODY[HEADER.FIELDS]|t FETCH 1 BODY[01]|t FETCH 1 BODY.PEEK
t FETCH 1 BODYSTRUCTURE[1]|t FETCH 1 RFC822.BOGUS|t SEARCH|t SEARCH ()|t SEARCH (ALL|t SEARCH OR ALL
t SEARCH NOT|t SEARCH BOGUS|t SEARCH LARGER x|t SEARCH ON 1-Foo-2000|t SEARCH ON 30-Feb-2000
t SEARCH CHARSET|t SEARCH UID|t SEARCH ALL ALL |t SEARCH KEYWORD \\Seen|t SEARCH SUBJECT "\xff\xfe"|t IDLE 1
t ID|t ID x|t COPY 1|t COPY x y|t APPEND INBOX foo|t LOGIN a b|t XLIST a b|+ NOOP|t\0 NOOP|t  NOOP"""


@pytest.mark.parametrize("text", [*re.split(rb"[|\n]", REFUSED), b"x" * 65 + b" NOOP"])
def test_refused(text):
    with pytest.raises(CommandError):
        read(text)


def test_states():
    before, logged_in = State.NOT_AUTHENTICATED, State.AUTHENTICATED
    with pytest.raises(CommandError, match="Log in first"):
        read(b"t SELECT a", before)
    with pytest.raises(CommandError, match="Select a mailbox first"):
        read(b"t FETCH 1 UID", logged_in)
    with pytest.raises(CommandError, match="Already logged in"):
        read(b"t LOGIN a b", logged_in)
    for name in ("NOOP", "CAPABILITY", "LOGOUT"):
        for state in State:
            read(f"t {name}".encode(), state)


def test_append():
    def append(text):
        cursor = Cursor(text)
        command = COMMANDS["APPEND"][1](cursor, "t")
        return command.mailbox, AppendReader(many=False).next_part(cursor, Literal(9, synchronizing=False))

    assert append(b" INBOX ") == ("INBOX", TextPart(9, AppendOptions(frozenset(), None)))
    assert append(b' a (\\Seen) " 1-Jan-1970 01:00:01 +0100" ~') == (
        "a",
        TextPart(9, AppendOptions(frozenset({"\\Seen"}), 1.0), binary=True),
    )
    for text in (
        b" INBOX",
        b" INBOX (",
        b' INBOX "x" ',
        b" INBOX x ",
        b' INBOX " 1-Jan-1970 01:00:01 +0100"',
        b" ",
        b"",
    ):
        with pytest.raises(CommandError):
            append(text)


def test_fetch_macros_and_sections():
    fetch = read(b"t FETCH 1 full")
    assert Attribute.BODY in fetch.items and Attribute.ENVELOPE in fetch.items
    (body,) = read(b"t FETCH 1 body.peek[1.2.header.fields (From {2}\r\nTo)]<5.10>").items
    assert body.section == Section(
        (1, 2), Text.HEADER_FIELDS, frozenset({b"from", b"to"}), b"1.2.HEADER.FIELDS (From To)"
    )
    assert body.label == b"BODY[1.2.HEADER.FIELDS (From To)]<5>" and body.partial == (5, 10) and body.peek
    (whole,) = read(b"t FETCH 1 BODY[]").items
    assert whole == Body(Section(), b"BODY[]") and not whole.peek
    (rfc822,) = read(b"t FETCH 1 RFC822.HEADER").items
    assert rfc822.peek and rfc822.label == b"RFC822.HEADER"
    (odd,) = read(b't FETCH 1 BODY[HEADER.FIELDS ("a\\"b" {3}\r\n\r\nx)]').items
    assert odd.label == b'BODY[HEADER.FIELDS ("a\\"b" {3}\r\n\r\nx)]'


def test_fetches_without_end():
    many = b" ".join(b"BODY[]<%d.1>" % number for number in range(300))
    for items in (b"(" + many + b")", b"BODY[HEADER.FIELDS (" + b" ".join([b"x"] * 300) + b")]"):
        with pytest.raises(CommandError, match="Too many"):
            read(b"t FETCH 1 " + items)


def key(text):
    return read(b"t SEARCH " + text).program.key


def test_search_keys():
    day = 719163  # 1 January 1970
    assert key(b"ALL") == All()
    assert key(b"NEW") == And((Recent(), Not(Flag("\\Seen"))))
    assert key(b"DELETED UNKEYWORD x") == And((Flag("\\Deleted"), Not(Flag("x"))))
    assert key(b"OR SEEN (LARGER 5 UID 1)") == Or(Flag("\\Seen"), And((Larger(5), Uids(ONE))))
    assert key(b"ON 1-Jan-1970") == InternalDate(day, day + 1)
    assert key(b'BEFORE "1-jan-1970"') == InternalDate(0, day)
    assert key(b"SENTSINCE 1-JAN-1970") == SentDate(day, NEVER)
    assert key(b'HEADER Message-ID ""') == Header("message-id", "")
    assert key(b"charset utf-8 BODY {2}\r\n\xc3\xbc") == BodyText("ü")
    assert key(b"CHARSET ISO-8859-15 BODY {1}\r\n\xa4") == BodyText("€")
    assert key(b'BODY "\xc3\xbc"') == BodyText("ü")  # without CHARSET: what clients mean by it


def test_charsets_that_are_none():
    for name in (b"KLINGON", b"base64", b"zlib", b"rot13", b"undefined", b"../x", b'"a\x01"', b"x" * 1000):
        with pytest.raises(CommandError) as caught:
            key(b"CHARSET " + name + b" ALL")
        assert caught.value.condition == "NO" and caught.value.code.startswith("BADCHARSET")


def test_searches_without_end():
    for text in (b"(" * 1000, b"NOT " * 1000 + b"ALL", b"OR ALL " * 1000 + b"ALL", b"ALL " * 3000 + b"ALL"):
        with pytest.raises(CommandError, match="too complex"):
            key(text)
    key(b"OR ALL " * 90 + b"ALL")


WORDS = [
    *(name.encode() for name in COMMANDS),
    *rb'( ) " 1 1:* FLAGS BODY[ ] HEADER.FIELDS ALL OR SUBJECT a \Seen +FLAGS NIL 1-Jan-2000 <0.5> %'.split(),
    b" ",
    b"{2}\r\nhi",
    b"\xff",
]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(WORDS), max_size=12), st.sampled_from([b" ", b""]), st.sampled_from(list(State))
)
def test_anything_is_a_command_or_refused(words, between, state):
    try:
        read(b"t " + between.join(words), state)
    except CommandError as error:
        assert error.text and set(error.text) <= set(string.printable) - set("\r\n")
