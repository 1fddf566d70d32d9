"""What submission reads and repairs in the header of a client's message (RFC 6409 §8, RFC 5322 §3.6).

Missing Date, Message-ID and From fields are added; Bcc and Resent-Bcc fields are taken out, each with its
folded lines (RFC 5322 §3.6.3): nobody but their author may see them. Nothing else that is there is changed by
an octet, so that signatures hold; one that covers a Bcc field does not, and must not keep it.

Octets in front of the first field that begin with white space are no header: the fields that are put in front
of the message end with an empty line then, so that all of it is text.
"""

from __future__ import annotations

import re
import time

from twisted_mta.message.address import Address
from twisted_mta.message.address_list import parse_addresses
from twisted_mta.message.date import format_date
from twisted_mta.message.headers import fields, first_value, values, without_comments
from twisted_mta.message.status import MailError

MAX_VALUE = 16 * 1024  # octets of a field with originators: they are read in the reactor
MAX_ORIGINATORS = 100  # addresses: each is looked up
MAX_RESENT = 20  # times that a message may have been sent again (RFC 5322 §3.6.6)

_ONCE = ("From", "Sender")
_RESENT = ("Resent-From", "Resent-Sender")
_ONE_ADDRESS = ("Sender", "Resent-Sender")
_BLIND = frozenset((b"bcc", b"resent-bcc"))
_BLIND_NAME = re.compile(rb"\n(?:resent-)?bcc[ \t]*:", re.IGNORECASE)
# Where one is not closed, none behind it is: it is matched to the end, and not tried from each of its quotes.
_QUOTED = re.compile(rb'"(?:[^"\\]++|\\.)*+("|\\?\Z)', re.DOTALL)
# A domain with a word or a colon behind it: some readers take it for a part of the domain.
_GLUED = re.compile(rb"@\s*+[^\s\[<>,;@:][^\s<>,;@:]*+(?:\s*+:|\s++[^\s<>,;])")
# An address that is its own display name, unquoted as many clients write it. Begins where a word does: a long
# word must not be tried from each of its octets.
_NAMED_BY_ITSELF = re.compile(rb'(?<![^\s<>,:;@"])([^\s<>,:;@"]++@[^\s<>,:;@"]++)\s*+<\1>', re.IGNORECASE)


def originators(header: bytes) -> list[Address]:
    """The addresses in From, Sender, Resent-From and Resent-Sender, each once; none when the fields are
    missing. Internationalised addresses are as in `Address`.

    Raises MailError (554 5.6.0) when readers could disagree about them: From or Sender that is there twice,
    no address, an address that is none, two in Sender (RFC 5322 §3.6.2), one that only some readers see, and
    a NUL, where some stop reading; and for what is longer, or more, than the limits above.
    """
    if b"\0" in header:
        raise _refusal("Message has a NUL in its header")
    found: list[Address] = []
    for name in _ONCE:
        found += _addresses(name, values(header, name.encode()), 1)
    for name in _RESENT:
        found += _addresses(name, values(header, name.encode()), MAX_RESENT)
    distinct = list(dict.fromkeys(found))
    if len(distinct) > MAX_ORIGINATORS:
        raise _refusal("Message has too many authors")
    return distinct


def _addresses(name: str, found: list[bytes], most: int) -> list[Address]:
    """The addresses in the values of the fields with that name, of which there may be so many."""
    if len(found) > most:
        raise _refusal(f"Message has too many {name} fields")
    addresses: list[Address] = []
    for value in found:
        one = addresses_in(name, value)
        if not one:
            raise _refusal(f"{name} holds no address")
        if name in _ONE_ADDRESS and len(one) > 1:
            raise _refusal(f"{name} holds more than one address")
        addresses += one
    return addresses


def addresses_in(name: str, value: bytes, longest: int = MAX_VALUE) -> list[Address]:
    """The addresses in the value of an address field called `name`, those of groups too. Raises MailError
    (554 5.6.0) when it has more octets than `longest`, or readers could disagree about it."""
    if len(value) > longest:
        raise _refusal(f"{name} is too long")
    entries = [entry for entry in parse_addresses(value) if entry.domain is not None]
    bare = _bare(value)
    if bare is None or bare.count(b"@") != len(entries) or _GLUED.search(bare):
        raise _refusal(f"{name} can be read in more than one way")
    try:
        return [_address(entry.local or b"", entry.domain or b"") for entry in entries]
    except (MailError, UnicodeDecodeError):
        raise _refusal(f"{name} holds something that is not an address") from None


def _address(local: bytes, domain: bytes) -> Address:
    """Through the text form, which checks what may stand there. Raises MailError, UnicodeDecodeError."""
    return Address.parse(str(Address(local.decode(), domain.decode())), utf8=True)


def _bare(value: bytes) -> bytes | None:
    """Without comments and quoted strings, where one that is never closed is none: has an `@` for each
    address that a reader could find at most. None when a comment is not closed."""
    bare = without_comments(value + b";")
    if not bare.endswith(b";"):
        return None
    return _NAMED_BY_ITSELF.sub(b"<@>", _QUOTED.sub(_unquoted, bare))


def _unquoted(quoted: re.Match[bytes]) -> bytes:
    return b'""' if quoted[1] == b'"' else quoted[0]


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
    return "".join(f"{line}\r\n" for line in added).encode()


def without_blind_copies(header: bytes) -> bytes:
    """The header block, or what there is of one, without its Bcc and Resent-Bcc fields."""
    if not _BLIND_NAME.search(b"\n" + header):
        return header
    kept: list[bytes] = []
    position = 0
    for field in fields(header):
        if field.name.lower() in _BLIND:
            kept.append(header[position : field.start])
            position = field.end
    kept.append(header[position:])
    return b"".join(kept)
