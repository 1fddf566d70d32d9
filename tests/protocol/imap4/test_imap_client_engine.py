"""The client's engine: what a server says, however the octets arrive, and whatever it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.protocol.imap4.client import (
    MAX_RESPONSE,
    Broken,
    ClientEngine,
    Content,
    ContentBegins,
    Event,
    Text,
)
from twisted_mta.protocol.imap4.client_responses import BadResponse, Continue, Data, Status, read_response


def events(engine: ClientEngine, *pieces: bytes) -> list[Event]:
    """All events; the pieces of a content are joined."""
    found: list[Event] = []
    for piece in pieces:
        engine.receive(piece)
        while (event := engine.next_event()) is not None:
            if isinstance(event, Content) and found and isinstance(found[-1], Content):
                found[-1] = Content(found[-1].data + event.data)
            else:
                found.append(event)
    return found


SESSION = (
    b"* OK [CAPABILITY IMAP4rev1] ready\r\n"
    b'* LIST (\\HasNoChildren \\Sent) "/" "a \\"b\\" \\\\ c"\r\n'
    b"* LIST () NIL {6}\r\nx\r\ny/z\r\n"
    b'* LIST () "/" [Gmail]/All\r\n'
    b"* 12 EXISTS\r\n"
    b"* OK [UIDVALIDITY 3857529045] UIDs valid\r\n"
    b"* OK [UIDNEXT 4392]\r\n"
    b"* 1 FETCH (UID 7 FLAGS (\\Seen $Junk) BODY[HEADER.FIELDS (DATE FROM)] {4}\r\na\r\nb"
    b' BODY[] {12}\r\nm1 OK )(\r\n\r\n INTERNALDATE "17-Jul-1996 02:44:25 -0700")\r\n'
    b"* 2 FETCH (BODY[] NIL UID 8)\r\n"
    b"m1 OK [READ-ONLY] done\r\n"
)
TOLD = [
    Status("", "OK", "CAPABILITY", b"IMAP4rev1", "ready"),
    Data("LIST", None, [[b"\\HasNoChildren", b"\\Sent"], b"/", b'a "b" \\ c']),
    Data("LIST", None, [[], None, b"x\r\ny/z"]),
    Data("LIST", None, [[], b"/", b"[Gmail]/All"]),
    Data("EXISTS", 12, []),
    Status("", "OK", "UIDVALIDITY", b"3857529045", "UIDs valid"),
    Status("", "OK", "UIDNEXT", b"4392", ""),
    ContentBegins(12),
    Content(b"m1 OK )(\r\n\r\n"),
    Data(
        "FETCH",
        1,
        [
            [
                *(
                    b"UID",
                    b"7",
                    b"FLAGS",
                    [b"\\Seen", b"$Junk"],
                    b"BODY[HEADER.FIELDS (DATE FROM)]",
                    b"a\r\nb",
                ),
                *(b"BODY[]", b"", b"INTERNALDATE", b"17-Jul-1996 02:44:25 -0700"),
            ]
        ],
    ),
    Data("FETCH", 2, [[b"BODY[]", None, b"UID", b"8"]]),
    Status("m1", "OK", "READ-ONLY", b"", "done"),
]


def test_a_session_in_one_piece_and_by_octet() -> None:
    for pieces in ([SESSION], [bytes([octet]) for octet in SESSION]):
        engine = ClientEngine()
        assert engine.command(b"EXAMINE", Text(b"INBOX")) == "m1"
        assert engine.take_output() == b'm1 EXAMINE "INBOX"\r\n'
        assert events(engine, *pieces) == TOLD
        assert not engine.has_input


def test_arguments_go_as_they_must() -> None:
    engine = ClientEngine()
    engine.command(b"LOGIN", Text(b'a"b\\'), Text("pässword".encode()))
    assert engine.take_output() == b'm1 LOGIN "a\\"b\\\\" {9}\r\n'
    with pytest.raises(ValueError, match="not complete"):
        engine.command(b"NOOP")
    assert events(engine, b"+ go on\r\n") == []
    assert engine.take_output() == "pässword\r\n".encode()
    assert [type(each) for each in events(engine, b"m1 OK in\r\n")] == [Status]
    engine.command(b"EXAMINE", Text(b"a\r\nx LOGOUT"))
    assert engine.take_output() == b"m2 EXAMINE {11}\r\n"
    events(engine, b"m2 NO too long\r\n")  # the literal is not wanted, and does not go
    engine.command(b"NOOP")
    assert engine.take_output() == b"m3 NOOP\r\n"


def test_an_exchange_is_the_callers() -> None:
    engine = ClientEngine()
    tag = engine.command(b"AUTHENTICATE PLAIN", exchange=True)
    assert events(engine, b"+ \r\n+\r\n") == [Continue(b""), Continue(b"")]
    engine.answer(b"AGE=")
    assert engine.take_output().endswith(b"\r\nAGE=\r\n")
    events(engine, tag.encode() + b" OK in\r\n")
    with pytest.raises(Broken, match="waits for more"):
        events(engine, b"+ \r\n")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"* " + b"x" * MAX_RESPONSE, "a line of more than"),
        (b"* LIST () NIL {2000000}\r\n", "a response of more than"),
        (b"* 1 FETCH (BODY[] {99999999999999999999999999}\r\n", "a message of"),
        (b"* 1 FETCH (BODY[] {4294967296}\r\n", "a message of"),
        (b"* 1 FETCH (BODY[] {1}\r\nx BODY[] {1}\r\n", "two contents"),
        (b"m9 OK done\r\n", "no command of ours"),
        (b"* OK \n", "LF alone"),
        (b"+ go on\r\n", "waits for more"),
        (b"HTTP/1.1 400 Bad Request\r\n", "not the end of a command"),
        (b"* 1 FETCH " + b"(" * 60 + b"\r\n", "too deep"),
        (b"* 1 FETCH (UID 1\r\n", "is missing"),
        (b"* 1 FETCH UID 1)\r\n", "too much"),
        (b'* LIST () "/" "open\r\n', "not a value"),
        (b"* LIST {5} x\r\n", "in the middle"),
        (b"* ?\r\n", "not a response"),
    ],
)
def test_what_no_server_may_say(said: bytes, why: str) -> None:
    engine = ClientEngine()
    with pytest.raises(Broken, match=why):
        events(engine, said)


def test_many_small_literals_are_bounded_together() -> None:
    engine = ClientEngine()
    with pytest.raises(Broken, match="a response of more than"):
        for _ in range(100):
            events(engine, b"* LIST " if engine.has_input is False else b"", b"{60000}\r\n" + b"x" * 60000)


def test_brackets_that_nothing_closes_take_no_time() -> None:
    line = b"* X " + b"[" * 500_000
    assert read_response(line, []) == Data("X", None, [b"[" * 500_000])


WORDS = [
    b"* ",
    b"OK ",
    b"1 FETCH (",
    b")",
    b"BODY[] {3}\r\n",
    b"{2}\r\n",
    b"\r\n",
    b'"',
    b"m1 ",
    b"[",
    b"abc",
]


@given(st.lists(st.sampled_from(WORDS)))
def test_anything_is_told_or_refused(pieces: list[bytes]) -> None:
    whole, single = ClientEngine(), ClientEngine()
    said = b"".join(pieces)
    outcomes = []
    for engine, cut in ((whole, [said]), (single, [bytes([octet]) for octet in said])):
        engine.command(b"NOOP")
        try:
            outcomes.append(repr(events(engine, *cut)))
        except Broken as error:
            outcomes.append(f"broken: {error}")
    assert outcomes[0] == outcomes[1]


@given(st.binary(max_size=60))
def test_a_line_of_any_octets(line: bytes) -> None:
    try:
        read_response(b"* " + line, [])
    except BadResponse as error:
        assert str(error).isprintable()
