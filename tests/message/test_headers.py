"""Header blocks (RFC 5322 §2.2)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.headers import (
    HeaderCollector,
    fields,
    first_value,
    header_end,
    unfold,
    values,
    without_comments,
)
from twisted_mta.message.status import MailError

BLOCK = b"From: a@a.test\r\nSubject: one\r\n\ttwo\r\nX-Empty:\r\nsubject : again\r\n\r\n"

header_like = st.lists(
    st.sampled_from(
        [b"Subject: x", b"a:", b":", b" folded", b"\t", b"no colon", b"\xff\xfe: \xff", b"\r", b"\0"]
    )
    | st.binary(max_size=8),
    max_size=8,
).flatmap(lambda lines: st.sampled_from([b"\r\n", b"\n"]).map(lambda end: end.join(lines)))


def test_fields_with_offsets() -> None:
    found = list(fields(BLOCK + b"Body: no"))
    assert [field.name for field in found] == [b"From", b"Subject", b"X-Empty", b"subject"]
    assert [field.value for field in found] == [b" a@a.test", b" one\r\n\ttwo", b"", b" again"]
    assert b"".join(BLOCK[field.start : field.end] for field in found) == BLOCK[:-2]


def test_fields_within_a_message() -> None:
    data = b"xyz" + BLOCK
    assert [field.start for field in fields(data, 3, 19)] == [3]


@pytest.mark.parametrize(
    ("block", "names"),
    [
        (b"", []),
        (b"\r\nA: b", []),
        (b"A: b", [b"A"]),
        (b"A: b\n c\nB:d\n\nC: d", [b"A", b"B"]),
        (b"From alice Mon 1 Jan\r\nA: b\r\n", [b"", b"A"]),
        (b" begins folded\r\nA: b\r\n", [b"", b"A"]),
        (b"no colon\r\n folded: x\r\nA: b\r\n", [b"", b"A"]),
        (b"\xc3\xa4: b\r\nA\0: c\r\n: d\r\n", [b"\xc3\xa4", b"", b""]),
        (b"A: b\r\n\r\n B: c\r\n", [b"A"]),
        (b"\r\n B: c\r\n", []),
        (b"A: b\r\n \r\nB: c\r\n", [b"A", b"B"]),  # white space is a continuation, not the empty line
    ],
)
def test_broken_fields(block: bytes, names: list[bytes]) -> None:
    assert [field.name for field in fields(block)] == names


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"A: b\r\n\r\nbody", 8),
        (b"A: b\n\nbody\r\n\r\n", 6),
        (b"\r\nbody", 2),
        (b"\nbody", 1),
        (b"A: b\r\n", -1),
        (b"", -1),
        (b"A: b\r\n \r\n\r\n", 11),
    ],
)
def test_header_end(data: bytes, end: int) -> None:
    assert header_end(data) == end


def test_values() -> None:
    assert values(BLOCK, b"SUBJECT") == [b"one\ttwo", b"again"]
    assert first_value(BLOCK, b"subject") == b"one\ttwo"
    assert first_value(BLOCK, b"x-empty") == b""
    assert first_value(BLOCK, b"Sub") is None
    assert first_value(BLOCK, b".*") is None


def test_unfold() -> None:
    assert unfold(b" a\r\n  b\n\tc \r") == b"a  b\tc"


@pytest.mark.parametrize(
    ("value", "rest"),
    [
        (b"a (b (c) d) e", b"a   e"),
        (b'"(a)" b', b'"(a)" b'),
        (rb"a (\) (x)) b", b"a   b"),
        (b"(" * 1000, b" "),
        (b'"a\\"(" (x) "', b'"a\\"("   "'),
        (b"a) b(", b"a) b "),
    ],
)
def test_without_comments(value: bytes, rest: bytes) -> None:
    assert without_comments(value) == rest


def test_collector_takes_one_chunk() -> None:
    collector = HeaderCollector()
    collector.feed(BLOCK + b"body")
    assert collector.complete
    assert collector.block == BLOCK
    collector.feed(b"A: b\r\n\r\n")
    assert collector.block == BLOCK


def test_collector_without_an_empty_line() -> None:
    collector = HeaderCollector()
    collector.feed(b"A: b\r\n")
    collector.feed(b"C: d")
    assert not collector.complete
    assert collector.block == b"A: b\r\nC: d"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_collector_refuses_once(size: int) -> None:
    collector = HeaderCollector(limit=100)
    sent = (b"A: b\r\n" * 40) + b"\r\n"
    refusals = []
    for start in range(0, len(sent), size):
        try:
            collector.feed(sent[start : start + size])
        except MailError as error:
            refusals.append((error.code, error.status))
    assert refusals == [(552, "5.3.4")]
    assert collector.block == b""


def test_collector_takes_exactly_the_limit() -> None:
    collector = HeaderCollector(limit=len(BLOCK))
    collector.feed(BLOCK + b"x" * 1000)
    assert collector.block == BLOCK


@settings(max_examples=200, deadline=None)
@given(header_like, st.integers(1, 9))
def test_collector_does_not_depend_on_chunks(data: bytes, size: int) -> None:
    collector = HeaderCollector()
    for start in range(0, len(data), size):
        collector.feed(data[start : start + size])
    end = header_end(data)
    assert collector.complete == (end >= 0)
    assert collector.block == (data if end < 0 else data[:end])


@settings(max_examples=200, deadline=None)
@given(header_like)
def test_fields_cover_the_block(data: bytes) -> None:
    end = header_end(data)
    block = data if end < 0 else data[:end]
    found = list(fields(data))
    assert (
        b"".join(data[field.start : field.end] for field in found) == block[: found[-1].end if found else 0]
    )
    assert block[found[-1].end if found else 0 :] in (b"", b"\r\n", b"\n")
    for field in found:
        if field.name:
            assert unfold(field.value) in values(block, field.name)
            assert first_value(block, field.name) is not None


def test_a_field_folded_a_million_times() -> None:
    block = b"A:" + b"\r\n x" * 1_000_000 + b"\r\n\r\n"
    assert len(first_value(block, b"a") or b"") == 2_000_000 - 1
    assert len(list(fields(block))) == 1
