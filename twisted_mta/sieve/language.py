"""What the language of commands and tests consists of, and how an extension adds to it (RFC 5228 §6).

A `Spec` says what a command or a test takes and builds what is executed from it. An `Extension` is what a
module of this package brings along under one capability; `dialect.py` puts them together.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast

from twisted_mta.sieve.errors import SieveError
from twisted_mta.sieve.matching import Matcher, MatchType
from twisted_mta.sieve.run import Run
from twisted_mta.sieve.strings import Text
from twisted_mta.sieve.syntax import Node

_VARIABLE = re.compile(r"(?P<global>global\.)?[A-Za-z_][A-Za-z0-9_]*\Z", re.IGNORECASE)
NO_VARIABLE = "the name of a variable is a word of letters, digits and _, and no variable itself"
Test = Callable[[Run], bool]
Command = Callable[[Run], None]


class Kind(enum.Enum):
    """What an argument is. A single string may stand for a list of one."""

    STRING = "a string"
    STRINGS = "a string or a list of strings"
    NUMBER = "a number"


@dataclass(frozen=True, slots=True)
class Parameter:
    """A positional argument; optional ones come first."""

    name: str
    kind: Kind
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Tagged:
    """`:name`, with a value or without. Of a `group` only one may be given; "" is a group of its own."""

    name: str
    value: Kind | None = None
    group: str = ""


class Tests(enum.Enum):
    """The tests that a command or test takes."""

    NONE = 0
    ONE = 1
    LIST = 2


Value = Text | tuple[Text, ...] | int


@dataclass(frozen=True, slots=True)
class Bound:
    """A command or test of a script, its arguments in their places. In `tags` one without a value is 1.
    `capabilities`: those that are required here; `known`: those that could be."""

    node: Node
    capabilities: frozenset[str]
    tags: Mapping[str, Value]
    values: Mapping[str, Value]
    tests: tuple[Test, ...] = ()
    block: Command | None = None
    matcher: Matcher | None = None
    address_part: Callable[[Run, str], str | None] | None = None
    known: frozenset[str] = frozenset()

    def text(self, name: str) -> Text:
        """A STRING by its parameter's or tag's name."""
        return cast(Text, self._value(name))

    def texts(self, name: str) -> tuple[Text, ...]:
        """STRINGS."""
        return cast("tuple[Text, ...]", self._value(name))

    def number(self, name: str) -> int:
        """A NUMBER."""
        return cast(int, self._value(name))

    def has(self, name: str) -> bool:
        """Whether a tag or an optional parameter was given."""
        return name in self.tags or name in self.values

    def variable(self, name: str) -> str:
        """What a parameter says is the name of a variable, in lower case; "global." may stand before it when
        include was required (RFC 5229 §3, RFC 6609 §3.4.2). Raises SieveError."""
        found = _VARIABLE.match(self.text(name).constant or "")
        if found is None or (found["global"] and "include" not in self.capabilities):
            raise self.error(NO_VARIABLE)
        return found[0].lower()

    def error(self, text: str) -> SieveError:
        """At this command."""
        return SieveError(text, self.node.line, self.node.column)

    def _value(self, name: str) -> Value:
        return self.tags[name] if name in self.tags else self.values[name]


@dataclass(frozen=True, slots=True)
class Spec:
    """A command or a test. `build` makes what is executed and may raise SieveError; it is called once for
    each place in the script. `matching`: takes a match type and a comparator, and a parameter called "keys".
    `address_parts`: takes one of them. `tests` and `block`: what stands behind the arguments. `grants`: the
    capabilities that count as required from this place on."""

    name: str
    build: Callable[[Bound], Callable[[Run], bool | None]]
    parameters: tuple[Parameter, ...] = ()
    tags: tuple[Tagged, ...] = ()
    matching: bool = False
    address_parts: bool = False
    tests: Tests = Tests.NONE
    block: bool = False
    grants: Callable[[Bound], Iterable[str]] | None = None


@dataclass(frozen=True, slots=True)
class AddressPart:
    """`part` None: the address has no such part, so nothing matches."""

    name: str
    part: Callable[[Run, str], str | None]


@dataclass(frozen=True, slots=True)
class Extension:
    """What `require` of this capability adds; of "" it is there always. `tags`: those that commands and tests
    get, by their name. `implies`: other capabilities that come along."""

    capability: str
    commands: tuple[Spec, ...] = ()
    tests: tuple[Spec, ...] = ()
    tags: Mapping[str, tuple[Tagged, ...]] = field(default_factory=dict)
    match_types: tuple[MatchType, ...] = ()
    address_parts: tuple[AddressPart, ...] = ()
    implies: tuple[str, ...] = ()


class Dialect:
    """All extensions that a script may require; each lookup is for the capabilities it did require."""

    def __init__(self, extensions: Iterable[Extension]) -> None:
        self.extensions: dict[str, Extension] = {}
        self._commands: dict[str, tuple[str, Spec]] = {}
        self._tests: dict[str, tuple[str, Spec]] = {}
        for extension in extensions:
            self.extensions[extension.capability] = extension
            self._commands.update({spec.name: (extension.capability, spec) for spec in extension.commands})
            self._tests.update({spec.name: (extension.capability, spec) for spec in extension.tests})
        self.known = frozenset(self.extensions)

    @property
    def capabilities(self) -> list[str]:
        """What may be required, in order."""
        return sorted(set(self.extensions) - {""})

    def command(self, name: str) -> tuple[str, Spec] | None:
        """With the capability it belongs to."""
        return self._commands.get(name)

    def test(self, name: str) -> tuple[str, Spec] | None:
        """The same for a test."""
        return self._tests.get(name)

    def with_implied(self, capability: str) -> set[str]:
        """The capability and all that come along with it."""
        found, waiting = set(), [capability]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.extensions[name].implies
        return found

    def tags(self, spec: Spec, capabilities: frozenset[str]) -> dict[str, Tagged]:
        """Those that the command or test takes, by name."""
        known = {tag.name: tag for tag in spec.tags}
        active = [self.extensions[capability] for capability in {"", *capabilities}]
        for extension in active:
            known.update({tag.name: tag for tag in extension.tags.get(spec.name, ())})
            if spec.matching:
                for kind in extension.match_types:
                    known[kind.name] = Tagged(kind.name, Kind.STRING if kind.operator else None, "match type")
            if spec.address_parts:
                for part in extension.address_parts:
                    known[part.name] = Tagged(part.name, None, "address part")
        if spec.matching:
            known["comparator"] = Tagged("comparator", Kind.STRING)
        return known

    def match_type(self, name: str) -> MatchType | None:
        """By its tag."""
        found = (kind for extension in self.extensions.values() for kind in extension.match_types)
        return next((kind for kind in found if kind.name == name), None)

    def address_part(self, name: str) -> AddressPart | None:
        """By its tag."""
        found = (part for extension in self.extensions.values() for part in extension.address_parts)
        return next((part for part in found if part.name == name), None)
