"""HTTP as the client of one question: heads that are written, answers that are read (RFC 9112)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.protocol.http_client import MAX_HEAD, AnswerReader, BadAnswer, request


def read(answer, *, closed=False, limit=100):
    reader = AnswerReader(limit)
    reader.receive(answer)
    if closed:
        reader.ended()
    return reader


def read_by_octet(answer, *, closed=False, limit=100):
    reader = AnswerReader(limit)
    for octet in answer:
        reader.receive(bytes([octet]))
    if closed:
        reader.ended()
    return reader


both = pytest.mark.parametrize("read", [read, read_by_octet])


def test_a_question():
    fields = [("Rcpt", "bob@here.test"), ("Helo", "a\r\nEvil: b\0"), ("From", "jürgen@far.test")]
    assert request("/checkv2?a=b", "localhost", fields, 7) == (
        b"POST /checkv2?a=b HTTP/1.1\r\nHost: localhost\r\nRcpt: bob@here.test\r\n"
        b"Helo: a Evil: b \r\nFrom: j\xc3\xbcrgen@far.test\r\nContent-Length: 7\r\n\r\n"
    )
    with pytest.raises(ValueError, match="no name"):
        request("/", "localhost", [("a b", "c")], 0)


@both
def test_a_length(read):
    answer = read(b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 5\r\n\r\nHello")
    assert (answer.complete, answer.status, answer.content, answer.reusable) == (True, 200, b"Hello", True)


@both
def test_chunks(read):
    answer = read(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b"5;note=1\r\nHello\r\n0A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
    )
    assert (answer.complete, answer.content, answer.reusable) == (True, b"Hello0123456789", True)


@both
def test_until_the_end(read):
    answer = read(b"HTTP/1.0 500 No\r\n\r\nall of it", closed=True)
    assert (answer.complete, answer.status, answer.content, answer.reusable) == (
        True,
        500,
        b"all of it",
        False,
    )


@both
def test_announcements_and_nothing(read):
    answer = read(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n")
    assert (answer.complete, answer.status, answer.content) == (True, 204, b"")


@pytest.mark.parametrize(
    ("head", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nConnection: close", False),
        (b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive", True),
        (b"HTTP/1.0 200 OK", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive", True),
    ],
)
def test_whether_the_connection_can_be_kept(head, reusable):
    assert read(head + b"\r\nContent-Length: 0\r\n\r\n").reusable is reusable


def test_octets_behind_the_end_are_nobodys_answer():
    assert not read(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab").reusable


@both
@pytest.mark.parametrize(
    "answer",
    [
        b"SPAMD/1.1 0 EX_OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + 101 * b"x",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1" + 2000 * b";",
        b"HTTP/1.1 200 OK\r\nA: " + MAX_HEAD * b"x",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + 5000 * b"Trailer: x\r\n",
    ],
    ids=range(16),
)
def test_what_is_refused(read, answer):
    with pytest.raises(BadAnswer):
        read(answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n0\r\n",
    ],
)
def test_what_is_cut_off(answer):
    with pytest.raises(BadAnswer, match="incomplete"):
        read(answer, closed=True)


pieces = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n",
        b"3\r\n",
        b"abc",
    ]
)


@given(st.lists(st.one_of(pieces, st.binary(max_size=20)), max_size=12))
def test_no_answer_raises_anything_else(octets):
    whole, by_octet = AnswerReader(50), AnswerReader(50)
    try:
        whole.receive(b"".join(octets))
        whole.ended()
        refused = False
    except BadAnswer:
        refused = True
    try:
        for octet in b"".join(octets):
            by_octet.receive(bytes([octet]))
        by_octet.ended()
    except BadAnswer:
        assert refused
    else:
        assert not refused
        assert (by_octet.status, by_octet.content) == (whole.status, whole.content)
    assert len(whole.content) <= 50
