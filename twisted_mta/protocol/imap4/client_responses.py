"""What a server says, taken apart (RFC 3501 §7, §9; RFC 9051 §9).

Kinder than the grammar wherever an old server may be sloppy and nothing hangs on it: octets over 127 in
atoms and quoted strings, more than one space. A string and an atom are the same here; NIL is None.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

Value: TypeAlias = "bytes | list[Value] | None"

MAX_DEPTH = 50  # of parentheses

# An atom, with what stands in brackets: `BODY[HEADER.FIELDS (DATE)]` is one. A bracket that nothing closes
# counts as itself, after a look that is bounded.
_ATOM = re.compile(rb'(?:[^\x00-\x20(){"\x7f\[]|\[[^\]\r\n]{0,1000}\]|\[)+')
_QUOTED = re.compile(rb'"((?:[^"\\]++|\\.)*+)"')
_ESCAPE = re.compile(rb"\\(.)")
_LITERAL = re.compile(rb"~?\{\d{1,20}\+?\}")
_TAG = re.compile(rb"[^\x00-\x20(){%*\"\\\x7f-\xff]{1,64}\Z")
_STATUS = re.compile(
    rb"(OK|NO|BAD|BYE|PREAUTH)(?: +|\Z)(?:\[([^\] ]+)(?: ([^\]]*))?\])? *(.*)\Z",
    re.IGNORECASE | re.DOTALL,
)
_DATA = re.compile(rb"(?:(\d{1,10}) +)?([A-Za-z][A-Za-z0-9-]*)(?: +|\Z)")
_SHOWN = 300  # characters of a server's text that are shown


class BadResponse(ValueError):
    """What no server should say; the text says what is wrong with it."""


class Status(NamedTuple):
    """OK, NO, BAD, BYE or PREAUTH. tag: of the command it ends, "" for none. code: the response code's name
    in upper case, "" for none; argument: what follows it. text: for a person."""

    tag: str
    condition: str
    code: str
    argument: bytes
    text: str


class Data(NamedTuple):
    """Untagged data: its name in upper case, the number before that, the values behind it."""

    name: str
    number: int | None
    values: list[Value]


class Continue(NamedTuple):
    """The server waits for more of a command."""

    text: bytes


Response = Status | Data | Continue


def read_response(line: bytes, literals: Sequence[bytes]) -> Response:
    """A response without its last CRLF; in place of each literal stands its announcement alone.

    Raises BadResponse."""
    tag, _, rest = line.partition(b" ")
    if tag == b"+":
        return Continue(rest)
    if tag != b"*":
        status = _STATUS.match(rest)
        if status is None or not _TAG.match(tag):
            raise BadResponse(f"not the end of a command: {shown(line)}")
        return _status(tag.decode("ascii"), status)
    status = _STATUS.match(rest)
    if status is not None:
        return _status("", status)
    found = _DATA.match(rest)
    if found is None:
        raise BadResponse(f"not a response: {shown(line)}")
    number = int(found[1]) if found[1] else None
    return Data(found[2].decode("ascii").upper(), number, _values(rest, found.end(), iter(literals)))


def _status(tag: str, found: re.Match[bytes]) -> Status:
    condition, code, argument, text = found.groups(b"")
    return Status(
        tag, condition.decode("ascii").upper(), code.decode("ascii", "replace").upper(), argument, shown(text)
    )


def _values(data: bytes, position: int, literals: Iterator[bytes]) -> list[Value]:
    """The values from that position on."""
    stack: list[list[Value]] = [[]]
    while position < len(data):
        first = data[position : position + 1]
        position += 1
        if first == b" ":
            continue
        if first == b"(":
            if len(stack) > MAX_DEPTH:
                raise BadResponse("parentheses too deep")
            stack.append([])
        elif first == b")":
            if len(stack) == 1:
                raise BadResponse(f"a parenthesis too much: {shown(data)}")
            inner = stack.pop()
            stack[-1].append(inner)
        else:
            value, position = _value(data, position - 1, literals)
            stack[-1].append(value)
    if len(stack) > 1:
        raise BadResponse(f"a parenthesis is missing: {shown(data)}")
    return stack[0]


def _value(data: bytes, position: int, literals: Iterator[bytes]) -> tuple[Value, int]:
    if found := _QUOTED.match(data, position):
        value = found[1]
        return (_ESCAPE.sub(rb"\1", value) if b"\\" in value else value), found.end()
    if found := _LITERAL.match(data, position):
        literal = next(literals, None)
        if literal is None:
            raise BadResponse("a literal in the middle of a line")
        return literal, found.end()
    if found := _ATOM.match(data, position):
        return (None if found[0].upper() == b"NIL" else found[0]), found.end()
    raise BadResponse(f"not a value: {shown(data[position:])}")


def shown(text: bytes) -> str:
    """What a server says, fit for a line of a terminal."""
    plain = text[:_SHOWN].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "?" for char in plain).strip()
