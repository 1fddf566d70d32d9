"""The tokens of a script (RFC 5228 §2.1 to §2.4, §8.1).

Scripts are UTF-8. Lines end in CRLF; a bare LF is taken for one. White space and comments end here.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import NamedTuple

from twisted_mta.sieve.errors import SieveError

MAX_SCRIPT = 1024 * 1024  # octets
MAX_NUMBER = 2**63 - 1

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_TOKEN = re.compile(
    r"""(?P<space>(?:[ \t\r\n]++|\#[^\n]*+)++)
    |(?P<comment>/\*.*?\*/)
    |(?P<multiline>(?i:text):[ \t]*+(?:\#[^\n]*+)?+\r?\n)
    |(?P<tag>:[A-Za-z_][A-Za-z0-9_]*+)
    |(?P<identifier>[A-Za-z_][A-Za-z0-9_]*+)
    |(?P<number>[0-9]++)(?P<unit>[KMGkmg]?+)(?![A-Za-z0-9_])
    |"(?P<quoted>(?:[^"\\]++|\\.)*+)"
    |(?P<mark>[\[\](){},;])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_END_OF_TEXT = re.compile(r"^\.\r?(?:\n|\Z)", re.MULTILINE)


class Kind(enum.Enum):
    """What a token is. A mark is one of []{}(),; and its own text."""

    IDENTIFIER = "a word"
    TAG = "a tag"
    NUMBER = "a number"
    STRING = "a string"
    MARK = "a mark"
    END = "the end of the script"


class Token(NamedTuple):
    """`text`: an identifier or tag in lower case, without the colon; of a string what it means."""

    kind: Kind
    text: str
    line: int
    column: int
    number: int = 0


def tokens(script: str) -> Iterator[Token]:
    """All tokens, the last one of the kind END. Raises SieveError."""
    position, line, line_start = 0, 1, 0
    while position < len(script):
        column = position - line_start + 1
        match = _TOKEN.match(script, position)
        if match is None:
            raise SieveError(_what_is_wrong(script, position), line, column)
        end = match.end()
        if match["multiline"] is not None:
            text, end = _multiline(script, end, line, column)
            yield Token(Kind.STRING, text, line, column)
        elif match["quoted"] is not None:
            yield Token(Kind.STRING, _line_ends(_ESCAPE.sub(r"\1", match["quoted"])), line, column)
        elif match["number"] is not None:
            yield _number(match["number"], match["unit"], line, column)
        elif match["tag"] is not None:
            yield Token(Kind.TAG, match["tag"][1:].lower(), line, column)
        elif match["identifier"] is not None:
            yield Token(Kind.IDENTIFIER, match["identifier"].lower(), line, column)
        elif match["mark"] is not None:
            yield Token(Kind.MARK, match["mark"], line, column)
        if breaks := script.count("\n", position, end):
            line += breaks
            line_start = script.rfind("\n", position, end) + 1
        position = end
    yield Token(Kind.END, "", line, position - line_start + 1)


def _number(digits: str, unit: str, line: int, column: int) -> Token:
    number = int(digits) * _UNITS[unit.lower()] if len(digits) < 20 else MAX_NUMBER + 1
    if number > MAX_NUMBER:
        raise SieveError(f"the number {digits[:20]}{unit} is too large", line, column)
    return Token(Kind.NUMBER, digits + unit, line, column, number)


def _multiline(script: str, start: int, line: int, column: int) -> tuple[str, int]:
    """The string behind `text:`, dots unstuffed, and where it ends (RFC 5228 §2.4.2)."""
    end = _END_OF_TEXT.search(script, start)
    if end is None:
        raise SieveError('the text that begins here has no end, a line with nothing but "."', line, column)
    text = re.sub(r"^\.\.", ".", script[start : end.start()], flags=re.MULTILINE)
    return _line_ends(text), end.end()


def _line_ends(text: str) -> str:
    """Line ends in strings are CRLF, whatever the script was written with."""
    return re.sub(r"\r?\n", "\r\n", text) if "\n" in text else text


def _what_is_wrong(script: str, position: int) -> str:
    if script.startswith('"', position):
        return "the string that begins here has no end"
    if script.startswith("/*", position):
        return "the comment that begins here has no end"
    if script[position].isdigit():
        return "a number may end in K, M or G and nothing else"
    return f"{script[position]!r} has no meaning here"
