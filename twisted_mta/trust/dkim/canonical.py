"""The forms in which header fields and bodies are signed: "simple" and "relaxed" (RFC 6376 §3.4).

A body is hashed while it comes in; whatever it consists of, no more than a few octets of it are held back.
"""

from __future__ import annotations

import hashlib
import re

FORMS = ("simple", "relaxed")

_BACKWARDS = re.compile(rb"(?:\n\r)*+")
_BLOCK = b"\r\n" * 16 * 1024


def canonical_field(field: bytes, form: str) -> bytes:
    """A field as it stands in the header, name and line end included, in one of the two forms (§3.4.1,
    §3.4.2); with its line end."""
    if form == "simple":
        return field if field.endswith(b"\n") else field + b"\r\n"
    name, _, value = field.partition(b":")
    unfolded = value.replace(b"\r\n", b"").replace(b"\n", b"")
    return b"%b:%b\r\n" % (name.rstrip(b" \t").lower(), _single_spaces(unfolded).strip(b" "))


def _single_spaces(data: bytes) -> bytes:
    """With one space for every run of white space. Ten times as fast as a regular expression; a run takes as
    many rounds as its length has bits, each over half of it."""
    data = data.replace(b"\t", b" ")
    while b"  " in data:
        data = data.replace(b"  ", b" ")
    return data


class BodyHash:
    """SHA-256 of a body in one of the two forms. limit: how many octets of it count, None for all (`l=`);
    `size` is how many it has, in its form."""

    def __init__(self, form: str, limit: int | None = None) -> None:
        self._relaxed = form == "relaxed"
        self._left = limit
        self._hash = hashlib.sha256()
        self._held = b""  # what the next octets may change: white space, a CR
        self._line_ends = 0  # not hashed until something follows (§3.4.3, §3.4.4)
        self.size = 0

    def feed(self, piece: bytes) -> None:
        """The next octets, with CRLF as line ends."""
        data = self._held + piece
        self._held = b""
        if self._relaxed:
            data = _single_spaces(data).replace(b" \r\n", b"\r\n")
            kept = data.rstrip(b" ") if not data.endswith(b"\r") else data[:-1].rstrip(b" ")
            data, self._held = kept, data[len(kept) :]
        elif data.endswith(b"\r"):
            data, self._held = data[:-1], b"\r"
        self._take(data)

    def digest(self) -> bytes:
        """The body is complete."""
        if self._held != b" ":
            self._take(self._held)
        self._held = b""
        # An empty body is one line end in simple form, and nothing in relaxed form.
        if self.size or not self._relaxed:
            self._update(b"\r\n")
        return self._hash.digest()

    def _take(self, data: bytes) -> None:
        text, line_ends = _without_last_line_ends(data)
        if text:
            self._flush_line_ends()
            self._update(text)
        self._line_ends += line_ends

    def _flush_line_ends(self) -> None:
        octets = 2 * self._line_ends
        self._line_ends = 0
        while octets:
            block = _BLOCK[:octets]
            self._update(block)
            octets -= len(block)

    def _update(self, data: bytes) -> None:
        self.size += len(data)
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        self._hash.update(data)


def _without_last_line_ends(data: bytes) -> tuple[bytes, int]:
    """The data up to its last CRLFs, and how many these are."""
    text = data.rstrip(b"\r\n")
    end = len(text)
    if data[end:].replace(b"\r\n", b""):  # a bare CR or LF is among them
        last = _BACKWARDS.match(data[end:][::-1])
        assert last is not None  # it matches the empty string
        end = len(data) - last.end()
        text = data[:end]
    return text, (len(data) - end) // 2
