"""Messages made fit for a server that takes 7 bits only (RFC 6152 §3, RFC 2045 §6, RFC 3030 §3).

Each leaf part that holds more than short lines of ASCII gets a transfer encoding: quoted-printable where it
is text that stays readable so, base64 otherwise. The tree of parts stays as it is, and decoding gives the
same octets. What no reader of MIME sees, the text around the parts of a multipart, loses its non-ASCII
characters.

What must not be changed is refused: what is inside of a signed or encrypted multipart (RFC 1847), header
fields with raw 8-bit octets, and what the limits of the scan leave unread. A DKIM signature of the body
does not survive; whoever can make a new one has to.

Left out on purpose: changing header fields into encoded-words, since what the writer meant cannot be known.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator

from twisted_mta.message.headers import fields, first_value
from twisted_mta.message.mime import MAX_LINE, Part, scan
from twisted_mta.message.parameters import parse_content_type
from twisted_mta.message.transfer_encoding import decode_transfer

_IDENTITY = frozenset({b"7bit", b"8bit", b"binary", b""})
_ENCODED = frozenset({b"base64", b"quoted-printable"})
_MORE_THAN_SEVEN = frozenset({b"8bit", b"binary"})
_LONG = re.compile(rb"\n[^\r\n]{%d}" % (MAX_LINE + 1))
_LONE = re.compile(rb"\r(?!\n)|(?<!\r)\n")
_PLAIN = bytes(octet for octet in range(0x20, 0x7F) if octet != 0x3D) + b"\t\r\n"
_TO_ASCII = bytes(octet if 0 < octet < 0x80 else ord("?") for octet in range(256))
_BASE64_LINE = 57  # octets that make 76 digits
_FOLD = re.compile(rb"[^\r\n]{%d}(?=[^\r\n])" % MAX_LINE)


class NotConvertible(ValueError):
    """The message cannot become 7-bit MIME. `status`: an enhanced status code (RFC 3463 §3.7); the text
    says why."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


def is_seven_bit(data: bytes) -> bool:
    """Lines of at most 998 octets of ASCII without NUL, all ending in CRLF (RFC 2045 §2.7)."""
    if not data.isascii() or b"\0" in data or _has_lone(data) or _LONG.search(data):
        return False
    return len(data) <= MAX_LINE or b"\n" in data[: MAX_LINE + 2]


def to_seven_bit(data: bytes) -> bytes:
    """The message as 7-bit MIME; itself when it is that already. Takes time, and three times the memory.
    Raises NotConvertible."""
    if is_seven_bit(data):
        return data
    return b"".join(_Conversion(data).pieces())


class _Conversion:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._done = 0

    def pieces(self) -> Iterator[bytes]:
        for part, is_message, sealed in _in_order(scan(self._data)):
            # Those inside of a message/global that was encoded as a whole have gone with it.
            if part.header_start < self._done or not self._needs_change(part, sealed):
                continue
            if sealed:
                raise NotConvertible("5.6.2", "8-bit content that is signed or encrypted must not be changed")
            yield from self._convert(part, is_message)
        yield self._around(len(self._data))

    def _needs_change(self, part: Part, sealed: bool) -> bool:
        """Whether it is not 7-bit, or says so. What is sealed may say what it likes."""
        if part.encoding in _MORE_THAN_SEVEN and not sealed:
            return True
        by_parts = _has_parts(part) and not _is_global(part)
        end = part.header_end if by_parts else part.body_end
        return not is_seven_bit(self._data[part.header_start : end])

    def _convert(self, part: Part, is_message: bool) -> Iterator[bytes]:
        header = self._data[part.header_start : part.header_end]
        if not header.isascii() or b"\0" in header:
            raise NotConvertible("5.6.3", "8-bit characters in a header field")
        yield self._around(part.header_start)
        self._done = part.header_end
        if _has_parts(part) and (not _is_global(part) or self._is_plain(part)):
            yield _declared(header, b"7bit") if part.encoding in _MORE_THAN_SEVEN else header
        else:
            yield from self._encode(part, header, is_message)

    def _is_plain(self, part: Part) -> bool:
        return is_seven_bit(self._data[part.header_end : part.body_end])

    def _encode(self, part: Part, header: bytes, is_message: bool) -> Iterator[bytes]:
        """A leaf with its new encoding."""
        body = self._data[part.header_end : part.body_end]
        self._done = part.body_end
        if is_seven_bit(body):
            yield _declared(header, b"7bit") if part.encoding in _MORE_THAN_SEVEN else header
            yield body
            return
        _check_encodable(part, header)
        octets = decode_transfer(body, part.encoding)
        assert octets is not None  # the encoding is known
        encoding = _best_encoding(part, octets) if part.encoding in _IDENTITY else part.encoding
        if encoding == b"quoted-printable" and _has_lone(octets):
            encoding = b"base64"
        yield _declared(header, encoding, _missing(part, header, octets) if is_message else b"")
        if encoding == b"quoted-printable":
            yield _quoted_printable(octets)
        else:  # the last line end belongs to the delimiter that follows (RFC 2046 §5.1.1)
            digits = _base64(octets)
            yield digits if part.body_end == len(self._data) else digits.removesuffix(b"\r\n")

    def _around(self, end: int) -> bytes:
        """What stands before `end` and belongs to no part: delimiters, preambles, epilogues."""
        text = self._data[self._done : end]
        self._done = end
        if is_seven_bit(text):
            return text
        return _FOLD.sub(rb"\g<0>\r\n", _LONE.sub(b"\r\n", text.translate(_TO_ASCII)))


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


def _missing(part: Part, header: bytes, body: bytes) -> bytes:
    """The fields that make a message of before MIME, with 8-bit text, one of MIME (RFC 1428 §3)."""
    missing = b"" if first_value(header, b"mime-version") else b"MIME-Version: 1.0\r\n"
    if b"content-type" not in part.fields.first:
        charset = b"utf-8" if _is_utf8(body) else b"unknown-8bit"
        missing += b"Content-Type: text/plain; charset=%b\r\n" % charset
    return missing


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def _best_encoding(part: Part, body: bytes) -> bytes:
    if part.type not in (b"text", b"message") or b"\0" in body or _has_lone(body):
        return b"base64"
    special = len(body.translate(None, _PLAIN))
    return b"quoted-printable" if special * 6 < len(body) else b"base64"


def _declared(header: bytes, encoding: bytes, more: bytes = b"") -> bytes:
    """A header block that names this encoding, with its empty line; `more` are fields to add."""
    kept = [
        header[field.start : field.end]
        for field in fields(header)
        if field.name.lower() != b"content-transfer-encoding"
    ]
    if kept and not kept[-1].endswith(b"\n"):
        kept.append(b"\r\n")
    return b"".join((*kept, more, b"Content-Transfer-Encoding: ", encoding, b"\r\n\r\n"))


def _base64(octets: bytes) -> bytes:
    digits = [
        binascii.b2a_base64(octets[start : start + _BASE64_LINE], newline=False)
        for start in range(0, len(octets), _BASE64_LINE)
    ]
    return b"".join(line + b"\r\n" for line in digits)


def _quoted_printable(octets: bytes) -> bytes:
    encoded = binascii.b2a_qp(octets)
    return encoded if b"\r\n" in octets else encoded.replace(b"\n", b"\r\n")
