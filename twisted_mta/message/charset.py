"""Octets to text by the name of a charset as it stands in real mail (RFC 2045 §5.1, RFC 2047 §3).

Never raises. Only the codecs that Python has for text are ever looked up: a name from outside would cost an
import for every unknown one, and reach codecs that are no charsets, some of them slow.

Left out on purpose: guessing by statistics.
"""

from __future__ import annotations

import re
from encodings.aliases import aliases
from functools import lru_cache

_NOT_CHARSETS = {"rot_13", "mbcs", *(name for name in aliases.values() if name.endswith("_codec"))}
_CODECS = frozenset(aliases.values()) - _NOT_CHARSETS | {"koi8_u", "koi8_t", "cp874"}
# Names that Python does not know, and charsets whose label is commonly put on text of their superset.
_MEANT = {
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_8_e": "iso8859_8",
    "windows_874": "cp874",
    "x_sjis": "cp932",
    "x_gbk": "gb18030",
    "unicode_1_1_utf_8": "utf_8",
    "ascii": "utf_8",
    "latin_1": "cp1252",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "euc_kr": "cp949",
    "shift_jis": "cp932",
}
_MAX_NAME = 40  # characters; no charset has a longer one
_SEPARATORS = re.compile(r"[-_ .:]+")


def codec(charset: str) -> str | None:
    """The name of the Python codec for a charset, or None when there is none."""
    return _find_codec(charset) if len(charset) <= _MAX_NAME else None


@lru_cache(maxsize=256)
def _find_codec(charset: str) -> str | None:
    name = _SEPARATORS.sub("_", charset.lower())
    name = aliases.get(name, name)
    name = _MEANT.get(name, name)
    return name if name in _CODECS else None


def is_utf8(octets: bytes) -> bool:
    """Whether they are UTF-8, as ASCII is."""
    try:
        octets.decode()
    except UnicodeDecodeError:
        return False
    return True


def decode_text(octets: bytes, charset: str) -> str:
    """Octets as text, whatever `charset` claims. When it is unknown or wrong, UTF-8 is tried; then the
    octets are taken for windows-1252, the usual 8-bit text of those who declare nothing."""
    for name in (codec(charset), "utf_8"):
        try:
            if name is not None:
                return octets.decode(name)
        except ValueError:  # UnicodeError is one
            continue
    return octets.decode("cp1252", "replace")
