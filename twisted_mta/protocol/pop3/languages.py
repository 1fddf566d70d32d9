"""The languages of what is said to people (RFC 6856 §3)."""

from __future__ import annotations

LANGUAGES = {"en": "English", "i-default": "English for everybody"}  # the second is RFC 2277's
PREFERRED = "en"


def choose(wanted: str) -> str | None:
    """The tag for a language range: the language itself, or what is left when the range is shortened from its
    end (RFC 4647 §3.4); "*" is whatever we prefer. None when there is none."""
    if wanted == "*":
        return PREFERRED
    while wanted:
        if wanted.lower() in LANGUAGES:
            return wanted.lower()
        wanted = wanted.rpartition("-")[0]
    return None
