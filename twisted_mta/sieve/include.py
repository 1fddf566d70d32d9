"""Scripts in scripts (RFC 6609): `include`, `return`, and `global` variables.

An included script is read when the run comes to it, and compiled with the limits of any other. Its variables
are its own, and it requires for itself what it uses.
"""

from __future__ import annotations

import unicodedata

from twisted_mta.sieve.control import Return
from twisted_mta.sieve.errors import RunError, SieveError
from twisted_mta.sieve.language import NO_VARIABLE, Bound, Command, Extension, Kind, Parameter, Spec, Tagged
from twisted_mta.sieve.rewriting import part_as_message
from twisted_mta.sieve.run import Run, Scope

_MOST_NAME = 512  # octets (RFC 5804 §1.6)
_FORBIDDEN = frozenset(("Cc", "Cs", "Cn", "Zl", "Zp"))


def _include(bound: Bound) -> Command:
    name = bound.text("name").constant
    if name is None:
        raise bound.error("the name of a script has no variables in it")
    odd = any(unicodedata.category(char) in _FORBIDDEN for char in name)
    if odd or not name or len(name.encode()) > _MOST_NAME:
        raise bound.error(f'"{name[:80]}" cannot be the name of a script')
    key = ("global" if bound.has("global") else "personal", name)
    once, optional, line = bound.has("once"), bound.has("optional"), bound.node.line

    def execute(run: Run) -> None:
        if once and key in run.included:
            return
        if key in run.within:
            raise RunError(f'the script "{name}" includes itself', line)
        if len(run.within) > run.limits.depth:
            raise RunError(f"more than {run.limits.depth} scripts in each other", line)
        if len(run.included) > run.limits.includes:
            raise RunError(f"more than {run.limits.includes} scripts are included", line)
        command = _read(run, key, optional, line)
        if command is not None:
            run.included.append(key)
            _execute(run, key, command, line)

    return execute


def _read(run: Run, key: tuple[str, str], optional: bool, line: int) -> Command | None:
    """The script, compiled; None when there is none and that does no harm. Raises RunError."""
    location, name = key
    text = run.world.script(name, location)
    if text is None and optional:
        return None
    if text is None:
        raise RunError(f'there is no {location} script "{name}"', line)
    try:
        return run.compile(text)
    except SieveError as error:
        raise RunError(f'in the script "{name}": {error}', line) from None


def _execute(run: Run, key: tuple[str, str], command: Command, line: int) -> None:
    """In a scope of its own; in a loop the part at hand is its message (§3.5). Raises RunError, Stop."""
    scope, run.scope = run.scope, Scope()
    run.within.append(key)
    try:
        with part_as_message(run):
            command(run)
    except Return:
        pass
    except RunError as error:
        raise RunError(f'in the script "{key[1]}": {error}', line) from None
    finally:
        run.within.pop()
        run.scope = scope


def _return(bound: Bound) -> Command:
    def execute(run: Run) -> None:
        raise Return

    return execute


def _global(bound: Bound) -> Command:
    """RFC 6609 §3.4.1. A variable that the script has set before as its own stays so, which is an error."""
    if "variables" not in bound.capabilities:
        raise bound.error('"global" needs: require "variables";')
    names = [(text.constant or "").lower() for text in bound.texts("names")]
    if not all(name.isidentifier() and name.isascii() for name in names):
        raise bound.error(NO_VARIABLE)

    def execute(run: Run) -> None:
        for name in names:
            if name in run.scope.variables:
                raise RunError(f'"{name}" is a variable of this script already', bound.node.line)
            run.scope.shared.add(name)

    return execute


_TAGS = (
    Tagged("personal", None, "location"),
    Tagged("global", None, "location"),
    Tagged("once"),
    Tagged("optional"),
)
EXTENSION = Extension(
    "include",
    commands=(
        Spec("include", _include, (Parameter("name", Kind.STRING),), _TAGS),
        Spec("return", _return),
        Spec("global", _global, (Parameter("names", Kind.STRINGS),)),
    ),
)
