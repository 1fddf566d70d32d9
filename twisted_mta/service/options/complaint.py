"""One sentence for a configuration that is refused: where, what is wrong, what to write instead."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, get_args, get_type_hints

import msgspec
from msgspec import Struct, inspect

_PLACE = re.compile(r"(.*) - at `\$\.?(.*)`\Z", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`\Z")
_MISSING = re.compile(r"Object missing required field `(.*)`\Z")
_TYPE = re.compile(r"Expected `(.*)`, got `(.*)`\Z")
_LEAST = re.compile(r"Expected `(int|array)` (?:of length )?>= (\d+)\Z")
_CHOICE = re.compile(r"Invalid enum value (.*)\Z", re.DOTALL)
_MOST = re.compile(r"Expected `int` <= (\d+)\Z")
_WORDS = {
    "str": "a text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list in [ ]",
    "object": "a table",
    "null": "nothing",
}


class ConfigError(Exception):
    """A sentence for the administrator."""


def complaint(error: msgspec.ValidationError, root: type[Struct]) -> ConfigError:
    """What msgspec found, in the file's own words."""
    found = _PLACE.match(str(error))
    message, path = (found[1], found[2]) if found else (str(error), "")
    table = _table_at(root, path)
    if (unknown := _UNKNOWN.match(message)) is not None:
        return ConfigError(
            f"{_join(path, unknown[1])}: unknown key; {_suggest(unknown[1], table, root, path)}"
        )
    if (missing := _MISSING.match(message)) is not None:
        example = _example(table, missing[1])
        return ConfigError(f"{_join(path, missing[1])}: missing; write for example {missing[1]} = {example}")
    if (wrong := _TYPE.match(message)) is not None:
        parent, _, key = path.rpartition(".")
        holder = _table_at(root, parent)
        bare = key.partition("[")[0]
        hint = "" if holder is None or "[" in key else f", for example {bare} = {_example(holder, bare)}"
        expected, got = (_words(part) for part in wrong.groups())
        return ConfigError(f"{path or 'the file'}: expected {expected}{hint}; found {got}")
    if (choice := _CHOICE.match(message)) is not None:
        parent, _, key = path.rpartition(".")
        return ConfigError(f"{path}: expected {_choices(_table_at(root, parent), key)}, found {choice[1]}")
    if (least := _LEAST.match(message)) is not None:
        what = f"at least {least[2]} entry" if least[1] == "array" else f"a whole number from {least[2]} up"
        return ConfigError(f"{path}: expected {what}")
    if (most := _MOST.match(message)) is not None:
        return ConfigError(f"{path}: expected a whole number up to {most[1]}")
    return ConfigError(f"{path}: {message[:1].lower()}{message[1:]}" if path else message)


def _words(types: str) -> str:
    return " or ".join(_WORDS.get(name, name) for name in types.split(" | "))


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _fields(table: type[Struct] | None) -> list[str]:
    return list(table.__struct_fields__) if table is not None else []


def _table_at(root: type[Struct], path: str) -> type[Struct] | None:
    """The Struct a path leads to, None when it leads to something else."""
    table: Any = root
    for key in filter(None, path.replace("[...]", "[]").split(".")):
        name, inside, _ = key.partition("[")  # "milters[...]": one of a dict
        table = get_type_hints(table).get(name)
        table = (get_args(table) or (None,))[-1] if inside else table
        if not (isinstance(table, type) and issubclass(table, Struct)):
            return None
    return table  # type: ignore[no-any-return]


def _suggest(key: str, table: type[Struct] | None, root: type[Struct], path: str) -> str:
    """A near name here, the table where a key of that name belongs, or the names there are."""
    fields = _fields(table)
    near = difflib.get_close_matches(key, fields, 1, 0.7)
    if near:
        return f"did you mean {near[0]}?"
    for section in _fields(root):
        inner = _table_at(root, section)
        if inner is not None and key in _fields(inner) and section != path:
            return f"it belongs under [{section}]"
    return f"the keys here are {_list(fields)}"


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)


def _choices(table: type[Struct] | None, key: str) -> str:
    """The values that a key may have."""
    info = inspect.type_info(table)
    name = key.partition("[")[0]
    kind = next((field.type for field in getattr(info, "fields", ()) if field.name == name), None)
    if "[" in key and isinstance(kind, inspect.VarTupleType):
        kind = kind.item_type
    values = kind.values if isinstance(kind, inspect.LiteralType) else ()
    return " or ".join(f'"{value}"' for value in values) or "another value"


def _example(table: type[Struct] | None, key: str) -> str:
    """A value the key could have, as TOML."""
    info = inspect.type_info(table)
    assert isinstance(info, inspect.StructType)
    return next(_example_of(field.type) for field in info.fields if field.name == key)


def _example_of(kind: inspect.Type) -> str:
    match kind:
        case inspect.CustomType(cls=cls):
            return str(getattr(cls, "EXAMPLE", "…"))
        case inspect.UnionType(types=types):
            return _example_of(types[0])
        case inspect.VarTupleType(item_type=item):
            return f"[{_example_of(item)}]"
        case inspect.BoolType():
            return "true"
        case inspect.IntType(ge=least):
            return str(max(least or 0, 100))
        case inspect.DictType():
            return '{ "example.net" = "192.0.2.1:25" }'
        case inspect.StructType(cls=cls):
            return f"[{cls.__name__.lower()}] on a line of its own"
        case _:
            return '"data"'
