"""App passwords: made by the server, one for each device, for some services only, shown once.

140 random bits in letters and digits that nobody mistakes for one another. They are looked up by a plain
SHA-256: a slow hash protects what people think up and others can guess; these can only be tried one after
the other, 2^139 of them, and a login with one costs microseconds. Dashes, spaces and capitals do not count
when one is typed by hand; a client that proves it by SCRAM has to have it as it was shown.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from hashlib import sha256

# What an app password may be limited to; ManageSieve is "sieve".
SERVICES = ("smtp", "imap", "pop3", "sieve", "jmap")

MOST = 50  # of one account; SCRAM has to try each of them

_ALPHABET = "abcdefghijkmnpqrstuvwxyz23456789"  # 32: without l, o, 0, 1
_GROUPS, _GROUP = 7, 4
_SHAPE = re.compile(f"[{_ALPHABET}]{{{_GROUPS * _GROUP}}}")
_IGNORED = str.maketrans("", "", "- ")


@dataclass(frozen=True, slots=True)
class AppPassword:
    """`services` of `SERVICES`; `created` and `used` (None: never) in seconds since 1970."""

    name: str
    hash: bytes = field(repr=False)
    services: frozenset[str]
    created: int
    used: int | None = None


def generate() -> str:
    """A new one."""
    return random_text(_GROUPS)


def random_text(groups: int) -> str:
    """In groups of four for reading: "mfw3-…", 20 bits each."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(_GROUP)) for _ in range(groups))


def hash_of(account: str, typed: str) -> bytes | None:
    """What is kept of an app password; None for a text that can be none. Microseconds."""
    if len(typed) > 2 * _GROUPS * _GROUP:
        return None
    bare = typed.translate(_IGNORED).lower()
    if _SHAPE.fullmatch(bare) is None:
        return None
    return sha256(f"{account}\0{bare}".encode()).digest()
