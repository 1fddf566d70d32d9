"""Comparison by order and by number: :value and :count (RFC 5231)."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from twisted_mta.sieve.comparators import Comparator
from twisted_mta.sieve.errors import RunError
from twisted_mta.sieve.language import Extension, MatchType
from twisted_mta.sieve.run import Run

_RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
    "eq": operator.eq,
    "ne": operator.ne,
}


def _compares(run: Run, relation: str, comparator: Comparator, value: str, key: str) -> bool:
    if relation not in _RELATIONS:
        raise RunError(f'"{relation}" is none of {" ".join(_RELATIONS)}')
    return _RELATIONS[relation](comparator.key(value), comparator.key(key))


EXTENSION = Extension(
    "relational",
    match_types=(
        MatchType("value", _compares, operator=True),
        MatchType("count", _compares, operator=True, counts=True),
    ),
)
