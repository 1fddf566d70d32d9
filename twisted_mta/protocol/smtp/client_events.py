"""What the SMTP client engine tells its session: stages of a conversation and answers (RFC 5321 §3, §4.3).

Left out on purpose: what to make of an answer, which is the relay's to decide.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from twisted_mta.protocol.smtp.reply_reader import Reply


class Stage(enum.Enum):
    """Where a conversation stands: what is being waited for. The values are for people."""

    __hash__ = object.__hash__  # that of Enum is a function in Python

    CONNECT = "connect"
    BANNER = "greeting"
    HELLO = "EHLO"
    START_TLS = "STARTTLS"
    HANDSHAKE = "TLS handshake"
    AUTH = "AUTH"
    RESET = "RSET"
    MAIL = "MAIL"
    RECIPIENT = "RCPT"
    DATA = "DATA"
    CONTENT = "message content"
    FINAL = "end of data"
    QUIT = "QUIT"
    IDLE = "idle"


@dataclass(frozen=True, slots=True)
class Replied:
    """The greeting, or the answer to `hello`, `start_tls`, `authenticate`, `send_content` or `quit`."""

    stage: Stage
    reply: Reply


@dataclass(frozen=True, slots=True)
class Challenged:
    """The server goes on with a SASL exchange: `respond` or `cancel` is called for (RFC 4954 §4)."""

    challenge: bytes


@dataclass(frozen=True, slots=True)
class EnvelopeReplied:
    """The answer to `envelope`. `recipients` has one reply per forward path, in order, or is empty when
    `mail` is a refusal; `data` is None when the server was not asked: since nobody was accepted, or, when
    `chunked`, since BDAT needs no leave."""

    mail: Reply
    recipients: tuple[Reply, ...] = ()
    data: Reply | None = None
    chunked: bool = False

    @property
    def go_ahead(self) -> bool:
        """True when the content is to follow."""
        leave = self.chunked if self.data is None else self.data.code == 354
        return leave and self.mail.positive and any(reply.positive for reply in self.recipients)


@dataclass(frozen=True, slots=True)
class RecipientsReplied:
    """What an LMTP server made of the content: one reply for each recipient it had accepted, in order
    (RFC 2033 §4.2)."""

    replies: tuple[Reply, ...]


@dataclass(frozen=True, slots=True)
class Broken:
    """The server left the protocol at `stage`, or said 421 unasked: the connection is of no more use."""

    stage: Stage
    text: str


Event = Replied | Challenged | EnvelopeReplied | RecipientsReplied | Broken
