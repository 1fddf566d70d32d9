"""The reader of replies: grammar, limits, and anything at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.protocol.smtp.reply_reader import MAX_LINE, MAX_LINES, MAX_TEXT, BadReply, Reply, ReplyReader


def read(octets, step=1):
    """All replies in `octets`, given `step` at a time."""
    reader = ReplyReader()
    replies = []
    for start in range(0, len(octets), step):
        reader.receive(octets[start : start + step])
        while (reply := reader.next_reply()) is not None:
            replies.append(reply)
    assert reader.empty
    return replies


@pytest.mark.parametrize(
    ("octets", "reply"),
    [
        (b"250 ok\r\n", Reply(250, ("ok",))),
        (b"250\r\n", Reply(250, ("",))),
        (b"250 \r\n", Reply(250, ("",))),
        (b"250-a\r\n250-b c\r\n250 d\r\n", Reply(250, ("a", "b c", "d"))),
        (b"250-\r\n250\r\n", Reply(250, ("", ""))),
        (b"599 \x00\xff\x1b[0m\r\n", Reply(599, ("???[0m",))),
    ],
)
def test_a_reply(octets, reply):
    assert read(octets) == [reply]
    assert read(octets + octets, 3) == [reply, reply]


@pytest.mark.parametrize(
    "octets",
    [
        b"\r\n",
        b"hello\r\n",
        b"25 ok\r\n",
        b"2500 ok\r\n",
        b"250ok\r\n",
        b" 250 ok\r\n",
        b"100 wait\r\n",
        b"650 what\r\n",
        b"\xb2\xb5\xb0 ok\r\n",
        b"250-ok\r\n251 changed\r\n",
        b"250 ok\n",
        b"250 bare\rreturn\r\n",
        b"250 " + b"x" * MAX_LINE + b"\r\n",
        b"250-x\r\n" * MAX_LINES,
    ],
)
def test_what_is_no_reply(octets):
    with pytest.raises(BadReply) as caught:
        read(octets)
    assert str(caught.value).isascii() and str(caught.value).isprintable()


def test_an_endless_line_takes_no_memory():
    reader = ReplyReader()
    with pytest.raises(BadReply):
        for _ in range(100):
            reader.receive(b"2" * 1000)
            reader.next_reply()


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        (Reply(250, ("2.1.5 ok",)), "2.1.5"),
        (Reply(250, ("ok",)), "2.0.0"),
        (Reply(550, ("5.1.1",)), "5.1.1"),
        (Reply(550, ("4.1.1 disagrees",)), "5.1.1"),
        (Reply(451, ("4.7.1234 too long",)), "4.0.0"),
        (Reply(451, ("4.7.1x",)), "4.0.0"),
        (Reply(550, ("first", "5.7.1 last")), "5.7.1"),
    ],
)
def test_the_enhanced_status_code(reply, status):
    assert reply.status == status


def test_a_reply_in_one_line():
    assert str(Reply(550, ("5.1.1 no", "5.1.1 such", "5.1.1 user"))) == "550 5.1.1 no such user"
    assert str(Reply(250, ("",))) == "250"
    assert len(str(Reply(250, ("x" * 1000,) * 50))) == MAX_TEXT


texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(200, 599), st.lists(texts, min_size=1, max_size=8)), max_size=6),
    st.integers(1, 40),
)
def test_what_is_written_is_read(replies, step):
    octets = b"".join(
        b"%d%b%b\r\n" % (code, b" " if last else b"-", text.encode())
        for code, lines in replies
        for text, last in zip(lines, [False] * (len(lines) - 1) + [True], strict=True)
    )
    assert read(octets, step) == [Reply(code, tuple(lines)) for code, lines in replies]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([b"250-", b"250 ", b"\r\n", b"\r", b"\n"]))),
    st.integers(1, 10),
)
def test_anything_is_read_or_refused(pieces, step):
    """Nothing but BadReply, whatever comes, and the same however it is cut."""

    def outcome(step):
        reader = ReplyReader()
        replies = []
        octets = b"".join(pieces)
        try:
            for start in range(0, len(octets), step):
                reader.receive(octets[start : start + step])
                while (reply := reader.next_reply()) is not None:
                    replies.append(reply)
        except BadReply as error:
            replies.append(str(error))
        return replies

    assert outcome(step) == outcome(1000)
