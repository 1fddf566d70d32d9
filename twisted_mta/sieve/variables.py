"""Variables: `set`, the modifiers of values, the test `string` (RFC 5229). References are in `strings.py`."""

from __future__ import annotations

import re
from collections.abc import Callable

from twisted_mta.sieve import enotify, regex
from twisted_mta.sieve.language import Bound, Command, Extension, Kind, Parameter, Spec, Tagged, Test
from twisted_mta.sieve.run import Run

_WILDCARD = re.compile(r"[*?\\]")


def _first(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: change(text[:1]) + text[1:]


# By precedence, the highest first (RFC 5229 §4.1).
_MODIFIERS: dict[str, tuple[int, Callable[[str], str]]] = {
    "lower": (40, str.lower),
    "upper": (40, str.upper),
    "lowerfirst": (30, _first(str.lower)),
    "upperfirst": (30, _first(str.upper)),
    "quotewildcard": (20, lambda text: _WILDCARD.sub(r"\\\g<0>", text)),
    "quoteregex": (20, regex.quoted),  # comes with the extension regex
    "encodeurl": (15, enotify.percent_encoded),  # and this with enotify
    "length": (10, lambda text: str(len(text))),
}

_OF_OTHERS = ("quoteregex", "encodeurl")
MODIFIERS = tuple(
    Tagged(name, None, f"modifier of rank {rank}")
    for name, (rank, _) in _MODIFIERS.items()
    if name not in _OF_OTHERS
)


def _set(bound: Bound) -> Command:
    variable, value = bound.variable("name"), bound.text("value")
    change = modified(bound)
    return lambda run: run.set_variable(variable, change(value.value(run)), bound.node.line)


def modified(bound: Bound) -> Callable[[str], str]:
    """What the modifiers among the tags make of a text, one after the other."""
    changes = [_MODIFIERS[tag] for tag in bound.tags if tag in _MODIFIERS]
    changes.sort(key=lambda change: -change[0])

    def change(text: str) -> str:
        for _, step in changes:
            text = step(text)
        return text

    return change


def _string(bound: Bound) -> Test:
    """RFC 5229 §5. :count counts the strings that are not empty."""
    sources, keys, matcher = bound.texts("source"), bound.texts("keys"), bound.matcher
    assert matcher is not None

    def holds(run: Run) -> bool:
        values = [source.value(run) for source in sources]
        return matcher.any(run, filter(None, values) if matcher.kind.counts else values, keys)

    return holds


EXTENSION = Extension(
    "variables",
    commands=(
        Spec(
            "set",
            _set,
            (Parameter("name", Kind.STRING), Parameter("value", Kind.STRING)),
            MODIFIERS,
        ),
    ),
    tests=(
        Spec(
            "string",
            _string,
            (Parameter("source", Kind.STRINGS), Parameter("keys", Kind.STRINGS)),
            matching=True,
        ),
    ),
)
