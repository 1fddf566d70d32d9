"""Comparison by order and by number: :value and :count (RFC 5231)."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from twisted_mta.sieve.comparators import Comparator
from twisted_mta.sieve.errors import RunError
from twisted_mta.sieve.language import Extension
from twisted_mta.sieve.matching import MatchType
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
    if wrong := _wrong(relation):
        raise RunError(wrong)
    return _RELATIONS[relation](comparator.key(value), comparator.key(key))


def _wrong(relation: str) -> str:
    return "" if relation.lower() in _RELATIONS else f'"{relation[:20]}" is none of {" ".join(_RELATIONS)}'


EXTENSION = Extension(
    "relational",
    match_types=(
        MatchType("value", _compares, operator=_wrong),
        MatchType("count", _compares, operator=_wrong, counts=True),
    ),
)
