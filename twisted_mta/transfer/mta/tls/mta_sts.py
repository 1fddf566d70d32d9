"""MTA-STS, the values: the record that says there is a policy, and the policy itself (RFC 8461 §3.1, §3.2,
§4.1).

Both are read as the grammar has them and no more leniently: what is not a policy is none. Fields that are
not known are ignored; of those that may stand once, the first counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Self

Mode = Literal["enforce", "testing", "none"]

LONGEST_AGE = 31_557_600  # seconds: a year
LARGEST = 64 * 1024  # octets of a policy
_MOST_PATTERNS = 200

_VERSION = re.compile(r"v=STSv1[ \t]*(?:;|\Z)")
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_PATTERN = re.compile(rf"(?:\*\.)?{_LABEL}(?:\.{_LABEL})*")


class NotAPolicy(ValueError):
    """The text is not a policy; says why."""


def record_id(texts: Iterable[str]) -> str:
    """The id in the TXT records of `_mta-sts.DOMAIN`; "" when there is no policy: without a record of this
    version, or with more than one (RFC 8461 §3.1)."""
    records = [text for text in texts if _VERSION.match(text)]
    if len(records) != 1:
        return ""
    for field in records[0].split(";")[1:]:
        name, equals, value = field.strip(" \t").partition("=")
        if name == "id" and equals:
            return value if _ID.fullmatch(value) else ""
    return ""


@dataclass(frozen=True, slots=True)
class StsPolicy:
    """What a domain wants of those who bring mail for it. max_age: seconds. mx: patterns, in lower case."""

    mode: Mode
    max_age: int
    mx: tuple[str, ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a policy file. Raises NotAPolicy."""
        if len(data) > LARGEST:
            raise NotAPolicy(f"larger than {LARGEST} octets")
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise NotAPolicy("not UTF-8 text") from error
        fields: dict[str, str] = {}
        patterns: list[str] = []
        for line in text.split("\n"):
            name, colon, value = line.removesuffix("\r").partition(":")
            name, value = name.strip(" \t"), value.strip(" \t")
            if not colon and name:
                raise NotAPolicy("a line without a colon")
            if name == "mx":
                patterns.append(value)
            else:
                fields.setdefault(name, value)
        return cls._of(fields, patterns)

    @classmethod
    def _of(cls, fields: dict[str, str], patterns: Sequence[str]) -> Self:
        if fields.get("version") != "STSv1":
            raise NotAPolicy("no version STSv1")
        mode, age = fields.get("mode", ""), fields.get("max_age", "")
        if mode not in ("enforce", "testing", "none"):
            raise NotAPolicy("no mode that is known")
        if not re.fullmatch(r"[0-9]{1,10}", age):
            raise NotAPolicy("no max_age")
        if len(patterns) > _MOST_PATTERNS or not all(map(_PATTERN.fullmatch, patterns)):
            raise NotAPolicy("an mx that is no pattern")
        if mode != "none" and not patterns:
            raise NotAPolicy("no mx")
        lowered = tuple(pattern.lower() for pattern in patterns)
        return cls(mode, min(int(age), LONGEST_AGE), lowered)  # type: ignore[arg-type]  # one of the three

    def covers(self, name: str) -> bool:
        """Whether a mail server of this name is one of the domain's. `*` stands for exactly one label (RFC
        8461 §4.1)."""
        name = name.lower()
        above = "*." + name.partition(".")[2]
        return name in self.mx or above in self.mx

    def lines(self) -> list[str]:
        """The policy as it stands in its file, line by line, and so in reports."""
        return [
            "version: STSv1",
            f"mode: {self.mode}",
            *(f"mx: {pattern}" for pattern in self.mx),
            f"max_age: {self.max_age}",
        ]

    def __bytes__(self) -> bytes:
        return "".join(f"{line}\r\n" for line in self.lines()).encode("ascii")
