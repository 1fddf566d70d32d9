"""What the SMTP server engine asks its session to decide, and what it tells it.

Each event but `Answered` and `DataChunk` waits for the session's verdict, `accept` or `refuse`, before the
engine goes on (RFC 5321 §4.1.1, RFC 3207 §4, RFC 4954 §4).
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import NO_PARAMETERS, MailParameters
from twisted_mta.message.status import MailError
from twisted_mta.protocol.sasl.credentials import Credentials, KeysWanted
from twisted_mta.protocol.smtp.xclient import Client


@dataclass(frozen=True, slots=True)
class Hello:
    """EHLO or LHLO, or HELO when not `extended`. `name` is what the client calls itself: printable ASCII, no
    more."""

    name: str
    extended: bool


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL. `reverse_path` None is the null path. `size` is announced in octets (RFC 1870), else 0."""

    reverse_path: Address | None
    size: int = 0
    parameters: MailParameters = NO_PARAMETERS


@dataclass(frozen=True, slots=True)
class Recipient:
    """RCPT. `notify` and `orcpt` as in EnvelopeRecipient."""

    forward_path: Address
    notify: frozenset[str] = frozenset()
    orcpt: str = ""


@dataclass(frozen=True, slots=True)
class DataStart:
    """DATA: content will follow when it is accepted. `chunked`: the first BDAT; content follows in any case,
    and is skipped when this is refused."""

    chunked: bool = False


@dataclass(frozen=True, slots=True)
class Burl:
    """BURL: the session fetches the octets at `url`, hands them to `include` while it takes them over, and
    accepts. `last`: with that the content has come whole, as with DataEnd. To refuse ends the transaction
    (RFC 4468 §3.2)."""

    url: str
    last: bool


@dataclass(frozen=True, slots=True)
class Xclient:
    """XCLIENT: from now on the client is this one; the session begins anew."""

    client: Client


@dataclass(frozen=True, slots=True)
class DataChunk:
    """Some 16 KiB of content or more, or the last of it: CRLF, dots unstuffed. Empty while content that will
    be refused is skipped, so that an active client does not look idle."""

    content: bytes


@dataclass(frozen=True, slots=True)
class DataEnd:
    """The whole content has come; to accept it is to take responsibility (RFC 5321 §6.1)."""


@dataclass(frozen=True, slots=True)
class DataSpoiled:
    """The end of content that cannot be taken, for this reason. To be refused."""

    error: MailError


@dataclass(frozen=True, slots=True)
class StartTls:
    """STARTTLS. Behind `accept` and the writing of its reply the handshake begins at once."""


@dataclass(frozen=True, slots=True)
class Authenticate:
    """The end of an AUTH exchange: to be checked. No is `login_failed`."""

    credentials: Credentials


@dataclass(frozen=True, slots=True)
class Answered:
    """The engine has answered this command itself: RSET, NOOP, VRFY, EXPN, HELP, a BDAT that is not the
    last. `verb` is "" for a line that it has refused."""

    verb: str


Event = (
    Hello
    | Mail
    | Recipient
    | DataStart
    | Burl
    | DataChunk
    | DataEnd
    | DataSpoiled
    | StartTls
    | Xclient
    | Authenticate
    | KeysWanted
    | Answered
)
