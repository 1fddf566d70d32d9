"""How strings are compared (RFC 5228 §2.7.3; RFC 4790; i;unicode-casemap, RFC 5051).

A comparator has two faces: `key`, equal and ordered as the strings are, and `fold`, which changes letters one
by one, so that what is found in folded text stands at the same place of the text itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted_mta.message.collation import casemap

_LEADING_DIGITS = re.compile(r"[0-9]+")
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


@dataclass(frozen=True, slots=True)
class Comparator:
    """`fold` None: there are no parts of a string to be found, so neither :contains nor :matches.
    `capability`: what a script must require for it, "" for nothing."""

    name: str
    key: Callable[[str], Any]
    fold: Callable[[str], str] | None
    capability: str = ""


def _same(text: str) -> str:
    return text


def _ascii_lower(text: str) -> str:
    return text.lower() if text.isascii() else text.translate(_ASCII_LOWER)


def _lower(text: str) -> str:
    if text.isascii():
        return text.lower()
    return "".join(low if len(low := char.lower()) == 1 else char for char in text)


def _numeric(text: str) -> tuple[int, int]:
    """RFC 4790 §9.1: what does not begin with a digit is equal to its like, and above all numbers."""
    digits = _LEADING_DIGITS.match(text)
    if digits is None:
        return (1, 0)
    return (0, int(digits[0][:1000]))


OCTET = Comparator("i;octet", _same, _same)
ASCII_CASEMAP = Comparator("i;ascii-casemap", _ascii_lower, _ascii_lower)
ASCII_NUMERIC = Comparator("i;ascii-numeric", _numeric, None, "comparator-i;ascii-numeric")
UNICODE_CASEMAP = Comparator("i;unicode-casemap", casemap, _lower, "comparator-i;unicode-casemap")

COMPARATORS = {
    comparator.name: comparator for comparator in (OCTET, ASCII_CASEMAP, ASCII_NUMERIC, UNICODE_CASEMAP)
}
