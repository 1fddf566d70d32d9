"""ENVELOPE, BODYSTRUCTURE and sections: by the RFC's examples, and by rules that hold for any message."""

import re
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message import address_list
from twisted_mta.message.header_block import HeaderBlock
from twisted_mta.message.mime import scan
from twisted_mta.message.overview import read_overview
from twisted_mta.protocol.imap4.bodystructure import (
    render_basic_body,
    render_body,
    render_structures,
    split_structures,
)
from twisted_mta.protocol.imap4.envelope import render_envelope
from twisted_mta.protocol.imap4.fetch_items import Section, Text
from twisted_mta.protocol.imap4.sections import Sections

CORPUS = Path(__file__).parents[4] / "shared" / "corpus"
_TOKEN = re.compile(rb' ?(?:(\()|(\))|"((?:[^"\\\r\n\0]|\\["\\])*)"|\{(\d+)\}\r\n|(NIL)|(\d+))')


def read(octets):
    """Rendered octets as nested lists of bytes, None and numbers; fails on anything but the grammar."""
    stack, position = [[]], 0
    while position < len(octets):
        token = _TOKEN.match(octets, position)
        assert token, octets[position : position + 50]
        position = token.end()
        if token[1]:
            stack.append([])
        elif token[2]:
            finished = stack.pop()
            stack[-1].append(finished)
        elif token[4]:
            end = position + int(token[4])
            assert b"\0" not in octets[position:end]
            stack[-1].append(octets[position:end])
            position = end
        else:
            quoted = token[3]
            assert quoted is None or quoted.isascii()
            stack[-1].append(
                None if token[5] else int(token[6]) if token[6] else re.sub(rb"\\(.)", rb"\1", quoted)
            )
    assert len(stack) == 1 and len(stack[0]) == 1
    return stack[0][0]


def envelope(block):
    return read(render_envelope(HeaderBlock(block)))


def test_envelope_of_the_rfc():
    block = (
        b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\nFrom: Terry Gray <gray@cac.washington.edu>\r\n"
        b"Subject: IMAP4rev1 WG mtg summary and minutes\r\nTo: imap@cac.washington.edu\r\n"
        b"cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n"
        b"Message-Id: <B27397-0100000@cac.washington.edu>\r\n\r\n"
    )
    assert render_envelope(HeaderBlock(block)) == (
        b'("Wed, 17 Jul 1996 02:23:25 -0700 (PDT)" "IMAP4rev1 WG mtg summary and minutes" '
        b'(("Terry Gray" NIL "gray" "cac.washington.edu")) (("Terry Gray" NIL "gray" "cac.washington.edu")) '
        b'(("Terry Gray" NIL "gray" "cac.washington.edu")) ((NIL NIL "imap" "cac.washington.edu")) '
        b'((NIL NIL "minutes" "CNRI.Reston.VA.US")("John Klensin" NIL "KLENSIN" "MIT.EDU")) NIL NIL '
        b'"<B27397-0100000@cac.washington.edu>")'
    )


def test_envelope_members():
    assert envelope(b"") == [None] * 10
    found = envelope(
        b"Subject: \r\nsubject: second\r\nReply-To:\r\nSender: s@a\r\nFrom: f@a\r\nTo: A: x@a, y@a;\r\n"
        b'To: z@a\r\nIn-Reply-To: <1@a>\r\n <2@a>\r\nBcc: "q\\"t" <@r,@s:b@a>\r\nDate: \xfc\r\n\r\n'
    )
    sender = [[None, None, b"s", b"a"]]
    mine = [[None, None, b"f", b"a"]]
    group = [[None, None, b"A", None], [None, None, b"x", b"a"], [None, None, b"y", b"a"], [None] * 4]
    assert found == [
        b"\xfc", b"", mine, sender, mine, [*group, [None, None, b"z", b"a"]], None,
        [[b'q"t', b"@r,@s", b"b", b"a"]], b"<1@a> <2@a>", None,
    ]  # fmt: skip


def test_structures():
    data = b"Content-Type: text/html; charset=x\r\nContent-Language: en, de\r\nContent-MD5: abc\r\n\r\na\r\nb"
    first, second = split_structures(render_structures(data, scan(data)))
    assert read(first) == [None] * 10
    assert second == b'("text" "html" ("charset" "x") NIL NIL "7bit" 4 1 "abc" NIL ("en" "de") NIL)'
    assert render_basic_body(data) == b'("text" "html" ("charset" "x") NIL NIL "7bit" 4 1)'


def sections_of(part, numbers=()):
    """(part numbers, part) of every leaf and inner node below a message."""
    if part.is_multipart:
        for number, child in enumerate(part.children, 1):
            yield (*numbers, number), child
            inner = child.message or child
            if child.message or child.is_multipart:
                yield from sections_of(inner, (*numbers, number))
    else:
        yield (*numbers, 1), part
        if part.message:
            yield from sections_of(part.message, (*numbers, 1))


def check(data):
    """Rules that hold for whatever is a message."""
    rendered = render_structures(data, scan(data))
    both = split_structures(rendered)
    assert all(isinstance(read(each), list) for each in both) and len(read(both[0])) == 10
    assert isinstance(read(render_basic_body(data)), list)
    sections = Sections(data)
    assert sections.extract(Section()) == data
    header, text = (sections.extract(Section(text=kind)) for kind in (Text.HEADER, Text.TEXT))
    assert header + text == data
    names = frozenset({b"from", b"content-type", b"subject"})
    only = sections.extract(Section(text=Text.HEADER_FIELDS, fields=names))
    others = sections.extract(Section(text=Text.HEADER_FIELDS_NOT, fields=names))
    end = b"\r\n" if header.endswith(b"\n\r\n") or header == b"\r\n" else b""
    assert only.endswith(end) and others.endswith(end)
    assert len(only) + len(others) == len(header) + len(end)
    for numbers, part in sections_of(scan(data)):
        assert len(sections.extract(Section(numbers))) == part.size
        mime = sections.extract(Section(numbers, Text.MIME))
        assert mime == data[part.header_start : part.header_end]
        inner = sections.extract(Section(numbers, Text.HEADER))
        assert (inner is None) == (part.message is None)
        if inner is not None:
            assert inner + sections.extract(Section(numbers, Text.TEXT)) == sections.extract(Section(numbers))


LINES = b"""Content-Type: multipart/mixed; boundary=b|Content-Type: message/rfc822|--b|--b--||text|no field
Subject: =?utf-8?q?x?=|From: "\xfc" <a@b>| folded|To: g: a@b;|Content-ID: <
Content-Disposition: attachment; filename="a\\\"b\0"|Content-Type: multipart/digest; boundary=c||--c"""
PIECES = st.sampled_from([line + b"\r\n" for line in re.split(rb"[|\n]", LINES)] + [b"x", b"\r"])


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=15).map(b"".join))
def test_any_message(data):
    check(data)


@pytest.mark.skipif(not CORPUS.is_dir(), reason="the corpus at ../shared is not here")
@pytest.mark.parametrize(
    "path", sorted(path for path in CORPUS.rglob("*") if path.is_file()), ids=lambda path: path.name
)
def test_corpus(path):
    check(path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))


def test_depth():
    data = b"".join(
        b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(5000)
    )
    assert render_body(scan(data), True).count(b"(") > 100
    data = b"Content-Type: message/rfc822\r\n\r\n" * 5000
    assert read(split_structures(render_structures(data, scan(data)))[1])


def test_the_multipart_of_the_rfc():
    # RFC 9051 §7.5.2, with the extension data that FETCH BODYSTRUCTURE adds in the order of §9.
    data = (
        b"Content-Type: multipart/mixed; boundary=b\r\nContent-Language: en\r\nContent-Location: x\r\n"
        b"Content-Disposition: inline\r\n\r\n--b\r\n\r\none\r\ntwo\r\n\r\n--b\r\n"
        b"Content-Type: text/plain; name=cc.diff; charset=us-ascii\r\nContent-Transfer-Encoding: base64\r\n"
        b"Content-ID: <960723163407.20117h@cac.washington.edu>\r\nContent-Description: Compiler diff\r\n"
        b"Content-MD5: abc\r\nContent-Disposition: attachment; filename*0=c; filename*1=d\r\n\r\neA==\r\n"
        b"--b--\r\n"
    )
    assert render_basic_body(data) == (
        b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 10 2)'
        b'("text" "plain" ("name" "cc.diff" "charset" "us-ascii") "<960723163407.20117h@cac.washington.edu>"'
        b' "Compiler diff" "base64" 4 0) "mixed")'
    )
    assert render_body(scan(data), True) == (
        b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 10 2 NIL NIL NIL NIL)'
        b'("text" "plain" ("name" "cc.diff" "charset" "us-ascii") "<960723163407.20117h@cac.washington.edu>"'
        b' "Compiler diff" "base64" 4 0 "abc" ("attachment" ("filename" "cd")) NIL NIL)'
        b' "mixed" ("boundary" "b") ("inline" NIL) "en" "x")'
    )


@pytest.mark.parametrize("subtype", [b"rfc822", b"global"])
def test_a_message_in_a_message(subtype):
    # body-type-msg, RFC 9051 §9: envelope, body and lines of the message inside.
    data = (
        b"Content-Type: message/%b\r\n\r\nSubject: \xc3\xbc\r\nFrom: \xc3\xbc@a.test\r\n\r\nx\r\n" % subtype
    )
    sender = [[None, None, "ü".encode(), b"a.test"]]
    inner = [b"text", b"plain", [b"charset", b"us-ascii"], None, None, b"7bit", 3, 1]
    found = read(render_basic_body(data))
    assert found[:2] == [b"message", subtype]
    assert found[7:] == [[None, "ü".encode(), sender, sender, sender, *[None] * 5], inner, 4]


def examine(data):
    root = scan(data)
    read_overview(data, root)
    split_structures(render_structures(data, root))


FIELDS = (b"To: ", b"Subject: ", b"References: ", b"Date: ", b"Content-Type: a/b;", b"Content-Disposition: ")
PIECES_OF_FIELDS = (
    b"(",
    b"()",
    b'"',
    b"<a@b>",
    b"a@b,",
    b"[a]",
    b"Re: ",
    b"=?utf-8?q?x?= ",
    b"\r\n ",
    b"a*0=b;",
)


def test_hostile_fields_cost_no_more_than_their_octets():
    # Quadratic work would keep this test busy for hours.
    for piece in PIECES_OF_FIELDS:
        for name in FIELDS:
            examine(name + piece * (1_000_000 // len(piece)) + b"\r\n\r\n")


PARTS = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"To: a@b\r\n" * 1_000_000,
        lambda: b"a:\n" * 3_000_000,
        lambda: b"To: " + b"a@b," * 2_500_000,
        lambda: b"Subject: " + b"\r\n " * 3_000_000,
        lambda: PARTS + b"".join(b"--b\r\nContent-ID: <%d@x>\r\n\r\nx\r\n" % n for n in range(100_000)),
        lambda: PARTS + b"--b\r\nContent-Type: message/rfc822\r\n\r\nFrom: a@b\r\n\r\nx\r\n" * 100_000,
        lambda: (
            b"To: " + b", ".join(b'"User %d" <user%d@x.test>' % (n, n) for n in range(100_000)) + b"\r\n\r\n"
        ),
    ],
    ids=["fields", "names", "addresses", "folding", "parts", "messages", "recipients"],
)
def test_large_headers_and_many_parts_take_bounded_memory(make):
    data = make()
    tracemalloc.start()
    try:
        examine(data)
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("repeated", [b"a b@c,", b"a:b@c;,", b"<", b"(c) a@b,", b"b@c,"])
@pytest.mark.parametrize("times", [10, 100])
def test_the_addresses_of_all_enclosed_messages_are_bounded(monkeypatch, repeated, times):
    """Acceptance 39."""
    monkeypatch.setattr(address_list, "MAX_TOKENS", 2000)
    monkeypatch.setattr(address_list, "MAX_ENTRIES", 1000)
    header = b"Content-Type: message/rfc822\r\n\r\nTo: " + repeated * times
    data = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + (b"--b\r\n" + header + b"\r\n\r\n") * 500
    structure = read(render_body(scan(data), True))
    found = [len(part[7][5] or ()) for part in structure[:500]]
    assert found[0] == found[1] and not found[-1] and sum(found) <= 1000 + 3 * times
