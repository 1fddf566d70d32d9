"""Names that are made to be taken for others: labels with letters of scripts that look like each other.

Who owns such a name can sign for it, so that DMARC alone has nothing against it. No registry gives them out
(ICANN's guidelines for internationalised names, §2.6), but below a domain of one's own there is no registry.
Latin letters may stand beside those of one other script that nobody mistakes for them, as Japanese, Korean
and Chinese names have them ("moderately restrictive" in UTS 39 §5.2). Names that are of one script are left
alone: people are shown their A-labels (`message/shown.py`).
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

# As the names of characters begin.
_EAST_ASIAN = frozenset(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC"))
_LIKE_LATIN = frozenset(("CYRILLIC", "GREEK", "ARMENIAN", "COPTIC", "CHEROKEE", "LISU", "DESERET"))
_COMMON = frozenset(("MODIFIER", "MIDDLE"))


@lru_cache(1024)
def looks_alike(domain: str) -> bool:
    """Whether a label of the name, in A-labels, mixes what should not be mixed. False for what is no name."""
    return "xn--" in domain and any(_mixes(label) for label in domain.split(".") if label.startswith("xn--"))


def _mixes(label: str) -> bool:
    try:
        text = label[4:].encode().decode("punycode")
    except (ValueError, OverflowError):
        return False
    scripts = {_script(char) for char in text if unicodedata.category(char).startswith("L")} - _COMMON
    if scripts & _EAST_ASIAN:
        scripts = scripts - _EAST_ASIAN | {"EAST ASIAN"}
    if "LATIN" in scripts:
        return len(scripts) > 2 or bool(scripts & _LIKE_LATIN)
    return len(scripts) > 1


def _script(char: str) -> str:
    return unicodedata.name(char, "").partition(" ")[0].partition("-")[0]
