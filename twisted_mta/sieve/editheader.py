"""Changing the header of what is delivered (RFC 5293). What tells the way of a message stays as it is."""

from __future__ import annotations

import re

from twisted_mta.message.encoded_word import decode, encode
from twisted_mta.sieve import index
from twisted_mta.sieve.errors import RunError
from twisted_mta.sieve.language import Bound, Command, Extension, Kind, Parameter, Spec, Tagged
from twisted_mta.sieve.mail import HeaderField
from twisted_mta.sieve.run import Run
from twisted_mta.sieve.strings import Text

MAX_ADDED = 100_000  # octets that one run may add
_NAME = re.compile(r"[!-9;-~]{1,76}\Z")
_LINE_END = re.compile(r"[\r\n\0]+")
_OURS = "authentication-results"  # adding it would speak in our name (RFC 8601 §5)
# RFC 5293 §6: deleting these would hide where mail has been, or let answers go round in circles; the
# originals are what `replace` has left of a message (RFC 5703 §5).
_KEPT = frozenset(
    (
        *("received", "auto-submitted", "return-path", "delivered-to"),
        *(_OURS, "dkim-signature", "original-subject", "original-from"),
    )
)


def _add(bound: Bound) -> Command:
    name, value, last = _field_name(bound), bound.text("value"), bound.has("last")

    def execute(run: Run) -> None:
        field_name = _checked(name.value(run), bound)
        if field_name.lower() == _OURS:
            return
        # A line end would begin another field.
        text = encode(_LINE_END.sub(" ", value.value(run)).strip())
        field = HeaderField(field_name.encode("ascii"), b" " + text)
        run.mail.added += len(field.name) + len(field.value)
        if run.mail.added > MAX_ADDED:
            raise RunError("the header grows too long", bound.node.line)
        fields = run.mail.fields
        run.mail.change([*fields, field] if last else [field, *fields])

    return execute


def _delete(bound: Bound) -> Command:
    index.check(bound)
    name = _field_name(bound)
    patterns = bound.texts("keys") if bound.has("keys") else ()
    matcher = bound.matcher
    assert matcher is not None

    def execute(run: Run) -> None:
        wanted = _checked(name.value(run), bound).encode("ascii").lower()
        if wanted.decode("ascii") in _KEPT:
            return
        mail = run.mail
        places = [place for place, field in enumerate(mail.fields) if field.name.lower() == wanted]
        gone = {
            place
            for place in index.chosen(bound, places)
            if not patterns or matcher.any(run, [decode(mail.fields[place].value).strip(" \t")], patterns)
        }
        if gone:
            mail.change([field for place, field in enumerate(mail.fields) if place not in gone])

    return execute


def _field_name(bound: Bound) -> Text:
    name = bound.text("field-name")
    if name.constant is not None and not _NAME.match(name.constant):
        raise bound.error(f'"{name.constant[:80]}" is no name of a field')
    return name


def _checked(name: str, bound: Bound) -> str:
    if not _NAME.match(name):
        raise RunError(f'"{name[:80]}" is no name of a field', bound.node.line)
    return name


_FIELD_NAME = Parameter("field-name", Kind.STRING)
EXTENSION = Extension(
    "editheader",
    commands=(
        Spec("addheader", _add, (_FIELD_NAME, Parameter("value", Kind.STRING)), (Tagged("last"),)),
        Spec(
            "deleteheader",
            _delete,
            (_FIELD_NAME, Parameter("keys", Kind.STRINGS, optional=True)),
            (Tagged("index", Kind.NUMBER), Tagged("last")),
            matching=True,
        ),
    ),
)
