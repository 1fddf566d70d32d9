"""What a POP3 engine asks its session to do. Everything else it answers itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from twisted_mta.protocol.sasl.credentials import Credentials, KeysWanted


@dataclass(frozen=True, slots=True)
class Login:
    """Check these. Answer with `logged_in` or `login_failed`."""

    credentials: Credentials


@dataclass(frozen=True, slots=True)
class StartTls:
    """The go-ahead is in the output: write it, begin the handshake, call `secured` (RFC 2595 §4)."""


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Fetch the message with this number; answer with `message` or `message_gone`.
    `lines` is how many lines of the body TOP wants; None for RETR, which wants all. Without `utf8` a message
    with an internationalised header is to be answered with its surrogate (RFC 6856 §2.1)."""

    number: int
    lines: int | None = None
    utf8: bool = False


@dataclass(frozen=True, slots=True)
class UniqueIdsWanted:
    """UIDL, the first one of the session: find the unique ids, in the order of the numbers; answer with
    `identified`. `number`: of the message that is asked about; None for all."""

    number: int | None


@dataclass(frozen=True, slots=True)
class Listing:
    """A long answer: send it through `listing`, as fast as the peer takes it."""

    pieces: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class Update:
    """QUIT after login: remove the messages with these numbers, then answer with `goodbye` (RFC 1939 §6)."""

    deleted: tuple[int, ...]


Event = Login | KeysWanted | StartTls | Retrieve | UniqueIdsWanted | Listing | Update
