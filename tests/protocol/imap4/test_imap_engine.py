"""The engine alone: framing, literals, limits, what a hostile client can make it do."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.protocol.imap4.commands.appending import (
    MAX_MESSAGES,
    MAX_PARTS,
    Append,
    Appending,
    AppendOptions,
    Replace,
    TextPart,
    UrlPart,
)
from twisted_mta.protocol.imap4.commands.command import State
from twisted_mta.protocol.imap4.commands.connection import Noop, StartTls
from twisted_mta.protocol.imap4.commands.fetching import Fetch
from twisted_mta.protocol.imap4.server import (
    BEFORE_LOGIN,
    LOGGED_IN,
    AppendEnd,
    ContinuationLine,
    Fault,
    ImapServer,
    LiteralChunk,
)


def make(state=State.SELECTED):
    engine = ImapServer()
    if state is not State.NOT_AUTHENTICATED:
        engine.log_in()
    if state is State.SELECTED:
        engine.select()
    return engine


def events(engine, data, step=0):
    """What comes out for these octets, fed at once or in pieces of `step`; parts of messages are accepted."""
    found = []
    for start in range(0, len(data), step or len(data)):
        engine.receive(data[start : start + (step or len(data))])
        while (event := engine.next_event()) is not None:
            found.append(event)
            if isinstance(event, Appending | TextPart | UrlPart):
                engine.accept_part()
    return found


def test_a_command_and_its_tag():
    (event,) = events(make(), b"a.1 fetch 1:3 (uid flags)\r\n")
    assert isinstance(event, Fetch) and event.tag == "a.1" and not event.by_uid


def test_pipelined_commands_come_one_by_one():
    found = events(make(), b"a NOOP\r\nb CHECK\r\nc XYZZY\r\nd NOOP\r\n")
    assert [type(event).__name__ for event in found] == ["Noop", "Check", "Fault", "Noop"]


@pytest.mark.parametrize("step", [0, 1, 3])
def test_literals_in_a_command(step):
    engine = make(State.NOT_AUTHENTICATED)
    (event,) = events(engine, b'a LOGIN {5}\r\nalice {3+}\r\n"\r\n\r\n', step)
    assert (event.user, event.password) == (b"alice", b'"\r\n')
    assert engine.take_output() == b"+ Ready for the literal\r\n"


@pytest.mark.parametrize("step", [0, 1, 5])
def test_the_message_of_an_append_is_streamed(step):
    engine = make()
    found = events(engine, b"a APPEND {5}\r\nInbox (\\Seen) {12}\r\nSubject: x\r\n\r\nb NOOP\r\n", step)
    assert isinstance(found[0], Append) and found[0].mailbox == "INBOX"
    assert b"".join(event.data for event in found if isinstance(event, LiteralChunk)) == b"Subject: x\r\n"
    assert found[-2] == AppendEnd() and isinstance(found[-1], Noop)
    assert engine.take_output() == b"+ Ready for the literal\r\n+ Ready for the message\r\n"


def parts(found):
    """The parts of messages among events, each TextPart with its octets."""
    result = []
    for event in found:
        if isinstance(event, LiteralChunk):
            result[-1][1] += event.data
        elif isinstance(event, Appending | TextPart | UrlPart):
            part = event.part if isinstance(event, Appending) else event
            result.append([part, b""] if isinstance(part, TextPart) else [part, None])
    return [tuple(each) for each in result]


PLAIN = AppendOptions(frozenset(), None)


@pytest.mark.parametrize("step", [0, 1, 7])
def test_many_messages_in_one_command(step):
    """MULTIAPPEND (RFC 3502)."""
    engine = make()
    data = (
        b"a APPEND INBOX {3+}\r\none (\\Seen) {0+}\r\n"
        b' "07-Feb-1994 22:43:04 -0800" {5}\r\nthree {6+}\r\n\r\nb x \r\nc NOOP\r\n'
    )
    found = events(engine, data, step)
    assert parts(found) == [
        (TextPart(3, PLAIN), b"one"),
        (TextPart(0, AppendOptions(frozenset({"\\Seen"}), None)), b""),
        (TextPart(5, AppendOptions(frozenset(), 760689784.0), waits=True), b"three"),
        (TextPart(6, PLAIN), b"\r\nb x "),
    ]
    assert found[-2:] == [AppendEnd(), Noop("c")]
    assert engine.take_output() == b"+ Ready for the message\r\n"


@pytest.mark.parametrize("step", [0, 1, 7])
def test_messages_put_together(step):
    """CATENATE (RFC 4469), and in any mixture with MULTIAPPEND, BINARY and UTF8."""
    engine = make()
    data = (
        b"a APPEND {5}\r\nINBOX catenate (Url /a/;UID=1 TEXT {2+}\r\nhi URL {9}\r\n/b/;UID=2"
        b' URL "/c/;UID=3" UTF8 (~{3+}\r\n\xc3\xa9!)) ~{3+}\r\n\0\0\0'
        b" (\\Seen) UTF8 (~{2}\r\nho) CATENATE (URL {9+}\r\n/d/;UID=4)\r\nb NOOP\r\n"
    )
    found = events(engine, data, step)
    assert isinstance(found[0], Append) and found[0].mailbox == "INBOX"
    assert parts(found) == [
        (UrlPart(b"/a/;UID=1", PLAIN), None),
        (TextPart(2, catenated=True), b"hi"),
        (UrlPart(b"/b/;UID=2"), None),
        (UrlPart(b"/c/;UID=3"), None),
        (TextPart(3, catenated=True, utf8=True), b"\xc3\xa9!"),
        (TextPart(3, PLAIN, binary=True), b"\0\0\0"),
        (TextPart(2, AppendOptions(frozenset({"\\Seen"}), None), utf8=True, waits=True), b"ho"),
        (UrlPart(b"/d/;UID=4", PLAIN), None),
    ]
    assert found[-2:] == [AppendEnd(), Noop("b")]
    literal, message = b"+ Ready for the literal\r\n", b"+ Ready for the message\r\n"
    assert engine.take_output() == literal * 2 + message


@pytest.mark.parametrize("step", [0, 1])
def test_replace_brings_one_message(step):
    """RFC 8508."""
    data = b"a REPLACE 4 {5+}\r\nINBOX {2+}\r\nhi\r\nb UID REPLACE * x CATENATE (URL y)\r\n"
    found = events(make(), data + b"c REPLACE 1 x {2+}\r\nhi {2+}\r\nho\r\nd NOOP\r\n", step)
    replaces = [event for event in found if isinstance(event, Replace)]
    assert [(each.by_uid, each.mailbox) for each in replaces] == [(False, "INBOX"), (True, "x"), (False, "x")]
    assert parts(found)[:2] == [(TextPart(2, PLAIN), b"hi"), (UrlPart(b"y", PLAIN), None)]
    ends = [event for event in found if isinstance(event, AppendEnd)]
    assert [end.fault is None for end in ends] == [True, True, False] and found[-1] == Noop("d")
    found = events(make(State.AUTHENTICATED), b"a REPLACE 1 x {2+}\r\nhi\r\nb UID REPLACE 1 x {2}\r\n", step)
    assert [event.text for event in found] == ["Select a mailbox first"] * 2
    for number in (b"0", b"1:2", b"1,2", b"$", b"", b"4294967296"):
        (fault,) = events(make(), b"a REPLACE " + number + b" x {2}\r\n", step)
        assert fault.condition == "BAD"


@pytest.mark.parametrize(
    "rest",
    [
        b"INBOX",
        b"INBOX ",
        b"INBOX x",
        b"INBOX {1+}\r\nx ",
        b"INBOX {1+}\r\nx)",
        b"INBOX {1+}\r\nx(\\Seen) {1+}\r\nx",
        b"INBOX (\\Seen {1+}\r\nx",
        b"INBOX CATENATE {1+}\r\nx",
        b"INBOX CATENATE ()",
        b"INBOX CATENATE (TEXT {1+}\r\nx",
        b"INBOX CATENATE (TEXT {1+}\r\nxTEXT {1+}\r\nx)",
        b"INBOX CATENATE (TEXT ~{1+}\r\nx)",
        b"INBOX CATENATE (URL x) CATENATE ({1+}\r\nx)",
        b"INBOX CATENATE (URL {3+}\r\na\0b)",
        b"INBOX CATENATE (URL {100000+}\r\n" + b"x" * 100_000 + b")",
        b'INBOX CATENATE ("/a/;UID=1")',
        b"INBOX UTF8 ({1+}\r\nx)",
        b"INBOX UTF8 (~{1+}\r\nx",
        b"INBOX UTF8 (~{1+}\r\nx))",
        b"INBOX UTF8 ~{1+}\r\nx",
        b"INBOX ~~{1+}\r\nx",
        b"INBOX ANNOTATION (x) {1+}\r\nx",
        b"INBOX 111111111111111111111}",
    ],
)
@pytest.mark.parametrize("step", [0, 1])
def test_what_is_no_append(rest, step):
    found = events(make(), b"a APPEND " + rest + b"\r\nb NOOP\r\n", step)
    faults = [event.fault if isinstance(event, AppendEnd) else event for event in found[:-1]]
    (fault,) = [fault for fault in faults if isinstance(fault, Fault)]
    assert fault.condition == "BAD" and found[-1] == Noop("b")


@pytest.mark.parametrize("step", [0, 1])
def test_a_command_whose_part_is_not_accepted_is_over(step):
    for rest in (
        b"CATENATE (URL x URL y TEXT {4+}\r\nab\r\n",
        b"CATENATE (URL x URL y TEXT {4}",
        b"~{3+}\r\nabc {1}",
    ):
        engine = make()
        found = []
        for octet in [b"a APPEND INBOX " + rest + b")\r\nb NOOP\r\n"]:
            for start in range(0, len(octet), step or len(octet)):
                engine.receive(octet[start : start + (step or len(octet))])
                while (event := engine.next_event()) is not None:
                    found.append(event)
        assert isinstance(found[0], Append) and found[-1] == Noop("b")
        assert engine.take_output() == b""


def test_messages_and_parts_are_bounded():
    found = events(make(), b"a APPEND INBOX" + b" {1+}\r\nx" * (MAX_MESSAGES + 1) + b"\r\nb NOOP\r\n")
    assert len(parts(found)) == MAX_MESSAGES
    assert found[-2].fault.code == "LIMIT" and found[-1] == Noop("b")
    for url in (b" URL x", b" URL {1+}\r\nx"):
        data = b"a APPEND INBOX CATENATE (URL x" + url * MAX_PARTS + b")\r\nb NOOP\r\n"
        found = events(make(), data)
        assert len(parts(found)) == MAX_PARTS
        assert found[-2].fault.code == "LIMIT" and found[-1] == Noop("b")


def test_messages_are_never_whole_in_memory():
    engine = make()
    piece = bytes(65536)
    tracemalloc.start()
    try:
        events(engine, b"a APPEND INBOX {3276800+}\r\n")
        for number in range(100):
            if number == 50:
                events(engine, b" ~{3276800+}\r\n")
            events(engine, piece)
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
    assert events(engine, b"\r\n") == [AppendEnd()]


def test_an_append_that_is_not_accepted_is_thrown_away_or_not_asked_for():
    engine = make()
    engine.receive(b"a APPEND INBOX {9+}\r\nx LOGOUT\n {4+}\r\nlong\r\nb APPEND INBOX {9}\r\nc NOOP\r\n")
    assert isinstance(engine.next_event(), Append)
    assert engine.next_event().tag == "b"
    assert engine.next_event() == Noop("c")
    assert engine.take_output() == b""


def test_after_an_unwanted_message_that_is_too_long_nothing_is_read():
    engine = make()
    engine.receive(b"a APPEND INBOX {40000000000000+}\r\n")
    assert engine.next_event().part.size == 40_000_000_000_000
    fault = engine.next_event()
    assert fault.fatal and fault.code == "TOOBIG"


def test_what_stands_behind_the_message():
    engine = make()
    found = events(engine, b"a APPEND INBOX {2+}\r\nhi x\r\nb APPEND INBOX {2+}\r\nhi\nc NOOP\r\n")
    assert [event.fault is not None for event in found if isinstance(event, AppendEnd)] == [True, True]
    assert found[-1] == Noop("c")


@pytest.mark.parametrize(
    "start",
    [
        b"a LOGIN {400000000}",
        b"a LOGIN {2147483648}",
        b"a LOGIN {-1}",
        b"a LOGIN alice {4097}",
        b"a LOGIN {1x}",
    ],
)
def test_literals_before_login(start):
    engine = make(State.NOT_AUTHENTICATED)
    fault, noop = events(engine, start + b"\r\nb NOOP\r\n")
    assert (fault.tag, fault.condition, fault.fatal) == ("a", "BAD", False)
    assert noop == Noop("b") and engine.take_output() == b""


def test_a_refused_literal_that_comes_anyhow_is_skipped_to_its_end():
    engine = make(State.NOT_AUTHENTICATED)
    data = b"a LOGIN {5000+}\r\n" + b"b NOOP\r\n" * 625 + b" {8+}\r\nb NOOP\r\n x\r\nc NOOP\r\n"
    for step in (0, 1):
        fault, noop = events(make(State.NOT_AUTHENTICATED), data, step)
        assert fault.code == "TOOBIG" and noop == Noop("c")
    (fault, end) = events(engine, b"a XYZZY {10+}\r\n0123456789 {70000+}\r\n")
    assert not fault.fatal and end.fatal


@pytest.mark.parametrize("state", [State.NOT_AUTHENTICATED, State.SELECTED])
@pytest.mark.parametrize("step", [0, 1000])
def test_a_line_that_is_too_long(state, step):
    limit = (BEFORE_LOGIN if state is State.NOT_AUTHENTICATED else LOGGED_IN).line
    engine = make(state)
    fault, noop = events(engine, b"a NOOP " + b"x" * limit + b"\r\nb NOOP\r\n", step)
    assert fault == Fault("a", "BAD", "Line too long") and noop == Noop("b")


def test_a_line_that_is_too_long_and_announces_a_literal():
    engine = make(State.NOT_AUTHENTICATED)
    data = b"a NOOP " + b"x" * 20_000 + b" {8+}\r\nb NOOP\r\n\r\nc NOOP\r\n"
    for step in (0, 1):
        fault, noop = events(make(State.NOT_AUTHENTICATED), data, step)
        assert fault.tag == "a" and noop == Noop("c")
    assert events(engine, b"x" * 20_000)[0].tag == "*"


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 50,
        b"(" * 1_000_000,
        b"a" * 1_000_000 + b" NOOP",
        b"\0\xff" * 500_000,
        b"a LOGIN " + b"(" * 9000,
    ],
)
def test_junk_before_login_costs_no_memory(data):
    engine = make(State.NOT_AUTHENTICATED)
    tracemalloc.start()
    try:
        for start in range(0, len(data), 65536):
            engine.receive(data[start : start + 65536])
            while engine.next_event() is not None:
                pass
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()
    engine.receive(b"\r\n")
    while engine.next_event() is not None:
        pass
    assert events(engine, b"b NOOP\r\n") == [Noop("b")]


def test_fifty_megabytes_without_a_line_end():
    engine = make()
    piece = bytes(65536).replace(b"\0", b"x")
    tracemalloc.start()
    try:
        found = [event for _ in range(800) for event in events(engine, piece)]
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()
    assert [event.text for event in found] == ["Line too long"]


def test_many_small_literals_are_bounded():
    engine = make()
    found = events(engine, b"a XYZZY" + b" {1+}\r\nx" * 400_000 + b"\r\nb NOOP\r\n")
    assert [type(event) for event in found] == [Fault, Noop]
    found = events(engine, b"a ID (" + b"{1+}\r\nx " * 400_000 + b"\r\nb NOOP\r\n")
    assert [type(event) for event in found] == [Fault, Noop] and found[0].code == "TOOBIG"


def test_lines_end_in_crlf_only():
    fault, noop = events(make(), b"a NOOP\nb NOOP\r\n")
    assert fault.tag == "a" and noop.tag == "b"
    (fault,) = events(make(), b"a NO\rOP\r\n")
    assert fault.tag == "a"


def test_nothing_may_follow_starttls():
    engine = make(State.NOT_AUTHENTICATED)
    assert events(engine, b"a STARTTLS\r\n") == [StartTls("a")]
    engine = make(State.NOT_AUTHENTICATED)
    (fault,) = [event for event in events(engine, b"a STARTTLS\r\nb NOOP\r\n") if isinstance(event, Fault)]
    assert fault.fatal


def test_continuation_lines():
    engine = make()
    engine.request(b"x")
    assert engine.take_output() == b"+ x\r\n"
    engine.receive(b"one\r\ntwo\nthree\r\na NOOP\r\n")
    assert engine.next_event() == ContinuationLine(b"one")
    assert engine.next_event().tag == "*"
    assert engine.next_event() == ContinuationLine(b"three")
    engine.end_continuation()
    assert engine.next_event() == Noop("a")


@pytest.mark.parametrize("step", [0, 1])
def test_literals_of_continuation_lines_and_of_bare_lf_lines_are_followed(step):
    engine = make()
    engine.request(b"idling")
    found = events(engine, b"DONE {8+}\r\nb NOOP\r\n {2+}\r\nxx\r\nx {8+}\nc NOOP\r\n\r\nlast {4}\r\n", step)
    assert found[0] == ContinuationLine(b"DONE {8+}") and found[1].text == "A line must end in CRLF"
    assert found[2:] == [ContinuationLine(b"last {4}")]
    engine.end_continuation()
    found = events(engine, b"a NOOP {8+}\nb NOOP\r\n\r\nc NOOP\r\n", step)
    assert [event.tag for event in found] == ["a", "c"]
    found = events(engine, b"a APPEND INBOX {2+}\r\nhi {8+}\nb NOOP\r\n\r\nc NOOP\r\n", step)
    assert found[-2].fault.text == "A line must end in CRLF" and found[-1] == Noop("c")
    (first, second) = events(engine, b"a NOOP {9999999999+}\n", step)
    assert first.tag == "a" and second.fatal


def test_passwords_do_not_show():
    (event,) = events(make(State.NOT_AUTHENTICATED), b"a LOGIN alice hunter2\r\n")
    assert "hunter2" not in repr(event)
    (event,) = events(make(State.NOT_AUTHENTICATED), b"a AUTHENTICATE PLAIN aHVudGVyMg==\r\n")
    assert "aHVu" not in repr(event)


def test_nothing_after_the_end():
    engine = make()
    engine.finish()
    engine.receive(b"a NOOP\r\n")
    assert engine.next_event() is None and engine.finished


WORDS = [
    *(b"a ", b"NOOP", b"LOGIN ", b"FETCH 1 ", b"APPEND INBOX ", b"UID ", b"SEARCH ", b"ALL", b"BODY"),
    *(b"{3}", b"{3+}", b"~{3+}", b"{99999999}", b"\r\n", b"\n", b"\r"),
    *(b"REPLACE 1 ", b"CATENATE (", b"TEXT ", b"URL ", b"UTF8 (", b"x"),
    *(b" ", b"(", b")", b'"', b"\\", b"\0", b"\xff", b"*", b"[", b"]"),
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(WORDS), max_size=40), st.sampled_from(list(State)), st.integers(2, 30))
def test_any_octets_give_the_same_events_in_any_portions(pieces, state, step):
    data = b"".join(pieces)

    def run(step):
        found = events(make(state), data, step) if data else []
        message = b"".join(event.data for event in found if isinstance(event, LiteralChunk))
        others = [event for event in found if not isinstance(event, LiteralChunk)]
        # That something follows STARTTLS can only be seen when it is there.
        return message, others

    assert run(0) == run(1) == run(step)
