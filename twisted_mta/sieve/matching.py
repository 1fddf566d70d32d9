"""Match types (RFC 5228 §2.7.1) and what they have in common: any value against any key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from twisted_mta.sieve.comparators import Comparator
from twisted_mta.sieve.errors import RunError
from twisted_mta.sieve.glob import MAX_PATTERN, glob
from twisted_mta.sieve.run import Run
from twisted_mta.sieve.strings import Text


@dataclass(frozen=True, slots=True)
class MatchType:
    """`operator`: it takes a string, such as "gt"; this says what is wrong with one. `parts`: it looks into
    strings, which not every comparator can do. `counts`: what is compared is the number of values. `matches`
    is asked for each value and key. `trouble`: what is wrong with a key for that comparator, if not all
    strings are keys."""

    name: str
    matches: Callable[[Run, str, Comparator, str, str], bool]
    operator: Callable[[str], str] | None = None
    parts: bool = False
    counts: bool = False
    trouble: Callable[[Comparator, str], str] | None = None


@dataclass(frozen=True, slots=True)
class Matcher:
    """A match type with its comparator, as one test of a script uses it."""

    kind: MatchType
    comparator: Comparator
    operator: Text | None = None

    def any(self, run: Run, values: Iterable[str], keys: Sequence[Text]) -> bool:
        """Whether some value matches some key. Raises RunError, also when there are so many that it takes too
        long."""
        return self.any_of(run, values, [key.value(run) for key in keys])

    def any_of(self, run: Run, values: Iterable[str], wanted: Sequence[str]) -> bool:
        """The same with keys that are known already."""
        operator = self.operator.value(run).lower() if self.operator is not None else ""
        if self.kind.counts:
            values = [str(sum(1 for _ in values))]
        matches, comparator = self.kind.matches, self.comparator
        for value in values:
            for key in wanted:
                run.compare()
                if matches(run, operator, comparator, value, key):
                    return True
        return False


def _is(run: Run, operator: str, comparator: Comparator, value: str, key: str) -> bool:
    equal: bool = comparator.key(value) == comparator.key(key)
    return equal


def _contains(run: Run, operator: str, comparator: Comparator, value: str, key: str) -> bool:
    assert comparator.fold is not None
    return comparator.fold(key) in comparator.fold(value)


def _matches(run: Run, operator: str, comparator: Comparator, value: str, key: str) -> bool:
    assert comparator.fold is not None
    if trouble := _trouble(comparator, key):
        raise RunError(f"no pattern: {trouble}")
    places = glob(comparator.fold(key)).match(comparator.fold(value), run.pause)
    if places is None:
        return False
    run.matched = (value, *(value[start:end] for start, end in places))
    return True


def _trouble(comparator: Comparator, pattern: str) -> str:
    """What is wrong with it, "" when nothing is."""
    return f"it is longer than {MAX_PATTERN} characters" if len(pattern) > MAX_PATTERN else ""


IS = MatchType("is", _is)
CONTAINS = MatchType("contains", _contains, parts=True)
MATCHES = MatchType("matches", _matches, parts=True, trouble=_trouble)
