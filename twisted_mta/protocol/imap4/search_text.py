"""The search keys that need a look at the message itself, as one test for its octets (RFC 3501 §6.4.4).

Field values are compared after RFC 2047 decoding, bodies after content-transfer and charset decoding,
both without regard to case. Only text parts and the headers of enclosed messages are searched in bodies.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable, Iterator
from functools import cached_property

from twisted_mta.message.charset import decode_text
from twisted_mta.message.date import parse_calendar_date
from twisted_mta.message.encoded_word import decode
from twisted_mta.message.headers import fields, first_value, header_end, values
from twisted_mta.message.mime import Part, scan
from twisted_mta.message.parameters import parameter
from twisted_mta.protocol.imap4.search_keys import (
    AllText,
    And,
    BodyText,
    Content,
    Header,
    Not,
    Or,
    SentDate,
)

_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")

ContentKey = Content | Not | And | Or  # a tree with nothing but content keys at its leaves


class _Searched:
    """One message under search; nothing is decoded before a key asks for it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @cached_property
    def block(self) -> bytes:
        end = header_end(self._data)
        return self._data if end < 0 else self._data[:end]

    @cached_property
    def header(self) -> str:
        return _decoded_header(self.block)

    @cached_property
    def texts(self) -> list[str]:
        """The decoded text of the body, one string a part."""
        texts: list[str] = []
        waiting = [scan(self._data)]
        while waiting:
            part = waiting.pop()
            waiting.extend(part.children)
            if part.message is not None:
                inner = part.message
                texts.append(_decoded_header(self._data[inner.header_start : inner.header_end]))
                waiting.append(inner)
            elif part.type == b"text":
                texts.append(_decoded_text(self._data, part))
        return texts


def _decoded_header(block: bytes) -> str:
    lines: Iterator[str] = (
        f"{field.name.decode('latin-1')}: {decode(field.value)}" for field in fields(block)
    )
    return "\n".join(lines).casefold()


def _decoded_text(data: bytes, part: Part) -> str:
    octets = data[part.header_end : part.body_end]
    if part.encoding == b"quoted-printable":
        octets = binascii.a2b_qp(octets)
    elif part.encoding == b"base64":
        octets = _decode_base64(octets)
    charset = parameter(part.params, b"charset") or b"us-ascii"
    return decode_text(octets, charset.decode("latin-1")).casefold()


def _decode_base64(octets: bytes) -> bytes:
    digits = _NOT_BASE64.sub(b"", octets)
    digits = digits[: len(digits) - (len(digits) % 4 == 1)]
    return binascii.a2b_base64(digits + b"=" * (-len(digits) % 4))


_Test = Callable[[_Searched], bool]


def content_test(key: ContentKey) -> Callable[[bytes], bool]:
    """A test for a message's octets (CRLF). It does not raise, and may run in any thread."""
    test = _compile(key)
    return lambda data: test(_Searched(data))


def _compile(key: ContentKey) -> _Test:
    match key:
        case Header(name, text):
            return _header_test(name.encode("latin-1"), text.casefold())
        case BodyText(text):
            wanted = text.casefold()
            if not wanted:  # which is in every body, also in one without text
                return lambda message: True
            return lambda message: any(wanted in part for part in message.texts)
        case AllText(text):
            wanted = text.casefold()
            return lambda message: wanted in message.header or any(wanted in part for part in message.texts)
        case SentDate(first, end):
            return _sent_test(first, end)
        case Not(inner):
            test = _compile(inner)  # type: ignore[arg-type]
            return lambda message: not test(message)
        case And(keys):
            tests = [_compile(each) for each in keys]  # type: ignore[arg-type]
            return lambda message: all(test(message) for test in tests)
        case Or(first_key, second_key):
            one, other = _compile(first_key), _compile(second_key)  # type: ignore[arg-type]
            return lambda message: one(message) or other(message)


def _header_test(name: bytes, wanted: str) -> _Test:
    def test(message: _Searched) -> bool:
        return any(wanted in decode(value).casefold() for value in values(message.block, name))

    return test


def _sent_test(first: int, end: int) -> _Test:
    def test(message: _Searched) -> bool:
        value = first_value(message.block, b"date")
        day = parse_calendar_date(value) if value else None
        return day is not None and first <= day.toordinal() < end

    return test
