"""Message identifiers in the normal form by which they are compared (RFC 5322 §3.6.4, RFC 5256 §3).

The normal form has no angle brackets, quoting, comments or white space, so that `<"a"@b>` and `<a@b>` are one
message. Case counts. What has no `@`, or more than MAX_ID octets, is no identifier.
"""

from __future__ import annotations

import re

from twisted_mta.message.charset import decode_text
from twisted_mta.message.headers import without_comments
from twisted_mta.message.parameters import unquote

MAX_ID = 998  # octets: what fits on a line
MAX_REFERENCES = 100
MAX_VALUE = 32 * 1024  # octets of a field that are read, the last ones

# One that is in its normal form already, or one with anything in it.
_ID = re.compile(
    rb"""<(?:([^\s<>"()\[\]\\@]++@[^\s<>"()\[\]\\]++)>"""
    rb"""|((?:[^<>"()\[\\]++|"(?:[^"\\]++|\\.)*+"|\[(?:[^\]\\]++|\\.)*+\]|[()\\])*+)>)""",
    re.DOTALL,
)
_PIECE = re.compile(rb'"((?:[^"\\]++|\\.)*+)"|([^"\s]++)', re.DOTALL)


def message_ids(value: bytes) -> list[str]:
    """The identifiers in a field value, in order; of a long one those that stand last, as they tell the
    nearest ancestors."""
    if not value:
        return []
    found = [plain or _normalise(other) for plain, other in _ID.findall(value[-MAX_VALUE:])]
    return [_text(octets) for octets in found if 0 < len(octets) <= MAX_ID][-MAX_REFERENCES:]


def first_message_id(value: bytes) -> str:
    """The first identifier in a field value, or ""."""
    for match in _ID.finditer(value, 0, MAX_VALUE):
        octets = match[1] or _normalise(match[2])
        if 0 < len(octets) <= MAX_ID:
            return _text(octets)
    return ""


def _text(octets: bytes) -> str:
    return octets.decode("ascii") if octets.isascii() else decode_text(octets, "utf-8")


def _normalise(inner: bytes) -> bytes:
    """What stands between angle brackets without quoting, comments and white space; b"" when it is none."""
    text = b"".join(
        unquote(quoted) if quoted else bare for quoted, bare in _PIECE.findall(without_comments(inner))
    )
    local, at, domain = text.rpartition(b"@")
    return text if at and local and domain else b""
