"""Commands that search as they are read, and their responses as they are written."""

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.message.threading import Forest
from twisted_mta.protocol.imap4.commands.command import State
from twisted_mta.protocol.imap4.commands.searching import (
    CancelUpdate,
    Criterion,
    MultiSearch,
    Search,
    Sort,
    Thread,
    UnsearchableSave,
)
from twisted_mta.protocol.imap4.commands.table import find_reader
from twisted_mta.protocol.imap4.esearch import Return, esearch, render_numbers, render_set, result_data
from twisted_mta.protocol.imap4.fetch_items import Attribute
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor
from twisted_mta.protocol.imap4.mailbox_filter import MailboxFilter
from twisted_mta.protocol.imap4.partial_range import parse_partial_range
from twisted_mta.protocol.imap4.search_grammar import parse_filter
from twisted_mta.protocol.imap4.search_keys import (
    NEVER,
    All,
    AllText,
    And,
    BodyText,
    EmailId,
    Envelope,
    Filter,
    Flag,
    Fuzzy,
    Header,
    ModSeq,
    Not,
    Older,
    Or,
    Program,
    Saved,
    SaveDate,
    Smaller,
    ThreadId,
    Younger,
    loosened,
    walk,
)
from twisted_mta.protocol.imap4.thread_response import thread_response


def read(line, state=State.SELECTED):
    cursor = Cursor(line)
    tag = cursor.tag()
    cursor.space()
    command = find_reader(cursor, state)[1](cursor, tag)
    cursor.end()
    return command


def key(text):
    return read(b"t SEARCH " + text).program.key


def test_keys_of_extensions():
    day = 719163  # 1 January 1970
    assert key(b"$") == key(b"UID $") == Saved()
    assert key(b"OLDER 60 YOUNGER 259200") == And((Older(60), Younger(259200)))
    assert key(b"MODSEQ 0") == ModSeq(0)
    assert key(b'MODSEQ "/flags/\\\\draft" all 620162338') == ModSeq(620162338)
    assert key(b"SAVEDSINCE 1-Jan-1970") == SaveDate(day, NEVER)
    assert key(b"SAVEDON 1-Jan-1970 SAVEDATESUPPORTED") == And((SaveDate(day, day + 1), All()))
    assert key(b"EMAILID M6d99ac3275bb4e") == EmailId("M6d99ac3275bb4e")
    assert key(b"THREADID T64b478a75b7ea9") == ThreadId("T64b478a75b7ea9")
    assert key(b"FUZZY (SUBJECT a SEEN)") == Fuzzy(And((Envelope("subject", "a"), Flag("\\Seen"))))
    assert key(b"FILTER on-the-road") == Filter("on-the-road")
    assert key(b"HEADER Reply-To x HEADER X-Y z") == And((Envelope("reply-to", "x"), Header("x-y", "z")))


def test_what_a_filter_holds():
    wanted = Or(Smaller(5000), Envelope("from", "boss@example.com"))
    assert parse_filter(b'OR SMALLER 5000 FROM "boss@example.com"') == wanted
    for value in (b"", b"OR SMALLER", b"SEEN ", b"CHARSET UTF-8 SEEN", b"RETURN () SEEN", b"\xff"):
        with pytest.raises(CommandError):
            parse_filter(value)


def test_loosened_texts():
    text = And((AllText("a  b"), Not(BodyText("c"))))
    assert loosened(text) == And((And((AllText("a"), AllText("b"))), Not(BodyText("c"))))
    assert loosened(Or(Header("x", "1 2"), Fuzzy(Envelope("to", "")))) == Or(
        And((Header("x", "1"), Header("x", "2"))), Envelope("to", "")
    )
    assert len(list(walk(text))) == 4


def test_commands():
    program = Program(All())
    assert read(b"t SEARCH ALL") == Search("t", False, None, program)
    saving = Return(frozenset({"SAVE", "COUNT"}))
    assert read(b"t UID SEARCH RETURN (save COUNT) CHARSET UTF-8 ALL") == Search(
        "t", True, saving, Program(All(), "UTF-8")
    )
    update = read(b"t SEARCH RETURN (UPDATE (UID FLAGS) COUNT) ALL").returning
    assert update == Return(frozenset({"UPDATE", "COUNT"}), None, (Attribute.UID, Attribute.FLAGS))
    assert read(b"t SORT (SUBJECT REVERSE DATE) UTF-8 ALL") == Sort(
        "t", False, None, (Criterion("SUBJECT"), Criterion("DATE", True)), Program(All(), "UTF-8")
    )
    assert read(b"t UID THREAD refs us-ascii ALL") == Thread("t", True, "REFS", Program(All(), "us-ascii"))
    assert read(b't ESEARCH IN (mailboxes "folder1" subtree-one (a INBOX)) RETURN () ALL') == MultiSearch(
        "t",
        (MailboxFilter("mailboxes", ("folder1",)), MailboxFilter("subtree-one", ("a", "INBOX"))),
        Return(frozenset({"ALL"})),
        program,
    )
    assert read(b"t ESEARCH ALL", State.AUTHENTICATED) == MultiSearch("t", (), None, program)
    assert read(b't CANCELUPDATE "a" "b"') == CancelUpdate("t", ("a", "b"))


def test_a_search_that_fails_may_have_consequences():
    for line in (
        b"t SEARCH RETURN (SAVE) CHARSET KLINGON {1}\r\nx",
        b"t SORT RETURN (SAVE) (DATE) KLINGON ALL",
        b"t SEARCH RETURN (SAVE) BODY " + b"x" * 9000,
    ):
        assert isinstance(read(line), UnsearchableSave)
        with pytest.raises(CommandError) as caught:
            read(line.replace(b"SAVE", b"COUNT"))
        assert caught.value.condition == "NO"


@pytest.mark.parametrize(
    "line",
    rb"""t SEARCH RETURN ALL|t SEARCH RETURN (ALL ALL|t SEARCH RETURN ()|t SEARCH RETURN (PARTIAL) ALL
t SEARCH RETURN (PARTIAL 1:*) ALL|t SEARCH RETURN (PARTIAL 1) ALL|t SEARCH RETURN (PARTIAL 1:99999999999) ALL
t SEARCH OLDER 0|t SEARCH YOUNGER x|t SEARCH MODSEQ|t SEARCH MODSEQ 9223372036854775808
t SEARCH EMAILID ""|t SEARCH FUZZY|t SEARCH FILTER|t SORT DATE UTF-8 ALL|t SORT (DATE) UTF-8
t SORT (REVERSE REVERSE DATE) UTF-8 ALL|t THREAD UTF-8 ALL|t THREAD REFERENCES UTF-8|t CANCELUPDATE a
t CANCELUPDATE|t CANCELUPDATE ""x|t ESEARCH IN () ALL|t ESEARCH IN (subtree) ALL|t ESEARCH IN (personal)
t ESEARCH IN personal ALL|t SEARCH $1|t SEARCH $:2|t SEARCH UID $,2""".replace(b"\n", b"|").split(b"|"),
)
def test_refused(line):
    with pytest.raises(CommandError):
        read(line)


RESULTS = [2, 3, 5, 8]


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (b"SAVE", RESULTS),
        (b"SAVE UPDATE", RESULTS),
        (b"SAVE MIN", [2]),
        (b"SAVE MAX", [8]),
        (b"SAVE MIN MAX", [2, 8]),
        (b"SAVE ALL MIN", RESULTS),
        (b"SAVE COUNT MIN MAX", RESULTS),
        (b"SAVE PARTIAL 2:3", [3, 5]),
        (b"SAVE PARTIAL -1:-2", [5, 8]),
        (b"SAVE PARTIAL 9:10", []),
        (b"SAVE PARTIAL 2:3 MIN", [2, 3, 5]),
        (b"SAVE PARTIAL 2:2 MIN MAX", [2, 3, 8]),
        (b"SAVE PARTIAL 2:2 MIN COUNT", RESULTS),
    ],
)
def test_what_is_given_back(words, chosen):
    """RFC 5182 §2.4, RFC 9394 §3.2."""
    returning = read(b"t SEARCH RETURN (" + words + b") ALL").returning
    assert list(returning.chosen(RESULTS)) == chosen
    assert list(returning.chosen([])) == []


def test_responses():
    assert esearch("a", [], by_uid=False) == b'* ESEARCH (TAG "a")\r\n'
    returning = read(b"t SEARCH RETURN (MIN MAX PARTIAL 4:3 COUNT RELEVANCY) ALL").returning
    data = result_data(returning, RESULTS, modseq=9, scores=[10, 20, 30, 40])
    assert b" ".join(data) == b"MIN 2 MAX 8 PARTIAL (4:3 5,8) COUNT 4 RELEVANCY (30 40) MODSEQ 9"
    assert result_data(returning, [], modseq=0)[0] == b"PARTIAL (4:3 NIL)"
    where = b'"Other Users"', 7
    assert esearch("a", [b"ALL 1"], by_uid=True, where=where) == (
        b'* ESEARCH (TAG "a" MAILBOX "Other Users" UIDVALIDITY 7) UID ALL 1\r\n'
    )


def test_sets_keep_their_order():
    """RFC 5267 §3.2: ranges ascend."""
    assert render_set([5, 4, 3, 10, 11, 12]) == b"5,4,3,10:12"
    assert render_set([1]) == b"1" and render_numbers([]) == b"" and render_numbers([3, 1]) == b" 3 1"


@given(st.lists(st.integers(1, 30), min_size=1))
def test_a_set_says_what_it_was_made_of(numbers):
    said = []
    for part in render_set(numbers).split(b","):
        first, _, last = part.partition(b":")
        said += range(int(first), int(last or first) + 1)
    assert said == numbers


@given(st.integers(0, 12), st.integers(1, 14), st.integers(1, 14), st.booleans())
def test_windows(count, one, other, backwards):
    sign = b"-" if backwards else b""
    window = parse_partial_range(Cursor(b"%b%d:%b%d" % (sign, one, sign, other)))
    results = list(range(1, count + 1))
    places = [
        count + 1 - place if backwards else place for place in range(min(one, other), max(one, other) + 1)
    ]
    assert list(window.of(results)) == sorted(set(places) & set(results))
    assert list(window.within(count)) == [result - 1 for result in window.of(results)]


def response(roots, children, missing=()):
    """To threads of messages by their numbers; those that are not there, too, have a number here."""
    numbers = sorted({*roots, *children, *chain.from_iterable(children.values())} - set(missing))
    place = {number: at for at, number in enumerate([*numbers, *missing])}
    below = {place[above]: [place[each] for each in some] for above, some in children.items()}
    return thread_response(Forest([place[root] for root in roots], below, numbers))


def test_threads():
    """RFC 5256 §4."""
    assert response([], {}) == b"* THREAD\r\n"
    children = {3: [6], 6: [4, 44], 4: [23], 44: [7], 7: [96]}
    assert response([2, 3], children) == b"* THREAD (2)(3 6 (4 23)(44 7 96))\r\n"
    assert response([1], {1: [3, 5]}, missing=[1]) == b"* THREAD ((3)(5))\r\n"
    deep = {number: [number + 1] for number in range(1, 100_000)}
    assert response([1], deep).count(b" ") == 100_001
