"""Line ends: LF in the files, as other programs on the Maildir expect; CRLF everywhere else.

The canonical reading of a file turns every LF that no CR precedes into CRLF, so a file that another
program wrote with CRLF, or with a mixture, has one canonical form as well.
"""

from __future__ import annotations


def to_crlf(stored: bytes) -> bytes:
    """The canonical form of a file's octets."""
    if b"\r" in stored:
        stored = stored.replace(b"\r\n", b"\n")
    return stored.replace(b"\n", b"\r\n")


def crlf_length(stored: bytes) -> int:
    """The size of the canonical form in octets."""
    return len(stored) + stored.count(b"\n") - (stored.count(b"\r\n") if b"\r" in stored else 0)
