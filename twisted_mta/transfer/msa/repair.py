"""What submission reads and repairs in the header of a client's message (RFC 6409 §8, RFC 5322 §3.6).

Missing Date, Message-ID and From fields are added; nothing that is there is changed, so that signatures hold.
"""

from __future__ import annotations

import time

from twisted_mta.message.address import Address
from twisted_mta.message.address_list import parse_addresses
from twisted_mta.message.date import format_date
from twisted_mta.message.headers import first_value, values
from twisted_mta.message.status import MailError

MAX_FROM = 16 * 1024  # octets of the field's value: it is read in the reactor


def author_addresses(header: bytes) -> list[Address]:
    """The addresses in From, each once; none when the field is missing. Raises MailError (554 5.6.0) when
    readers could disagree about them: two From fields, no address, an address that is none
    (RFC 5322 §3.6.2); and for a field longer than MAX_FROM."""
    found = values(header, b"From")
    if not found:
        return []
    if len(found) > 1:
        raise MailError(554, "5.6.0", "Message has more than one From field")
    if len(found[0]) > MAX_FROM:
        raise MailError(554, "5.6.0", "From is too long")
    entries = [entry for entry in parse_addresses(found[0]) if entry.domain is not None]
    if not entries:
        raise MailError(554, "5.6.0", "From holds no address")
    return list(dict.fromkeys(_address(entry.local or b"", entry.domain or b"") for entry in entries))


def _address(local: bytes, domain: bytes) -> Address:
    try:
        # Through the text form, which checks what may stand in an address.
        return Address.parse(str(Address(local.decode("ascii"), domain.decode("ascii"))))
    except (MailError, UnicodeDecodeError):
        raise MailError(554, "5.6.0", "From holds something that is not an address") from None


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
