"""The part of a report that brings the message back, or its header (RFC 6522 §3, RFC 3461 §4.3 and §6.2,
RFC 6533 §4.2 and §4.3).

The whole message comes back when the sender asked for it, or left it to us and it is small and plain. A
message that no part of a report can hold as it is (NUL octets, lines without end) is represented by its
header, and a header of that kind is encoded.
"""

from __future__ import annotations

import re
from binascii import b2a_qp
from collections.abc import Iterator
from dataclasses import dataclass

from twisted_mta.message.charset import is_utf8
from twisted_mta.message.conversion import NotConvertible, to_seven_bit
from twisted_mta.message.dsn.values import Report
from twisted_mta.message.envelope import Return
from twisted_mta.message.headers import header_end

# Octets: a larger message is returned as its header alone, unless its sender wants more; and whatever its
# sender wants (RFC 3461 §6.2).
WHOLE_LIMIT, FULL_LIMIT = 64 * 1024, 256 * 1024
HEADER_LIMIT = 32 * 1024  # octets of a header that are returned
WHOLE = frozenset({"message/rfc822", "message/global"})  # the types of a part that is a message
_MAX_LINE = 998  # octets without CRLF, RFC 5322 §2.1.1
_UNFIT = re.compile(rb"\x00|\r(?!\n)|(?<!\r)\n|[^\r\n]{%d}" % (_MAX_LINE + 1))


@dataclass(frozen=True, slots=True)
class Part:
    """A body part. `encoding` is "7bit", "8bit" or "quoted-printable", and has been applied to `body`."""

    content_type: str
    encoding: str
    body: bytes


def most(ret: Return) -> int:
    """How many octets of a message may come back, by what its sender asked for."""
    return {"": WHOLE_LIMIT, "FULL": FULL_LIMIT, "HDRS": HEADER_LIMIT}[ret]


def original_part(report: Report) -> Part:
    """The third part."""
    whole, utf8 = report.original, not report.to.is_ascii
    if (
        report.ret != "HDRS"
        and report.complete
        and len(whole) <= most(report.ret)
        and not _UNFIT.search(whole)
    ):
        if whole.isascii():
            return Part("message/rfc822", "7bit", whole)
        if report.smtputf8 and not whole[: header_end(whole)].isascii():
            return _international("message/global", whole, eight_bit=utf8)
        if report.ret == "FULL" and _may_become_seven_bit(whole):
            return Part("message/rfc822", "8bit", whole)
    end = header_end(whole)
    block = whole[: end if 0 <= end <= HEADER_LIMIT else HEADER_LIMIT].rstrip(b"\r\n")
    if block.isascii() and not _UNFIT.search(block):
        return Part("text/rfc822-headers", "7bit", block)
    if report.smtputf8 and is_utf8(block):
        return _international("message/global-headers", block, eight_bit=utf8 and not _UNFIT.search(block))
    return Part("text/rfc822-headers", "quoted-printable", quoted_printable(block))


def _international(content_type: str, content: bytes, *, eight_bit: bool) -> Part:
    """RFC 6533 §4.5: encoded, unless the way back must be able to carry UTF-8 anyway."""
    if eight_bit:
        return Part(content_type, "8bit", content)
    return Part(content_type, "quoted-printable", quoted_printable(content))


def _may_become_seven_bit(content: bytes) -> bool:
    """A report that a host without 8BITMIME could not take would be lost, for nobody is told of that."""
    try:
        to_seven_bit(content)
    except NotConvertible:
        return False
    return True


def quoted_printable(content: bytes) -> bytes:
    """RFC 2045 §6.7; a bare CR or LF is octets like others."""
    return b"\r\n".join(_encoded_lines(content))


def _encoded_lines(content: bytes) -> Iterator[bytes]:
    for line in content.split(b"\r\n"):
        yield b2a_qp(line, quotetabs=False, istext=False).replace(b"=\n", b"=\r\n")
