"""What `mta check` has found, and what a monitoring program makes of it: the exit codes that Nagios' plugins
have, and those that understand them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from twisted_mta.setup.live import Row

State = Literal["ok", "warning", "wrong", "unknown", "skipped"]


class Code(IntEnum):
    """What the process ends with."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


_GRAVITY = (Code.OK, Code.UNKNOWN, Code.WARNING, Code.CRITICAL)
_OF_STATE = {
    "ok": Code.OK,
    "skipped": Code.OK,
    "unknown": Code.UNKNOWN,
    "warning": Code.WARNING,
    "wrong": Code.CRITICAL,
}
_OF_NEED = {"must": Code.CRITICAL, "should": Code.WARNING, "may": Code.OK}


@dataclass(frozen=True, slots=True)
class Finding:
    """`subject`: what was looked at. `text`: how it is and, where it is not as it should be, what to do.
    "skipped": could not be looked at from here, and why; nobody is to be woken for that."""

    subject: str
    state: State
    text: str

    @property
    def code(self) -> Code:
        """By itself."""
        return _OF_STATE[self.state]


def row_code(row: Row) -> Code:
    """Of a record of the DNS: what is missing weighs as much as it is needed, what is wrong never nothing. A
    wrong TLSA record turns away those that follow it."""
    if row.state == "ok":
        return Code.OK
    if row.state == "unknown":
        return Code.UNKNOWN
    if row.state == "missing":
        return _OF_NEED[row.wanted.need]
    if row.wanted.kind == "TLSA":
        return Code.CRITICAL
    return max(_OF_NEED[row.wanted.need], Code.WARNING)


def worst(codes: Iterable[Code]) -> Code:
    """What all of it comes to: what is wrong counts more than what is not known."""
    return max(codes, key=_GRAVITY.index, default=Code.OK)
