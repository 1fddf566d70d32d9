"""The macro language of SPF records: `%{ir}.%{v}._spf.%{d2}` (RFC 7208 §7).

A text is parsed once, where its syntax is checked, and expanded as often as it is needed. Asking the DNS for
the one letter that needs it, `p`, is left to whoever expands.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

LONGEST_NAME = 253  # octets of a name in the DNS

_LETTERS = "slodiphv"
_EXPLAINING = "crt"  # letters that only the text of an explanation may have (§7.2)
_MACRO = re.compile(r"%\{([A-Za-z])(\d*)(r?)([-.+,/_=]*)\}", re.IGNORECASE)
_ESCAPES = {"%%": "%", "%_": " ", "%-": "%20"}
_TOP_LABEL = re.compile(r"\.(?!\d+\.?\Z)[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.?\Z")
_LITERAL = re.compile(r"[\x21-\x24\x26-\x7e]+")
_EXPLAINED = re.compile(r"[\x20-\x24\x26-\x7e]+")  # an explanation has blanks, too (§12, explain-string)

_DNS_NAME = re.compile(rf"(?=.{{1,{LONGEST_NAME}}}\Z)[^.]{{1,63}}(?:\.[^.]{{1,63}})+\Z", re.DOTALL)


class SyntaxFault(Exception):
    """This is not what §12 says it has to be; the text says what and where."""


@dataclass(frozen=True, slots=True)
class Macro:
    """One `%{…}`: `keep` of the parts that `delimiters` make, counted from the right, 0 for all of them;
    `escape`: the letter was in upper case (§7.3)."""

    letter: str
    keep: int
    reverse: bool
    delimiters: str
    escape: bool

    def expand(self, value: str) -> str:
        """What stands in its place, for the value of its letter."""
        parts = re.split("[" + re.escape(self.delimiters) + "]", value)
        if self.reverse:
            parts.reverse()
        text = ".".join(parts[-self.keep :] if self.keep else parts)
        return quote(text, safe="-._~") if self.escape else text


@dataclass(frozen=True, slots=True)
class MacroString:
    """Texts and macros in order."""

    pieces: tuple[str | Macro, ...]

    @property
    def letters(self) -> frozenset[str]:
        """Of the macros that are in it."""
        return frozenset(piece.letter for piece in self.pieces if isinstance(piece, Macro))

    def expand(self, values: Mapping[str, str]) -> str:
        """With the value of each letter."""
        return "".join(
            piece if isinstance(piece, str) else piece.expand(values[piece.letter]) for piece in self.pieces
        )

    def expand_name(self, values: Mapping[str, str]) -> str:
        """As a name for the DNS: without a dot at the end, in lower case, and without its first labels when
        it is too long (§7.3)."""
        name = self.expand(values).rstrip(".").lower() if self.pieces else ""
        while len(name) > LONGEST_NAME and "." in name:
            name = name.partition(".")[2]
        return name


def parse_domain(text: str) -> MacroString:
    """A domain-spec, which ends in a top label or in a macro (§7.1). Raises SyntaxFault."""
    parsed = parse(text)
    if not parsed.pieces:
        raise SyntaxFault("a domain is missing")
    ends = parsed.pieces[-1]
    literal = ends if isinstance(ends, str) else ""
    if literal and not text.endswith(("%%", "%_", "%-")) and not _TOP_LABEL.search(literal):
        raise SyntaxFault(f"{text} does not end like a domain")
    return parsed


def parse(text: str, *, explanation: bool = False) -> MacroString:
    """A macro-string, or an explain-string, which may have blanks and some letters more (§7.1). Raises
    SyntaxFault."""
    pieces: list[str | Macro] = []
    literal = _EXPLAINED if explanation else _LITERAL
    letters = _LETTERS + _EXPLAINING if explanation else _LETTERS
    at = 0
    while at < len(text):
        found = literal.match(text, at)
        if found:
            pieces.append(found[0])
            at = found.end()
        elif (escape := text[at : at + 2]) in _ESCAPES:
            pieces.append(_ESCAPES[escape])
            at += 2
        else:
            macro = _MACRO.match(text, at)
            if macro is None:
                raise SyntaxFault(f"{text[at : at + 20]!r} is no macro")
            pieces.append(_macro(macro, letters))
            at = macro.end()
    return MacroString(tuple(pieces))


def _macro(found: re.Match[str], letters: str) -> Macro:
    letter, digits, reverse, delimiters = found.groups()
    if letter.lower() not in letters:
        raise SyntaxFault(f"{found[0]} cannot be used here")
    if digits and not int(digits[:4]):
        raise SyntaxFault(f"{found[0]} keeps nothing")
    keep = min(int(digits[:4]), LONGEST_NAME) if digits else 0
    return Macro(letter.lower(), keep, bool(reverse), delimiters or ".", letter.isupper())


def address_values(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> dict[str, str]:
    """The letters that stand for the client's address (§7.3)."""
    dotted = (
        str(address)
        if isinstance(address, ipaddress.IPv4Address)
        else ".".join(address.exploded.replace(":", "").upper())
    )
    return {"i": dotted, "c": str(address), "v": "in-addr" if address.version == 4 else "ip6"}


def is_name(name: str) -> bool:
    """Whether it can stand in the DNS and has more than one label (§4.3)."""
    return _DNS_NAME.match(name) is not None
