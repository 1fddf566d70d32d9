"""The commands of POP3 and their grammar (RFC 1939 §3, §9; RFC 2449 §3; RFC 2595 §4; RFC 5034 §4; RFC 6856).

Left out on purpose: APOP (RFC 1939 §7). It needs the password, or a second one of its own, readable on the
server, for a proof that MD5 no longer carries: who can answer in the server's place learns the password from
a few hundred logins (CVE-2007-1558). SCRAM is what it wanted to be.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass


class State(enum.Enum):
    """Where a session stands (RFC 1939 §3). UPDATE is no state for commands: QUIT ends in it."""

    AUTHORIZATION = "not logged in"
    TRANSACTION = "logged in"


class BadCommand(Exception):
    """The line is no command that may be given now. The text is fit for the peer's eyes."""


@dataclass(frozen=True, slots=True)
class Command:
    """`keyword` is in upper case."""

    keyword: str
    arguments: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class _Syntax:
    """Where a command is valid and how many arguments it takes. With `whole` the one argument is the rest
    of the line, so that passwords may hold spaces (RFC 1939 §7, PASS)."""

    states: tuple[State, ...]
    fewest: int = 0
    most: int = 0
    whole: bool = False


_BEFORE = (State.AUTHORIZATION,)
_AFTER = (State.TRANSACTION,)
_BOTH = (State.AUTHORIZATION, State.TRANSACTION)

_SYNTAX = {
    "USER": _Syntax(_BEFORE, 1, 1, whole=True),
    "PASS": _Syntax(_BEFORE, 1, 1, whole=True),
    "AUTH": _Syntax(_BEFORE, 0, 2),
    "STLS": _Syntax(_BEFORE),
    "UTF8": _Syntax(_BEFORE),
    "CAPA": _Syntax(_BOTH),
    "LANG": _Syntax(_BOTH, 0, 1),
    "QUIT": _Syntax(_BOTH),
    "STAT": _Syntax(_AFTER),
    "LIST": _Syntax(_AFTER, 0, 1),
    "UIDL": _Syntax(_AFTER, 0, 1),
    "RETR": _Syntax(_AFTER, 1, 1),
    "TOP": _Syntax(_AFTER, 2, 2),
    "DELE": _Syntax(_AFTER, 1, 1),
    "RSET": _Syntax(_AFTER),
    "NOOP": _Syntax(_AFTER),
}

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_MAX_DIGITS = 10


def parse(line: bytes, state: State) -> Command:
    """Read one command line, without its CRLF. Raises BadCommand."""
    if _CONTROL.search(line):
        raise BadCommand("Control character in command")
    word, _, rest = line.partition(b" ")
    keyword = word.decode("ascii", "replace").upper()
    syntax = _SYNTAX.get(keyword)
    if syntax is None:
        raise BadCommand("Unknown command")
    if state not in syntax.states:
        raise BadCommand(f"{keyword} is not valid when {state.value}")
    arguments: tuple[bytes, ...]
    if syntax.whole:
        arguments = (rest,) if rest else ()
    else:
        # Old Outlooks leave a space behind AUTH and LIST.
        arguments = tuple(rest.rstrip(b" ").split(b" ")) if rest.strip(b" ") else ()
    if not syntax.fewest <= len(arguments) <= syntax.most or b"" in arguments:
        raise BadCommand(f"Wrong arguments for {keyword}")
    return Command(keyword, arguments)


def number(argument: bytes) -> int:
    """A message number or a count of lines. Raises BadCommand."""
    if not argument.isdigit() or len(argument) > _MAX_DIGITS:
        raise BadCommand("Not a number")
    return int(argument)
