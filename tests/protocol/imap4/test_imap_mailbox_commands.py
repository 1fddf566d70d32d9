"""Commands on mailboxes by name: LIST with options, CREATE with uses, rights, annotations, quota."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.protocol.imap4.commands.command import State
from twisted_mta.protocol.imap4.commands.listing import List, Lsub, Returned
from twisted_mta.protocol.imap4.commands.mailboxes import STATUS_ITEMS, Create, Status
from twisted_mta.protocol.imap4.commands.metadata import GetMetadata, SetMetadata
from twisted_mta.protocol.imap4.commands.quota import GetQuota, GetQuotaRoot
from twisted_mta.protocol.imap4.commands.rights import (
    DeleteAcl,
    GetAcl,
    ListRights,
    MyRights,
    SetAcl,
    expand_rights,
    spell_rights,
)
from twisted_mta.protocol.imap4.commands.table import find_reader
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor
from twisted_mta.protocol.imap4.mailbox_name import list_matcher


def read(text):
    cursor = Cursor(text)
    tag = cursor.tag()
    cursor.space()
    _, reader = find_reader(cursor, State.AUTHENTICATED)
    command = reader(cursor, tag)
    cursor.end()
    return command


def options(*words, status=(), metadata=()):
    return Returned(frozenset(words), status, metadata)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (b't LIST "" *', List("t", "", ("*",))),
        (b't LIST ~/Mail/ "%"', List("t", "~/Mail/", ("%",))),
        (b't LIST "" ""', List("t", "", ("",))),
        (b't LIST () "" ""', List("t", "", (), extended=True)),
        (b't LIST "" ("" a "b c")', List("t", "", ("a", "b c"), extended=True)),
        (b't LIST "" % RETURN ()', List("t", "", ("%",), extended=True)),
        (
            b't list (subscribed REMOTE RecursiveMatch) "" % return (children)',
            List(
                "t",
                "",
                ("%",),
                frozenset({"SUBSCRIBED", "REMOTE", "RECURSIVEMATCH"}),
                options("CHILDREN"),
                True,
            ),
        ),
        (
            b't LIST "" * RETURN (STATUS (MESSAGES SIZE) SUBSCRIBED MYRIGHTS STATUS (SIZE) SUBSCRIBED)',
            List(
                "t",
                "",
                ("*",),
                frozenset(),
                options("SUBSCRIBED", "MYRIGHTS", status=("MESSAGES", "SIZE")),
                True,
            ),
        ),
        (
            b't LIST (SPECIAL-USE) "" * RETURN (METADATA ("/Shared/Comment" /private/comment))',
            List(
                "t",
                "",
                ("*",),
                frozenset({"SPECIAL-USE"}),
                options(metadata=("/shared/comment", "/private/comment")),
                True,
            ),
        ),
        # What no name can match is passed over (RFC 9051 §6.3.9).
        (b't LIST "" (a& b)', List("t", "", ("b",), extended=True)),
        (b"t LIST a& *", List("t", "", ())),
        (b't LIST "" "' + b"%*" * 3000 + b'"', List("t", "", ())),
        (b't LSUB "" "%"', Lsub("t", "", ("%",))),
        (b't LSUB "" a&', Lsub("t", "", ())),
        (b"t CREATE a", Create("t", "a")),
        (b"t CREATE a (USE (\\Drafts \\Sent \\Drafts))", Create("t", "a", ("\\Drafts", "\\Sent"))),
        (b"t CREATE a/ (use ())", Create("t", "a", ())),
        (
            b"t STATUS a (" + " ".join(sorted(STATUS_ITEMS)).lower().encode() + b")",
            Status("t", "a", tuple(sorted(STATUS_ITEMS))),
        ),
        (b"t GETACL INBOX/Drafts", GetAcl("t", "INBOX/Drafts")),
        (b"t MYRIGHTS inbox", MyRights("t", "INBOX")),
        (b"t LISTRIGHTS ~/Mail/saved smith", ListRights("t", "~/Mail/saved", "smith")),
        (b"t DeleteAcl INBOX Fred", DeleteAcl("t", "INBOX", "Fred")),
        (b"t SetAcl x David lrswida", SetAcl("t", "x", "David", "", frozenset("lrswiaet"))),
        (b"t SETACL x {3}\r\n\xe2\x82\xac +cda", SetAcl("t", "x", "€", "+", frozenset("kxeta"))),
        (b't SETACL x y ""', SetAcl("t", "x", "y", "", frozenset())),
        (b"t SETACL x -y -r", SetAcl("t", "x", "-y", "-", frozenset("r"))),
        (b'g GETQUOTA "!partition/sda4"', GetQuota("g", b"!partition/sda4")),
        (b'g GETQUOTA ""', GetQuota("g", b"")),
        (b"g GETQUOTAROOT inbox", GetQuotaRoot("g", "INBOX")),
        (b't GETMETADATA "" /shared/comment', GetMetadata("t", "", ("/shared/comment",))),
        (
            b't GETMETADATA "INBOX" (/shared/comment /PRIVATE/comment)',
            GetMetadata("t", "INBOX", ("/shared/comment", "/private/comment")),
        ),
        (
            b"t GETMETADATA INBOX (MAXSIZE 1024) (/shared/comment)",
            GetMetadata("t", "INBOX", ("/shared/comment",), 0, 1024),
        ),
        (
            b"t GETMETADATA (DEPTH infinity MAXSIZE 0) INBOX /private",
            GetMetadata("t", "INBOX", ("/private",), None, 0),
        ),
        (
            b"t SETMETADATA INBOX (/private/comment {3}\r\na\r\n /shared/x NIL)",
            SetMetadata("t", "INBOX", (("/private/comment", b"a\r\n"), ("/shared/x", None))),
        ),
        (
            b't SETMETADATA "" (/private/x ~{4}\r\na\0\r\n /private/y "")',
            SetMetadata("t", "", (("/private/x", b"a\0\r\n"), ("/private/y", b""))),
        ),
    ],
)
def test_commands(text, command):
    assert read(text) == command


REFUSED = rb"""t LIST|t LIST ""|t LIST "" * |t LIST "" a b|t LIST "" ()|t LIST "" (a|t LIST (SUBSCRIBED)"" *
t LIST (RECURSIVEMATCH) "" *|t LIST (REMOTE RECURSIVEMATCH) "" *|t LIST (BOGUS) "" *|t LIST (CHILDREN) "" *
t LIST "" * RETURN|t LIST "" * RETURN CHILDREN|t LIST "" * RETURN (BOGUS)|t LIST "" * RETURN (STATUS)
t LIST "" * RETURN (STATUS ())|t LIST "" * RETURN (STATUS (BOGUS))|t LIST "" * RETURN (REMOTE)
t LIST "" * RETURN (METADATA)|t LIST "" * RETURN (METADATA (comment))|t LIST "" * CHILDREN ()
t LSUB "" (a b)|t LSUB () "" a|t CREATE a ()|t CREATE a (USE)|t CREATE a (USE \Sent)|t CREATE a (USE (Sent))
t CREATE a (BOGUS (\Sent))|t CREATE a (USE (\Sent) USE (\Junk))|t STATUS a (MESSAGES|t STATUS a (BOGUS)
t GETACL|t GETACL a b|t MYRIGHTS|t LISTRIGHTS a|t LISTRIGHTS a ""|t DELETEACL a|t SETACL a b|t SETACL a b lrQ
t SETACL a b lrq|t SETACL a b 1|t SETACL a b +-l|t SETACL a b L|t SETACL a "" l|t GETQUOTA|t GETQUOTA a b
t GETQUOTAROOT|t SETQUOTA "" (STORAGE 1)|t GETMETADATA|t GETMETADATA INBOX|t GETMETADATA INBOX comment
t GETMETADATA INBOX ()|t GETMETADATA INBOX /comment|t GETMETADATA INBOX /shared//x
t GETMETADATA INBOX /shared/|t GETMETADATA INBOX "/shared/a*"|t GETMETADATA INBOX "/shared/a%"
t GETMETADATA INBOX (DEPTH 2) /shared/a
t GETMETADATA INBOX (DEPTH) /shared/a|t GETMETADATA INBOX (MAXSIZE -1) /shared/a
t GETMETADATA INBOX /sharedx/a|t GETMETADATA (MAXSIZE 1) INBOX (MAXSIZE 1) /shared/a
t GETMETADATA INBOX (BOGUS 1) /shared/a
t SETMETADATA INBOX|t SETMETADATA INBOX ()|t SETMETADATA INBOX /shared/a "x"|t SETMETADATA INBOX (/shared/a)
t SETMETADATA INBOX (/shared/a x)|t SETMETADATA INBOX (/shared/a "x" /Shared/A "y")"""


@pytest.mark.parametrize("text", re.split(rb"[|\n]", REFUSED))
def test_refused(text):
    with pytest.raises(CommandError):
        read(text)


def test_names_that_are_too_much():
    for text in (
        b't GETMETADATA INBOX "/shared/' + b"a" * 250 + b'"',
        b"t SETACL INBOX " + b"a" * 2000 + b" l",
        b"t SETACL INBOX a " + b"l" * 101,
        b"t SETACL INBOX {2}\r\n\xff\xfe l",
        b't GETMETADATA INBOX "/shared/\xc3\xa4"',
        b't LIST "" (' + b"a " * 300 + b"a)",
        b"t CREATE " + b"a" * 4001,
    ):
        with pytest.raises(CommandError):
            read(text)


def test_rights_are_spelt_with_the_old_ones():
    """RFC 4314 §2.1.1."""
    assert spell_rights("lrswi") == b"lrswi"
    assert spell_rights("tel") == b"lted"
    assert spell_rights("lrswik") == b"lrswikc"
    assert spell_rights("x") == b"xc"
    assert spell_rights("") == b'""'
    assert expand_rights("cd") == frozenset("kxet")


@given(st.text("lrswipkxtea"))
def test_rights_come_back_as_they_were_given(letters):
    kept = frozenset(letters)
    spelt = spell_rights(kept).decode().strip('"')
    if not kept & set("kxet"):
        assert expand_rights(spelt) == kept
    assert kept <= expand_rights(spelt)


@settings(max_examples=300)
@given(st.lists(st.text("ab/*%", max_size=8), max_size=6), st.text("ab/", max_size=8))
def test_several_patterns_match_what_one_of_them_does(patterns, name):
    assert list_matcher(*patterns)(name) == any(list_matcher(pattern)(name) for pattern in patterns)


def test_no_patterns_match_nothing():
    assert not list_matcher()("")
    assert not list_matcher()("a")


def test_hostile_patterns_are_bounded_together():
    patterns = [f"*{number}a%a*" + "*b" * 300 for number in range(250)]
    matches = list_matcher(*patterns, "x*", "exact")
    assert matches("exact") and matches("xyz")
    assert not any(matches("a" * 300) for _ in range(20))
