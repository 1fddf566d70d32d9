"""Mailbox names: modified UTF-7 (RFC 3501 §5.1.3) and the wildcards of LIST (RFC 3501 §6.3.8,
RFC 5258 §3).

What a name may be called on disk is the store's affair.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable

SEPARATOR = "/"
MAX_PATTERN = 1000  # characters, runs of wildcards counting as one; no name of ours is as long
MAX_PATTERNS = 4000  # characters of all patterns of a command that have several wildcards

_DIRECT = re.compile(rb"[\x20-\x25\x27-\x7e]*")  # printable ASCII without "&"
_SHIFTED = re.compile(rb"&([A-Za-z0-9+,]*)-")
_NEEDS_SHIFT = re.compile(r"[^\x20-\x25\x27-\x7e]+")


class InvalidName(ValueError):
    """Not modified UTF-7. The text is fit for the client's eyes."""


def decode_name(raw: bytes) -> str:
    """Modified UTF-7 to text. Raises InvalidName for octets outside printable ASCII and for every
    encoding but the canonical one, so that two spellings never name one mailbox."""
    parts: list[str] = []
    position = 0
    while position < len(raw):
        direct = _DIRECT.match(raw, position)
        assert direct is not None  # it matches the empty string too
        parts.append(direct[0].decode("ascii"))
        position = direct.end()
        if position == len(raw):
            break
        shifted = _SHIFTED.match(raw, position)
        if shifted is None:
            raise InvalidName("Mailbox name is not modified UTF-7")
        parts.append(_decode_shifted(shifted[1]))
        position = shifted.end()
    name = "".join(parts)
    if encode_name(name) != raw:
        raise InvalidName("Mailbox name is not canonical modified UTF-7")
    return name


def _decode_shifted(word: bytes) -> str:
    if not word:
        return "&"
    padded = word.replace(b",", b"/") + b"=" * (-len(word) % 4)
    try:
        return base64.b64decode(padded, validate=True).decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidName("Mailbox name is not modified UTF-7") from None


def decode_utf8_name(raw: bytes) -> str:
    """A name in UTF-8, as clients write it that have enabled UTF8=ACCEPT or IMAP4rev2. Raises InvalidName."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InvalidName("Mailbox name is not UTF-8") from None


def encode_name(name: str) -> bytes:
    """Text to modified UTF-7. `name` holds no lone surrogates."""
    return _NEEDS_SHIFT.sub(_encode_shifted, name).encode("ascii")


def _encode_shifted(match: re.Match[str]) -> str:
    def shift(text: str) -> str:
        word = base64.b64encode(text.encode("utf-16-be")).decode("ascii")
        return f"&{word.rstrip('=').replace('/', ',')}-"

    # "&" is written "&-" and never takes part in a base64 run.
    return "&-".join(shift(run) if run else "" for run in match[0].split("&"))


def list_matcher(*patterns: str) -> Callable[[str], bool]:
    """A test for names against LIST patterns, true when one of them matches: `*` matches anything, `%`
    anything but the separator. Patterns longer than MAX_PATTERN, and those beyond MAX_PATTERNS together,
    match nothing (RFC 9051 §6.3.9: what is not accepted is silently ignored).

    Patterns with at most one wildcard, which nearly all are, become comparisons. The others run together
    as a set of states in the bits of one integer, so that a hostile one costs no more than the length of the
    name.
    """
    exact: set[str] = set()
    simple: list[tuple[str, str, bool]] = []  # what is before and behind the wildcard; it is `*`
    general: list[str] = []
    for pattern in dict.fromkeys(re.sub(r"%*\*[*%]*", "*", re.sub(r"%+", "%", each)) for each in patterns):
        wildcards = pattern.count("*") + pattern.count("%")
        if len(pattern) > MAX_PATTERN:
            continue
        if not wildcards:
            exact.add(pattern)
        elif wildcards == 1:
            before, wildcard, behind = re.split(r"([*%])", pattern)
            simple.append((before, behind, wildcard == "*"))
        else:
            general.append(pattern)
    runs = _automaton(general) if general else None

    def matches(name: str) -> bool:
        if name in exact:
            return True
        for before, behind, anything in simple:
            if name.startswith(before) and name.endswith(behind):
                end = len(name) - len(behind)
                if len(before) <= end and (anything or name.find(SEPARATOR, len(before), end) < 0):
                    return True
        return runs is not None and runs(name)

    return matches


def _automaton(patterns: list[str]) -> Callable[[str], bool]:
    """The patterns, in which no two wildcards stand side by side, one behind the other in the bits."""
    advance: dict[str, int] = {}  # character -> the states it leads on from
    stays = stays_within = 0  # states of "*", and of both wildcards
    starts = accepting = 0
    bit = 1
    room = MAX_PATTERNS
    for pattern in patterns:
        room -= len(pattern)
        if room < 0:
            break
        starts |= bit
        for character in pattern:
            if character == "*":
                stays |= bit
                stays_within |= bit
            elif character == "%":
                stays_within |= bit
            else:
                advance[character] = advance.get(character, 0) | bit
            bit <<= 1
        accepting |= bit
        bit <<= 1

    def skip_wildcards(states: int) -> int:
        # Two wildcards never stand side by side, so one step is enough.
        return states | (states & stays_within) << 1

    def matches(name: str) -> bool:
        states = skip_wildcards(starts)
        for character in name:
            loops = states & (stays if character == SEPARATOR else stays_within)
            states = skip_wildcards((states & advance.get(character, 0)) << 1 | loops)
            if not states:
                return False
        return bool(states & accepting)

    return matches
