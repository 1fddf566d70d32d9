"""Mod-sequences in commands and responses (RFC 7162 §7)."""

from __future__ import annotations

import re

from twisted_mta.protocol.imap4.grammar import Cursor

MAX_MOD_SEQUENCE = 2**63 - 1

_DIGITS = re.compile(rb"[0-9]{1,19}(?![0-9])")


def parse_mod_sequence(cursor: Cursor, *, zero: bool = False) -> int:
    """`mod-sequence-value`, or `mod-sequence-valzer` when it may be `zero`. Raises CommandError."""
    value = int(cursor.match(_DIGITS, "a mod-sequence"))
    if value > MAX_MOD_SEQUENCE or not (value or zero):
        cursor.fail("a mod-sequence")
    return value
