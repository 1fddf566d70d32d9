"""The search keys that need a look at the message itself, as one test for its octets (RFC 9051 §6.4.4).

Texts are compared as message/folding has it (RFC 5255 §4.2): fields after RFC 2047 decoding, bodies after
content-transfer and charset decoding. What the text of a body is says message/body_text. The keys mean the
same whether a test is made here or the store answers from what it knows of the message.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from twisted_mta.message.body_text import MAX_TEXT, folded_body, folded_header
from twisted_mta.message.date import parse_calendar_date
from twisted_mta.message.encoded_word import decode
from twisted_mta.message.folding import fold
from twisted_mta.message.headers import first_value, header_end, values
from twisted_mta.message.mime import scan
from twisted_mta.protocol.imap4.search_keys import (
    All,
    AllText,
    And,
    BodyText,
    Content,
    Envelope,
    Header,
    Not,
    Or,
    SentDate,
)

ContentKey = Content | All | Not | And | Or  # a tree with content keys and All at its leaves


class _Searched:
    """One message under search; nothing is decoded before a key asks for it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    @cached_property
    def block(self) -> bytes:
        end = header_end(self._data)
        return self._data[: MAX_TEXT if end < 0 else min(end, MAX_TEXT)]

    @cached_property
    def header(self) -> str:
        """The folded lines of the header."""
        return "\n".join(folded_header(self._data, len(self.block)))

    @cached_property
    def texts(self) -> list[str]:
        """The folded texts of the body."""
        return folded_body(self._data, scan(self._data))

    def has(self, wanted: str) -> bool:
        """True when the folded text is in the body. "" is in every body, also in one without text."""
        return not wanted or any(wanted in text for text in self.texts)


_Test = Callable[[_Searched], bool]


def content_test(key: ContentKey) -> Callable[[bytes], bool]:
    """A test for a message's octets (CRLF). It does not raise, and may run in any thread."""
    test = _compile(key)
    return lambda data: test(_Searched(data))


def _compile(key: ContentKey) -> _Test:
    match key:
        case All():
            return lambda message: True
        case Envelope(field, text):
            return _envelope_test(field.encode("ascii"), fold(text))
        case Header(name, text):
            return _header_test(name.encode("latin-1"), fold(text))
        case BodyText(text):
            wanted = fold(text)
            return lambda message: message.has(wanted)
        case AllText(text):
            wanted = fold(text)
            return lambda message: wanted in message.header or message.has(wanted)
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


def _envelope_test(name: bytes, wanted: str) -> _Test:
    def test(message: _Searched) -> bool:
        if name == b"subject":
            value = first_value(message.block, name)
            return value is not None and wanted in fold(decode(value))
        found = values(message.block, name)
        return bool(found) and wanted in fold(decode(b", ".join(found)))

    return test


def _header_test(name: bytes, wanted: str) -> _Test:
    def test(message: _Searched) -> bool:
        return any(wanted in fold(decode(value)) for value in values(message.block, name))

    return test


def _sent_test(first: int, end: int) -> _Test:
    def test(message: _Searched) -> bool:
        value = first_value(message.block, b"date")
        day = parse_calendar_date(value) if value else None
        return day is not None and first <= day.toordinal() < end

    return test
