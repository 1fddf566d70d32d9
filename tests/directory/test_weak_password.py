"""Passwords that may be chosen, and those that are guessed first."""

from __future__ import annotations

import pytest

from twisted_mta.directory.passwords import BadPassword
from twisted_mta.directory.weak_password import refuse_weak

ADDRESS = "long.name@example.org"


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("", "shorter than 8"),
        ("hg7Kd2!", "shorter than 8"),
        ("schöner", "shorter than 8"),
        ("password", "guessed first"),
        ("Passwort2026!", "guessed first"),
        ("12345678", "guessed first"),
        ("2026-11-23", "guessed first"),
        ("aaaabbbbaaaa", "guessed first"),
        ("!!QWERTY!!", "guessed first"),
        ("long.name", "own name"),
        ("Long.Name@example.org", "own name"),
        ("Example1", "own name"),
        ("example.org", "own name"),
        ("##long.name2026##", "own name"),
    ],
)
def test_weak(password: str, why: str) -> None:
    with pytest.raises(BadPassword, match=why):
        refuse_weak(password, ADDRESS)


@pytest.mark.parametrize(
    "password",
    ["correct horse", "hg7Kd2!x", "schönerTag", "my password", "1234567890123456", "long.name's dog"],
)
def test_good(password: str) -> None:
    refuse_weak(password, ADDRESS)
