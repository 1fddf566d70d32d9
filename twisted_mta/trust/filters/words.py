"""What daemons say, made fit for strangers' eyes and for the header of a message.

A daemon is believed in what it thinks of a message, not in what its octets would do to a dialog or a header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from twisted_mta.message.status import MailError
from twisted_mta.trust.filters.unavailable import Unavailable

LONGEST_TEXT = 200  # characters of a daemon's in a reply or a finding
MOST_POINTS = 1000.0
MOST_FIELDS = 50  # that a daemon may add to a message
MOST_OCTETS = 32 * 1024  # of these, together

_UNPRINTABLE = re.compile(r"[^\x20-\x7e]+")
_REPLY = re.compile(r"([45])([0-9]{2})(?:[ -]([245]\.[0-9]{1,3}\.[0-9]{1,3}))?(?:[ -]|\Z)")
_NAME = re.compile(rb"[\x21-\x39\x3b-\x7e]{1,76}\Z")
_LINE_END = re.compile(rb"\r?\n[ \t]*|\r")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+")
_LONGEST_LINE = 900  # octets: below the 998 of RFC 5322 §2.1.1, with the name
_OURS = frozenset((b"received", b"return-path"))


def one_line(text: str | bytes, most: int = LONGEST_TEXT) -> str:
    """Printable ASCII, and not too much of it."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    return _UNPRINTABLE.sub("?", " ".join(text[: 10 * most].split()))[:most].strip()


def points(value: object) -> float:
    """A score that is a number of a sensible size, whatever JSON has brought; 0 for none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return 0.0
    return float(max(-MOST_POINTS, min(MOST_POINTS, value)))


def refusal(said: str | bytes, *, permanent: bool, otherwise: str) -> MailError:
    """What the client is told: what the daemon wants to have said, be it a whole reply ("550 5.7.1 text") or
    a text, as far as that agrees with its decision; `otherwise` when it said nothing."""
    text = one_line(said)
    code, status = (550, "5.7.1") if permanent else (451, "4.7.1")
    found = _REPLY.match(text)
    if found is not None:
        text = text[found.end() :].strip()
        if (found[1] == "5") is permanent and found[2] != "21":  # which would close the connection
            code = int(found[1] + found[2])
            if (found[3] or "")[:1] == found[1]:
                status = found[3]
    return MailError(code, status, text or otherwise)


def header_fields(wanted: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Whole fields for the front of a message, each on lines that are short enough. Those that only this
    server may write are left out. Raises Unavailable for what is no field, and for too many."""
    written = []
    octets = 0
    for count, (name, value) in enumerate(wanted, 1):
        if not _NAME.match(name):
            raise Unavailable("it wants to add a header field without a proper name")
        if name.lower() in _OURS:
            continue
        field = b"%b: %b\r\n" % (name, _folded(value))
        octets += len(field)
        if count > MOST_FIELDS or octets > MOST_OCTETS:
            raise Unavailable("it wants to add too many header fields")
        written.append(field)
    return b"".join(written)


def _folded(value: bytes) -> bytes:
    lines = []
    for line in _LINE_END.split(_CONTROL.sub(b" ", value)):
        text = line.strip(b" \t")
        lines += [text[start : start + _LONGEST_LINE] for start in range(0, len(text), _LONGEST_LINE)]
    return b"\r\n\t".join(filter(None, lines))
