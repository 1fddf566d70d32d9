"""Inputs made from other inputs, for when there is no Atheris, for `make test`, and for long inputs.

All is decided by the generator that is handed in: the same seed gives the same inputs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

_EDGES = (
    *(b"\0", b"\r", b"\n", b"\r\n", b"\r\n.\r\n", b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"\xf0\x9f\x93\xa7"),
    *(
        b"0",
        b"-1",
        b"4294967296",
        b"18446744073709551616",
        b"9" * 40,
        b'"',
        b"\\",
        b"(",
        b")",
        b"{5}",
        b"{5+}\r\n",
    ),
    *(b"<", b">", b"=", b"%", b";", b":", b",", b"*", b" ", b"\t", b"=?utf-8?q?", b"?="),
)


def mutated(rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes], longest: int) -> bytes:
    """One of the seeds with up to eight changes, cut to `longest` octets."""
    data = rng.choice(seeds) if seeds else b""
    for _ in range(rng.randrange(1, 9)):
        start = rng.randrange(len(data) + 1)
        end = rng.randrange(start, min(len(data), start + 40) + 1)
        match rng.randrange(9):
            case 0:
                data = data[:start] + data[end:]
            case 1:
                data = data[:start] + rng.randbytes(rng.randrange(1, 5)) + data[start:]
            case 2 if start < len(data):
                flipped = data[start] ^ 1 << rng.randrange(8)
                data = data[:start] + bytes((flipped,)) + data[start + 1 :]
            case 3 | 4:
                data = data[:start] + rng.choice(words or _EDGES) + data[rng.choice((start, end)) :]
            case 5:
                data = data[:start] + rng.choice(_EDGES) + data[rng.choice((start, end)) :]
            case 6:
                data = data[:end] + data[start:end] * rng.randrange(1, 20) + data[end:]
            case 7:
                other = rng.choice(seeds) if seeds else b""
                data = data[:start] + other[rng.randrange(len(other) + 1) :]
            case 8:
                to = rng.randrange(len(data) + 1)
                data = data[:to] + data[start:end] + data[to:]
    return data[:longest]


def stretched(rng: random.Random, seeds: Sequence[bytes], words: Sequence[bytes], longest: int) -> bytes:
    """A piece of a seed, or some words, repeated where it stood until there are `longest` octets: what takes
    more than linear time shows it here."""
    data = rng.choice(seeds) if seeds else b""
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.choice((1, 1, 2, 3, 5, 8, 20, 60)))
    piece = data[start:end] or rng.choice(words or _EDGES)
    if rng.random() < 0.3:
        piece += rng.choice(words or _EDGES)
    room = max(longest - len(data), 1)
    return (data[:start] + piece * (room // len(piece) + 1) + data[end:])[:longest]
