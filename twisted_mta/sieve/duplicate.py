"""Mail that has come before (RFC 7352)."""

from __future__ import annotations

from twisted_mta.sieve.language import Bound, Extension, Kind, Spec, Tagged, Test
from twisted_mta.sieve.run import Run

DAY = 86400
_DEFAULT, _MOST = 7 * DAY, 90 * DAY


def _duplicate(bound: Bound) -> Test:
    """RFC 7352 §3. Without a value to know it by, mail is no duplicate."""
    header = bound.text("header") if bound.has("header") else None
    unique = bound.text("uniqueid") if bound.has("uniqueid") else None
    handle = bound.text("handle") if bound.has("handle") else None
    seconds = min(bound.number("seconds"), _MOST) if bound.has("seconds") else _DEFAULT
    extend = bound.has("last")

    def holds(run: Run) -> bool:
        if unique is not None:
            value = unique.value(run)
        else:
            texts = run.mail.texts("Message-ID" if header is None else header.value(run))
            value = texts[0] if texts else ""
        if not value:
            return False
        kind = "id" if unique is not None else "header"
        key = f"{'' if handle is None else handle.value(run)}\0{kind}\0{value}"
        return run.world.seen_before(key, seconds, extend)

    return holds


_TAGS = (
    Tagged("handle", Kind.STRING),
    Tagged("header", Kind.STRING, "source"),
    Tagged("uniqueid", Kind.STRING, "source"),
    Tagged("seconds", Kind.NUMBER),
    Tagged("last"),
)
EXTENSION = Extension("duplicate", tests=(Spec("duplicate", _duplicate, (), _TAGS),))
