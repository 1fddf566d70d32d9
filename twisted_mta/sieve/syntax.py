"""A script as its grammar sees it (RFC 5228 §8.2): commands and tests with arguments, not yet understood."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tag:
    """`:name`, in lower case."""

    name: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Number:
    """K, M and G multiplied out."""

    value: int
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Strings:
    """A string, or a list of strings in brackets when `listed`."""

    values: tuple[str, ...]
    listed: bool
    line: int
    column: int


Argument = Tag | Number | Strings


@dataclass(frozen=True, slots=True)
class Node:
    """A command or a test. `tests` are the test or the tests behind its arguments, in parentheses when
    `listed`; `block` is None for a command that ends in a semicolon, and for a test."""

    name: str
    line: int
    column: int
    arguments: tuple[Argument, ...]
    tests: tuple[Node, ...] = ()
    listed: bool = False
    block: tuple[Node, ...] | None = None
