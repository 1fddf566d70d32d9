"""Password hashes for little work, where how much work it should be is not the matter."""

from __future__ import annotations

from passlib.hash import argon2


def quick_hash(prepared: str) -> str:
    """A real one, that `verify` takes."""
    return str(argon2.using(rounds=1, memory_cost=8, parallelism=1).hash(prepared))
