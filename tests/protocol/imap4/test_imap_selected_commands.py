"""The commands of the selected state with their modifiers, sequence sets, and what a FETCH may ask for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.protocol.imap4.commands.command import State
from twisted_mta.protocol.imap4.commands.copying import Copy
from twisted_mta.protocol.imap4.commands.fetching import Fetch
from twisted_mta.protocol.imap4.commands.selecting import Qresync, Select
from twisted_mta.protocol.imap4.commands.storing import Expunge, Store
from twisted_mta.protocol.imap4.commands.table import find_reader
from twisted_mta.protocol.imap4.fetch_items import Attribute, Binary, Body, Section, Text
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor
from twisted_mta.protocol.imap4.mod_sequence import MAX_MOD_SEQUENCE
from twisted_mta.protocol.imap4.partial_range import PartialRange
from twisted_mta.protocol.imap4.sections import Sections
from twisted_mta.protocol.imap4.sequence_set import (
    SAVED,
    SequenceSet,
    parse_sequence_set,
    render_ranges,
    render_uids,
    without,
)

ONE = SequenceSet(((1, 1),))
FLAGS = (Attribute.FLAGS,)


def read(text):
    cursor = Cursor(text)
    tag = cursor.tag()
    cursor.space()
    _, reader = find_reader(cursor, State.SELECTED)
    command = reader(cursor, tag)
    cursor.end()
    return command


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (b"t SELECT a (CONDSTORE)", Select("t", "a", False, True)),
        (b"t EXAMINE a (qresync (7 9))", Select("t", "a", True, False, Qresync(7, 9))),
        (
            b"t SELECT a (QRESYNC (7 9 41,43:211) condstore)",
            Select("t", "a", False, True, Qresync(7, 9, SequenceSet(((41, 41), (43, 211))))),
        ),
        (
            b"t SELECT a (QRESYNC (7 9 1 (1,2 1,1:3)))",
            Select(
                "t",
                "a",
                False,
                False,
                Qresync(7, 9, ONE, (SequenceSet(((1, 1), (2, 2))), SequenceSet(((1, 1), (1, 3))))),
            ),
        ),
        (
            b"t SELECT a (QRESYNC (7 9 (1 1)))",
            Select("t", "a", False, False, Qresync(7, 9, None, (ONE, ONE))),
        ),
        (b"t FETCH $ FLAGS", Fetch("t", False, SAVED, FLAGS)),
        (b"t FETCH 1 FLAGS (CHANGEDSINCE 5)", Fetch("t", False, ONE, FLAGS, 5)),
        (b"t UID FETCH 1 (FLAGS) (vanished changedsince 5)", Fetch("t", True, ONE, FLAGS, 5, True)),
        (
            b"t UID FETCH 1 FLAGS (PARTIAL -1:-30 CHANGEDSINCE 98305)",
            Fetch("t", True, ONE, FLAGS, 98305, False, PartialRange(b"-1:-30", 1, 30, True)),
        ),
        (b"t FETCH 1 PREVIEW", Fetch("t", False, ONE, (Attribute.PREVIEW,))),
        (b"t FETCH 1 preview (lazy)", Fetch("t", False, ONE, (Attribute.LAZY_PREVIEW,))),
        (b"t FETCH 1 PREVIEW (CHANGEDSINCE 5)", Fetch("t", False, ONE, (Attribute.PREVIEW,), 5)),
        (
            b"t FETCH 1 (PREVIEW (LAZY) SAVEDATE emailid THREADID MODSEQ)",
            Fetch(
                "t",
                False,
                ONE,
                (
                    Attribute.LAZY_PREVIEW,
                    Attribute.SAVEDATE,
                    Attribute.EMAILID,
                    Attribute.THREADID,
                    Attribute.MODSEQ,
                ),
            ),
        ),
        (b"t FETCH 1 BINARY[]", Fetch("t", False, ONE, (Binary((), b"BINARY[]"),))),
        (
            b"t FETCH 1 (binary.peek[1.2]<5.10> BINARY.SIZE[3])",
            Fetch(
                "t",
                False,
                ONE,
                (
                    Binary((1, 2), b"BINARY[1.2]<5>", (5, 10), peek=True),
                    Binary((3,), b"BINARY.SIZE[3]", peek=True, size=True),
                ),
            ),
        ),
        (
            b"t STORE 1 (UNCHANGEDSINCE 0) +FLAGS.SILENT x",
            Store("t", False, ONE, "add", True, frozenset({"x"}), 0),
        ),
        (b"t UID EXPUNGE $", Expunge("t", SAVED)),
        (b"t UID COPY $ a", Copy("t", True, SAVED, "a")),
    ],
)
def test_commands(text, command):
    assert read(text) == command


REFUSED = b"""t SELECT a ()|t SELECT a (CONDSTORE CONDSTORE)|t SELECT a CONDSTORE
t SELECT a (CONDSTORE) x|t CLOSE ()|t SELECT a (QRESYNC)|t SELECT a (QRESYNC ())|t SELECT a (QRESYNC (1))
t SELECT a (QRESYNC (0 1))|t SELECT a (QRESYNC (1 0))|t SELECT a (QRESYNC (4294967296 1))
t SELECT a (QRESYNC (1 9223372036854775808))|t SELECT a (QRESYNC (1 1 1:*))|t SELECT a (QRESYNC (1 1 $))
t SELECT a (QRESYNC (1 1 1 ()))|t SELECT a (QRESYNC (1 1 1 (1)))|t SELECT a (QRESYNC (1 1 1 (1 *)))
t SELECT a (QRESYNC (1 1 (1 1) 1))|t FETCH 1 FLAGS ()|t FETCH 1 FLAGS (CHANGEDSINCE)
t FETCH 1 FLAGS (CHANGEDSINCE 0)|t FETCH 1 FLAGS(CHANGEDSINCE 1)
t FETCH 1 FLAGS (CHANGEDSINCE 1 CHANGEDSINCE 1)|t FETCH 1 FLAGS (CHANGEDSINCE 1 VANISHED)
t FETCH 1 FLAGS (X)|t FETCH 1 FLAGS (PARTIAL 1:2)|t UID FETCH 1 FLAGS (VANISHED)
t UID FETCH 1 FLAGS (PARTIAL 0:2)|t UID FETCH 1 FLAGS (PARTIAL 1:-2)|t UID FETCH 1 FLAGS (PARTIAL 1)
t UID FETCH 1 FLAGS (PARTIAL 4294967296:1)|t FETCH 1 PREVIEW (EAGER)|t FETCH 1 (PREVIEW ())
t FETCH 1 (PREVIEW (LAZY)x)|t FETCH 1 BINARY|t FETCH 1 BINARY[TEXT]|t FETCH 1 BINARY[1.MIME]
t FETCH 1 BINARY.SIZE[1]<0.1>|t FETCH 1 BINARY[0]|t FETCH 1 BINARY[1]<1>|t FETCH $,1 FLAGS
t STORE 1 () +FLAGS x|t STORE 1 (UNCHANGEDSINCE) +FLAGS x|t STORE 1 (UNCHANGEDSINCE -1) +FLAGS x
t STORE 1 (UNCHANGEDSINCE 1)+FLAGS x|t STORE 1 (UNCHANGEDSINCE 1 UNCHANGEDSINCE 1) +FLAGS x
t STORE 1:$ FLAGS x"""


@pytest.mark.parametrize("text", REFUSED.replace(b"\n", b"|").split(b"|"))
def test_refused(text):
    with pytest.raises(CommandError) as caught:
        read(text)
    assert caught.value.condition == "BAD"


NUMBERS = st.integers(1, 2**32 - 1)
RANGES = st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=5)


@st.composite
def modifiers(draw):
    """FETCH modifiers as text, and the values that they stand for."""
    modseq = draw(st.none() | st.integers(1, MAX_MOD_SEQUENCE))
    vanished = modseq is not None and draw(st.booleans())
    partial = draw(st.none() | st.tuples(NUMBERS, NUMBERS, st.booleans()))
    words = []
    if modseq is not None:
        words.append(b"CHANGEDSINCE %d" % modseq)
    if vanished:
        words.append(b"VANISHED")
    if partial:
        sign = b"-" if partial[2] else b""
        words.append(b"PARTIAL %b%d:%b%d" % (sign, partial[0], sign, partial[1]))
    words = [draw(st.sampled_from([word, word.lower()])) for word in draw(st.permutations(words))]
    return b" ".join(words), modseq, vanished, partial


@given(RANGES, modifiers())
def test_modifiers_in_any_order(ranges, drawn):
    text, modseq, vanished, partial = drawn
    numbers = b",".join(b"%d:%d" % pair for pair in ranges)
    command = read(b"t UID FETCH " + numbers + b" (UID FLAGS)" + (b" (" + text + b")" if text else b""))
    assert command.set == SequenceSet(tuple(ranges))
    assert (command.changed_since, command.vanished) == (modseq, vanished)
    if partial:
        low, high = sorted(partial[:2])
        assert (command.partial.low, command.partial.high, command.partial.backwards) == (
            low,
            high,
            partial[2],
        )
    else:
        assert command.partial is None


@given(RANGES, st.binary(max_size=3), st.integers(0, 200))
def test_what_is_cut_or_spoilt_is_refused_or_read(ranges, junk, place):
    """Whatever comes, it is a command or a CommandError."""
    numbers = b",".join(b"%d:%d" % pair for pair in ranges)
    whole = b"t SELECT a (QRESYNC (1 2 %b (%b %b)) CONDSTORE)" % (numbers, numbers, numbers)
    assert isinstance(read(whole), Select)
    for text in (whole[:place], whole[:place] + junk + whole[place:]):
        try:
            read(text)
        except CommandError:
            pass


@given(st.sets(st.integers(1, 60)), st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=5))
def test_ranges_without_numbers(numbers, pairs):
    ranges = SequenceSet(tuple(pairs)).resolve(60)
    left = without(ranges, sorted(numbers))
    expected = {n for low, high in ranges for n in range(low, high + 1)} - numbers
    assert [n for low, high in left for n in range(low, high + 1)] == sorted(expected)
    if left:
        again = parse_sequence_set(Cursor(render_ranges(left).encode()))
        assert again.resolve(0) == SequenceSet(tuple(left)).resolve(0)


@given(st.sets(st.integers(1, 99)))
def test_rendered_sets_read_the_same(numbers):
    text = render_uids(sorted(numbers))
    if numbers:
        ranges = parse_sequence_set(Cursor(text.encode())).resolve(0)
        assert {n for low, high in ranges for n in range(low, high + 1)} == numbers
    else:
        assert text == ""


def fields(data, *names, without=False):
    kind = Text.HEADER_FIELDS_NOT if without else Text.HEADER_FIELDS
    return Sections(data).extract(Section(text=kind, fields=frozenset(names)))


def test_header_fields():
    data = b"Subject: one\r\nTo: a,\r\n b\r\nX-To: c\r\nTO : d\r\n\r\nTo: body\r\n"
    assert fields(data, b"to") == b"To: a,\r\n b\r\nTO : d\r\n\r\n"
    assert fields(data, b"subject", b"x-to") == b"Subject: one\r\nX-To: c\r\n\r\n"
    assert fields(data, b"nothing") == b"\r\n"
    assert fields(data, b"to", without=True) == b"Subject: one\r\nX-To: c\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"To: a", b"To: a"),
        (b"To: a\r\n", b"To: a\r\n"),
        (b"To: a\r\nSubject: To: a", b"To: a\r\n"),
        (b"X: b\r\nTo: a\r\n b", b"To: a\r\n b"),
        (b"X: b", b""),
        (b"", b""),
        (b"\r\nTo: a\r\n", b"\r\n"),
    ],
)
def test_header_fields_of_a_message_that_ends_within_its_header(data, found):
    assert fields(data, b"to") == found


def test_headers_are_the_same_without_the_body():
    for data in (b"A: b\r\nTo: c\r\n\r\nbody", b"A: b", b"\r\nbody", b""):
        whole, header = Sections(data), Sections(data).header()
        for section in (
            Section(text=Text.HEADER),
            Section(text=Text.HEADER_FIELDS, fields=frozenset({b"to"})),
            Section(text=Text.HEADER_FIELDS_NOT, fields=frozenset({b"to"})),
        ):
            assert header.extract(section) == whole.extract(section)


def test_what_is_in_the_header():
    (header, fields_not, text, part, whole) = read(
        b"t FETCH 1 (BODY[HEADER] BODY[HEADER.FIELDS.NOT (x)] BODY[TEXT] BODY[1.MIME] RFC822)"
    ).items
    assert [item.is_header for item in (header, fields_not, text, part, whole)] == [True, True] + [False] * 3
    assert isinstance(header, Body)
