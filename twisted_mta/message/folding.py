"""Text made fit for comparison: what people take for the same becomes equal (RFC 5051, RFC 5255 §4).

This is the comparator i;unicode-casemap, and a little more. As there, case and compatibility variants are
gone (ﬁ is fi, full-width letters are ASCII), and letters are decomposed, so that a substring search for
"cafe" finds "café", but "café" not "cafe". Beyond it:

- case is folded in full: ß is ss;
- the four i of Turkish are one letter, as what a writer's keyboard has is no choice of the writer's;
- characters that nobody sees (soft hyphen, zero-width space and joiners, byte order mark) are left out;
- white space, NUL and other separators in a row are one space: a phrase is found across a line break.

What contains a text contains its folded form when folded itself, but for the rare order of several
combining marks; so an index of folded texts is one definition for all that searches.
"""

from __future__ import annotations

import re
import unicodedata

_UNSEEN = re.compile("[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]+")
_PIECE = 128  # characters decomposed at a time
_SLICE = 64 * 1024  # characters casefolded, or taken apart into words, at a time: both take room for copies
_MARKS = 30  # combining marks in a row that stay together, as in UAX #15's stream-safe text
_SURROGATE = re.compile("[\ud800-\udfff]")  # UTF-7 can bring one, no database takes it


def fold(text: str) -> str:
    """The text for comparison. It never holds a line feed, NUL or surrogate, and no two spaces in a row."""
    if text.isascii():
        return _spaced(text.lower())
    text = _UNSEEN.sub("", _SURROGATE.sub("\ufffd", text))
    # Upper case first: it takes ı to I, and ﬀ apart; what has no upper case is caught by `casefold`.
    text = decompose(text.upper())
    text = "".join([text[start : start + _SLICE].casefold() for start in range(0, len(text), _SLICE)])
    if "\u0307" in text:
        text = text.replace("i\u0307", "i")
    return _spaced(text)


def decompose(text: str) -> str:
    """NFKD, piece by piece: Python sorts combining marks in a row in a time that grows with the square of
    their number, and lets nothing else run meanwhile. Of more than _MARKS in a row some may stay as they
    are."""
    if len(text) <= _PIECE:
        return unicodedata.normalize("NFKD", text)
    pieces = []
    start = 0
    while start < len(text):
        end = start + _PIECE
        while end < min(len(text), start + _PIECE + _MARKS) and unicodedata.combining(text[end]):
            end += 1
        pieces.append(unicodedata.normalize("NFKD", text[start:end]))
        start = end
    return "".join(pieces)


def _spaced(text: str) -> str:
    """White space and NUL in a row as one space, also where the text begins or ends with some."""
    if len(text) <= _SLICE:
        return _spaced_slice(text)
    pieces: list[str] = []
    for start in range(0, len(text), _SLICE):
        piece = _spaced_slice(text[start : start + _SLICE])
        if pieces and pieces[-1].endswith(" "):
            piece = piece.removeprefix(" ")
        if piece:
            pieces.append(piece)
    return "".join(pieces)


def _spaced_slice(text: str) -> str:
    if "\0" in text:
        text = text.replace("\0", " ")
    folded = " ".join(text.split())
    if not folded:
        return " " if text else ""
    if text[0].isspace():
        folded = " " + folded
    return folded + " " if text[-1].isspace() else folded
