"""Line ends: LF in the files, as other programs on the Maildir expect; CRLF everywhere else.

The canonical reading of a file turns every LF that no CR precedes into CRLF, so a file that another
program wrote with CRLF, or with a mixture, has one canonical form as well. NUL is read as 0x80, as by
Dovecot: SMTP and other programs may bring it, but IMAP cannot send it, not even in a literal (RFC 3501
§9, CHAR8), and sizes and offsets stay what they are. The file keeps it.
"""

from __future__ import annotations


def to_crlf(stored: bytes) -> bytes:
    """The canonical form of a file's octets."""
    if b"\r" in stored:
        stored = stored.replace(b"\r\n", b"\n")
    return stored.replace(b"\n", b"\r\n").replace(b"\0", b"\x80")


def crlf_length(stored: bytes) -> int:
    """The size of the canonical form in octets."""
    return len(stored) + stored.count(b"\n") - (stored.count(b"\r\n") if b"\r" in stored else 0)
