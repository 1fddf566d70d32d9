"""Line and dot-stuffing framing: every cut of the input gives the same result."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from twisted_mta.protocol.framing import BareLineEnd, DataDecoder, LineBuffer, LineTooLong, dot_stuff

# Few octets, so that the interesting sequences are hit often.
tricky = st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.\r\n", b"a", b"\0"]), max_size=20).map(
    b"".join
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


def lines_of(chunks: list[bytes], max_line: int = 12) -> list[object]:
    buffer = LineBuffer(max_line)
    seen: list[object] = []
    for chunk in chunks:
        buffer.receive(chunk)
        while True:
            try:
                line = buffer.next_line()
            except LineTooLong:
                seen.append("too long")
            except BareLineEnd as bare:
                seen.append((bare.line, bare.ends_line))
            else:
                if line is None:
                    break
                seen.append(line)
        assert len(buffer) < max_line
    return seen


def test_lines() -> None:
    assert lines_of([b"NO", b"OP\r", b"\nQUIT\r\n", b"half"]) == [b"NOOP", b"QUIT"]


@pytest.mark.parametrize(
    ("data", "seen"),
    [
        (b"ab\ncd\r\n", [(b"ab", True), b"cd"]),
        (b"a\rb\r\ncd\r\n", [(b"a\rb", False), b"cd"]),
        (b"a\r\r\n", [(b"a\r", False)]),
        (b"a\rb\n", [(b"a\rb", True)]),
        (b"\n", [(b"", True)]),
        (b"\r\n", [b""]),
        (b"a\0b\r\n", [b"a\0b"]),
    ],
)
def test_bare_line_ends_are_told(data: bytes, seen: list[object]) -> None:
    assert lines_of([data]) == seen


def test_line_limit_counts_the_line_end() -> None:
    assert lines_of([b"x" * 10 + b"\r\nok\r\n"]) == [b"x" * 10, b"ok"]
    assert lines_of([b"x" * 11 + b"\r\nok\r\n"]) == ["too long", b"ok"]


def test_a_line_without_end_is_told_once_and_not_stored() -> None:
    assert lines_of([b"x" * 50] * 50 + [b"x\r\nok\r\n"]) == ["too long", b"ok"]


@settings(max_examples=200)
@given(tricky, st.lists(st.integers(0, 1000), max_size=6))
def test_lines_do_not_depend_on_the_cuts(data: bytes, cuts: list[int]) -> None:
    whole = lines_of([data])
    assert lines_of(pieces(data, cuts)) == whole
    assert lines_of([data[i : i + 1] for i in range(len(data))]) == whole


def test_take() -> None:
    buffer = LineBuffer(100)
    buffer.receive(b"{5}\r\nabcdefg\r\n")
    assert buffer.next_line() == b"{5}"
    assert buffer.take(5) == b"abcde"
    assert buffer.next_line() == b"fg"
    buffer.receive(b"tail")
    assert buffer.next_line() is None
    assert buffer.take_all() == b"tail"
    assert len(buffer) == 0


def decode(chunks: list[bytes]) -> tuple[bytes, bytes, bool, bool, bool]:
    decoder = DataDecoder()
    content = rest = b""
    for chunk in chunks:
        if decoder.finished:
            rest += chunk
        else:
            content += decoder.feed(chunk)
            rest = decoder.rest
    return content, rest, decoder.finished, decoder.bare_cr, decoder.bare_lf


@pytest.mark.parametrize(
    ("data", "content", "rest"),
    [
        (b".\r\n", b"", b""),
        (b"\r\n.\r\n", b"\r\n", b""),
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
        (b"..\r\n...a\r\nb.\r\n.\r\n.\r\n", b".\r\n..a\r\nb.\r\n", b".\r\n"),
        (b".a\r\n.\r\n", b"a\r\n", b""),  # a client that does not stuff; RFC 5321 §4.5.2 drops the dot
    ],
)
def test_decoding(data: bytes, content: bytes, rest: bytes) -> None:
    assert decode([data]) == (content, rest, True, False, False)
    assert decode([data[i : i + 1] for i in range(len(data))]) == (content, rest, True, False, False)


SMUGGLERS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r\r\n.\r\r\n",
    b"\n\n.\r\n",
    b"\r.\n",
    b"\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\0\n",
]


@pytest.mark.parametrize("sequence", SMUGGLERS, ids=repr)
def test_nothing_but_the_end_is_the_end(sequence: bytes) -> None:
    data = b"one" + sequence + b"MAIL FROM:<a@b>"
    content, _, finished, bare_cr, bare_lf = decode([data])
    assert not finished
    assert content.startswith(b"one")
    assert bare_cr or bare_lf or b"\0" in sequence
    content, rest, finished, *_ = decode([data + b"\r\n.\r\nNOOP\r\n"])
    assert finished
    assert rest == b"NOOP\r\n"


@settings(max_examples=300)
@given(tricky, st.lists(st.integers(0, 1000), max_size=6))
@example(b"\r\n.\r\n", [1, 2, 3, 4])
@example(b"a\r\n.\rb\r\n.\r\n", [3, 4, 5])
def test_decoding_does_not_depend_on_the_cuts(data: bytes, cuts: list[int]) -> None:
    whole = decode([data])
    # What is held back at the end of unfinished data may differ only by the cut of `rest`, never in content.
    assert decode(pieces(data, cuts)) == whole
    assert decode([data[i : i + 1] for i in range(len(data))]) == whole


@settings(max_examples=300)
@given(tricky, st.lists(st.integers(0, 1000), max_size=6))
@example(b"a\r\n.b", [1, 2, 3])
@example(b"a\r", [])
def test_stuffing_and_back(data: bytes, cuts: list[int]) -> None:
    stuffed = b"".join(dot_stuff([data]))
    assert b"".join(dot_stuff(pieces(data, cuts))) == stuffed
    assert b"".join(dot_stuff([data[i : i + 1] for i in range(len(data))])) == stuffed
    content, rest, finished, *_ = decode([stuffed])
    assert finished
    assert rest == b""
    assert content.startswith(data)
    assert content[len(data) :] in (b"", b"\n", b"\r\n")


def test_a_stored_message_cannot_inject_commands() -> None:
    """twisted.mail misses a dot at the border of two chunks; then this content would end the data early.
    Acceptance 28."""
    chunks = [b"x" * 4093 + b"\r\n", b".\r\nMAIL FROM:<evil@a.test>\r\n"]
    assert b"".join(dot_stuff(chunks)) == b"x" * 4093 + b"\r\n..\r\nMAIL FROM:<evil@a.test>\r\n.\r\n"


def test_a_very_long_line_is_content() -> None:
    """twisted.mail falls back to command mode behind 16 KiB without a line end."""
    decoder = DataDecoder()
    assert sum(len(decoder.feed(b"x" * 50_000)) for _ in range(100)) == 5_000_000
    assert decoder.feed(b"\r\n.\r\n") == b"\r\n"
    assert decoder.finished
