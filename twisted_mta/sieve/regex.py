"""Regular expressions, POSIX extended (draft-ietf-sieve-regex): the match type :regex, and :quoteregex.

Matched by RE2, whose time grows with the text times the expression, and not with what the expression might
mean. Of a long text no more is looked at than MAX_WORK allows: nobody's script stops the server.
"""

from __future__ import annotations

import re
from typing import Any

import re2

from twisted_mta.sieve.comparators import OCTET, Comparator
from twisted_mta.sieve.errors import RunError
from twisted_mta.sieve.language import Extension, Tagged
from twisted_mta.sieve.matching import MatchType
from twisted_mta.sieve.ready import Ready
from twisted_mta.sieve.run import Run

MAX_EXPRESSION = 4096  # characters
MAX_WORK = 50_000_000  # characters that are looked at, times the steps of the expression: about a second
_MEMORY = (512 << 10, 1 << 20, 4 << 20)  # octets that an expression may take: the first that is enough
_READY: Ready[tuple[str, bool], Any] = Ready(64 << 20)
_SPECIAL = re.compile(r"[][{}()|.*+?^$\\]")


def _compiled(expression: str, exact: bool) -> Any:
    """Raises re2.error."""
    found = _READY.get((expression, exact))
    if found is not None:
        return found
    if len(expression) > MAX_EXPRESSION:
        raise re2.error(f"longer than {MAX_EXPRESSION} characters")
    options = re2.Options()
    options.posix_syntax = options.longest_match = options.one_line = True
    options.case_sensitive = exact
    options.log_errors = False
    for memory in _MEMORY:
        options.max_mem = memory
        try:
            found = re2.compile(expression, options)
        except re2.error:
            if memory == _MEMORY[-1]:
                raise
            continue
        re2.purge()  # it keeps the latest, too, whatever they take
        _READY.put((expression, exact), found, memory)
        break
    return found


def _trouble(comparator: Comparator, expression: str) -> str:
    """What is wrong with it, "" when nothing is."""
    try:
        _compiled(expression, comparator is OCTET)
    except re2.error as error:
        text = error.args[0] if error.args else "it cannot be read"
        return str(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
    return ""


def _matches(run: Run, operator: str, comparator: Comparator, value: str, key: str) -> bool:
    try:
        expression = _compiled(key, comparator is OCTET)
        found = expression.search(value[: MAX_WORK // expression.programsize])
    except re2.error:
        raise RunError(f"no regular expression: {_trouble(comparator, key)}") from None
    if found is None:
        return False
    run.matched = (found.group(0), *(group or "" for group in found.groups()))
    return True


def quoted(text: str) -> str:
    """The expression that matches this text and nothing else."""
    return _SPECIAL.sub(r"\\\g<0>", text)


EXTENSION = Extension(
    "regex",
    tags=dict.fromkeys(("set", "extracttext"), (Tagged("quoteregex", None, "modifier of rank 20"),)),
    match_types=(MatchType("regex", _matches, parts=True, trouble=_trouble),),
)
