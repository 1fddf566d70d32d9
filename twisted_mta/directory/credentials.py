"""Logins that were verified a short while ago, so that not every connection costs an argon2 hash.

Remembered is a keyed hash, under a key that only this process knows, of login, password and the stored
hash they were verified against: a changed password or a removed account makes what is remembered
worthless at once, and nobody can read a password from it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from hashlib import blake2b

LIFETIME = 300.0  # seconds
MOST = 20_000  # entries; the oldest goes


class RememberedCredentials:
    """`seconds` is the clock; for `lifetime` of them a login is remembered."""

    def __init__(self, seconds: Callable[[], float], lifetime: float = LIFETIME) -> None:
        self._seconds = seconds
        self._lifetime = lifetime
        self._key = secrets.token_bytes(32)
        self._until: dict[bytes, float] = {}

    def digest(self, account: str, password: str, stored: str) -> bytes:
        """What stands for this login; the parts cannot run into each other."""
        text = f"{len(account)} {len(stored)} {account}{stored}{password}"
        return blake2b(text.encode(), key=self._key, digest_size=32).digest()

    def knows(self, digest: bytes) -> bool:
        """True when it was verified less than the lifetime ago."""
        until = self._until.get(digest)
        if until is None:
            return False
        if until <= self._seconds():
            del self._until[digest]
            return False
        return True

    def remember(self, digest: bytes) -> None:
        """It has just been verified."""
        self._until.pop(digest, None)
        self._until[digest] = self._seconds() + self._lifetime
        if len(self._until) > MOST:
            del self._until[next(iter(self._until))]
