"""Lists that are kept outside of scripts (RFC 6134): the match type :list, the test valid_ext_list, and
redirect to all members. What lists there are is the world's to say.
"""

from __future__ import annotations

from twisted_mta.sieve.comparators import Comparator
from twisted_mta.sieve.errors import RunError
from twisted_mta.sieve.language import Bound, Extension, Kind, Parameter, Spec, Tagged, Test
from twisted_mta.sieve.matching import MatchType
from twisted_mta.sieve.run import Run


def list_name(written: str) -> str:
    """The URI of a list: a colon stands for the names of Sieve itself, as in ":addrbook:default"."""
    return f"urn:ietf:params:sieve{written}" if written.startswith(":") else written


def _is_in_list(run: Run, operator: str, comparator: Comparator, value: str, key: str) -> bool:
    """RFC 6134 §2.2: the key is the name of a list. Comparators do not count, the list knows its own."""
    name = list_name(key)
    if not run.world.list_exists(name):
        raise RunError(f'there is no list "{key[:80]}" here')
    if not run.world.in_list(name, value):
        return False
    run.matched = (value,)
    return True


def _valid_ext_list(bound: Bound) -> Test:
    names = bound.texts("names")
    return lambda run: all(run.world.list_exists(list_name(name.value(run))) for name in names)


EXTENSION = Extension(
    "extlists",
    tests=(Spec("valid_ext_list", _valid_ext_list, (Parameter("names", Kind.STRINGS),)),),
    tags={"redirect": (Tagged("list"),)},
    match_types=(MatchType("list", _is_in_list),),
)
