"""The collation i;unicode-casemap, by which SORT orders texts and THREAD compares subjects (RFC 5051,
RFC 5255 §4.2).

Every character is put in title case by itself, then the text is decomposed. RFC 5051 compares the octets of
UTF-8; the order of Python's strings is the same one.

Searches look for folded text instead (see folding), which finds more.
"""

from __future__ import annotations

from twisted_mta.message.folding import decompose


def casemap(text: str) -> str:
    """The key to sort and compare a text by."""
    if text.isascii():
        return text.upper()
    return decompose(text.translate(_TITLE_CASE))


class _TitleCase(dict[int, str]):
    """Characters in title case, where that is one character; found when they are first needed, and kept for
    the scripts that have cases."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        title = character.title()
        title = title if len(title) == 1 else character
        if code < 0x3000:
            self[code] = title
        return title


_TITLE_CASE = _TitleCase()
