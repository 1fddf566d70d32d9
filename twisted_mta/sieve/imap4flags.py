"""IMAP flags: the variable that holds them, and the tag that gives them to an action (RFC 5232)."""

from __future__ import annotations

from collections.abc import Callable

from twisted_mta.sieve.flag_list import flag_list
from twisted_mta.sieve.language import Bound, Command, Extension, Kind, Parameter, Spec, Tagged, Test
from twisted_mta.sieve.run import Run

_VARIABLE = Parameter("variable", Kind.STRING, optional=True)
_FLAGS = (_VARIABLE, Parameter("flags", Kind.STRINGS))
Flags = tuple[str, ...]


def _set(old: Flags, given: Flags) -> Flags:
    return given


def _add(old: Flags, given: Flags) -> Flags:
    return flag_list((*old, *given))


def _remove(old: Flags, given: Flags) -> Flags:
    gone = {flag.lower() for flag in given}
    return tuple(flag for flag in old if flag.lower() not in gone)


def _changing(change: Callable[[Flags, Flags], Flags]) -> Callable[[Bound], Command]:
    def build(bound: Bound) -> Command:
        variable, texts = _variable(bound), bound.texts("flags")

        def execute(run: Run) -> None:
            given = flag_list(text.value(run) for text in texts)
            changed = change(_current(run, variable), given)
            if variable:
                run.set_variable(variable, " ".join(changed), bound.node.line)
            else:
                run.flags = changed

        return execute

    return build


def _variable(bound: Bound) -> str:
    """The variable that is named, "" for the internal one (RFC 5232 §2)."""
    if not bound.has("variable"):
        return ""
    if "variables" not in bound.capabilities:
        raise bound.error('to name a variable needs: require "variables";')
    return bound.variable("variable")


def _current(run: Run, variable: str) -> Flags:
    return flag_list([run.variable(variable)]) if variable else run.flags


def _has_flag(bound: Bound) -> Test:
    """RFC 5232 §4: each flag is a value; a key with spaces is several, an empty one is none."""
    matcher, keys = bound.matcher, bound.texts("keys")
    assert matcher is not None
    variables = bound.texts("variables") if bound.has("variables") else ()
    if variables and "variables" not in bound.capabilities:
        raise bound.error('to name variables needs: require "variables";')

    def holds(run: Run) -> bool:
        values: tuple[str, ...] = run.flags
        if variables:
            values = flag_list(run.variable(name.value(run)) for name in variables)
        words = [word for key in keys for word in key.value(run).split()]
        return matcher.any_of(run, values, words)

    return holds


_TAG = (Tagged("flags", Kind.STRINGS),)

EXTENSION = Extension(
    "imap4flags",
    commands=(
        Spec("setflag", _changing(_set), _FLAGS),
        Spec("addflag", _changing(_add), _FLAGS),
        Spec("removeflag", _changing(_remove), _FLAGS),
    ),
    tests=(
        Spec(
            "hasflag",
            _has_flag,
            (Parameter("variables", Kind.STRINGS, optional=True), Parameter("keys", Kind.STRINGS)),
            matching=True,
        ),
    ),
    tags={"keep": _TAG, "fileinto": _TAG, "vacation": _TAG, "notify": _TAG},  # the last two: see fcc
)
