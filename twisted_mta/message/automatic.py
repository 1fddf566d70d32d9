"""Automatic answers: which mail may have one, and what it looks like (RFC 3834, RFC 5230 §4.5 to §5).

Nobody is answered who is a program: the answers of two programs to each other have no end.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from twisted_mta.message.address import Address
from twisted_mta.message.address_list import parse_addresses
from twisted_mta.message.body_encoding import quoted_text
from twisted_mta.message.date import format_date
from twisted_mta.message.encoded_word import decode, encode
from twisted_mta.message.headers import fields, first_value, header_end, values, without_comments

# RFC 3834 §2, RFC 5230 §4.6: names of programs and of lists' owners.
_PROGRAM = re.compile(
    r"(?:owner-.*|.*-(?:owner|request|bounces?)|mailer-daemon|majordomo|listserv|postmaster"
    r"|(?:do-?not-?|no-?)reply|bounces?(?:[-+=].*)?)\Z",
    re.IGNORECASE,
)
_LIST_FIELDS = (
    *(b"List-Id", b"List-Help", b"List-Subscribe", b"List-Unsubscribe"),
    *(b"List-Post", b"List-Owner", b"List-Archive"),
)
_BULK = frozenset((b"bulk", b"junk", b"list"))
_LONGEST_SUBMITTED = 1000  # octets of a value of which the first word counts
_TO_FIELDS = (b"To", b"Cc", b"Bcc", b"Resent-To", b"Resent-Cc", b"Resent-Bcc")


def why_not(header: bytes, sender: Address | None, own: Collection[str]) -> str:
    """Why this mail gets no automatic answer, "" when it may have one. `sender` is the reverse-path; `own`
    are the owner's addresses, in lower case: one of them must be among those the mail is for."""
    if sender is None:
        return "it has the null reverse-path"
    if _PROGRAM.match(sender.local):
        return "a program has sent it"
    if sender.key in own:
        return "the owner has sent it"
    if submitted(header) != b"no":
        return "it was made automatically"
    if any(first_value(header, name) is not None for name in _LIST_FIELDS):
        return "it comes from a mailing list"
    if (first_value(header, b"Precedence") or b"").lower() in _BULK:
        return "it is bulk mail"
    if not any(address in own for address in _addressees(header)):
        return "it is not addressed to the owner"
    return ""


def submitted(header: bytes) -> bytes:
    """How the message came to be, in lower case: b"no" by a person, b"auto-replied", … (RFC 3834 §5)."""
    value = without_comments((first_value(header, b"Auto-Submitted") or b"no")[:_LONGEST_SUBMITTED])
    return value.partition(b";")[0].strip().lower() or b"no"


def _addressees(header: bytes) -> set[str]:
    found = set()
    for name in _TO_FIELDS:
        for value in values(header, name):
            for mailbox in parse_addresses(value):
                if mailbox.local and mailbox.domain:
                    found.add((mailbox.local + b"@" + mailbox.domain).decode("utf-8", "replace").lower())
    return found


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to the mail with this `header`. `subject` "": made from that of the mail. `mime`: `text` is a
    MIME entity with its header. `now`: seconds since the epoch."""

    sender: str
    to: Address
    text: str
    header: bytes
    message_id: str
    now: float
    subject: str = ""
    mime: bool = False

    def render(self) -> bytes:
        """The whole message, CRLF, 7-bit unless `text` is an entity that is not."""
        lines = [
            b"From: " + _address_field(self.sender),
            b"To: <" + str(self.to).encode() + b">",
            b"Subject: " + encode(_one_line(self.subject) or self._made_subject()),
            b"Date: " + format_date(self.now).encode(),
            b"Message-ID: <" + self.message_id.encode() + b">",
            b"Auto-Submitted: auto-replied (vacation)",
            *self._thread(),
            b"MIME-Version: 1.0",
        ]
        head = b"\r\n".join(lines) + b"\r\n"
        text = re.sub(r"\r\n?|\n", "\r\n", self.text)  # a bare CR might end the message for some server
        if self.mime:
            return head + _entity(text.replace("\0", "").encode())
        body = quoted_text(text.encode().replace(b"\r\n", b"\n"))
        head += b"Content-Type: text/plain; charset=utf-8\r\n"
        head += b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        return head + body + (b"" if body.endswith(b"\r\n") else b"\r\n")

    def _made_subject(self) -> str:
        return "Auto: " + (decode(first_value(self.header, b"Subject") or b"")[:200] or "your mail")

    def _thread(self) -> list[bytes]:
        """RFC 5322 §3.6.4, by what the mail itself says."""
        identifier = first_value(self.header, b"Message-ID")
        if identifier is None or not re.fullmatch(rb"<[!-~]{1,200}>", identifier):
            return []
        known = [word for word in (first_value(self.header, b"References") or b"").split() if len(word) < 250]
        references = [word for word in known if re.fullmatch(rb"<[!-~]+>", word)][-20:]
        return [
            b"In-Reply-To: " + identifier,
            b"References: " + b"\r\n ".join([*references, identifier]),
        ]


def _entity(written: bytes) -> bytes:
    """A MIME entity; of its header only what describes it, since all other fields are the answer's own. One
    without an empty line is all body (RFC 2045 §2.4)."""
    end = header_end(written)
    if end < 0:
        return b"\r\n" + written
    described = (field for field in fields(written, 0, end) if field.name.lower().startswith(b"content-"))
    return b"".join(written[field.start : field.end] for field in described) + b"\r\n" + written[end:]


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _address_field(text: str) -> bytes:
    """An address as the owner wrote it, perhaps with a name; nothing in it begins another field."""
    line = _one_line(text)
    name, bracket, rest = line.rpartition("<")
    if bracket and name.strip() and not line.isascii():
        return encode(name.strip().strip('"')) + b" <" + rest.encode()
    return line.encode()
