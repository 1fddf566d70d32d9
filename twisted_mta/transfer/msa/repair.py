"""What submission reads and repairs in the header of a client's message (RFC 6409 §8, RFC 5322 §3.6).

Missing Date, Message-ID and From fields are added; nothing that is there is changed, so that signatures hold.

Left out on purpose: the Resent- fields. They tell of the way a message took and not whose it is, and no
reader may reply to them (RFC 5322 §3.6.6); RFC 6409 asks nothing of them.
"""

from __future__ import annotations

import re
import time

from twisted_mta.message.address import Address
from twisted_mta.message.address_list import parse_addresses
from twisted_mta.message.date import format_date
from twisted_mta.message.headers import first_value, values, without_comments
from twisted_mta.message.status import MailError

MAX_VALUE = 16 * 1024  # octets of From or Sender: they are read in the reactor

_QUOTED = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
# An address that is its own display name, unquoted as many clients write it. Begins where a word does: a long
# word must not be tried from each of its octets.
_NAMED_BY_ITSELF = re.compile(rb'(?<![^\s<>,:;@"])([^\s<>,:;@"]++@[^\s<>,:;@"]++)\s*+<\1>', re.IGNORECASE)


def originators(header: bytes) -> list[Address]:
    """The addresses in From and Sender, each once; none when the fields are missing.

    Raises MailError (554 5.6.0) when readers could disagree about them: a field that is there twice, no
    address, an address that is none, two in Sender (RFC 5322 §3.6.2), one that only some readers see, and a
    NUL, where some stop reading; and for a value longer than MAX_VALUE.
    """
    if b"\0" in header:
        raise _refusal("Message has a NUL in its header")
    senders = _addresses(header, "Sender")
    if len(senders) > 1:
        raise _refusal("Sender holds more than one address")
    return list(dict.fromkeys(_addresses(header, "From") + senders))


def _addresses(header: bytes, name: str) -> list[Address]:
    found = values(header, name.encode())
    if not found:
        return []
    if len(found) > 1:
        raise _refusal(f"Message has more than one {name} field")
    if len(found[0]) > MAX_VALUE:
        raise _refusal(f"{name} is too long")
    entries = [entry for entry in parse_addresses(found[0]) if entry.domain is not None]
    if not entries:
        raise _refusal(f"{name} holds no address")
    if _at_signs(found[0]) != len(entries):
        raise _refusal(f"{name} can be read in more than one way")
    try:
        return [_address(entry.local or b"", entry.domain or b"") for entry in entries]
    except (MailError, UnicodeDecodeError):
        raise _refusal(f"{name} holds something that is not an address") from None


def _address(local: bytes, domain: bytes) -> Address:
    """Through the text form, which checks what may stand there. Raises MailError, UnicodeDecodeError."""
    return Address.parse(str(Address(local.decode("ascii"), domain.decode("ascii"))))


def _at_signs(value: bytes) -> int:
    """How many addresses a reader could find at most: the `@` outside comments and quoted strings, where one
    that is never closed is none; -1 when a comment is not closed."""
    bare = without_comments(value + b";")
    if not bare.endswith(b";"):
        return -1
    return _NAMED_BY_ITSELF.sub(b"<@>", _QUOTED.sub(b'""', bare)).count(b"@")


def _refusal(text: str) -> MailError:
    return MailError(554, "5.6.0", text)


def missing_fields(header: bytes, *, author: Address, hostname: str, queue_id: str, date: float) -> bytes:
    """The fields that `header` lacks, each with its CRLF. `date`: epoch seconds; `author`: for From."""
    added = []
    if first_value(header, b"Date") is None:
        added.append(f"Date: {format_date(date)}")
    if first_value(header, b"From") is None:
        added.append(f"From: {author}")
    if first_value(header, b"Message-ID") is None:
        day = time.strftime("%Y%m%d%H%M%S", time.gmtime(date))
        added.append(f"Message-ID: <{day}.{queue_id}@{hostname}>")
    return "".join(f"{line}\r\n" for line in added).encode("ascii")
