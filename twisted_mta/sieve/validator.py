"""From the grammar of a script to what is executed: every command known, every argument in its place, or an
error with line and column (RFC 5228 §2.10.5, §3, §8.3).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn, cast

from twisted_mta.sieve.comparators import ASCII_CASEMAP, COMPARATORS, Comparator
from twisted_mta.sieve.control import chain, sequence
from twisted_mta.sieve.errors import RunError, SieveError, UnknownError
from twisted_mta.sieve.language import (
    Bound,
    Command,
    Dialect,
    Kind,
    Parameter,
    Spec,
    Tagged,
    Test,
    Tests,
    Value,
)
from twisted_mta.sieve.matching import IS, Matcher
from twisted_mta.sieve.run import Run
from twisted_mta.sieve.strings import Text, decode_characters
from twisted_mta.sieve.syntax import Argument, Node, Number, Strings, Tag

_BRANCHES = ("if", "elsif", "else")
_GLOBAL = re.compile(r"global\.[A-Za-z_][A-Za-z0-9_]*\Z", re.IGNORECASE)


class Validator:
    """One script. `required` grows with each `require`, and with what `ihave` finds. `doubts`: names that
    mean nothing here, in a script that asks before it uses what may be missing (RFC 5463 §4): they are errors
    of the run that comes to them."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self.required: frozenset[str] = frozenset()
        self.doubts: list[SieveError] = []

    def script(self, nodes: Sequence[Node]) -> Command:
        """The whole of it. Raises SieveError."""
        place = 0
        while place < len(nodes) and nodes[place].name == "require":
            self._require(nodes[place])
            place += 1
        return self._commands(nodes[place:])

    def _require(self, node: Node) -> None:
        names = _parameters(node, node.arguments, (Parameter("capabilities", Kind.STRINGS),), self._text)
        if node.tests or node.block is not None:
            raise _at(node, '"require" takes a list of capabilities and nothing else')
        for text in cast("tuple[Text, ...]", names["capabilities"]):
            name = text.constant or ""
            if not name or name not in self._dialect.extensions:
                raise _at(node, f'there is no extension "{name}" here')
            self.required |= self._dialect.with_implied(name)

    def _commands(self, nodes: Sequence[Node]) -> Command:
        found: list[Command] = []
        place = 0
        while place < len(nodes):
            node = nodes[place]
            if node.name == "if":
                end = place + 1
                while end < len(nodes) and nodes[end].name in _BRANCHES[1:]:
                    end += 1
                    if nodes[end - 1].name == "else":
                        break
                found.append(self._chain(nodes[place:end]))
                place = end
                continue
            found.append(self._command(node))
            place += 1
        return sequence(found)

    def _chain(self, nodes: Sequence[Node]) -> Command:
        branches: list[tuple[Test | None, Command]] = []
        for node in nodes:
            wanted = 0 if node.name == "else" else 1
            if node.arguments or node.listed or len(node.tests) != wanted or node.block is None:
                rest = "a block" if node.name == "else" else "one test and a block"
                raise _at(node, f'"{node.name}" takes {rest}')
            test = self._test(node.tests[0]) if wanted else None
            branches.append((test, self._commands(node.block)))
        return chain(branches)

    def _command(self, node: Node) -> Command:
        if node.name in _BRANCHES:
            raise _at(node, f'"{node.name}" without an "if" before it')
        if node.name == "require":
            raise _at(node, '"require" has to stand before all other commands')
        try:
            spec = self._known(node, self._dialect.command(node.name), "command")
            return _counted(node, cast(Command, spec.build(self._bound(node, spec))))
        except UnknownError as error:
            return self._in_doubt(error)

    def _test(self, node: Node) -> Test:
        try:
            spec = self._known(node, self._dialect.test(node.name), "test")
            bound = self._bound(node, spec)
            test = _counted_test(node, cast(Test, spec.build(bound)))
        except UnknownError as error:
            return self._in_doubt(error)
        for capability in spec.grants(bound) if spec.grants is not None else ():
            self.required |= self._dialect.with_implied(capability)
        return test

    def _in_doubt(self, error: UnknownError) -> Callable[[Run], NoReturn]:
        """What is executed in place of a command or test that means nothing. Raises the error when the script
        does not ask what there is."""
        if "ihave" not in self.required:
            raise error
        self.doubts.append(error)

        def execute(run: Run) -> NoReturn:
            raise RunError(error.text, error.line)

        return execute

    def _known(self, node: Node, found: tuple[str, Spec] | None, what: str) -> Spec:
        if found is None:
            raise _unknown(node, f'there is no {what} "{node.name}"')
        capability, spec = found
        if capability and capability not in self.required:
            raise _unknown(node, f'the {what} "{node.name}" needs: require "{capability}";')
        return spec

    # Arguments

    def _bound(self, node: Node, spec: Spec) -> Bound:
        known = self._dialect.tags(spec, self.required)
        tags, rest = self._tags(node, known)
        values = _parameters(node, rest, spec.parameters, self._text)
        wanted = {Tests.NONE: len(node.tests) == 0, Tests.ONE: len(node.tests) == 1 and not node.listed}
        if not wanted.get(spec.tests, bool(node.tests)):
            takes = {Tests.NONE: "no test", Tests.ONE: "one test", Tests.LIST: "a list of tests"}
            raise _at(node, f'"{node.name}" takes {takes[spec.tests]}')
        if (node.block is not None) is not spec.block:
            raise _at(node, f'"{node.name}" takes {"a" if spec.block else "no"} block')
        part = next((tag for tag in tags if known[tag].group == "address part"), "all")
        found_part = self._dialect.address_part(part) if spec.address_parts else None
        return Bound(
            node,
            self.required,
            tags,
            values,
            tuple(map(self._test, node.tests)),
            None if node.block is None else self._commands(node.block),
            self._matcher(node, tags, values, known) if spec.matching else None,
            None if found_part is None else found_part.part,
            self._dialect.known,
        )

    def _tags(self, node: Node, known: Mapping[str, Tagged]) -> tuple[dict[str, Value], tuple[Argument, ...]]:
        """The tags with their values, and the positional arguments that are left."""
        found: dict[str, Value] = {}
        groups: set[str] = set()
        place = 0
        while place < len(node.arguments) and isinstance(tag := node.arguments[place], Tag):
            spec = known.get(tag.name)
            if spec is None:
                raise UnknownError(f'"{node.name}" knows no ":{tag.name}"', tag.line, tag.column)
            group = spec.group or tag.name
            if group in groups:
                raise SieveError(f'":{tag.name}": a second {spec.group or "time"}', tag.line, tag.column)
            groups.add(group)
            place += 1
            found[tag.name] = 1
            if spec.value is not None:
                if place == len(node.arguments):
                    raise SieveError(f'":{tag.name}" takes {spec.value.value}', tag.line, tag.column)
                found[tag.name] = _value(node.arguments[place], spec.value, self._text)
                place += 1
        return found, node.arguments[place:]

    def _matcher(
        self,
        node: Node,
        tags: Mapping[str, Value],
        values: Mapping[str, Value],
        known: Mapping[str, Tagged],
    ) -> Matcher:
        comparator = self._comparator(node, cast("Text | None", tags.get("comparator")))
        name = next((tag for tag in tags if known[tag].group == "match type"), IS.name)
        kind = self._dialect.match_type(name)
        assert kind is not None
        if kind.parts and comparator.fold is None:
            raise _at(node, f'":{name}" is not possible with the comparator "{comparator.name}"')
        keys = values.get("keys", ())
        for key in (keys,) if isinstance(keys, Text) else cast("tuple[Text, ...]", keys):
            if key.constant is None or kind.trouble is None:
                continue
            if trouble := kind.trouble(comparator, key.constant):
                raise _at(node, f'"{key.constant}" is no key for ":{name}": {trouble}')
        if kind.operator is None:
            return Matcher(kind, comparator)
        operator = cast(Text, tags[name])
        if operator.constant is not None and (wrong := kind.operator(operator.constant)):
            raise _at(node, wrong)
        return Matcher(kind, comparator, operator)

    def _comparator(self, node: Node, name: Text | None) -> Comparator:
        if name is None:
            return ASCII_CASEMAP
        comparator = COMPARATORS.get(name.constant or "")
        if comparator is None:
            raise _unknown(node, f'there is no comparator "{name.constant or "with variables in its name"}"')
        if comparator.capability and comparator.capability not in self.required:
            raise _unknown(node, f'the comparator needs: require "{comparator.capability}";')
        return comparator

    def _text(self, written: str, at: Argument) -> Text:
        if "encoded-character" in self.required:
            try:
                written = decode_characters(written)
            except ValueError:
                raise SieveError("${hex:} or ${unicode:} of no character", at.line, at.column) from None
        text = Text(written, variables="variables" in self.required)
        for name in text.spaced:
            if "include" not in self.required or not _GLOBAL.match(name):
                raise UnknownError(f'there is no variable "{name}" here', at.line, at.column)
        return text


def _parameters(
    node: Node,
    arguments: Sequence[Argument],
    parameters: Sequence[Parameter],
    read: Callable[[str, Argument], Text],
) -> dict[str, Value]:
    """The positional arguments by their parameters' names."""
    needed = sum(not parameter.optional for parameter in parameters)
    if not needed <= len(arguments) <= len(parameters):
        names = " ".join(f"<{parameter.name}>" for parameter in parameters) or "no arguments"
        raise _at(node, f'"{node.name}" takes {names}')
    given = list(parameters)
    while len(given) > len(arguments):
        given.remove(next(parameter for parameter in given if parameter.optional))
    return {
        parameter.name: _value(argument, parameter.kind, read)
        for parameter, argument in zip(given, arguments, strict=True)
    }


def _value(argument: Argument, kind: Kind, read: Callable[[str, Argument], Text]) -> Value:
    match argument, kind:
        case Number(value=value), Kind.NUMBER:
            return value
        case Strings(values=(value,), listed=False), Kind.STRING:
            return read(value, argument)
        case Strings(values=values), Kind.STRINGS:
            return tuple(read(value, argument) for value in values)
    raise SieveError(f"expected {kind.value}", argument.line, argument.column)


def _at(node: Node, text: str) -> SieveError:
    return SieveError(text, node.line, node.column)


def _unknown(node: Node, text: str) -> UnknownError:
    return UnknownError(text, node.line, node.column)


def _counted(node: Node, command: Command) -> Command:
    line = node.line  # the rest of the tree is done with

    def execute(run: Run) -> None:
        run.step(line)
        command(run)

    return execute


def _counted_test(node: Node, test: Test) -> Test:
    line = node.line

    def holds(run: Run) -> bool:
        run.step(line)
        try:
            return test(run)
        except RunError as error:
            raise error if error.line else RunError(error.text, line) from None

    return holds
