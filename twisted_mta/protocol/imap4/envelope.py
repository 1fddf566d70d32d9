"""ENVELOPE, rendered from the header block (RFC 3501 §7.4.2).

Values go out as they were sent: encoded words stay encoded, 8-bit octets make a literal.
"""

from __future__ import annotations

import re

from twisted_mta.message.address_list import Mailbox, parse_addresses
from twisted_mta.message.headers import FOLDED, unfold
from twisted_mta.protocol.imap4.responses import NIL, nstring

_FIELD = re.compile(
    rb"\n(Date|Subject|From|Sender|Reply-To|To|Cc|Bcc|In-Reply-To|Message-ID)[ \t]*+:" + FOLDED, re.IGNORECASE
)


def render_envelope(block: bytes) -> bytes:
    """The parenthesized list for a header block. Of several fields of one name the first counts; those with
    addresses are joined, so that no recipient is hidden."""
    found: dict[bytes, bytes] = {}
    for match in _FIELD.finditer(b"\n" + block):
        name = match[1].lower()
        if name not in found:
            found[name] = unfold(match[2])
        elif name in _ADDRESS_FIELDS:
            found[name] += b", " + unfold(match[2])
    sender = _addresses(found.get(b"from"))
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        nstring(found.get(b"date")),
        nstring(found.get(b"subject")),
        sender,
        # Absent or empty, these two are the same as From (RFC 3501 §7.4.2).
        _addresses(found.get(b"sender"), sender),
        _addresses(found.get(b"reply-to"), sender),
        _addresses(found.get(b"to")),
        _addresses(found.get(b"cc")),
        _addresses(found.get(b"bcc")),
        nstring(found.get(b"in-reply-to")),
        nstring(found.get(b"message-id")),
    )


_ADDRESS_FIELDS = frozenset({b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc"})


def _addresses(value: bytes | None, default: bytes = NIL) -> bytes:
    entries = parse_addresses(value) if value else []
    return b"(%b)" % b"".join(map(_address, entries)) if entries else default


def _address(entry: Mailbox) -> bytes:
    return b"(%b %b %b %b)" % (
        nstring(entry.name),
        nstring(entry.route),
        nstring(entry.local),
        nstring(entry.domain),
    )
