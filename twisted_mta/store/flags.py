r"""Flags of messages: their names, their bits in the index, their letters in a Maildir file name.

The five system flags of RFC 3501 §2.3.2 that last; `\Recent` is no flag of a message but a mark of the
mailbox (`Mailbox.recent_from`). Keywords have small letters, see `keyword_letters`. Letters of others
(Maildir's P, small ones without a meaning) stay in the file name as they are.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from twisted_mta.store.errors import CannotDo

ANSWERED, FLAGGED, DELETED, SEEN, DRAFT = 1, 2, 4, 8, 16  # the bits, as they stand in the index

_BITS = {"\\Answered": ANSWERED, "\\Flagged": FLAGGED, "\\Deleted": DELETED, "\\Seen": SEEN, "\\Draft": DRAFT}
_LETTERS = {"R": ANSWERED, "F": FLAGGED, "T": DELETED, "S": SEEN, "D": DRAFT}  # the Maildir specification
_OURS = "".join(_LETTERS)
_WORDS = ["".join(sorted(letter for letter in _LETTERS if _LETTERS[letter] & bits)) for bits in range(32)]
_SIZES = re.compile(r",[SW]=\d+")
_SPELLING = {name.lower(): name for name in _BITS}
# An atom that is neither a system flag nor able to break a line of the index (RFC 3501 §9, flag-keyword).
_KEYWORD = re.compile(r'[^\x00-\x20\x7f-\U0010ffff(){%*"\\\]]{1,100}\Z')

MAX_KEYWORDS = 64  # keywords on one message

INFO = ":2,"  # what stands before the letters


class FlagSet:
    """One combination of flags; every message with that combination shares the object."""

    __slots__ = ("bits", "keywords", "names")

    def __init__(self, bits: int, keywords: str) -> None:
        self.bits = bits
        self.keywords = keywords  # as the index holds them: sorted, with a space between
        self.names = frozenset(flag for flag, bit in _BITS.items() if bits & bit) | frozenset(
            keywords.split()
        )


def split_flags(flags: Iterable[str]) -> tuple[int, frozenset[str]]:
    r"""The bits of the system flags and the keywords; `\Recent` is passed over (RFC 3501 §6.4.6).

    Raises CannotDo for a flag that cannot be kept."""
    bits, keywords = 0, set()
    for flag in flags:
        bit = _BITS.get(flag) or _BITS.get(_SPELLING.get(flag.lower(), ""))
        if bit:
            bits |= bit
        elif _KEYWORD.match(flag):
            keywords.add(flag)
        elif flag.lower() != "\\recent":
            raise CannotDo("No such flag can be kept here")
    if len(keywords) > MAX_KEYWORDS:
        raise CannotDo("Too many keywords")
    return bits, frozenset(keywords)


def is_keyword(name: str) -> bool:
    """True for what can be a keyword here."""
    return _KEYWORD.match(name) is not None


def small_letters(tail: str) -> set[str]:
    """The letters at the end of a file name that stand for keywords."""
    return {letter for letter in tail.partition(INFO)[2] if "a" <= letter <= "z"}


def tail_bits(tail: str) -> int:
    """The bits that the letters at the end of a file name, such as `,S=7:2,FS`, stand for."""
    bits = 0
    for letter in tail.partition(INFO)[2]:
        bits |= _LETTERS.get(letter, 0)
    return bits


def tail_with_bits(tail: str, bits: int, small: str = "", known: Collection[str] = "") -> str:
    """The end of a file name with the letters of these flags, and these small ones, in place of its own;
    small ones that are not `known`, and those of others, stay."""
    fields, _, letters = tail.partition(INFO)
    fields = fields.partition(":")[0]  # an experimental ":1," is given up
    others = letters.strip(_OURS)
    if others or small:
        kept = {letter for letter in others if letter not in _OURS and letter not in known}
        return fields + INFO + "".join(sorted({*kept, *small, *_WORDS[bits]}))
    return fields + INFO + _WORDS[bits]


def tail_elsewhere(tail: str, bits: int, small: str = "") -> str:
    """The end of the file name for a copy in another mailbox: the sizes, the letters of these flags, these
    small ones, and capital letters of others. Small ones of its own, and mbsync's `U=`, mean something in
    their own mailbox only."""
    fields, _, letters = tail.partition(INFO)
    sizes = "".join(_SIZES.findall(fields))
    capitals = "".join(letter for letter in letters if "A" <= letter <= "Z")
    return tail_with_bits(sizes + INFO + capitals, bits, small)
