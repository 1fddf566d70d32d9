"""Copies of what is sent on the owner's behalf, filed into a mailbox of theirs (RFC 8580)."""

from __future__ import annotations

from collections.abc import Callable

from twisted_mta.sieve.actions import FileCopy
from twisted_mta.sieve.flag_list import flag_list
from twisted_mta.sieve.language import Bound, Extension, Kind, Tagged
from twisted_mta.sieve.run import Run

_FOR_IT = ("create", "flags", "specialuse")  # tags that other extensions bring along


def file_copy(bound: Bound) -> Callable[[Run], FileCopy | None]:
    """What :fcc of an action asks for, None without it. Raises SieveError."""
    if not bound.has("fcc"):
        for tag in _FOR_IT:
            if bound.has(tag):
                raise bound.error(f'":{tag}" goes with ":fcc"')
        return lambda run: None
    mailbox, create = bound.text("fcc"), bound.has("create")
    flags = bound.texts("flags") if bound.has("flags") else ()
    use = bound.text("specialuse") if bound.has("specialuse") else None

    def asked(run: Run) -> FileCopy:
        given = flag_list(text.value(run) for text in flags)
        return FileCopy(mailbox.value(run), given, create, "" if use is None else use.value(run))

    return asked


_TAG = (Tagged("fcc", Kind.STRING),)
EXTENSION = Extension("fcc", tags={"vacation": _TAG, "notify": _TAG})
