"""What leaves for another server, made safe: paths and content (RFC 5321 §2.3.8, §4.1.1.4, §4.1.2, §4.5.2).

Wherever addresses and content came from, neither becomes a command of ours, and no two readers of the
content can disagree about where it ends: every CR and LF that stands alone becomes a CRLF, and a NUL goes,
which some readers drop, and then there may be a dot alone on its line. Refusing such content would lose mail
that is here already (what comes in with bare line ends was refused at the door), and passing it on would
leave it to the next reader what a line is. Only BINARYMIME (RFC 3030 §3), whose octets are counted and not
searched for their end, is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from twisted_mta.message.address import Address
from twisted_mta.protocol.framing import dot_stuff

_PATH = re.compile(r"[\x20-\x7e]+@[A-Za-z0-9._:\[\]-]+\Z")
# RFC 6531 §3.3: any character beyond ASCII, but C1 controls, line separators and what is no character at all.
_BEYOND = "\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff"
_UTF8_PATH = re.compile(rf"[\x20-\x7e{_BEYOND}]+@[A-Za-z0-9._:\[\]\-{_BEYOND}]+\Z")


def path(address: Address | None, *, utf8: bool = False) -> bytes:
    """The address as it stands in MAIL and RCPT, `<>` for None (RFC 5321 §4.1.2). `utf8`: to a server that
    knows SMTPUTF8 (RFC 6531 §3.3).

    Raises ValueError for an address that would be more than an argument, however it came to be, one
    with CR, LF or other control characters, and without `utf8` for one that is not ASCII.
    """
    text = "" if address is None else str(address)
    if text and not (_UTF8_PATH if utf8 else _PATH).match(text):
        raise ValueError("Address cannot be sent in a command")
    return b"<%b>" % text.encode()


def data(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Content as it travels behind DATA, whatever it holds: every CR and LF that stands alone becomes a CRLF,
    every NUL goes, dots are stuffed, a missing final CRLF is added; the last piece is the end of data."""
    return dot_stuff(_canonical(chunks))


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Content as it travels in BDAT (RFC 3030 §2): the same without dots and end."""
    last = b"\r\n"
    for chunk in _canonical(chunks):
        last = (last + chunk)[-2:] if len(chunk) < 2 else chunk[-2:]
        yield chunk
    if last != b"\r\n":
        yield b"\r\n"


def binary(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Content as it travels in BDAT after BODY=BINARYMIME: octet by octet."""
    return iter(chunks)


def _canonical(chunks: Iterable[bytes]) -> Iterator[bytes]:
    held = b""  # a CR whose LF may open the next chunk
    for chunk in chunks:
        octets = held + chunk.replace(b"\0", b"")
        held = b""
        if octets.endswith(b"\r"):
            octets, held = octets[:-1], b"\r"
        pairs = octets.count(b"\r\n")
        if octets.count(b"\n") != pairs or octets.count(b"\r") != pairs:
            octets = re.sub(rb"\r\n?|\n", b"\r\n", octets)
        yield octets
    if held:
        yield b"\r\n"
