"""The test of where a script runs (RFC 5183), with the items of RFC 6785 for scripts at IMAP events."""

from __future__ import annotations

from twisted_mta.sieve.language import Bound, Extension, Kind, Parameter, Spec, Test
from twisted_mta.sieve.run import Run


def _environment(bound: Bound) -> Test:
    """An item that is not known matches nothing (RFC 5183 §4)."""
    name, keys, matcher = bound.text("name"), bound.texts("keys"), bound.matcher
    assert matcher is not None

    def holds(run: Run) -> bool:
        value = run.world.environment(name.value(run).lower())
        return value is not None and matcher.any(run, [value], keys)

    return holds


EXTENSION = Extension(
    "environment",
    tests=(
        Spec(
            "environment",
            _environment,
            (Parameter("name", Kind.STRING), Parameter("keys", Kind.STRINGS)),
            matching=True,
        ),
    ),
)
