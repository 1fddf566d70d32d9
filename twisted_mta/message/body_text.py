"""The text of a message, decoded: what a search looks through, and the first words for a list of messages.

Transfer encodings, charsets and HTML are undone (RFC 2045, RFC 2046 §4.1). All text parts count, in the order
of the message, and so do the header fields of enclosed messages and the names of attached files. Nothing
here raises. Only the first MAX_TEXT octets of a message's texts are looked at, and as much of its header
block, so what is kept of a message for searching is bounded. Whoever searches the message itself uses the
same functions, and finds the same.

Left out on purpose: text in other than text parts (PDF, office documents), encrypted parts.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from twisted_mta.message.charset import codec, decode_text
from twisted_mta.message.encoded_word import decode
from twisted_mta.message.folding import fold
from twisted_mta.message.headers import fields
from twisted_mta.message.html_text import declared_charset, html_text, without_quotations
from twisted_mta.message.mime import Part, parts
from twisted_mta.message.parameters import parameter
from twisted_mta.message.transfer_encoding import decode_transfer

MAX_TEXT = 1024 * 1024  # octets of decoded text, or of a header block
MAX_MARKUP = 512 * 1024  # octets of one HTML part
PREVIEW = 200  # characters, RFC 8970 §3.1

_ENCODED_LENGTH = 3  # octets of quoted-printable for one octet
_PREVIEW_REACH = 8 * 1024  # octets of a part that its preview is made from
_PREVIEW_MARKUP = 128 * 1024  # the same for HTML, which often begins with its style sheets
_PREVIEW_PARTS = 8  # parts that are tried until one has text
# The line, or the two, before quoted ones.
_ATTRIBUTION = re.compile(
    r"^(?:On [^\n]{1,200}\n)?[^\n]{1,200}:[ \t\r]*+\n(?:[ \t\r]*+\n)*+(?=>)", re.MULTILINE
)
_SIGNATURE = re.compile(r"^-- \r?$", re.MULTILINE)
_QUOTED = re.compile(r"^[ \t]*>[^\n]*$", re.MULTILINE)
_PREVIEW_WORDS = 2 * PREVIEW
# Drawn lines, control characters, invisible ones, which newsletters begin with by the dozen, and surrogates.
_NO_WORDS = re.compile(
    "[-=_*~#]{4,}|[\x00-\x1f\x7f-\x9f\u00ad\u034f\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\ud800-\udfff]+"
)


def header_texts(data: bytes, start: int = 0, end: int | None = None) -> list[tuple[str, str]]:
    """The fields of the header block at data[start:end]: names in lower case, values decoded, on one line."""
    stop = len(data) if end is None else end
    block = fields(data, start, min(stop, start + MAX_TEXT))
    return [(field.name.lower().decode("latin-1"), decode(field.value)) for field in block]


def body_texts(data: bytes, root: Part) -> list[str]:
    """The texts of a message (CRLF) with the structure `root`: one for each text part, for each name of an
    attached file and for the header block of each enclosed message."""
    texts: list[str] = []
    room = MAX_TEXT
    for part in parts(root):
        if room <= 0:
            break
        name = file_name(part)
        if name:
            texts.append(name)
        if part.message is not None:
            inner = part.message
            room -= inner.header_end - inner.header_start
            header = header_texts(data, inner.header_start, inner.header_end)
            texts.append("\n".join(f"{name}: {value}" for name, value in header))
        elif part.type == b"text":
            html = part.subtype == b"html"
            octets, cut = _octets(data, part, min(room, MAX_MARKUP) if html else room)
            room -= len(octets)
            text = _decoded(part, octets, cut)
            texts.append(html_text(text) if html else text)
    return texts


def folded_header(data: bytes, end: int) -> list[str]:
    """The lines that a search in the header of a message looks through: "name: value", folded. `end` is where
    the header block ends."""
    return folded_lines(header_texts(data, 0, end))


def folded_lines(header: list[tuple[str, str]]) -> list[str]:
    """The same for what `header_texts` has given."""
    return [f"{name}: {fold(value)}" for name, value in header]


def folded_body(data: bytes, root: Part) -> list[str]:
    """The texts that a search in the body of a message looks through, folded."""
    return [fold(text) for text in body_texts(data, root)]


def file_name(part: Part) -> str:
    """The name under which a part is to be saved, decoded; "" for none (RFC 2183 §2.3, RFC 2231 §4)."""
    candidates = [(part.disposition[1], b"filename")] if part.disposition else []
    for parameters, wanted in (*candidates, (part.params, b"name")):
        value = parameter(parameters, wanted)
        if value:
            extended = dict(parameters).get(wanted + b"*", b"")
            charset, mark, _ = extended.partition(b"'")
            return decode_text(value, charset.decode("latin-1")) if mark else decode(value)
    return ""


def _octets(data: bytes, part: Part, limit: int) -> tuple[bytes, bool]:
    """The first octets of a part's body without their transfer encoding; whether there are more."""
    reach = part.header_end + _ENCODED_LENGTH * limit
    raw = data[part.header_end : min(part.body_end, reach)]
    octets = decode_transfer(raw, part.encoding)
    if octets is None:  # nobody knows what it is: take it as it stands
        octets = raw
    return octets[:limit], reach < part.body_end or len(octets) > limit


def _decoded(part: Part, octets: bytes, cut: bool) -> str:
    """Octets of a text part as text. `cut`: the last character may be there in part only."""
    charset = parameter(part.params, b"charset")
    if charset in (None, b"us-ascii") and part.subtype == b"html":
        charset = declared_charset(octets) or charset
    name = (charset or b"us-ascii").decode("latin-1")
    if cut:
        for known in (codec(name), "utf_8"):
            try:
                if known is not None:
                    return codecs.getincrementaldecoder(known)().decode(octets)
            except ValueError:  # UnicodeError is one
                continue
    return decode_text(octets, name)


def preview(data: bytes, root: Part) -> str:
    """The first words of a message (RFC 8970 §3.1): at most 200 characters on one line, "" without any text.

    Quoted lines, the line that announces them and the signature are left out, unless there is nothing else.
    Only the beginning of a part is looked at. Attachments and enclosed messages are not its words."""
    quoted = ""
    for _, part in zip(range(_PREVIEW_PARTS), _shown(root), strict=False):
        if part.subtype == b"html":
            octets, cut = _octets(data, part, _PREVIEW_MARKUP)
            markup = _decoded(part, octets, cut)
            own, all_of_it = html_text(without_quotations(markup)), html_text(markup)
        else:
            octets, cut = _octets(data, part, _PREVIEW_REACH)
            all_of_it = _decoded(part, octets, cut)
            own = _QUOTED.sub("", _ATTRIBUTION.sub("", _SIGNATURE.split(all_of_it, maxsplit=1)[0]))
        words = _one_line(own)
        if words:
            return words
        quoted = quoted or _one_line(all_of_it)
    return quoted


def _shown(root: Part) -> Iterator[Part]:
    """The text parts that are shown as the message, in order."""
    waiting = [root]
    while waiting:
        part = waiting.pop()
        attached = part.disposition is not None and part.disposition[0] == b"attachment"
        if part.type == b"text" and part.subtype != b"calendar" and not attached:
            yield part
        waiting.extend(reversed(part.children))


def _one_line(text: str) -> str:
    """The beginning of a text on one line, without drawn lines and what cannot be shown."""
    start = " ".join(text.split(maxsplit=_PREVIEW_WORDS)[:_PREVIEW_WORDS])[: 2 * _PREVIEW_REACH]
    return " ".join(_NO_WORDS.sub(" ", start).split())[:PREVIEW].rstrip()
