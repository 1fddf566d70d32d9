"""Lists of IMAP flags as scripts write them: words, several in a string or in a list (RFC 5232 §2)."""

from __future__ import annotations

import re
from collections.abc import Iterable

_KEYWORD = re.compile(r"[^\x00-\x20\x7f-\U0010ffff(){%*\"\\\]]+\Z")
_SYSTEM = {name.lower(): name for name in ("\\Answered", "\\Flagged", "\\Deleted", "\\Seen", "\\Draft")}


def flag_list(strings: Iterable[str]) -> tuple[str, ...]:
    """Each once, in whatever case it was written first; what is no flag is passed over."""
    found: dict[str, str] = {}
    for word in (word for string in strings for word in string.split()):
        if word.lower() in _SYSTEM:
            found.setdefault(word.lower(), _SYSTEM[word.lower()])
        elif _KEYWORD.match(word):
            found.setdefault(word.lower(), word)
    return tuple(found.values())
