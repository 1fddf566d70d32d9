"""Field values with parameters: Content-Type and Content-Disposition (RFC 2045 §5.1, RFC 2183 §2, RFC 2231).

Forgiving where real mail is wrong: missing semicolons, unquoted special characters, comments anywhere,
quoted strings that never end. Nothing raises; time is linear and only the first MAX_VALUE octets are read.

Continued parameters (`name*0`, `name*1`…) are joined, as RFC 2231 §6 asks of an IMAP server. A value that
carries its charset stays encoded, under the name `name*`: the client decodes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from twisted_mta.message.headers import unfold, without_comments

MAX_VALUE = 64 * 1024  # octets of a field that are looked at

Parameters = tuple[tuple[bytes, bytes], ...]  # (name in lower case, value) in order, each name once

_MEDIA_TYPE = re.compile(rb"""\s*+([\w!#$%&'*+.^`{|}~-]++)\s*+/\s*+([^\s;,"()<>=/]++)""", re.ASCII)
_TOKEN = re.compile(rb"""\s*+([^\s;,"()<>=]*+)""")
_BARE_TOKEN = re.compile(rb"[A-Za-z0-9.+-]{1,80}")
# A media type with at most two parameters and nothing special, which nearly all are, is read at one go.
_PAIR = rb"""[ \t]*+;[ \t]*+([^\s;="*()]++)=(?:"([^"\\\n]*+)"|([^\s";()]++))"""
_USUAL = re.compile(rb"([\w.+-]++)/([\w.+-]++)(?:%b(?:%b)?+)?+;?" % (_PAIR, _PAIR), re.ASCII)
# Every alternative takes what it has looked at, so that nothing is read twice.
_PARAMETER = re.compile(
    rb"""([^\s;="]++)(?:\s*+=\s*+(?:"((?:[^"\\]++|\\.)*+)(?:"|\\?\Z)|([^\s;"]*+)))?+"""
    rb"""|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\s;=]++""",
    re.DOTALL,
)
_CONTINUED = re.compile(rb"([^*]++)\*(\d{1,6})(\*?)\Z")
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_NOT_ATTRIBUTE_CHAR = re.compile(rb"[^A-Za-z0-9!#$&+.^_`{|}~-]")


def parse_content_type(value: bytes) -> tuple[bytes, bytes, Parameters] | None:
    """The type and subtype in lower case and the parameters, or None when the value is not a media type."""
    if len(value) <= MAX_VALUE and (usual := _USUAL.fullmatch(value)):
        kind, subtype, name, quoted, bare, name_2, quoted_2, bare_2 = usual.groups()
        if name is None:
            return kind.lower(), subtype.lower(), ()
        first = name.lower(), bare if quoted is None else quoted
        if name_2 is None:
            return kind.lower(), subtype.lower(), (first,)
        second = name_2.lower(), bare_2 if quoted_2 is None else quoted_2
        if first[0] != second[0]:
            return kind.lower(), subtype.lower(), (first, second)
    return _read_content_type(value)


def _read_content_type(value: bytes) -> tuple[bytes, bytes, Parameters] | None:
    text = without_comments(unfold(value[:MAX_VALUE]))
    match = _MEDIA_TYPE.match(text)
    if match is None:
        return None
    return match[1].lower(), match[2].lower(), _parse_parameters(text, match.end())


def parse_disposition(value: bytes) -> tuple[bytes, Parameters] | None:
    """The disposition type in lower case and the parameters, or None for an empty value. When only the type
    is missing it is an attachment, as any unknown one (RFC 2183 §2.8)."""
    text = without_comments(unfold(value[:MAX_VALUE]))
    match = _TOKEN.match(text)
    kind = match[1].lower() if match else b""
    parameters = _parse_parameters(text, len(match[0]) if match else 0)
    if not kind and not parameters:
        return None
    return kind or b"attachment", parameters


def parse_token(value: bytes) -> bytes:
    """The first token of a value in lower case, or b"": for Content-Transfer-Encoding (RFC 2045 §6.1)."""
    if _BARE_TOKEN.fullmatch(value):
        return value.lower()
    match = _TOKEN.match(without_comments(unfold(value[:MAX_VALUE])))
    return match[1].lower() if match else b""


def _parse_parameters(text: bytes, start: int) -> Parameters:
    pairs: list[tuple[bytes, bytes]] = []
    for match in _PARAMETER.finditer(text, start):
        name, quoted, bare = match.groups()
        if quoted is not None:
            pairs.append((name.lower(), unquote(quoted)))
        elif bare is not None:
            pairs.append((name.lower(), bare))
    if b"*" not in text:
        return tuple(_first_of_each(pairs))
    return tuple(_first_of_each(_joined(pairs)))


def unquote(text: bytes) -> bytes:
    """The inside of a quoted string without its backslashes (RFC 5322 §3.2.4)."""
    return _ESCAPED.sub(rb"\1", text) if b"\\" in text else text


def _first_of_each(pairs: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, bytes]]:
    unique: dict[bytes, bytes] = {}
    for name, value in pairs:
        unique.setdefault(name, value)
    return unique.items()


def _joined(pairs: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The parameters with continuations put together in the order of their numbers (RFC 2231 §3, §4.1)."""
    sections: dict[bytes, dict[int, tuple[bytes, bool]]] = {}
    names: list[tuple[bytes, bytes | None]] = []  # None: the value is in the sections
    for name, value in pairs:
        match = _CONTINUED.match(name)
        if match is None:
            names.append((name, value))
            continue
        base, number, mark = match.groups()
        if base not in sections:
            sections[base] = {}
            names.append((base, None))
        sections[base].setdefault(int(number), (value, bool(mark)))
    return [
        (name, value) if value is not None else _join_sections(name, sections[name]) for name, value in names
    ]


def _join_sections(name: bytes, sections: dict[int, tuple[bytes, bool]]) -> tuple[bytes, bytes]:
    ordered = [sections[number] for number in sorted(sections)]
    # Only the first section can name a charset; without it the percent signs mean themselves.
    if not ordered[0][1]:
        return name, b"".join(value for value, _ in ordered)
    return name + b"*", b"".join(value if encoded else _percent(value) for value, encoded in ordered)


def _percent(value: bytes) -> bytes:
    return _NOT_ATTRIBUTE_CHAR.sub(lambda match: b"%%%02X" % match[0][0], value)


def parameter(parameters: Parameters, name: bytes) -> bytes | None:
    """The octets of the parameter called `name` (lower case), with RFC 2231 encoding undone; its charset
    is not told. None when there is no such parameter."""
    extended = name + b"*"
    found: bytes | None = None
    for key, value in parameters:
        if key == name:
            return value
        if key == extended:
            found = value.split(b"'", 2)[-1]
    if found is None:
        return None
    return _PERCENT.sub(lambda match: bytes((int(match[1], 16),)), found)
