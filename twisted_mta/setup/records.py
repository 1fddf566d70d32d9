"""What is to stand in the DNS, as values and as a zone file (RFC 1035 §5.1)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

LONGEST_STRING = 255  # octets of one string of a TXT record (RFC 1035 §3.3)
_STRING = 200  # characters of one in a zone file: short enough for a line of an editor
_ESCAPED = str.maketrans({'"': '\\"', "\\": "\\\\"})

Need = Literal["must", "should", "may"]


@dataclass(frozen=True, slots=True)
class Record:
    """`name` and the names in `value` are absolute, in lower case and A-labels, without the final dot for
    `name` and with it in `value`; a TXT's `value` is the text itself. `purpose` tells a person what it is
    for. `need`: without it mail does not arrive or is not believed ("must"), some of it suffers ("should"),
    or something is less convenient ("may"). `elsewhere`: it stands in a zone of somebody else, such as that
    of the provider of an address."""

    name: str
    kind: str
    value: str
    purpose: str
    need: Need = "should"
    elsewhere: bool = False

    def rdata(self) -> str:
        """The value as it stands in a zone file."""
        if self.kind != "TXT":
            return self.value
        return " ".join(f'"{text.translate(_ESCAPED)}"' for text in self.strings())

    def strings(self) -> list[str]:
        """Of a TXT: put together without anything between, they are the value."""
        return [self.value[start : start + _STRING] for start in range(0, len(self.value), _STRING)] or [""]

    def line(self) -> str:
        """As it stands in a zone file, in one line."""
        return f"{self.name}. IN {self.kind} {self.rdata()}"

    def text(self) -> str:
        """As it stands in a zone file, in lines that an editor shows whole."""
        line = self.line()
        if self.kind != "TXT" or len(line) <= LONGEST_STRING:
            return line
        strings = self.rdata().replace('" "', '"\n    "')
        return f"{self.name}. IN TXT (\n    {strings}\n)"


def zone_file(records: Sequence[Record], heading: Iterable[str] = ()) -> str:
    """All of them, what stands elsewhere as a comment; each purpose before its records."""
    lines = [f"; {text}" for text in heading]
    purpose = ""
    for record in records:
        if record.purpose != purpose:
            purpose = record.purpose
            lines += ["", *(f"; {text}" for text in textwrap.wrap(purpose, 100))]
        lines.append(f"; {record.line()}" if record.elsewhere else record.text())
    return "\n".join(lines).lstrip("\n") + "\n"
