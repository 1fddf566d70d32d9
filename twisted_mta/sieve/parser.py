"""The grammar of a script (RFC 5228 §8.2). What commands exist, and what they take, is the validator's."""

from __future__ import annotations

from typing import NamedTuple

from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.lexer import MAX_SCRIPT, Kind, Token, tokens
from twisted_mta.sieve.syntax import Argument, Node, Number, Strings, Tag

MAX_DEPTH = 32  # blocks in blocks, and tests in tests (RFC 5228 §2.10.5 wants 15)
MAX_STRINGS = 10_000  # in one list
MAX_NODES = 10_000  # commands and tests
MAX_ARGUMENTS = 50_000  # tags, numbers and strings

_NODE, _ARGUMENT, _REFERENCE, _CHARACTER = 1600, 200, 100, 5  # octets that one may take when it is compiled


class Parsed(NamedTuple):
    """weight: octets that it takes once it is compiled; rather too many than too few."""

    commands: tuple[Node, ...]
    weight: int


def parse(script: bytes) -> Parsed:
    """The commands of a script. Raises SieveError."""
    if len(script) > MAX_SCRIPT:
        raise SieveError(f"the script is larger than {MAX_SCRIPT} octets", 1, 1)
    try:
        text = script.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = script.count(b"\n", 0, error.start) + 1
        raise SieveError("the script is not UTF-8", line, 1) from None
    parser = _Parser(text)
    commands = parser.commands(0)
    if parser.token.kind is not Kind.END:
        raise parser.expected("a command")
    pieces = parser.nodes * _NODE + parser.given * _ARGUMENT + text.count("${") * _REFERENCE
    return Parsed(commands, pieces + len(text) * _CHARACTER)


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = tokens(text)
        self.token = next(self._tokens)
        self.nodes = 0
        self.given = 0  # arguments

    def commands(self, depth: int) -> tuple[Node, ...]:
        found = []
        while self.token.kind is Kind.IDENTIFIER:
            found.append(self._command(depth))
        return tuple(found)

    def _command(self, depth: int) -> Node:
        name = self._name()
        arguments = self._arguments()
        tests, listed = self._tests(0)
        block = None
        if self._is("{"):
            self._check(depth)
            self._take()
            block = self.commands(depth + 1)
            self._expect("}", f'"}}", the end of the block of "{name.text}"')
        else:
            self._expect(";", f'";" behind "{name.text}"')
        return Node(name.text, name.line, name.column, arguments, tests, listed, block)

    def _arguments(self) -> tuple[Argument, ...]:
        found: list[Argument] = []
        while True:
            token = self.token
            if token.kind is Kind.TAG:
                found.append(Tag(token.text, token.line, token.column))
                self._argument()
            elif token.kind is Kind.NUMBER:
                found.append(Number(token.number, token.line, token.column))
                self._argument()
            elif token.kind is Kind.STRING:
                found.append(Strings((token.text,), False, token.line, token.column))
                self._argument()
            elif self._is("["):
                found.append(self._string_list())
            else:
                return tuple(found)

    def _string_list(self) -> Strings:
        opening = self._take()
        values: list[str] = []
        while True:
            if self.token.kind is not Kind.STRING:
                raise self.expected("a string")
            if len(values) == MAX_STRINGS:
                raise self._wrong(f"a list may have {MAX_STRINGS} strings")
            values.append(self._argument().text)
            if not self._is(","):
                break
            self._take()
        self._expect("]", '"]" or ","')
        return Strings(tuple(values), True, opening.line, opening.column)

    def _tests(self, depth: int) -> tuple[tuple[Node, ...], bool]:
        if self.token.kind is Kind.IDENTIFIER:
            return (self._test(depth),), False
        if not self._is("("):
            return (), False
        self._take()
        found = [self._test(depth)]
        while self._is(","):
            self._take()
            found.append(self._test(depth))
        self._expect(")", '")" or ","')
        return tuple(found), True

    def _test(self, depth: int) -> Node:
        self._check(depth)
        if self.token.kind is not Kind.IDENTIFIER:
            raise self.expected("a test")
        name = self._name()
        arguments = self._arguments()
        tests, listed = self._tests(depth + 1)
        return Node(name.text, name.line, name.column, arguments, tests, listed)

    def _check(self, depth: int) -> None:
        if depth == MAX_DEPTH:
            raise self._wrong(f"more than {MAX_DEPTH} levels of nesting")

    def _name(self) -> Token:
        """That of a command or test."""
        if self.nodes == MAX_NODES:
            raise self._wrong(f"a script may have {MAX_NODES:,} commands and tests, and here is one more")
        self.nodes += 1
        return self._take()

    def _argument(self) -> Token:
        if self.given == MAX_ARGUMENTS:
            raise self._wrong(f"a script may have {MAX_ARGUMENTS:,} arguments, and here is one more")
        self.given += 1
        return self._take()

    def _take(self) -> Token:
        token, self.token = self.token, next(self._tokens, self.token)
        return token

    def _is(self, mark: str) -> bool:
        return self.token.kind is Kind.MARK and self.token.text == mark

    def _expect(self, mark: str, what: str) -> None:
        if not self._is(mark):
            raise self.expected(what)
        self._take()

    def expected(self, what: str) -> SieveError:
        """The error for the token that stands where something else should."""
        token = self.token
        found = f'"{token.text[:40]}"' if token.text and token.kind is not Kind.STRING else token.kind.value
        return self._wrong(f"expected {what}, found {found}")

    def _wrong(self, text: str) -> SieveError:
        return SieveError(text, self.token.line, self.token.column)
