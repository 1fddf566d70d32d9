"""What leaves for another server, made safe: paths and content (RFC 5321 §2.3.8, §4.1.1.4, §4.1.2, §4.5.2).

Wherever addresses and content came from, neither becomes a command of ours, and no two readers of the
content can disagree about where it ends.

Left out on purpose: SMTPUTF8, which will give paths and headers other octets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from twisted_mta.message.address import Address
from twisted_mta.protocol.framing import dot_stuff

_PATH = re.compile(r"[\x20-\x7e]+@[A-Za-z0-9._:\[\]-]+\Z")


def path(address: Address | None) -> bytes:
    """The address as it stands in MAIL and RCPT, `<>` for None (RFC 5321 §4.1.2).

    Raises ValueError for an address that would be more than an argument, however it came to be, one
    with CR, LF or other control characters, and for one that needs SMTPUTF8.
    """
    text = "" if address is None else str(address)
    if text and not _PATH.match(text):
        raise ValueError("Address cannot be sent in a command")
    return b"<%b>" % text.encode("ascii")


def data(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Content as it travels behind DATA, whatever line ends it holds: every CR and LF that stands alone
    becomes a CRLF, dots are stuffed, a missing final CRLF is added; the last piece is the end of data."""
    return dot_stuff(_canonical(chunks))


def _canonical(chunks: Iterable[bytes]) -> Iterator[bytes]:
    held = b""  # a CR whose LF may open the next chunk
    for chunk in chunks:
        octets = held + chunk
        held = b""
        if octets.endswith(b"\r"):
            octets, held = octets[:-1], b"\r"
        pairs = octets.count(b"\r\n")
        if octets.count(b"\n") != pairs or octets.count(b"\r") != pairs:
            octets = re.sub(rb"\r\n?|\n", b"\r\n", octets)
        yield octets
    if held:
        yield b"\r\n"
