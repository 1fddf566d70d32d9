"""What the header block of a message or body part says about its content (RFC 2045, RFC 2183, RFC 3282,
RFC 2557). Nothing raises.

A message in base64 or quoted-printable, which RFC 2046 §5.2.1 forbids and RFC 6532 §3.5 allows, counts as
application/octet-stream: what is inside cannot be told in offsets.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from twisted_mta.message.header_block import HeaderBlock
from twisted_mta.message.headers import without_comments
from twisted_mta.message.parameters import (
    MAX_VALUE,
    Parameters,
    parse_content_type,
    parse_disposition,
    parse_token,
)

ContentType = tuple[bytes, bytes, Parameters]  # type and subtype in lower case

TEXT: ContentType = (b"text", b"plain", ((b"charset", b"us-ascii"),))
MESSAGE: ContentType = (b"message", b"rfc822", ())
OPAQUE: ContentType = (b"application", b"octet-stream", ())

_SHORT = 256  # octets of a header block that is remembered
_LANGUAGE = re.compile(rb"[^\s,;]++")


class PartHeader(NamedTuple):
    """type, subtype, encoding and names of parameters are in lower case; all else is as it was sent, on one
    line. A missing Content-Type leaves the default of the place (RFC 2045 §5.2, RFC 2046 §5.1.5)."""

    fields: HeaderBlock
    type: bytes
    subtype: bytes
    params: Parameters
    encoding: bytes
    id: bytes | None
    description: bytes | None
    md5: bytes | None
    disposition: tuple[bytes, Parameters] | None
    language: tuple[bytes, ...]
    location: bytes | None


def holds_message(kind: bytes, subtype: bytes) -> bool:
    """True for message/rfc822 and message/global (RFC 6532 §3.7): the body is a message."""
    return kind == b"message" and (subtype == b"rfc822" or subtype == b"global")


def read_part_header(block: bytes, default: ContentType) -> PartHeader:
    """What a header block says. `default` is the type where it names none."""
    return _read_short(block, default) if len(block) <= _SHORT else _read(block, default)


@lru_cache(maxsize=512)
def _read_short(block: bytes, default: ContentType) -> PartHeader:
    """Nearly all body parts begin with one of a few header blocks."""
    return _read(block, default)


def _read(block: bytes, default: ContentType) -> PartHeader:
    fields = HeaderBlock(block)
    first = fields.first
    value = first.get(b"content-type")
    # A field that cannot be understood counts as text/plain (RFC 2045 §5.2).
    kind, subtype, params = default if value is None else parse_content_type(value) or TEXT
    encoding = b"7bit"
    if value := first.get(b"content-transfer-encoding"):
        encoding = parse_token(value) or encoding
    if encoding in (b"base64", b"quoted-printable") and holds_message(kind, subtype):
        kind, subtype, params = OPAQUE
    return PartHeader(
        fields,
        kind,
        subtype,
        params,
        encoding,
        first.get(b"content-id"),
        first.get(b"content-description"),
        first.get(b"content-md5"),
        parse_disposition(first[b"content-disposition"]) if b"content-disposition" in first else None,
        _languages(first[b"content-language"]) if b"content-language" in first else (),
        first.get(b"content-location"),
    )


def _languages(value: bytes) -> tuple[bytes, ...]:
    return tuple(_LANGUAGE.findall(without_comments(value[:MAX_VALUE])))
