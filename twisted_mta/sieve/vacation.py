"""Answers of somebody who is away (RFC 5230), with an interval in seconds (RFC 6131).

The script says what to answer; whether an answer is sent, to whom and how often is for whoever carries the
action out (RFC 3834: never to lists, reports or itself; once in an interval).
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.sieve.actions import Action, FileCopy
from twisted_mta.sieve.errors import RunError
from twisted_mta.sieve.fcc import file_copy
from twisted_mta.sieve.language import Bound, Command, Extension, Kind, Parameter, Spec, Tagged
from twisted_mta.sieve.mail import no_address
from twisted_mta.sieve.run import Run

DAY = 86400
_DEFAULT_DAYS, _MOST_DAYS = 7, 90


@dataclass(frozen=True, slots=True)
class Vacation(Action):
    """`subject` and `sender` "" leave them to the answerer. `addresses`: others of the owner's own. `mime`:
    the reason is a MIME entity with its header. `handle`: answers of one handle share the interval, which is
    in seconds. `copy`: where the answer is filed, too."""

    reason: str
    subject: str
    sender: str
    addresses: tuple[str, ...]
    mime: bool
    handle: str
    interval: int
    copy: FileCopy | None = None


def _interval(bound: Bound) -> int:
    """RFC 5230 §4.1: at least a day; RFC 6131: at least none, which answers every message."""
    if bound.has("seconds"):
        return min(bound.number("seconds"), _MOST_DAYS * DAY)
    days = bound.number("days") if bound.has("days") else _DEFAULT_DAYS
    return min(max(days, 1), _MOST_DAYS) * DAY


def _vacation(bound: Bound) -> Command:
    reason, interval = bound.text("reason"), _interval(bound)
    optional = {name: bound.text(name) for name in ("subject", "from", "handle") if bound.has(name)}
    addresses = bound.texts("addresses") if bound.has("addresses") else ()
    copy = file_copy(bound)
    if "from" in optional and optional["from"].constant and (wrong := no_address(optional["from"].constant)):
        raise bound.error(wrong)

    # Without a handle the answers that are written alike are the same, whatever stands for their variables
    # (RFC 5230 §4.2).
    said = [optional[name].written if name in optional else "" for name in ("subject", "from")]
    same = "\0".join((reason.written, *said, str(bound.has("mime"))))

    def execute(run: Run) -> None:
        if any(isinstance(earlier, Vacation) for earlier in run.actions):
            raise RunError("one answer is enough", bound.node.line)
        given = {name: text.value(run) for name, text in optional.items()}
        if given.get("from") and (wrong := no_address(given["from"])):
            raise RunError(wrong, bound.node.line)
        text, own = reason.value(run), tuple(address.value(run) for address in addresses)
        action = Vacation(
            text,
            given.get("subject", ""),
            given.get("from", ""),
            own,
            bound.has("mime"),
            given.get("handle", same),
            interval,
            copy(run),
        )
        run.act(action, bound.node.line, cancels_keep=False)

    return execute


_TAGS = (
    Tagged("days", Kind.NUMBER, "interval"),
    Tagged("subject", Kind.STRING),
    Tagged("from", Kind.STRING),
    Tagged("addresses", Kind.STRINGS),
    Tagged("mime"),
    Tagged("handle", Kind.STRING),
)
EXTENSION = Extension(
    "vacation", commands=(Spec("vacation", _vacation, (Parameter("reason", Kind.STRING),), _TAGS),)
)
SECONDS = Extension(
    "vacation-seconds",
    tags={"vacation": (Tagged("seconds", Kind.NUMBER, "interval"),)},
    implies=("vacation",),
)
