"""The mail that tells somebody of other mail (RFC 5436 §2.7)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from twisted_mta.message.address import Address
from twisted_mta.message.body_encoding import quoted_text
from twisted_mta.message.date import format_date
from twisted_mta.message.encoded_word import decode, encode
from twisted_mta.message.headers import fields, first_value
from twisted_mta.message.shown import shown
from twisted_mta.sieve.actions import Notify
from twisted_mta.sieve.mailto import Mailto

_MOST_TEXT = 500  # characters of a field
_MOST_RECEIVED = 100  # fields of the mail's way that are kept, for whoever counts them against loops
_IMPORTANCE = {1: b"high", 3: b"low"}


@dataclass(frozen=True, slots=True)
class Notice:
    """About the mail with this `header`. `owner`: whose script it was. `sender`: who it comes from. `now`:
    seconds since the epoch."""

    owner: str
    sender: Address
    mailto: Mailto
    notify: Notify
    header: bytes
    message_id: str
    now: float

    def render(self) -> bytes:
        """The whole message, CRLF; 7-bit but for internationalised addresses."""
        quoted = re.sub(r'(["\\])', r"\\\1", self.owner)
        lines = [
            b'Auto-Submitted: auto-notified; owner-email="' + quoted.encode() + b'"',
            *self._way(),
            b"Date: " + format_date(self.now).encode(),
            b"Message-ID: <" + self.message_id.encode() + b">",
            b"From: " + str(self.sender).encode(),
            *_address_lists(self.mailto),
            b"Subject: " + encode(self._subject()),
            *(name.encode() + b": " + encode(text[:_MOST_TEXT]) for name, text in self.mailto.fields),
        ]
        if self.notify.importance in _IMPORTANCE:
            lines.append(b"Importance: " + _IMPORTANCE[self.notify.importance])
        lines += [
            b"MIME-Version: 1.0",
            b"Content-Type: text/plain; charset=utf-8",
            b"Content-Transfer-Encoding: quoted-printable",
        ]
        body = quoted_text(self._text().encode())
        return b"\r\n".join(lines) + b"\r\n\r\n" + body + b"\r\n"

    def _way(self) -> list[bytes]:
        """The Received fields of the mail, below Auto-Submitted, which divides them from those to come."""
        kept = [field.value for field in fields(self.header) if field.name.lower() == b"received"]
        return [b"Received:" + re.sub(rb"\r?\n", b"\r\n", value) for value in kept[:_MOST_RECEIVED]]

    def _subject(self) -> str:
        own = decode(first_value(self.header, b"Subject") or b"")
        chosen = self.notify.text or (own if self.mailto.subject is None else self.mailto.subject)
        return " ".join(chosen.split())[:_MOST_TEXT]

    def _text(self) -> str:
        """RFC 5435 §3.6: what the mail says of itself, when the script says nothing."""
        if self.mailto.body is not None:
            return re.sub(r"\r\n?", "\n", self.mailto.body)
        said = (
            (name, decode(first_value(self.header, name.encode()) or b"")) for name in ("From", "Subject")
        )
        return "\n".join(f"{name}: {shown(text)[:_MOST_TEXT]}" for name, text in said)


def _address_lists(mailto: Mailto) -> list[bytes]:
    lists = ((b"To", mailto.to), (b"Cc", mailto.cc))
    return [
        name + b": " + b",\r\n ".join(str(address).encode() for address in addresses)
        for name, addresses in lists
        if addresses
    ]
