"""ENVELOPE, rendered from the header block (RFC 3501 §7.4.2, RFC 9051 §7.5.2).

Values go out as they were sent: encoded words stay encoded, 8-bit octets make a literal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

from twisted_mta.message.address_list import Allowance, Mailbox, parse_addresses
from twisted_mta.message.header_block import SHORT, HeaderBlock, parse_short_addresses
from twisted_mta.protocol.imap4.responses import NIL, nstring

_PLAIN = re.compile(rb"[\x20\x21\x23-\x5b\x5d-\x7e]{0,500}")  # what needs quotes around it and no more


def render_envelope(fields: HeaderBlock, allowance: Allowance | None = None) -> bytes:
    """The parenthesized list for a header block. Of several fields of one name the first counts; those with
    addresses are joined, so that no recipient is hidden. allowance: what the addresses may cost that this
    header block has in common with others."""
    first = fields.first
    sender = _addresses(fields, b"from", NIL, allowance)
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        nstring(first.get(b"date")),
        nstring(first.get(b"subject")),
        sender,
        # Absent or empty, these two are the same as From.
        _addresses(fields, b"sender", sender, allowance),
        _addresses(fields, b"reply-to", sender, allowance),
        _addresses(fields, b"to", NIL, allowance),
        _addresses(fields, b"cc", NIL, allowance),
        _addresses(fields, b"bcc", NIL, allowance),
        nstring(first.get(b"in-reply-to")),
        nstring(first.get(b"message-id")),
    )


def _addresses(fields: HeaderBlock, name: bytes, default: bytes, allowance: Allowance | None) -> bytes:
    if name not in fields.first:
        return default
    value = fields.joined[name]
    if len(value) > SHORT:
        entries = fields.addresses(name) if allowance is None else parse_addresses(value, allowance)
        return _render(entries) or default
    if allowance is not None:
        if allowance.is_spent:
            return default
        entries, tokens = parse_short_addresses(value)
        allowance.spend(tokens, len(entries))
    return _render_short(value) or default


@lru_cache(maxsize=2048)
def _render_short(value: bytes) -> bytes:
    return _render(parse_short_addresses(value)[0])


def _render(entries: Sequence[Mailbox]) -> bytes:
    """The list of the entries; b"" without any."""
    return b"(%b)" % b"".join(map(_address, entries)) if entries else b""


def _address(entry: Mailbox) -> bytes:
    name, route, local, domain = entry
    if route is None and local is not None and domain is not None:
        # Looked at together, which is a third of the work: nearly all are plain.
        if name is None:
            if _PLAIN.fullmatch(local + domain):
                return b'(NIL NIL "%b" "%b")' % (local, domain)
        elif _PLAIN.fullmatch(name + local + domain):
            return b'("%b" NIL "%b" "%b")' % (name, local, domain)
    return b"(%b %b %b %b)" % (nstring(name), nstring(route), nstring(local), nstring(domain))
