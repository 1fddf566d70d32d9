"""BODY and BODYSTRUCTURE, rendered from the MIME structure (RFC 3501 §7.4.2, RFC 9051 §7.5.2)."""

from __future__ import annotations

from functools import lru_cache

from twisted_mta.message.address_list import Allowance
from twisted_mta.message.mime import Part, scan
from twisted_mta.message.parameters import Parameters
from twisted_mta.protocol.imap4.envelope import render_envelope
from twisted_mta.protocol.imap4.responses import NIL, nstring, string

# What nearly every structure is made of.
_USUAL = {
    word: string(word)
    for word in (
        b"text plain html multipart mixed alternative related image jpeg png gif application pdf octet-stream"
        b" message rfc822 charset utf-8 us-ascii iso-8859-1 windows-1252 format flowed delsp yes boundary"
        b" 7bit 8bit base64 quoted-printable attachment inline filename name"
    ).split()
}


def render_body(part: Part, extensions: bool) -> bytes:
    """The structure of a part: BODYSTRUCTURE with `extensions`, BODY without."""
    pieces: list[bytes] = []
    pending: list[Part | bytes] = [part]  # what is still to be rendered, the next one last
    allowance = Allowance()  # of all enclosed messages together
    while pending:
        item = pending.pop()
        if isinstance(item, bytes):
            pieces.append(item)
        elif item.is_multipart:
            pieces.append(b"(")
            tail = b" " + _parameters(item.params) + _common_extensions(item) if extensions else b""
            pending.append(b" %b%b)" % (_word(item.subtype), tail))
            pending += reversed(item.children)
        else:
            pieces.append(_basic_fields(item))
            tail = b" %b%b" % (nstring(item.md5), _common_extensions(item)) if extensions else b""
            if item.message is not None:
                pieces.append(b" %b " % render_envelope(item.message.fields, allowance))
                pending += [b" %d%b)" % (item.lines, tail), item.message]
            elif item.type == b"text":
                pieces.append(b" %d%b)" % (item.lines, tail))
            else:
                pieces.append(tail + b")")
    return b"".join(pieces)


def _basic_fields(part: Part) -> bytes:
    """The media type and `body-fields` (RFC 9051 §9), from the parenthesis on."""
    begin = _media_type(part.type, part.subtype, part.params)
    if part.id is None and part.description is None:
        return b"%b NIL NIL %b %d" % (begin, _word(part.encoding), part.size)
    return b"%b %b %b %b %d" % (
        begin,
        nstring(part.id),
        nstring(part.description),
        _word(part.encoding),
        part.size,
    )


@lru_cache(maxsize=64)  # nearly all mail has one of a few
def _media_type(kind: bytes, subtype: bytes, parameters: Parameters) -> bytes:
    rendered = _text_parameters(parameters) if kind == b"text" else _parameters(parameters)
    return b"(%b %b %b" % (_word(kind), _word(subtype), rendered)


def _common_extensions(part: Part) -> bytes:
    """Disposition, language and location, which every kind of part may have."""
    if part.disposition is None and not part.language and part.location is None:
        return b" NIL NIL NIL"
    disposition = language = location = NIL
    if part.disposition is not None:
        disposition = b"(%b %b)" % (_word(part.disposition[0]), _parameters(part.disposition[1]))
    if len(part.language) > 1:
        language = b"(%b)" % b" ".join(map(string, part.language))
    elif part.language:
        language = string(part.language[0])
    if part.location is not None:
        location = string(part.location)
    return b" %b %b %b" % (disposition, language, location)


def _parameters(parameters: Parameters) -> bytes:
    if not parameters:
        return NIL
    return b"(%b)" % b" ".join([_word(octets) for pair in parameters for octets in pair])


def _text_parameters(parameters: Parameters) -> bytes:
    """Text that names no charset is US-ASCII (RFC 2046 §4.1.2); clients want to be told."""
    if any(name == b"charset" for name, _ in parameters):
        return _parameters(parameters)
    return _parameters((*parameters, (b"charset", b"us-ascii")))


def _word(octets: bytes) -> bytes:
    return _USUAL.get(octets) or string(octets)


def render_structures(data: bytes, root: Part) -> bytes:
    """What is asked for in one breath, of the message `data` with the structure `root`: ENVELOPE and
    BODYSTRUCTURE, to be taken apart by `split_structures`."""
    envelope = render_envelope(root.fields)
    return b"%d %b%b" % (len(envelope), envelope, render_body(root, True))


def split_structures(rendered: bytes) -> tuple[bytes, bytes]:
    """ENVELOPE and BODYSTRUCTURE."""
    length, _, both = rendered.partition(b" ")
    end = int(length)
    return both[:end], both[end:]


def render_basic_body(data: bytes) -> bytes:
    """BODY of a message."""
    return render_body(scan(data), False)
