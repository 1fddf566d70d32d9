"""The spelling of IMAP responses (RFC 3501 §7, §9): strings, names, flags, dates, status lines.

Everything that goes to the client is made of octets here; nothing here knows what it means.
"""

from __future__ import annotations

import re
from functools import lru_cache

from twisted_mta.message.date import format_internal_date
from twisted_mta.protocol.imap4.mailbox_name import encode_name

NIL = b"NIL"

_PLAIN = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x21\x23-\x5b\x5d-\x7f]*")  # TEXT-CHAR without quoted-specials
_QUOTABLE = re.compile(rb"[\x01-\x09\x0b\x0c\x0e-\x7f]*")  # TEXT-CHAR
_SPECIAL = re.compile(rb'["\\]')
_ATOM = re.compile(rb"[!#$&'+-\[^-z|}~\]]+")  # ASTRING-CHAR
_MAX_QUOTED = 1000  # octets; longer strings go as literals, which every client reads without a line limit
_LINE_TEXT = re.compile(r"[^\x20-\x7e]")


def string(octets: bytes) -> bytes:
    """`string`: quoted where that can be, else a literal. NUL, which neither may hold, is dropped."""
    if len(octets) <= _MAX_QUOTED:
        if _PLAIN.fullmatch(octets):
            return b'"%b"' % octets
        if _QUOTABLE.fullmatch(octets):
            return b'"%b"' % _SPECIAL.sub(rb"\\\g<0>", octets)
    return literal(octets.replace(b"\0", b""))


def nstring(octets: bytes | None) -> bytes:
    """`nstring`: NIL for None."""
    return NIL if octets is None else string(octets)


def literal(octets: bytes) -> bytes:
    """`literal`."""
    return b"{%d}\r\n%b" % (len(octets), octets)


def astring(octets: bytes) -> bytes:
    """`astring`: bare where it can be."""
    return octets if _ATOM.fullmatch(octets) else string(octets)


@lru_cache(maxsize=4096)
def mailbox(name: str, *, utf8: bool = False) -> bytes:
    """A mailbox name, quoted where it must be: modified UTF-7, or UTF-8 (RFC 6855 §3, RFC 9051 §5.1)."""
    if not utf8:
        return astring(encode_name(name))
    octets = name.encode()
    return octets if _ATOM.fullmatch(octets) else b'"%b"' % _SPECIAL.sub(rb"\\\g<0>", octets)


@lru_cache(maxsize=4096)
def flags(values: frozenset[str], recent: bool = False) -> bytes:
    """A parenthesized flag list: system flags, then keywords, each in alphabetical order."""
    words = sorted({*values, "\\Recent"} if recent else values, key=lambda flag: (flag[0] != "\\", flag))
    return f"({' '.join(words)})".encode("ascii")


def date_time(epoch: float) -> bytes:
    """`date-time`, quoted, in UTC; `epoch` in seconds."""
    return f'"{format_internal_date(epoch)}"'.encode("ascii")


def status_line(tag: str, condition: str, text: str, code: str = "") -> bytes:
    """`tag OK [CODE] text` CRLF; the tag is "*" for an untagged one. The text is made printable."""
    bracket = f"[{code}] " if code else ""
    return f"{tag} {condition} {bracket}{_LINE_TEXT.sub('?', text)}\r\n".encode("ascii", "replace")
