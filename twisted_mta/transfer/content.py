"""The content of one message on its way into a draft of the queue (RFC 5321 §4.5.3.1.7, §6.3).

Somebody may want to read it as it comes in (`ContentReader`), so that it is read once: the header block is
held back until it is complete, and goes on as the reader wants it kept.
"""

from __future__ import annotations

import re
from typing import Protocol

from twisted_mta.interfaces import IDraft
from twisted_mta.message.headers import HeaderCollector, first_value, values
from twisted_mta.message.received import count_received
from twisted_mta.message.status import MailError
from twisted_mta.protocol.smtp.extensions import SmtpLimits
from twisted_mta.protocol.smtp.parameters import refuse_solicitation, solicitation_classes
from twisted_mta.trust.results import without_claimed

# One search: a megabyte of lines that are no fields must not cost a step of ours for each.
_FIELD = re.compile(rb"(?:\A|\n)[^\x00-\x20:]++[ \t]*+:")
_LONGEST_ID = 250  # octets of a Message-ID that the journey keeps


class ContentReader(Protocol):
    """Reads a message as it comes in."""

    def header(self, block: bytes) -> bytes:
        """The header block, with the empty line that ends it, if one does; b"" for a message that has none.
        Returns it as it is to be kept. Raises MailError."""

    def body(self, piece: bytes) -> None:
        """The next octets behind it."""


class Unclaimed:
    """The header goes on without what claims to be a finding of ours, `hostname`'s (RFC 8601 §5): so what
    does stand in a message that is at rest is true."""

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname

    def header(self, block: bytes) -> bytes:
        """See ContentReader."""
        return without_claimed(block, self._hostname)

    def body(self, piece: bytes) -> None:
        """It is nobody's business."""


class IncomingContent:
    """`limit`: octets that the header block may have."""

    def __init__(self, draft: IDraft, *, limit: int, reader: ContentReader) -> None:
        self.draft = draft
        self._headers = HeaderCollector(limit)
        self._reader = reader
        self._held: bytearray | None = bytearray()  # until the header is complete

    @property
    def header(self) -> bytes:
        """The header block as it came; while it is not complete, all octets so far."""
        return self._headers.block

    async def take(self, content: bytes) -> None:
        """The next octets; none is nothing. Raises MailError."""
        if not content:
            return
        self._headers.feed(content)
        if self._held is not None:
            self._held += content
            if self._headers.complete:
                await self._let_go()
            return
        self._reader.body(content)
        await self.draft.write(content)

    async def complete(self) -> None:
        """All has come, perhaps without the line that ends a header. Raises MailError."""
        if self._held is not None:
            await self._let_go()

    async def _let_go(self) -> None:
        assert self._held is not None
        held, self._held = bytes(self._held), None
        block = self._headers.block
        if separator(block):  # what looks like a header is text
            block = b""
        kept = self._reader.header(block)
        text = held[len(block) :]
        self._reader.body(text)
        if kept or text:
            await self.draft.write(kept + text)


def check_header(header: bytes, *, max_received: int, limits: SmtpLimits) -> None:
    """Is it in a loop, or what nobody here wants? Raises MailError."""
    if count_received(header) >= max_received:
        raise MailError(554, "5.4.6", "Too many Received fields, the message is in a loop")
    if limits.no_soliciting:
        for value in values(header, b"Solicitation"):
            classes = solicitation_classes(b"".join(value.split()).decode("latin-1"))
            refuse_solicitation(classes, limits)


def check_is_text(header: bytes) -> None:
    """The parts of a binary message may hold anything, its header may not (RFC 3030 §3). Raises MailError."""
    if b"\0" in header or not header.count(b"\r\n") == header.count(b"\r") == header.count(b"\n"):
        raise MailError(550, "5.6.0", "The header holds NUL, a bare CR or a bare LF")


def separator(header: bytes) -> bytes:
    """The empty line that a message without any header needs behind the fields put in front of it, so that
    its text does not become a part of them; else b""."""
    if header.startswith((b" ", b"\t")):
        return b"\r\n"
    if not header or header.startswith(b"\r\n") or _FIELD.search(header):
        return b""
    return b"\r\n"


def message_id(header: bytes) -> str:
    """The Message-ID as it stands in a header, for the journey; "" when there is none or a monstrous one."""
    value = first_value(header, b"Message-ID") if header else None
    return value.decode("utf-8", "replace") if value and len(value) <= _LONGEST_ID else ""
