"""IMAP: the server engine and its commands, a server's responses, names, URLs, structures and sections."""

from __future__ import annotations

import re
from itertools import pairwise

from harness import harness, octets, same_however_cut
from message.mime_tree import check, walk

from twisted_mta.message.mime import scan
from twisted_mta.protocol.imap4 import imap_url, responses
from twisted_mta.protocol.imap4.bodystructure import render_body, render_structures, split_structures
from twisted_mta.protocol.imap4.client import Broken, ClientEngine, Content, Text
from twisted_mta.protocol.imap4.client_responses import BadResponse, Data, read_response
from twisted_mta.protocol.imap4.commands.appending import Appending, TextPart, UrlPart
from twisted_mta.protocol.imap4.commands.command import State
from twisted_mta.protocol.imap4.commands.connection import (
    Authenticate,
    Compress,
    Login,
    Logout,
    StartTls,
    Unauthenticate,
)
from twisted_mta.protocol.imap4.commands.fetching import Fetch
from twisted_mta.protocol.imap4.commands.idling import Idle
from twisted_mta.protocol.imap4.commands.listing import List
from twisted_mta.protocol.imap4.commands.searching import Search, UnsearchableSave
from twisted_mta.protocol.imap4.commands.selecting import Close, Select, Unselect
from twisted_mta.protocol.imap4.fetch_items import Binary, Body, Section
from twisted_mta.protocol.imap4.fetch_items import Text as SectionText
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor
from twisted_mta.protocol.imap4.mailbox_name import InvalidName, decode_name, encode_name, list_matcher
from twisted_mta.protocol.imap4.search_keys import Content as ContentKey
from twisted_mta.protocol.imap4.search_keys import loosened
from twisted_mta.protocol.imap4.search_keys import walk as walk_keys
from twisted_mta.protocol.imap4.search_text import content_test
from twisted_mta.protocol.imap4.sections import Sections
from twisted_mta.protocol.imap4.sequence_set import SAVED, parse_sequence_set, render_ranges
from twisted_mta.protocol.imap4.server import ContinuationLine, Fault, ImapServer, LiteralChunk

SAID = re.compile(rb"(?:(?:\+|\*|[!#$&',-\[^-z|}~\]]{1,64}) [ -~]*\r\n)*")
ANNOUNCED = re.compile(rb"\{(\d+)\}\r\n")
MESSAGE = b"From: a@b\r\nSubject: x\r\nDate: 1 Jan 2020 00:00:00 +0000\r\n\r\nbody\r\n"
WORDS = rb"""
        \r\na\_ NOOP LOGIN\_ SELECT\_INBOX EXAMINE\_ STATUS\_ FETCH\_1:* BODY.PEEK[
        BODY[1.2.HEADER.FIELDS\_( ]<0.10> BINARY[ ENVELOPE BODYSTRUCTURE PREVIEW\_(LAZY) UID\_FETCH
        UID\_SEARCH SEARCH\_RETURN\_( SAVE ALL OR NOT SUBJECT CHARSET\_UTF-8 SINCE\_1-Jan-2020 LARGER
        MODSEQ FUZZY FILTER UID\_ SORT\_(REVERSE\_DATE) THREAD\_REFERENCES STORE\_1\_+FLAGS.SILENT
        UNCHANGEDSINCE \\Seen $Junk COPY MOVE EXPUNGE APPEND\_INBOX\_ CATENATE\_( TEXT\_{3} URL\_
        REPLACE UTF8\_(~{3+} LIST\_"" LSUB SPECIAL-USE RETURN CHILDREN CREATE USE DELETE RENAME
        SUBSCRIBE ENABLE QRESYNC CONDSTORE ID\_("name" NAMESPACE GETQUOTAROOT SETACL GETMETADATA
        DEPTH\_infinity SETMETADATA NOTIFY\_SET MessageNew ESEARCH\_IN GENURLAUTH URLFETCH RESETKEY IDLE
        DONE AUTHENTICATE\_PLAIN UNAUTHENTICATE LOGOUT {3}\r\nabc {5+}\r\nhello "quoted\\"" NIL
        (1:5,7\_1:2) CHANGEDSINCE VANISHED PARTIAL\_-1:-100 $
    """


def session(pieces, *, state, utf8):
    """A session that says yes to everything, but lets no literal into the mailbox "refused"; its
    events, with contents in one piece, and what the engine has said by itself."""
    engine = ImapServer()
    engine.utf8 = utf8
    if state is not State.NOT_AUTHENTICATED:
        engine.log_in()
    if state is State.SELECTED:
        engine.select()
    events, output, idling = [], bytearray(), False
    for piece in pieces:
        engine.receive(piece)
        while (event := engine.next_event()) is not None:
            if isinstance(event, LiteralChunk) and events and isinstance(events[-1], LiteralChunk):
                event = LiteralChunk(events.pop().data + event.data)
            events.append(
                repr(event) if isinstance(event, UnsearchableSave) else event
            )  # an error is only itself
            match event:
                case Appending(mailbox="refused"):
                    pass
                case Appending() | TextPart() | UrlPart():
                    engine.accept_part()
                case Authenticate() | Idle():
                    engine.request(b"go on")
                    idling = isinstance(event, Idle)
                case ContinuationLine(line):
                    if not idling:
                        engine.log_in()
                    if not idling or line.upper() == b"DONE":
                        engine.end_continuation()
                case Login():
                    engine.log_in()
                case Unauthenticate():
                    engine.log_out()
                case Select():
                    engine.select()
                case Close() | Unselect():
                    engine.deselect()
                case Logout() | StartTls() | Compress() | Fault(fatal=True):
                    engine.finish()
                case Fault():
                    engine.respond(event.tag, event.condition, event.text, event.code)
        output += engine.take_output()
    return events, bytes(output)


@harness(words=WORDS, tests=150)
def imap_server(data):
    """No exception, however broken a command is; octet by octet gives the same commands, faults,
    contents and output; what is said are lines of printable ASCII; every command that was read can
    be used: search keys compile, patterns match, sets resolve. The first octet chooses the state and
    UTF8=ACCEPT."""
    choice = data[0] if data else 0
    state = (State.NOT_AUTHENTICATED, State.AUTHENTICATED, State.SELECTED)[choice % 4 % 3]
    options = {"state": state, "utf8": bool(choice & 4)}
    data = data[1:]
    shouted = data.upper()
    if (
        b"STARTTLS" in shouted or b"COMPRESS" in shouted
    ):  # behind these whole and by octet differ: injection is refused
        for pieces in ([data], octets(data)):
            assert SAID.fullmatch(session(pieces, **options)[1])
        return
    events, output = same_however_cut(lambda pieces: session(pieces, **options), data)
    assert SAID.fullmatch(output), "what is said is no line"
    for event in events:
        usable(event)


def usable(event):
    match event:
        case Fault():
            assert event.condition in ("NO", "BAD") and event.text.isprintable()
        case Search():
            for key in walk_keys(event.program.key):
                if isinstance(key, ContentKey):
                    content_test(key)(MESSAGE)
            loosened(event.program.key)
        case List():
            list_matcher(*event.patterns)("INBOX/a")
        case Fetch():
            if event.set != SAVED:
                event.set.resolve(5)
            sections = Sections(MESSAGE)
            for item in event.items:
                if isinstance(item, Body):
                    sections.extract(item.section)
                elif isinstance(item, Binary):
                    sections.decoded(item.part)


def imported(pieces):
    engine = ClientEngine()
    engine.command(b"AUTHENTICATE PLAIN", exchange=True)
    engine.command(b"LOGIN", Text(b"x\xe9"), Text(b"y"))
    events = []
    try:
        for piece in pieces:
            engine.receive(piece)
            while (event := engine.next_event()) is not None:
                if isinstance(event, Content) and events and isinstance(events[-1], Content):
                    event = Content(events.pop().data + event.data)
                events.append(event)
    except Broken as error:
        assert str(error).isprintable()
        events.append(str(error))
    return events, engine.take_output()


@harness(
    words=rb"""
        *\_OK\_[ m1\_OK m2\_NO +\_ UIDVALIDITY FETCH\_( BODY[]\_{5}\r\n BODY[]
        BODY[HEADER.FIELDS\_(DATE)] NIL ~{3}\r\n {3}\r\n {3+}\r\n "\\"" LIST\_(\\Noselect)\_"/"\_ EXISTS
        BYE PREAUTH INTERNALDATE FLAGS ((( )))
    """
)
def imap_client_responses(data):
    """Whatever a server says gives events or Broken; the same however it is cut; the text of both is
    printable."""
    events, _ = same_however_cut(imported, data)
    for event in events:
        text = getattr(event, "text", "")
        assert isinstance(text, bytes) or not text or text.isprintable()


@harness(words=rb"&- &AOk- &2D3cgA- &Jjo- &A &, / INBOX &AAA- \xc3\xa9", longest=512)
def modified_utf7(data):
    """What is read as a mailbox name is written as the same octets, so that no name has two spellings;
    any text is written in printable ASCII and read back."""
    try:
        name = decode_name(data)
    except InvalidName as error:
        assert str(error).isprintable()
    else:
        assert encode_name(name) == data
    text = data.decode("utf-8", "ignore")
    written = encode_name(text)
    assert re.fullmatch(rb"[ -~]*", written) and decode_name(written) == text
    for utf8 in (False, True):
        said = responses.mailbox(text, utf8=utf8)
        if utf8 and ("\0" in text or "\r" in text or "\n" in text):
            continue  # no mailbox has such a name
        cursor = Cursor(said, utf8=utf8)
        if len(said) < 3000 and "\0" not in text:
            assert cursor.mailbox() == Cursor(responses.astring(encode_name(text))).mailbox()


@harness(words=rb"* % / a b ** %% */% a/b/c", longest=400)
def list_patterns(data):
    """LIST patterns match exactly what the regular expression of their meaning does (RFC 9051 §6.3.9).
    The first line is the name, the others are patterns."""
    name, *patterns = data.decode("latin-1").split("\n")
    patterns = patterns[:20]
    matches = list_matcher(*patterns)(name)
    if len(data) > 400 or sum(pattern.count("*") + pattern.count("%") for pattern in patterns) > 12:
        return  # the regular expression would take too long
    meanings = (
        "".join(
            ".*" if c == "*" else "[^/]*" if c == "%" else re.escape(c)
            for c in re.sub(r"[%*]*\*[%*]*", "*", pattern)
        )
        for pattern in patterns
    )
    assert matches == any(re.fullmatch(meaning, name, re.DOTALL) for meaning in meanings)


@harness(words=rb"1:* * , : 4294967295 1:4294967295 $ 5:1", longest=512)
def sequence_sets(data):
    """A set that is read names ascending, disjoint ranges, and written it is read as the same."""
    cursor = Cursor(data)
    try:
        found = parse_sequence_set(cursor)
    except CommandError:
        return
    if found == SAVED:
        return
    resolved = found.resolve(7)
    assert all(low <= high for low, high in resolved)
    assert all(one[1] + 1 < other[0] for one, other in pairwise(resolved))
    again = Cursor(render_ranges(resolved).encode())
    assert parse_sequence_set(again).resolve(7) == resolved and again.at_end()


@harness(
    words=rb"""
        imap://joe@example.com/ INBOX ;UIDVALIDITY=7 /;UID=5 /;SECTION=1.2
        /;SECTION=HEADER.FIELDS%20(DATE) ;PARTIAL=0.10 ;EXPIRE=2030-01-01T00:00:00Z ;URLAUTH=submit+fred
        ;URLAUTH=anonymous :INTERNAL: 91354a473744909de610943775f92038 %C3%A9 %00 ../
    """
)
def imap_urls(data):
    """A URL gives a message or BadUrl; a mailbox of it is in canonical form and leads nowhere else; an
    authorized one keeps what is signed as it stood; any URL can be told in a response code."""
    for selected in (None, "a/b"):
        try:
            url = imap_url.parse_relative(data, selected)
        except imap_url.BadUrl:
            continue
        assert url.mailbox and not {"..", "."} & set(url.mailbox.split("/")) and "\0" not in url.mailbox
        imap_url.extract(MESSAGE, url)
    try:
        found = imap_url.parse_authorized(data)
    except imap_url.BadUrl:
        pass
    else:
        assert data.startswith(found.auth.rump) and 0 < found.message.uid < 2**32
        assert found.owner and found.accounts(found.owner, "a.test")
        found.is_expired(0.0)
    assert re.fullmatch(r"[!#-\[^-~]{1,12288}", imap_url.in_response_code(data))


@harness(
    longest=16384,
    words=rb"""
        Content-Type:\_multipart/mixed;\_boundary=b \r\n--b\r\n \r\n--b--\r\n message/rfc822
        text/plain;\_charset="utf-8" \r\n\r\n Content-Transfer-Encoding:\_base64
        Content-Disposition:\_attachment;\_filename*0*=utf-8''%C3 boundary="b" From:\_ To:\_a@b,\_
        Subject: =?utf-8?q? Content-Language:\_de,en Content-MD5: Content-Location: multipart/digest
        Group:; <@a,@b:c@d>
    """,
    tests=150,
)
def mime_structure(data):
    """Any octets are a message: its tree is sound (parts within parts, in order, every size and number
    of lines right), ENVELOPE, BODY and BODYSTRUCTURE are responses that a client reads back, and
    each section is what stands there."""
    data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    root = scan(data)
    check(data, root)
    envelope, structure = split_structures(render_structures(data, root))
    for rendered in (envelope, structure, render_body(root, False)):
        told = read_back(rendered)
        assert isinstance(told, Data) and len(told.values) == 1 and isinstance(told.values[0], list)
    sections = Sections(data)
    header = sections.extract(Section((), SectionText.HEADER))
    assert header + sections.extract(Section((), SectionText.TEXT)) == data
    names = frozenset({b"SUBJECT", b"FROM"})
    some = sections.extract(Section((), SectionText.HEADER_FIELDS, names))
    others = sections.extract(Section((), SectionText.HEADER_FIELDS_NOT, names))
    assert len(some) + len(others) <= len(header) + 4
    for number, (part, _, _) in enumerate(walk(root)):
        if number < 20 and part is not root and not part.is_multipart:
            assert data[part.header_start : part.body_end] in data
    for numbers in ((1,), (1, 1), (2,), (2, 1)):
        sections.decoded(numbers)
        sections.extract(Section(numbers, SectionText.MIME))


def read_back(rendered):
    """A client's reading of `* 1 X` and this."""
    literals, line, position = [], bytearray(), 0
    while found := ANNOUNCED.search(rendered, position):
        size = int(found[1])
        line += rendered[position : found.end() - 2]
        literals.append(rendered[found.end() : found.end() + size])
        position = found.end() + size
    line += rendered[position:]
    try:
        return read_response(b"* 1 X " + bytes(line), literals)
    except BadResponse as error:
        assert "too deep" in str(error)
        return Data("X", 1, [[]])
