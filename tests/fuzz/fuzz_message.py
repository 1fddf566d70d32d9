"""What a message is made of: addresses, fields, words, dates, texts, other forms of it, reports about it."""

from __future__ import annotations

import re
from dataclasses import replace
from email.utils import parsedate_to_datetime

from harness import harness, same_however_cut
from message.mime_tree import check, walk

from twisted_mta.message.address import MAX_ADDRESS, Address
from twisted_mta.message.address_list import MAX_ENTRIES, parse_addresses
from twisted_mta.message.attached_report import LARGEST, NotAReport, gzipped, printable, unpacked
from twisted_mta.message.automatic import Answer, why_not
from twisted_mta.message.base_subject import base_subject
from twisted_mta.message.binary_body import NotKept, encoded_pieces
from twisted_mta.message.body_text import body_texts, folded_body, folded_header, preview
from twisted_mta.message.conversion import Form, NotConvertible, conversion
from twisted_mta.message.date import (
    format_date,
    format_internal_date,
    parse_calendar_date,
    parse_date,
    parse_internal_date,
)
from twisted_mta.message.dsn.report import render
from twisted_mta.message.dsn.values import Report, ReportedRecipient
from twisted_mta.message.encoded_word import decode, encode
from twisted_mta.message.folding import fold
from twisted_mta.message.headers import HeaderCollector, fields, header_end, without_comments
from twisted_mta.message.headers import values as header_values
from twisted_mta.message.html_text import html_text, without_quotations
from twisted_mta.message.mailing_list import MailingList, is_answer, loops
from twisted_mta.message.mime import scan
from twisted_mta.message.msg_id import first_message_id, message_ids
from twisted_mta.message.networks import address_of
from twisted_mta.message.outcome import Action
from twisted_mta.message.overview import read_overview
from twisted_mta.message.parameters import parse_content_type, parse_disposition, parse_token
from twisted_mta.message.received import count_received
from twisted_mta.message.shown import shown
from twisted_mta.message.status import MailError
from twisted_mta.message.surrogate import surrogate
from twisted_mta.message.threading import Messages, ordered_subject, references, refs
from twisted_mta.message.transfer_encoding import decode_transfer
from twisted_mta.trust.abuse.tokens import MOST, tokens

MESSAGE_WORDS = rb"""
        Content-Type:\_multipart/mixed;\_boundary=b \r\n--b\r\n \r\n--b--\r\n message/rfc822 text/html
        text/plain;\_charset= \r\n\r\n Content-Transfer-Encoding:\_base64 quoted-printable binary 8bit
        7bit Content-Disposition:\_attachment;\_filename= utf-7 utf-16 From:\_ To:\_ Subject:\_
        =?utf-8?b? multipart/signed message/global \r\n_ <blockquote> </p> &amp; =C3=A9 =\r\n
        Message-ID:\_<a@b> References:
    """
LEGAL = re.compile(rb"(?:[^\r\n\0]{0,998}\r\n)*")


@harness(
    words=rb"""
        @ "a\_b" \\" [127.0.0.1] [IPv6:::1] xn-- \xc3\xa9 \xc3\x9f .. %25 - _ .
    """,
    longest=600,
)
def addresses(data):
    """A MailError of class 5, or an address that is written as text which is read as the same address;
    its domain is in ASCII and lower case."""
    text = data.decode("utf-8", "ignore")
    for utf8 in (False, True):
        try:
            address = Address.parse(text, utf8=utf8)
        except MailError as error:
            assert error.code >= 500 and error.text.isprintable()
            continue
        assert Address.parse(str(address), utf8=utf8) == address or len(str(address).encode()) > MAX_ADDRESS
        assert address.domain.isascii() and "\n" not in str(address) and "\r" not in str(address)
        assert address.is_literal or address.domain == address.domain.lower()
        assert address.key.encode()
    if (found := address_of(text)) is not None:
        assert address_of(str(found)) == found
    shown(text)


@harness(
    words=rb"""
        <a@b>, "x\_y" (comment) Group:; ; : , <@a,@b:c@d> =?utf-8?q?x?= \\ [ ] < > @
    """,
    longest=16384,
)
def address_lists(data):
    """Any value of an address field gives entries: groups begin and end in turn, an entry has its
    parts, no more than the limit; a list of usual addresses is read as they are."""
    entries = parse_addresses(data)
    assert len(entries) <= MAX_ENTRIES + 2
    inside = False
    for name, route, local, domain in entries:
        if local is None:
            assert inside and name is route is domain is None
            inside = False
        elif domain is None:
            assert not inside
            inside = True
        assert name is None or isinstance(name, bytes)
    assert not inside
    plain = [
        entry
        for entry in entries
        if entry.domain and re.fullmatch(rb"[a-z0-9.]+", entry.domain) and entry.local
    ]
    plain = [entry for entry in plain if re.fullmatch(rb"[a-z0-9]+", entry.local)][:20]
    written = b", ".join(b"%b <%b@%b>" % (b'"x"', entry.local, entry.domain) for entry in plain)
    again = parse_addresses(written)
    assert [(entry.local, entry.domain) for entry in again] == [
        (entry.local, entry.domain) for entry in plain
    ]


@harness(
    words=rb"""
        Subject: \r\n \n \r \r\n\_ \r\n\r\n \n\n : \t From\_:\_x Received:\_from
    """,
    longest=16384,
)
def header_fields(data):
    """The collector finds the same block however the octets are cut; the fields cover it line by line,
    in order and without a gap; a value on one line holds no line feed."""

    def collect(pieces):
        collector = HeaderCollector()
        for piece in pieces:
            collector.feed(piece)
        return collector.block, collector.complete

    block, complete = same_however_cut(collect, data)
    end = header_end(data)
    assert block == (data[:end] if end >= 0 else data) and complete == (end >= 0)
    position = 0
    for field in fields(block):
        assert field.start == position and field.end > field.start
        assert block[field.start : field.end].startswith(field.name)
        for value in header_values(block[field.start : field.end], field.name or b"x"):
            assert b"\n" not in value
        position = field.end
    assert block[position:] in (b"", b"\r\n", b"\n")
    assert len(without_comments(data)) <= len(data) + data.count(b"(")
    count_received(block)


@harness(
    words=rb"""
        =?utf-8?q? =?utf-8?b? ?= =?iso-2022-jp?B? =?utf-7?q? =?utf-16*en?b? _ =20 =C3=A9 w6k= \r\n\_
        ?=\_=?
    """,
    longest=8192,
)
def encoded_words(data):
    """Any value is text on one line without control characters; any text is written as words of at most
    75 octets, in ASCII lines that are read as the same text."""
    text = decode(data)
    assert not re.search("[\x00-\x1f\x7f-\x9f]", text)
    text = data.decode("utf-8", "replace")
    written = encode(text)
    assert written.isascii() and not re.search(rb"\r(?!\n)|(?<!\r)\n|\r\n(?! )", written)
    assert all(len(line) <= 76 for line in written.split(b"\r\n")) or b"=?" not in written
    assert (
        decode(written).strip() == re.sub("[\x00-\x1f\x7f-\x9f]", " ", text).strip() or not text.isprintable()
    )
    folded = fold(text)
    assert folded.encode() is not None and not set(folded) & set("\0\n\r\t") and "  " not in folded


@harness(
    words=rb"""
        Mon,\_ Jan Feb 2020 99 -0700 +2400 GMT EST (comment) 12:34:56 24:00 2020-01-01T 31 0000 9999 :60
    """,
    longest=400,
)
def dates(data):
    """Any value is a moment or None; a moment of four-digit years is written as a date that is read as
    the same second; a usual date is the moment that the standard library reads."""
    for moment in (parse_date(data), parse_internal_date(data)):
        if moment is None:
            continue
        if -62135596800 <= moment < 253402300800:
            assert parse_date(format_date(moment).encode()) == moment
            assert parse_internal_date(format_internal_date(moment).encode()) == moment
    assert (parse_calendar_date(data) is None) == (parse_date(data) is None)
    if USUAL_DATE.fullmatch(data):
        try:
            expected = parsedate_to_datetime(data.decode()).timestamp()
        except ValueError:  # there is no such day, or hour
            return
        assert parse_date(data) == expected, "the standard library reads another moment"


@harness(words=rb"1\_a\_-\_i\_j\_k\n 2\_b\_r\_j\_i\n 0\_a\_-\_-\n \n", longest=2048, tests=60)
def message_threads(data):
    """Whatever messages say of each other, every one stands once in the threads, and nothing else does; what
    their identifiers are called changes nothing. A line is a message: date, subject, r for a reply, its
    identifier, those it refers to."""
    rows = [line.split(b" ") for line in data.split(b"\n")][:200]
    rows = [row for row in rows if len(row) >= 4]

    def messages(called):
        return Messages(
            list(range(1, len(rows) + 1)),
            [float(len(row[0]) * 256 + (row[0] or b"\0")[0]) for row in rows],
            [row[1].decode("latin-1") for row in rows],
            [row[2] == b"r" for row in rows],
            [called(row[3]) for row in rows],
            [[called(name) for name in row[4:] if called(name)] for row in rows],
        )

    named = messages(lambda name: name.decode("latin-1"))
    numbered = messages({name: number for number, name in enumerate(sorted(map_of(rows)), 1)}.get)
    for way in (ordered_subject, references, refs):
        forest = way(named)
        found, pending = [], list(forest.roots)
        while pending:
            each = pending.pop()
            found.append(each)
            pending += forest.children.get(each, ())
            assert len(found) <= 2 * len(rows), "a circle"
        assert sorted(each for each in found if each < len(rows)) == list(range(len(rows)))
        assert len(set(found)) == len(found) and len(found) <= 2 * len(rows)
        for root in forest.roots:
            assert root < len(rows) or len(forest.children[root]) > 1
        again = way(numbered)
        assert (again.roots, again.children) == (forest.roots, forest.children)


def map_of(rows):
    """The identifiers that are some."""
    return {name for row in rows for name in row[3:] if name}


@harness(
    words=rb"""
        text/plain ;\_charset= ;\_filename*0*=utf-8''%C3 ;\_a*1=x ;\_a="b\\"c" multipart/mixed (x)
        attachment inline base64 <a@b> \\ "
    """
)
def mime_parameters(data):
    """Any value gives a media type or None, each parameter once, names in lower case; message
    identifiers have an "@", no angle brackets in their normal form, and are bounded."""
    for found in (parse_content_type(data), parse_disposition(data)):
        if found is not None:
            *kinds, parameters = found
            names = [name for name, _ in parameters]
            assert len(set(names)) == len(names) and all(name == name.lower() for name in names)
            assert all(kind == kind.lower() for kind in kinds)
    assert parse_token(data) == parse_token(data).lower()
    identifiers = message_ids(data)
    assert len(identifiers) <= 100 and all("@" in each for each in identifiers)
    assert (
        len(data) > 30_000
        or first_message_id(data) == ""
        or len(identifiers) == 100
        or first_message_id(data) == identifiers[0]
    )


USUAL_DATE = re.compile(
    rb"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), )?\d{1,2} "
    rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) (?:19|20)\d\d "
    rb"[0-2]\d:[0-5]\d:[0-5]\d [+-](?:0\d|1[0-4])[0-5]\d"
)


def canonical(data):
    return data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


@harness(words=MESSAGE_WORDS, longest=16384, tests=150)
def message_texts(data):
    """Of any message: texts to search, a preview of at most 200 printable characters, an overview whose
    strings are bounded and can be stored as UTF-8, what tells junk from mail, an attachment's octets
    without their encoding."""
    data = canonical(data)
    root = scan(data)
    for text in (*folded_body(data, root), *folded_header(data, max(header_end(data), 0))):
        text.encode()
    body_texts(data, root)
    words = preview(data, root)
    assert len(words) <= 200 and "\n" not in words and words.encode() is not None
    overview = read_overview(data, root)
    assert len(overview.subject) <= 2048 and len(overview.references) <= 100
    words = tokens(data, ["a.test"])
    assert len(words) == len(set(words)) <= MOST and all(len(word.encode()) <= 1000 for word in words)
    for part, _, _ in walk(root):
        octets = data[part.header_end : part.body_end]
        decoded = decode_transfer(octets, part.encoding)
        assert decoded is None or len(decoded) <= len(octets)
    markup = data.decode("latin-1")
    assert len(html_text(markup)) <= 2 * len(markup) + 10
    assert len(without_quotations(markup)) <= len(markup) + markup.count("<")
    base, _ = base_subject(markup)
    assert base_subject(base)[0] == base or len(base) < len(markup)


def leaves(data):
    """The octets of each part that has none in it."""
    return [
        decode_transfer(data[part.header_end : part.body_end], part.encoding)
        for part, _, _ in walk(scan(data))
        if not part.is_multipart and part.message is None
    ]


def has_long_field(data):
    headers = (data[part.header_start : part.header_end] for part, _, _ in walk(scan(data)))
    return any(re.search(rb"[^\r\n]{999}", header) for header in headers)


@harness(words=MESSAGE_WORDS, longest=8192, tests=150)
def message_forms(data):
    """Made fit for 7 bits, or for 8 without binary, a message has that form, but for lines of header
    fields that were too long, and the same tree, whose parts decode to the same octets; made fit for
    files, it has no NUL; what must not be changed is refused with a status; the form for readers of
    ASCII headers has an ASCII header and the same body."""
    for form in (Form.SEVEN_BIT, Form.EIGHT_BIT):
        try:
            pieces = conversion(data, form)
            converted = None if pieces is None else b"".join(pieces)
        except NotConvertible as error:
            assert re.fullmatch(r"5\.\d\.\d", error.status) and str(error).isprintable()
            continue
        if converted is None:
            continue
        assert form.holds(converted) or has_long_field(data), form
        check(converted, scan(converted))
        if not any(part.subtype == b"global" for part, _, _ in walk(scan(data))):  # encoded as a whole
            assert leaves(converted) == leaves(data), "another tree, or other octets in it"
    try:
        kept = b"".join(encoded_pieces(canonical(data) if b"\0" not in data else data))
    except NotKept:
        pass
    else:
        assert b"\0" not in kept
    data = canonical(data)
    for_ascii = surrogate(data)
    if for_ascii is not data:
        end, other_end = header_end(data), header_end(for_ascii)
        assert for_ascii[: other_end if other_end >= 0 else None].isascii()
        assert end < 0 or for_ascii.endswith(data[end:])


@harness(
    words=MESSAGE_WORDS + rb" utf-8; rfc822; \\x{FC} 5.1.1 Auto-Submitted: List-Id:", longest=4096, tests=60
)
def reports_about_mail(data):
    """Whatever the original, the remote server's words and the sender's ORCPT are: a report, an
    automatic answer and a list's post are messages with legal lines, and hold no field of a
    stranger's making at the top. The words are in the first line, ORCPT in the second."""
    words, _, rest = data.partition(b"\n")
    orcpt, _, original = rest.partition(b"\n")
    original = canonical(original)
    recipient = ReportedRecipient(
        Action.FAILED,
        Address("bob", "b.test"),
        words.decode("latin-1")[:8],
        words.decode("utf-8", "replace"),
        1_800_000_000.0,
        "mx.b.test",
        orcpt=orcpt.decode("utf-8", "replace")[:500],  # RFC 3461 §4.2
    )
    report = Report(
        *("mx.a.test", Address("postmaster", "a.test"), Address("ann", "a.test"), "3Z", "3A"),
        *(1_800_000_000.0, 1_800_000_061.0, [recipient], original, True),
        envid=words.decode("utf-8", "replace"),
    )
    for ret in ("", "FULL", "HDRS"):
        rendered = render(replace(report, ret=ret))
        assert LEGAL.fullmatch(rendered.data), "a line of a report is not legal"
        assert Form.SEVEN_BIT.holds(rendered.data) or rendered.body == "8BITMIME"
        root = scan(rendered.data)
        check(rendered.data, root)
        assert root.subtype == b"report" and len(root.children) == 3
        names = [field.name for field in fields(rendered.data)]
        assert len(names) == len(set(names)) and set(names) <= REPORT_FIELDS, names
    header = original[: max(header_end(original), 0)]
    answer = Answer(
        "me@a.test", Address("ann", "a.test"), words.decode("latin-1"), header, "x@a.test", 0.0
    ).render()
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", answer) and answer.isascii()
    assert {field.name for field in fields(answer)} <= REPORT_FIELDS
    why_not(header, Address("ann", "a.test"), ["me@a.test"])
    team = MailingList(
        Address("team", "a.test"),
        Address("me", "a.test"),
        title='A "Team"',
        replies="list",
        rewrite_from=True,
    )
    post = team.post(header)
    assert (header_end(post) >= 0) == (header_end(header) >= 0) and loops(post, team)
    is_answer(header)


REPORT_FIELDS = {
    *(b"From", b"To", b"Subject", b"Date", b"Message-ID", b"References", b"In-Reply-To", b"Auto-Submitted"),
    *(b"MIME-Version", b"Content-Type", b"Content-Transfer-Encoding"),
}


@harness(words=rb"PK\x03\x04 \x1f\x8b\x08 \0\0 \x08\0", longest=8192)
def packed_attachments(data):
    """What comes out of a compressed attachment is bounded, or it is no report; what we pack is
    unpacked."""
    try:
        assert len(unpacked(data)) <= LARGEST
    except NotAReport as error:
        assert str(error).isprintable()
    assert unpacked(gzipped(data)) == data
    assert printable(data.decode("latin-1")).isprintable()
