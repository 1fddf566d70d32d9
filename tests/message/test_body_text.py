"""The decoded text of messages, and their first words (RFC 8970)."""

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.message.body_text import (
    MAX_TEXT,
    body_texts,
    file_name,
    folded_body,
    folded_header,
    header_texts,
    preview,
)
from twisted_mta.message.mime import scan

CORPUS = Path(__file__).parents[3] / "shared" / "corpus"
FILES = sorted(CORPUS.glob("*/*.eml"))

MESSAGE = (
    b"From: =?iso-8859-1?Q?Andr=E9?= <andre@a.test>\r\n"
    b"X-Folded: one\r\n two\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"preamble\r\n--b\r\n"
    b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Caf=E9 au la=\r\nit\r\n--b\r\n"
    b"Content-Type: text/html; charset=utf-16le\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes("<p>Stra<b>ße</b></p>".encode("utf-16-le")).replace(b"\n", b"\r\n")
    + b'--b\r\nContent-Type: application/pdf; name="=?utf-8?Q?R=C3=A9sum=C3=A9.pdf?="\r\n\r\nhidden\r\n'
    b"--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: =?utf-8?Q?=C3=9C?=\r\n\r\ninner text\r\n"
    b"--b--\r\nepilogue\r\n"
)


def texts(data):
    return body_texts(data, scan(data))


def first_words(data):
    return preview(data, scan(data))


def message(body, kind=b"text/plain; charset=utf-8", encoding=b"8bit"):
    head = b"Content-Type: %b\r\nContent-Transfer-Encoding: %b\r\n\r\n" % (kind, encoding)
    return head + (body if isinstance(body, bytes) else body.replace("\n", "\r\n").encode())


def test_every_text_in_its_order():
    assert texts(MESSAGE) == ["Café au lait", " Straße\n", "Résumé.pdf", "subject: Ü", "inner text"]


def test_header_texts():
    assert header_texts(MESSAGE, 0, scan(MESSAGE).header_end)[:2] == [
        ("from", "André <andre@a.test>"),
        ("x-folded", "one two"),
    ]
    assert folded_header(MESSAGE, scan(MESSAGE).header_end)[0] == "from: andre\u0301 <andre@a.test>"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (b'application/x; name="a b.txt"', "a b.txt"),
        (b"application/x; name*=iso-8859-1''Caf%E9.txt", "Café.txt"),
        (b"application/x; name*0*=utf-8''%c3; name*1*=%a9.txt", "é.txt"),
        (b"application/x\r\nContent-Disposition: attachment; filename=d.txt", "d.txt"),
        (b"application/x; name=n.txt\r\nContent-Disposition: attachment", "n.txt"),
        (b"application/x", ""),
    ],
)
def test_file_names(kind, expected):
    assert file_name(scan(message(b"", kind))) == expected


@pytest.mark.parametrize(
    ("kind", "encoding", "body", "expected"),
    [
        (b"text/plain; charset=x-nonsense", b"8bit", "é".encode(), "é"),
        (b"text/plain", b"8bit", b"\xe9", "é"),
        (b"text/plain; charset=utf-8", b"x-unknown", b"as=20is", "as=20is"),
        (b"text/html", b"8bit", b"<meta charset=koi8-r>\xc1", "а"),
        (b"text/html; charset=utf-8", b"8bit", "<meta charset=koi8-r>é".encode(), "é"),
        (b"text/calendar; charset=gb2312", b"8bit", "中文".encode("gb2312"), "中文"),
        (b"text/plain; charset=iso-2022-jp", b"7bit", "日本語".encode("iso-2022-jp"), "日本語"),
    ],
)
def test_charsets_and_encodings(kind, encoding, body, expected):
    assert [text.strip() for text in texts(message(body, kind, encoding))] == [expected]


@pytest.mark.parametrize(
    ("kind", "encoding", "body"),
    [
        (b"text/plain; charset=utf-8", b"8bit", "aé".encode() * MAX_TEXT),
        (b"text/plain; charset=utf-8", b"base64", base64.b64encode("aé".encode() * MAX_TEXT)),
        (b"text/plain; charset=utf-8", b"quoted-printable", b"a=C3=A9" * MAX_TEXT),
        (b"text/plain; charset=shift_jis", b"8bit", "a日".encode("shift_jis") * MAX_TEXT),
    ],
)
def test_what_is_read_is_bounded_and_no_character_is_cut(kind, encoding, body):
    (text,) = texts(message(body, kind, encoding))
    assert MAX_TEXT // 2 <= len(text) <= MAX_TEXT and len(set(text)) == 2


def test_many_parts_together_are_bounded():
    part = b"--b\r\nContent-Type: text/plain\r\n\r\n" + b"x" * 100_000 + b"\r\n"
    found = texts(b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 20)
    assert sum(map(len, found)) == MAX_TEXT


def test_the_text_of_an_enclosed_message_thousandfold():
    data = b"Content-Type: message/rfc822\r\n\r\n" * 200 + b"Subject: x\r\n\r\nend"
    assert texts(data)[0] == "content-type: message/rfc822"


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (message("Hello\n  world\n"), "Hello world"),
        (message("On Monday X wrote:\n> quoted\n> more\n\nMy answer.\n-- \nMe\n"), "My answer."),
        (message("On Mon, 1 Jan 2024 at 10:00 Some Body <a@b.c>\nwrote:\n\n> quoted\nMine\n"), "Mine"),
        (message("> all of it\n> is quoted\n"), "> all of it > is quoted"),
        (message("-----------\nTitle\n===========\n"), "Title"),
        (message("<style>x</style><p>Hi&nbsp;you</p><blockquote>old</blockquote>", b"text/html"), "Hi you"),
        (message("<blockquote>only</blockquote>", b"text/html"), "only"),
        (message(b"", b"text/plain"), ""),
        (message("\u200b\u00ad\0 x\ud7a3"), "x\ud7a3"),
        (message(b"%PDF", b"application/pdf"), ""),
        (message("BEGIN:VCALENDAR", b"text/calendar"), ""),
        (MESSAGE, "Café au lait"),
        (b"", ""),
        (b"No header ends", ""),
    ],
)
def test_preview(data, expected):
    assert first_words(data) == expected


def test_a_preview_is_short():
    assert first_words(message("wort " * 1000)) == ("wort " * 40).rstrip()
    assert len(first_words(message("ä" * 100_000))) == 200
    assert len(first_words(message("<p>ä" * 100_000, b"text/html"))) <= 200


def test_attachments_are_not_previewed():
    data = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        b"Content-Disposition: attachment\r\n\r\nattached\r\n--b\r\n"
        b"Content-Type: text/html\r\n\r\n<img src=x>\r\n--b\r\n\r\nbody\r\n--b--\r\n"
    )
    assert first_words(data) == "body"


@given(
    st.binary(max_size=300), st.sampled_from([b"text/plain", b"text/html", b"multipart/mixed; boundary=b"])
)
def test_nothing_raises(body, kind):
    data = message(body, kind)
    root = scan(data)
    folded_body(data, root)
    folded_header(data, root.header_end)
    first = preview(data, root)
    first.encode("utf-8")
    assert len(first) <= 200 and first == " ".join(first.split())


@pytest.mark.skipif(not FILES, reason=f"no message corpus at {CORPUS}")
def test_real_and_broken_messages():
    for path in FILES:
        data = path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        root = scan(data)
        for text in folded_body(data, root) + folded_header(data, root.header_end):
            text.encode("utf-8")
        assert len(preview(data, root)) <= 200
