"""Telling somebody that mail has come (RFC 5435), by mail (RFC 5436).

The script says whom to tell, and what; whether that is done is for whoever carries the action out. There is
no limit on where the method comes from: a variable with text of the message in it may name the recipient, as
in a redirect, within the limits on the number of notifications.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from twisted_mta.sieve.actions import Notify
from twisted_mta.sieve.errors import RunError
from twisted_mta.sieve.fcc import file_copy
from twisted_mta.sieve.language import Bound, Command, Extension, Kind, Parameter, Spec, Tagged, Test
from twisted_mta.sieve.mail import no_address
from twisted_mta.sieve.mailto import parse_mailto
from twisted_mta.sieve.run import Run

_IMPORTANCE = {"1": 1, "2": 2, "3": 3}
_OPTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*=[^\0\n\r]*\Z")


def percent_encoded(text: str) -> str:
    """RFC 5435 §6: whatever is not "unreserved" in a URI, octet by octet of its UTF-8."""
    return quote(text, safe="-._~", errors="replace")


def _notify(bound: Bound) -> Command:
    method, copy = bound.text("method"), file_copy(bound)
    optional = {name: bound.text(name) for name in ("from", "importance", "message") if bound.has(name)}
    options = bound.texts("options") if bound.has("options") else ()
    constants = {name: text.constant for name, text in optional.items() if text.constant is not None}
    trouble = _trouble(constants, [text.constant for text in options if text.constant is not None])
    if trouble:
        raise bound.error(trouble)

    def execute(run: Run) -> None:
        given = {name: text.value(run) for name, text in optional.items()}
        uri, chosen = method.value(run), [text.value(run) for text in options]
        try:
            parse_mailto(uri)
        except ValueError as error:
            raise RunError(f"cannot notify: {error}", bound.node.line) from None
        if wrong := _trouble(given, chosen):
            raise RunError(wrong, bound.node.line)
        action = Notify(
            uri,
            given.get("from", ""),
            _IMPORTANCE[given.get("importance", "2")],
            given.get("message", ""),
            tuple(chosen),
            copy(run),
        )
        run.act(action, bound.node.line, cancels_keep=False)

    return execute


def _trouble(given: dict[str, str], options: list[str]) -> str:
    """What is wrong with the values of tags, "" when nothing is."""
    if given.get("importance", "2") not in _IMPORTANCE:
        return '":importance" is "1", "2" or "3"'
    for option in options:
        if not _OPTION.match(option):
            return f'"{option[:80]}" is no option: it has to read name=value'
    return no_address(given["from"]) if given.get("from") else ""


def _valid_notify_method(bound: Bound) -> Test:
    uris = bound.texts("uris")
    return lambda run: all(_is_valid(uri.value(run)) for uri in uris)


def _notify_method_capability(bound: Bound) -> Test:
    """RFC 5435 §5; whether somebody reads their mail just now nobody can tell (RFC 5436 §2.2)."""
    uri, capability = bound.text("uri"), bound.text("capability")
    keys, matcher = bound.texts("keys"), bound.matcher
    assert matcher is not None

    def holds(run: Run) -> bool:
        if not _is_valid(uri.value(run)) or capability.value(run).lower() != "online":
            return False
        return matcher.any(run, ["maybe"], keys)

    return holds


def _is_valid(uri: str) -> bool:
    try:
        parse_mailto(uri)
    except ValueError:
        return False
    return True


_TAGS = (
    Tagged("from", Kind.STRING),
    Tagged("importance", Kind.STRING),
    Tagged("options", Kind.STRINGS),
    Tagged("message", Kind.STRING),
)
EXTENSION = Extension(
    "enotify",
    commands=(Spec("notify", _notify, (Parameter("method", Kind.STRING),), _TAGS),),
    tests=(
        Spec("valid_notify_method", _valid_notify_method, (Parameter("uris", Kind.STRINGS),)),
        Spec(
            "notify_method_capability",
            _notify_method_capability,
            (
                Parameter("uri", Kind.STRING),
                Parameter("capability", Kind.STRING),
                Parameter("keys", Kind.STRINGS),
            ),
            matching=True,
        ),
    ),
    tags=dict.fromkeys(("set", "extracttext"), (Tagged("encodeurl", None, "modifier of rank 15"),)),
)
