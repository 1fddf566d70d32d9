"""mbox files: ours come back as they were, those of others are understood."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.store.exchange.mbox import Marks, Mbox, quoted, write_mbox
from twisted_mta.store.flags import ANSWERED, DELETED, DRAFT, FLAGGED, SEEN

NEW_YEAR = 1704067200.0  # Mon Jan  1 00:00:00 2024
NOTHING = Marks(NEW_YEAR, 0, frozenset(), False)
SEPARATOR = b"From x@y.test Mon Jan  1 00:00:00 2024\n"


def read(octets: bytes) -> list[tuple[Marks, bytes]]:
    return [(message.marks, b"".join(message.content())) for message in Mbox(io.BytesIO(octets))]


def contents(octets: bytes) -> list[bytes]:
    return [content for _, content in read(octets)]


def written(*messages: tuple[Marks, bytes], pieces: int = 3) -> bytes:
    file = io.BytesIO()
    for marks, content in messages:
        cut = [content[start : start + pieces] for start in range(0, len(content), pieces)]
        write_mbox(file, marks, "a@b.test", cut)
    return file.getvalue()


# Ours

lines = st.lists(
    st.one_of(
        st.binary(max_size=12),
        st.sampled_from(
            [
                *(b"From ", b">From ", b">>From x", b"From: x", SEPARATOR.strip(), b">" + SEPARATOR.strip()),
                *(
                    b"",
                    b"\r",
                    b"Status: RO",
                    b"X-Status: F",
                    b"X-Keywords: x",
                    b"Content-Length: 3",
                    b" folded",
                ),
            ]
        ),
    ),
    max_size=8,
).map(lambda some: b"".join(line + b"\n" for line in some))
keywords = st.frozensets(st.sampled_from(["$Forwarded", "Größe", "a", "NonJunk"]))
marks = st.builds(Marks, st.integers(0, 2**33).map(float), st.integers(0, 31), keywords, st.booleans())


@given(st.lists(st.tuples(marks, lines), max_size=4), st.integers(1, 20))
def test_what_is_written_comes_back(messages: list[tuple[Marks, bytes]], pieces: int) -> None:
    assert read(written(*messages, pieces=pieces)) == messages


@given(st.binary(max_size=200), st.integers(1, 9))
def test_quoting_does_not_depend_on_how_the_octets_come(content: bytes, size: int) -> None:
    some = [content[start : start + size] for start in range(0, len(content), size)]
    assert b"".join(quoted(some)) == b"".join(quoted([content]))


def test_the_form_that_other_programs_read() -> None:
    state = Marks(NEW_YEAR, SEEN | ANSWERED | FLAGGED | DELETED | DRAFT, frozenset({"b", "a"}), True)
    assert written((state, b"Subject: x\n\nFrom me\n>From me\nno end")) == (
        b"From a@b.test Mon Jan  1 00:00:00 2024\n"
        b"Status: RO\n"
        b"X-Status: AFTD\n"
        b"X-Keywords: a b\n"
        b"Subject: x\n"
        b"\n"
        b">From me\n"
        b">>From me\n"
        b"no end\n"
        b"\n"
    )


def test_dates_that_the_form_cannot_hold_are_the_nearest() -> None:
    for date, told in ((-5.0, 0.0), (1e15, 253402300799.0), (5.75, 5.0), (None, 0.0)):
        ((state, _),) = read(written((NOTHING._replace(date=date), b"a\n")))
        assert state.date == told


# Those of others


@pytest.mark.parametrize(
    ("line", "date"),
    [
        (b"From x@y.test Mon Jan  1 00:00:05 2024", NEW_YEAR + 5),
        (b"From - Mon Jan 01 00:00:05 2024", NEW_YEAR + 5),  # Thunderbird
        (b"From 17@xxx Mon Jan 01 00:00:05 +0000 2024", NEW_YEAR + 5),  # Google
        (b"From x@y.test Mon Jan  1 02:00:05 2024 +0200", NEW_YEAR + 5),
        (b"From x@y.test Sun Dec 31 19:00:05 EST 2023", NEW_YEAR + 5),
        (b"From x y z  Mon Jan  1 00:00 2024 remote from somewhere", NEW_YEAR),
        (b"From x@y.test Mon, 1 Jan 2024 00:00:05 GMT", NEW_YEAR + 5),
        (b"From ", NEW_YEAR + 7),  # some programs write no more; then the Date field tells
        (b"From -", NEW_YEAR + 7),
    ],
)
def test_lines_that_begin_a_message(line: bytes, date: float) -> None:
    content = b"Date: Mon, 1 Jan 2024 00:00:07 +0000\n\ntext\n"
    one = line + b"\n" + content + b"\n"
    for octets in (one + one, (one + one).replace(b"\n", b"\r\n")):
        messages = list(Mbox(io.BytesIO(octets)))
        assert [message.marks.date for message in messages] == [date, date]
        found = contents(octets)
        assert [each.replace(b"\r\n", b"\n") for each in found] == [content, content]


@pytest.mark.parametrize(
    "line",
    [
        b"From the beginning on it was clear",
        b"From: somebody",
        b"From Monday Jan on",
        b"From x Mon Jan 1 2024",
        b" From x@y.test Mon Jan  1 00:00:00 2024",
        b"from x@y.test Mon Jan  1 00:00:00 2024",
    ],
)
def test_lines_that_do_not(line: bytes) -> None:
    content = b"a: b\n\ntext\n\n" + line + b"\nmore\n"
    assert contents(SEPARATOR + content + b"\n") == [content]


def test_line_ends_of_the_file_are_told() -> None:
    message = next(iter(Mbox(io.BytesIO((SEPARATOR + b"a: b\n\n>From x\n").replace(b"\n", b"\r\n")))))
    assert message.crlf
    assert b"".join(message.content()) == b"a: b\r\n\r\nFrom x\r\n"


def test_content_length_is_not_believed() -> None:
    header = b"a: b\nContent-Length: 100000\nStatus: R\n"
    octets = (SEPARATOR + header + b"\nbody\n\n") * 2
    assert [(state.bits, content) for state, content in read(octets)] == [(SEEN, b"a: b\n\nbody\n")] * 2


def test_flags_wherever_they_stand() -> None:
    octets = SEPARATOR + (
        b"Subject: x\nstatus: OR\nX-Status:  AF\nX-UID: 7\nTo: y\nX-Keywords: one\n two\n"
        b"X-IMAPbase: 1 2\n\nbody\n"
    )
    ((state, content),) = read(octets)
    assert state == Marks(NEW_YEAR, SEEN | ANSWERED | FLAGGED, frozenset({"one", "two"}), True)
    assert content == b"Subject: x\nTo: y\n\nbody\n"


def test_the_message_that_only_its_program_needs_is_passed_over() -> None:
    internal = (
        SEPARATOR
        + b"Subject: DON'T DELETE THIS MESSAGE -- FOLDER INTERNAL DATA\nX-IMAP: 1 2\n\nThis text is ...\n\n"
    )
    assert contents(internal + SEPARATOR + b"a: b\n\nx\n\n") == [b"a: b\n\nx\n"]


def test_torn_files() -> None:
    """The beginning is missing, a message ends in the middle, the file does."""
    octets = b"rest of a message\n\n" + SEPARATOR + b"a: b\n\nhalf a li\n" + SEPARATOR + b"c: d\n\ncut he"
    mbox = Mbox(io.BytesIO(octets))
    assert [b"".join(message.content()) for message in mbox] == [b"a: b\n\nhalf a li\n", b"c: d\n\ncut he"]
    assert mbox.passed_over == len(b"rest of a message\n\n")


@given(st.lists(st.sampled_from([SEPARATOR, b"\n", b"a: b\n", b"text\r\n", b">From \n", b"From \n", b"\0"])))
def test_nothing_is_too_strange(some: list[bytes]) -> None:
    octets = b"".join(some)
    assert sum(map(len, contents(octets))) <= len(octets)


def test_no_message_is_read_by_those_who_do_not_want_it() -> None:
    messages = Mbox(io.BytesIO(written((NOTHING, b"1\n"), (NOTHING, b"2\n"))))
    assert [message.marks.old for message in messages] == [False, False]


class Endless(io.RawIOBase):
    """A message of 64 MiB, and a line of as much, that nobody has in memory."""

    def __init__(self) -> None:
        self._pieces = self._made()
        self._rest = b""

    @staticmethod
    def _made() -> Iterator[bytes]:
        yield SEPARATOR + b"a: b\n\n"
        for _ in range(1024):
            yield (b"x" * 63 + b"\n") * 512
        for _ in range(512):
            yield b"From " * 13000
        yield b"\n"

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._rest:
            self._rest = next(self._pieces, b"")
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def test_no_message_is_ever_whole_in_memory() -> None:
    tracemalloc.start()
    try:
        for message in Mbox(io.BufferedReader(Endless())):
            size = sum(map(len, quoted(message.content())))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 60 * 2**20
    assert most < 2 * 2**20
