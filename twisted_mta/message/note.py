"""A short mail that the server writes to somebody in plain words (RFC 3834 §3.1, §5): no program answers
it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from twisted_mta.message.address import Address
from twisted_mta.message.body_encoding import quoted_text
from twisted_mta.message.date import format_date
from twisted_mta.message.encoded_word import encode


@dataclass(frozen=True, slots=True)
class Note:
    """`sender` with a display name in ASCII. `made`: as an answer to a mail, or for another reason. `now`:
    seconds since the epoch. `text` has LF line ends."""

    name: str
    sender: Address
    to: Address
    subject: str
    text: str
    message_id: str
    now: float
    made: Literal["auto-replied", "auto-generated"] = "auto-generated"

    def render(self) -> bytes:
        """The whole message, CRLF; 7-bit but for internationalised addresses."""
        lines = [
            f'From: "{self.name}" <{self.sender}>'.encode(),
            f"To: <{self.to}>".encode(),
            b"Subject: " + encode(self.subject),
            b"Date: " + format_date(self.now).encode(),
            f"Message-ID: <{self.message_id}>".encode(),
            b"Auto-Submitted: " + self.made.encode(),
            b"MIME-Version: 1.0",
            b"Content-Type: text/plain; charset=utf-8",
            b"Content-Transfer-Encoding: quoted-printable",
        ]
        body = quoted_text(self.text.encode())
        return b"\r\n".join(lines) + b"\r\n\r\n" + body + (b"" if body.endswith(b"\r\n") else b"\r\n")
