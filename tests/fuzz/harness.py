"""What a fuzz harness is: a function that takes octets and asserts what must hold of any octets.

The invariant stands in its docstring; an exception is a finding. Harnesses live in `fuzz_*.py` beside this
file, one module for each subject; their kept inputs in `corpus/NAME/`. `fuzz.py` looks for new inputs,
`test_corpus.py` repeats the kept ones.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

HERE = Path(__file__).parent
HARNESSES: dict[str, Harness] = {}

Outcome = TypeVar("Outcome")


@dataclass(frozen=True, slots=True)
class Harness:
    """`test` takes octets, at most `longest` of them. `words`: what the subject's language is made of.
    `tests`: mutated inputs in `make test`."""

    name: str
    test: Callable[[bytes], None]
    longest: int
    words: tuple[bytes, ...]
    tests: int

    @property
    def seeds(self) -> list[bytes]:
        """The kept inputs, in a steady order."""
        return [path.read_bytes() for path in sorted((HERE / "corpus" / self.name).iterdir())]


def harness(
    *, longest: int = 4096, words: bytes = b"", tests: int = 100
) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    r"""Register a function under its own name. `words`: a raw string; white space separates them, `\_` is a
    space, and escapes mean what they mean in Python."""

    def register(test: Callable[[bytes], None]) -> Callable[[bytes], None]:
        name = test.__name__
        assert name not in HARNESSES, name
        assert test.__doc__, f"{name} does not say what it asserts"
        escaped = (word.decode("ascii").replace("\\_", " ") for word in words.split())
        found = tuple(word.encode("ascii").decode("unicode_escape").encode("latin-1") for word in escaped)
        HARNESSES[name] = Harness(name, test, longest, found, tests)
        return test

    return register


def load(name: str = "") -> dict[str, Harness]:
    """All harnesses by name, or those of the module that has the one."""
    for path in sorted(HERE.glob("fuzz_*.py")):
        if f"\ndef {name}" in path.read_text(encoding="utf-8"):
            importlib.import_module(path.stem)
    return HARNESSES


# What many harnesses do


def octets(data: bytes) -> Iterator[bytes]:
    """One at a time."""
    return (data[position : position + 1] for position in range(len(data)))


def cut(data: bytes) -> Iterator[bytes]:
    """In pieces of steadily changing length."""
    position, length = 0, 1
    while position < len(data):
        yield data[position : position + length]
        position += length
        length = length * 5 % 37 + 1


def same_however_cut(run: Callable[[Iterable[bytes]], Outcome], data: bytes) -> Outcome:
    """What `run` makes of the octets whole, which must be what it makes of them in pieces."""
    whole = run([data])
    assert run(octets(data)) == whole, "one octet at a time gives something else"
    assert run(cut(data)) == whole, "in pieces it gives something else"
    return whole
