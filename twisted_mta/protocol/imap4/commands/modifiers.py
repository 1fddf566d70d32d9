"""Parameters and modifiers in parentheses: `(CONDSTORE)`, `(CHANGEDSINCE 12 VANISHED)` (RFC 4466 §2.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted_mta.protocol.imap4.grammar import CommandError, Cursor

# By name, in upper case: reads the value, from the space before it on.
Values = Mapping[str, Callable[[Cursor], Any]]


def flag(cursor: Cursor) -> bool:
    """The value of a modifier that has none."""
    return True


def parse_modifiers(cursor: Cursor, known: Values) -> dict[str, Any]:
    """The parenthesized list at the cursor: each of the `known` names at most once, in any order. Raises
    CommandError, also for a name that is not known (RFC 4466 §2.1)."""
    found: dict[str, Any] = {}

    def modifier() -> None:
        name = cursor.keyword()
        if name not in known:
            raise CommandError("Unknown modifier")
        if name in found:
            raise CommandError("A modifier may stand only once")
        found[name] = known[name](cursor)

    cursor.parenthesized(modifier)
    return found
