"""BODY and BODYSTRUCTURE, rendered from the MIME structure (RFC 3501 §7.4.2).

The scan has seen to it that there are at most `mime.MAX_DEPTH` levels, so the recursion here is bounded.
"""

from __future__ import annotations

from twisted_mta.message.mime import Part, scan
from twisted_mta.message.parameters import Parameters
from twisted_mta.protocol.imap4.envelope import render_envelope
from twisted_mta.protocol.imap4.responses import NIL, nstring, string


def render_body(data: bytes, part: Part, extensions: bool) -> bytes:
    """The structure of a part of the message `data`: BODYSTRUCTURE with `extensions`, BODY without."""
    if part.is_multipart:
        children = b"".join([render_body(data, child, extensions) for child in part.children])
        tail = b" " + _parameters(part.params) + _common_extensions(part) if extensions else b""
        return b"(%b %b%b)" % (children, string(part.subtype), tail)
    fields = b"%b %b %b %b %b %b %d" % (
        string(part.type),
        string(part.subtype),
        _parameters(part.params),
        nstring(part.id),
        nstring(part.description),
        string(part.encoding),
        part.size,
    )
    if part.message is not None:
        inner = part.message
        envelope = render_envelope(data[inner.header_start : inner.header_end])
        fields += b" %b %b %d" % (envelope, render_body(data, inner, extensions), part.lines)
    elif part.type == b"text":
        fields += b" %d" % part.lines
    tail = b" " + nstring(part.md5) + _common_extensions(part) if extensions else b""
    return b"(%b%b)" % (fields, tail)


def _common_extensions(part: Part) -> bytes:
    """Disposition, language and location, which every kind of part may have."""
    disposition = NIL
    if part.disposition is not None:
        disposition = b"(%b %b)" % (string(part.disposition[0]), _parameters(part.disposition[1]))
    if len(part.language) > 1:
        language = b"(%b)" % b" ".join(map(string, part.language))
    else:
        language = string(part.language[0]) if part.language else NIL
    return b" %b %b %b" % (disposition, language, nstring(part.location))


def _parameters(parameters: Parameters) -> bytes:
    if not parameters:
        return NIL
    return b"(%b)" % b" ".join([string(octets) for pair in parameters for octets in pair])


def render_structures(data: bytes, root: Part | None = None) -> bytes:
    """What is asked for in one breath: ENVELOPE and BODYSTRUCTURE, to be taken apart by `split_structures`.
    `root` is the structure of the message `data`, when it is known already."""
    root = root or scan(data)
    envelope = render_envelope(data[: root.header_end])
    return b"%d %b%b" % (len(envelope), envelope, render_body(data, root, True))


def split_structures(rendered: bytes) -> tuple[bytes, bytes]:
    """ENVELOPE and BODYSTRUCTURE."""
    length, _, both = rendered.partition(b" ")
    end = int(length)
    return both[:end], both[end:]


def render_basic_body(data: bytes) -> bytes:
    """BODY of a message."""
    return render_body(data, scan(data), False)
