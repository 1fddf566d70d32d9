"""A small mailing list as a value, and what its posts look like (RFC 2369, RFC 2919, RFC 5321 §3.9.2).

A post goes out as its author wrote it: subject, body and what signs them stay, so that a signature (DKIM)
still holds and with it the author's DMARC policy. Only fields about lists are the list's own. The author's
address is replaced in From only where the list's owner asks for that (RFC 6377 §5.2 tells of the trade).

Left out on purpose: subscribing by mail, archives, digests, moderation by mail.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from twisted_mta.message.address import Address
from twisted_mta.message.address_list import parse_addresses
from twisted_mta.message.automatic import submitted
from twisted_mta.message.encoded_word import decode, encode
from twisted_mta.message.headers import fields, header_end, values

Posting = Literal["members", "owner", "anyone"]
Replies = Literal["author", "list"]
BOUNCES, OWNER, REQUEST, LEAVE = "bounces", "owner", "request", "leave"
ROLES = (BOUNCES, OWNER, REQUEST, LEAVE)

_OTHER_LISTS = frozenset(
    (
        *(b"list-id", b"list-help", b"list-subscribe", b"list-unsubscribe", b"list-unsubscribe-post"),
        *(b"list-post", b"list-owner", b"list-archive", b"precedence"),
    )
)
_ANSWERS = frozenset((b"auto-replied", b"auto-notified"))
_QUIET = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*\Z")
_BRACKETED = re.compile(rb"<([^<>]*)>[ \t]*\Z")


@dataclass(frozen=True, slots=True)
class MailingList:
    """`owner` gets what concerns the list: mail that could not be delivered, questions. `posting`: who may
    write to it. `replies`: where answers go, unless their writer says otherwise. `rewrite_from`: the list is
    the author of its posts, for members whose servers believe in nobody else."""

    address: Address
    owner: Address
    members: tuple[Address, ...] = ()
    posting: Posting = "members"
    title: str = ""
    replies: Replies = "author"
    rewrite_from: bool = False

    @property
    def identifier(self) -> str:
        """What List-Id has between its brackets (RFC 2919 §3)."""
        return f"{self.address.local}.{self.address.domain}"

    def role(self, name: str) -> Address:
        """The address for one of ROLES, such as team-owner@ (RFC 2142 §6)."""
        return Address(f"{self.address.local}-{name}", self.address.domain)

    def fields(self) -> bytes:
        """The fields that every post gets (RFC 2369 §3, RFC 2919 §3)."""

        def mailto(address: Address) -> bytes:
            return f"<mailto:{address}>".encode()

        phrase = _phrase(self.title) + b" " if self.title else b""
        post = b"NO" if self.posting == "owner" else mailto(self.address)
        lines = (
            (b"List-Id", phrase + b"<" + self.identifier.encode() + b">"),
            (b"List-Post", post),
            (b"List-Help", mailto(self.role(REQUEST))),
            (b"List-Unsubscribe", mailto(self.role(LEAVE))),
            (b"List-Owner", mailto(self.role(OWNER))),
            (b"Precedence", b"list"),
        )
        return b"".join(name + b": " + value + b"\r\n" for name, value in lines)

    def post(self, header: bytes) -> bytes:
        """The header block of a post, made from that of the message (with its empty line, if it has one)."""
        mark = f"Delivered-To: {self.address}\r\n".encode()
        changed = self._changed(header)
        kept = b"".join(
            header[field.start : field.end]
            for field in fields(header)
            if field.name.lower() not in _OTHER_LISTS and field.name.lower() not in changed
        )
        if kept and not kept.endswith(b"\n"):
            kept += b"\r\n"
        end = header_end(header)
        return mark + self.fields() + b"".join(changed.values()) + kept + (b"\r\n" if end >= 0 else b"")

    def _changed(self, header: bytes) -> dict[bytes, bytes]:
        """The fields that take the place of the message's, by name in lower case."""
        here = b"<" + str(self.address).encode() + b">"
        author, answers = _raw(header, b"from")[:1], _raw(header, b"reply-to")
        changed = {}
        if self.rewrite_from:
            name = _name(b"".join(author))
            changed[b"from"] = _phrase(f"{name} via {self.title or self.address.local}") + b" " + here
            answers = answers or author
        if self.replies == "list":
            answers = [here, *answers] if self.rewrite_from else [here]
        if changed or self.replies == "list":
            changed[b"reply-to"] = b",\r\n ".join(answers)
        return {
            name: name.title() + b": " + value + b"\r\n" for name, value in changed.items() if value.strip()
        }


def loops(header: bytes, mailing_list: MailingList) -> bool:
    """Whether the message has been a post of this list before (RFC 2919 §8)."""
    ours = mailing_list.identifier.encode()
    for value in values(header, b"List-Id"):
        found = _BRACKETED.search(value)
        if (found[1] if found else value).strip().lower() == ours:
            return True
    return False


def is_answer(header: bytes) -> bool:
    """Whether a program has answered or notified somebody with this (RFC 3834 §5): nobody wrote it."""
    return submitted(header) in _ANSWERS


def _raw(header: bytes, name: bytes) -> list[bytes]:
    """The values of all fields of that name, folded as they came."""
    return [field.value.strip() for field in fields(header) if field.name.lower() == name]


def _phrase(text: str) -> bytes:
    """A display name (RFC 5322 §3.2.5), quoted or encoded where it must be."""
    if _QUIET.match(text) or not (text.isascii() and text.isprintable()):
        return encode(text)
    escaped = re.sub(r'(["\\])', r"\\\1", text)
    return f'"{escaped}"'.encode()


def _name(author: bytes) -> str:
    """How people call the author, without an address that mail programs would take for the sender's."""
    for mailbox in parse_addresses(author):
        if mailbox.domain:
            name = decode(mailbox.name or b"") or (mailbox.local or b"").decode("utf-8", "replace")
            return " ".join(re.sub(r'[<>@"\\\x00-\x1f]', " ", name).split())[:60] or "somebody"
    return "somebody"
