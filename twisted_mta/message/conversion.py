"""Messages made fit for those who take 7 bits only, or 8 but no binary (RFC 6152 §3, RFC 3030 §3, RFC 2045
§2, §6).

Each leaf part that holds more than that gets a transfer encoding: quoted-printable where it is text that
stays readable so, base64 otherwise. The tree of parts stays as it is, and decoding gives the same octets.
What no reader of MIME sees, the text around the parts of a multipart, loses the characters that do not fit.

What must not be changed is refused: what is inside of a signed or encrypted multipart (RFC 1847), header
fields with octets that do not fit, and what the limits of the scan leave unread. A DKIM signature of the body
does not survive; whoever can make a new one has to.

A large message takes its time in small steps, so that other threads have their turn: it is looked at and
encoded some hundred lines at a time.

Left out on purpose: changing header fields into encoded-words, since what the writer meant cannot be known.
"""

from __future__ import annotations

import binascii
import enum
import re
from collections.abc import Iterator

from twisted_mta.message.body_encoding import base64_lines, naming_encoding
from twisted_mta.message.charset import is_utf8
from twisted_mta.message.headers import first_value
from twisted_mta.message.mime import MAX_LINE, Part, parts, scan
from twisted_mta.message.parameters import parse_content_type
from twisted_mta.message.transfer_encoding import decode_transfer

_IDENTITY = frozenset({b"7bit", b"8bit", b"binary", b""})
_TEXTS = frozenset({b"text", b"message"})  # those that may stay readable
_ENCODED = frozenset({b"base64", b"quoted-printable"})
_LONG = re.compile(rb"\n[^\r\n]{%d}" % (MAX_LINE + 1))
_LONE_CR, _LONE_LF = re.compile(rb"\r(?!\n)"), re.compile(rb"(?<!\r)\n")
_PLAIN = bytes(octet for octet in range(0x20, 0x7F) if octet != 0x3D) + b"\t\r\n"
_SLICE = 64 * 1024  # octets that are looked at in one step, at most
_FOLD = re.compile(rb"[^\r\n]{%d}(?=[^\r\n])" % (MAX_LINE - 1))


class NotConvertible(ValueError):
    """The message cannot become 7-bit MIME. `status`: an enhanced status code (RFC 3463 §3.7); the text
    says why."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


class Form(enum.Enum):
    """What a message is to be, by the name of the encoding that says so: lines of at most 998 octets without
    NUL that end in CRLF, of ASCII or of any octets (RFC 2045 §2.7, §2.8)."""

    SEVEN_BIT = b"7bit"
    EIGHT_BIT = b"8bit"

    def holds(self, data: bytes, start: int = 0, end: int | None = None) -> bool:
        """Whether these octets have this form."""
        end = len(data) if end is None else end
        while start < end:
            line_end = data.rfind(b"\n", start, min(start + _SLICE, end)) + 1
            stop = line_end or min(start + _SLICE, end)
            if not line_end and stop - start > MAX_LINE + 1:
                return False
            piece = data[start:stop]
            if b"\0" in piece or _has_lone(piece) or _LONG.search(b"\n" + piece):
                return False
            if self is Form.SEVEN_BIT and not piece.isascii():
                return False
            start = stop
        return True


def to_seven_bit(data: bytes) -> bytes:
    """The message as 7-bit MIME; itself when it is that already. Takes time, and three times the memory.
    Raises NotConvertible."""
    pieces = conversion(data, Form.SEVEN_BIT)
    return data if pieces is None else b"".join(pieces)


def conversion(data: bytes, form: Form) -> Iterator[bytes] | None:
    """The octets of the message in that form, piece by piece, which may raise NotConvertible; None when it
    has it already. Takes time."""
    if form.holds(data) and not (form is Form.EIGHT_BIT and _says_binary(data)):
        return None
    return _Conversion(data, form).pieces()


def _says_binary(data: bytes) -> bool:
    return any(part.encoding == b"binary" for part in parts(scan(data)))


class _Conversion:
    def __init__(self, data: bytes, form: Form) -> None:
        self._data = data
        self._form = form
        self._beyond = _BEYOND[form]
        self._done = 0
        self._known_until = 0  # what has been looked at has the form up to here, from the part at hand on

    def pieces(self) -> Iterator[bytes]:
        for part, is_message, sealed in _in_order(scan(self._data)):
            # Those inside of a message/global that was encoded as a whole have gone with it.
            if part.header_start < self._done or not self._needs_change(part, sealed):
                continue
            if sealed:
                what = "8-bit" if self._form is Form.SEVEN_BIT else "Binary"
                raise NotConvertible(
                    "5.6.2", f"{what} content that is signed or encrypted must not be changed"
                )
            yield from self._convert(part, is_message)
        yield from self._around(len(self._data))

    def _needs_change(self, part: Part, sealed: bool) -> bool:
        """Whether it has another form, or says so. What is sealed may say what it likes."""
        if part.encoding in self._beyond and not sealed:
            return True
        by_parts = _has_parts(part) and not _is_global(part)
        end = part.header_end if by_parts else part.body_end
        if end <= self._known_until:  # inside of a message/global, of which there may be one in the other
            return False
        if not self._form.holds(self._data, part.header_start, end):
            return True
        self._known_until = end
        return False

    def _convert(self, part: Part, is_message: bool) -> Iterator[bytes]:
        header = self._data[part.header_start : part.header_end]
        if b"\0" in header:
            raise NotConvertible("5.6.3", "NUL in a header field")
        if self._form is Form.SEVEN_BIT and not header.isascii():
            raise NotConvertible("5.6.3", "8-bit characters in a header field")
        if _LONE_CR.search(header):  # to some readers a new field begins there
            raise NotConvertible("5.6.3", "A bare CR in a header field")
        header = _LONE_LF.sub(b"\r\n", header)
        yield from self._around(part.header_start)
        self._done = part.header_end
        if _has_parts(part) and (not _is_global(part) or self._is_plain(part)):
            yield self._relabelled(part, header)
        else:
            yield from self._encode(part, header, is_message)

    def _is_plain(self, part: Part) -> bool:
        return self._form.holds(self._data, part.header_end, part.body_end)

    def _relabelled(self, part: Part, header: bytes) -> bytes:
        return naming_encoding(header, self._form.value) if part.encoding in self._beyond else header

    def _encode(self, part: Part, header: bytes, is_message: bool) -> Iterator[bytes]:
        """A leaf with its new encoding."""
        self._done = part.body_end
        if self._is_plain(part):
            yield self._relabelled(part, header)
            yield self._data[part.header_end : part.body_end]
            return
        _check_encodable(part, header)
        ends_line = part.body_end == len(self._data)
        if part.encoding in _IDENTITY and part.type not in _TEXTS:  # as most that is large
            yield naming_encoding(header, b"base64", _missing(part, header) if is_message else b"")
            yield from base64_lines(self._data, part.header_end, part.body_end, ends_line=ends_line)
            return
        octets = decode_transfer(self._data[part.header_end : part.body_end], part.encoding)
        assert octets is not None  # the encoding is known
        encoding = _best_encoding(octets) if part.encoding in _IDENTITY else part.encoding
        if encoding == b"quoted-printable" and (_has_lone(octets) or _is_endless(octets)):
            encoding = b"base64"
        yield naming_encoding(header, encoding, _missing(part, header, octets) if is_message else b"")
        if encoding == b"quoted-printable":
            yield from _quoted_printable(octets)
        else:  # the last line end belongs to the delimiter that follows (RFC 2046 §5.1.1)
            yield from base64_lines(octets, 0, len(octets), ends_line=ends_line)

    def _around(self, end: int) -> Iterator[bytes]:
        """What stands before `end` and belongs to no part: delimiters, preambles, epilogues. No line of it
        becomes a delimiter that was none: only LF ends a line (see `mime.scan`), and what is folded goes on
        behind a blank."""
        start, self._done = self._done, end
        if self._form.holds(self._data, start, end):
            yield self._data[start:end]
            return
        while start < end:
            stop = self._data.rfind(b"\n", start, min(start + _SLICE, end)) + 1
            whole = stop > 0 or end - start <= _SLICE
            stop = (stop or end) if whole else start + _SLICE
            text = self._data[start:stop].translate(_TO_FIT[self._form])
            # White space may stand behind a delimiter, and CR counts as some.
            text = _LONE_LF.sub(b"\r\n", _LONE_CR.sub(b" ", text))
            yield _FOLD.sub(rb"\g<0>\r\n ", text)
            if not whole:
                yield b"\r\n "
            start = stop


_BEYOND = {  # the encodings that do not say so
    Form.SEVEN_BIT: frozenset({b"8bit", b"binary"}),
    Form.EIGHT_BIT: frozenset({b"binary"}),
}
_TO_FIT = {
    Form.SEVEN_BIT: bytes(octet if 0 < octet < 0x80 else ord("?") for octet in range(256)),
    Form.EIGHT_BIT: bytes(octet or ord("?") for octet in range(256)),
}


def _in_order(root: Part) -> Iterator[tuple[Part, bool, bool]]:
    """All parts in the order of the message. Of each, whether it is a message and not a body part, and
    whether it is inside of something signed or encrypted."""
    left = [(root, True, False)]
    while left:
        part, is_message, sealed = left.pop()
        yield part, is_message, sealed
        sealed = sealed or (part.is_multipart and part.subtype in (b"signed", b"encrypted"))
        left += [(child, False, sealed) for child in reversed(part.children)]
        if part.message is not None:
            left.append((part.message, True, sealed))


def _has_parts(part: Part) -> bool:
    return part.is_multipart or part.message is not None


def _is_global(part: Part) -> bool:
    """A message with UTF-8 in its header fields, which may be encoded, but only as a whole (RFC 6532
    §3.7)."""
    return part.message is not None and part.subtype == b"global"


def _has_lone(data: bytes) -> bool:
    """CR or LF that is not part of a CRLF."""
    return not data.count(b"\r\n") == data.count(b"\r") == data.count(b"\n")


def _check_encodable(part: Part, header: bytes) -> None:
    declared = parse_content_type(part.fields.first.get(b"content-type", b"")) or (b"", b"", ())
    if not header or declared[0] == b"multipart" or (declared[0] == b"message" and declared[1] == b"rfc822"):
        raise NotConvertible("5.6.3", "8-bit content in a MIME structure that is broken or too large")
    if part.type == b"message" and part.subtype in (b"partial", b"external-body"):
        raise NotConvertible("5.6.3", "8-bit content where MIME allows no encoding")
    if part.encoding not in _IDENTITY | _ENCODED:
        raise NotConvertible("5.6.3", "8-bit content in an encoding that is not known here")


def _missing(part: Part, header: bytes, body: bytes = b"") -> bytes:
    """The fields that make a message of before MIME, with 8-bit text, one of MIME (RFC 1428 §3)."""
    missing = b"" if first_value(header, b"mime-version") else b"MIME-Version: 1.0\r\n"
    if b"content-type" not in part.fields.first:
        charset = b"utf-8" if is_utf8(body) else b"unknown-8bit"
        missing += b"Content-Type: text/plain; charset=%b\r\n" % charset
    return missing


def _best_encoding(text: bytes) -> bytes:
    if b"\0" in text or _has_lone(text):
        return b"base64"
    special = len(text.translate(None, _PLAIN))
    return b"quoted-printable" if special * 6 < len(text) else b"base64"


def _is_endless(octets: bytes) -> bool:
    """Is there a line that is too long for one step?"""
    start = 0
    while len(octets) - start > _SLICE:
        start = octets.rfind(b"\r\n", start, start + _SLICE) + 2
        if start < 2:
            return True
    return False


def _quoted_printable(octets: bytes) -> Iterator[bytes]:
    """In steps that end where a line does."""
    start = 0
    while start < len(octets):
        rest = len(octets) - start <= _SLICE
        stop = len(octets) if rest else octets.rfind(b"\r\n", start, start + _SLICE) + 2
        encoded = binascii.b2a_qp(octets[start:stop])
        yield encoded if b"\r\n" in octets[start:stop] else encoded.replace(b"\n", b"\r\n")
        start = stop
