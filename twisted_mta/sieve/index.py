"""One field of several with the same name: :index and :last (RFC 5260 §6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from twisted_mta.sieve.language import Bound, Extension, Kind, Tagged

T = TypeVar("T")
_TAGS = (Tagged("index", Kind.NUMBER), Tagged("last"))


def check(bound: Bound) -> None:
    """Raises SieveError when the two tags make no sense."""
    if bound.has("last") and not bound.has("index"):
        raise bound.error('":last" goes with ":index"')
    if bound.has("index") and bound.number("index") < 1:
        raise bound.error('":index" counts from 1')


def chosen(bound: Bound, fields: Sequence[T]) -> Sequence[T]:
    """The field that is meant, all of them when none is named."""
    if not bound.has("index"):
        return fields
    number = bound.number("index")
    place = len(fields) - number if bound.has("last") else number - 1
    return fields[place : place + 1] if 0 <= place < len(fields) else ()


EXTENSION = Extension("index", tags={"header": _TAGS, "address": _TAGS, "date": _TAGS})
