"""The strings of a script: constants, or with variables in them that are looked up when the script runs
(RFC 5229 §3), and characters written by their numbers (encoded-character, RFC 5228 §2.4.2.4).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted_mta.sieve.run import Run

_HEX = re.compile(
    r"\$\{hex:[ \t\r\n]*+([0-9a-f]{1,2}+(?:[ \t\r\n]++[0-9a-f]{1,2}+)*+)[ \t\r\n]*+\}", re.IGNORECASE
)
_ENCODED = re.compile(  # octets in a row may be a character only together
    rf"(?P<octets>(?:{_HEX.pattern})++)"
    r"|\$\{unicode:[ \t\r\n]*+(?P<numbers>[0-9a-f]++(?:[ \t\r\n]++[0-9a-f]++)*+)[ \t\r\n]*+\}",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"\$\{([0-9]{1,9}|[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+)*)\}")


class Text:
    """A string argument. `constant` is its value when no variable is in it, else None."""

    __slots__ = ("_parts", "constant")

    def __init__(self, written: str, *, variables: bool = False) -> None:
        self._parts = _REFERENCE.split(written) if variables else [written]
        self.constant = written if len(self._parts) == 1 else None

    def value(self, run: Run) -> str:
        """Raises RunError when it grows too long."""
        if self.constant is not None:
            return self.constant
        return run.bounded(
            "".join(run.variable(part) if place % 2 else part for place, part in enumerate(self._parts))
        )

    @property
    def written(self) -> str:
        """As the script has it, with its references."""
        return "".join(f"${{{part}}}" if place % 2 else part for place, part in enumerate(self._parts))

    @property
    def spaced(self) -> list[str]:
        """The variables in it that are in a namespace, as they are written."""
        return [name for name in self._parts[1::2] if "." in name]


def decode_characters(text: str) -> str:
    """`${hex: …}` and `${unicode: …}` as what they stand for; others stay. Raises ValueError for numbers that
    are no characters."""
    return _ENCODED.sub(_decoded, text)


def _decoded(match: re.Match[str]) -> str:
    if match["octets"]:
        written = " ".join(_HEX.findall(match["octets"]))
        return bytes(int(number, 16) for number in written.split()).decode("utf-8")
    # Seven digits are enough for what is no character, and a million of them would take long to read.
    text = "".join(chr(int(number.lstrip("0")[:7] or "0", 16)) for number in match["numbers"].split())
    text.encode("utf-8")  # surrogates are no characters
    return text
