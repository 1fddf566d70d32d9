"""The order of an SMTP dialog as two tables (RFC 5321 §4.1.4, §4.3.2; RFC 3207 §4; RFC 4954 §4)."""

from __future__ import annotations

import enum

from twisted_mta.protocol.smtp.events import (
    Authenticate,
    Burl,
    DataEnd,
    DataStart,
    Event,
    Hello,
    Mail,
    Recipient,
    StartTls,
    Xclient,
)


class State(enum.Enum):
    """Where in the dialog we are (RFC 5321 §4.1.4)."""

    __hash__ = object.__hash__  # that of Enum is a function in Python

    GREETED = enum.auto()  # no EHLO yet
    READY = enum.auto()
    MAIL = enum.auto()  # there is a reverse path
    RECIPIENT = enum.auto()  # and a forward path
    DATA = enum.auto()  # content is coming
    CHUNKS = enum.auto()  # between the chunks of a content
    AUTH = enum.auto()  # inside an authentication exchange


# Which state the acceptance of an event leads to; the last BURL of a content leads to READY, as DataEnd.
AFTER: dict[type[Event], State] = {
    Hello: State.READY,
    Mail: State.MAIL,
    Recipient: State.RECIPIENT,
    DataStart: State.DATA,
    Burl: State.CHUNKS,
    DataEnd: State.READY,
    StartTls: State.GREETED,
    Xclient: State.GREETED,
    Authenticate: State.READY,
}

_NO_HELLO = (503, "5.5.1", "EHLO first")
_NO_MAIL = (503, "5.5.1", "MAIL first")
_NESTED = (503, "5.5.1", "There is a sender already")
_IN_CONTENT = (503, "5.5.1", "The content has begun: BDAT or RSET")
_IN_TRANSACTION = (503, "5.5.1", "Not during a mail transaction")

# What is out of order, and the refusal; everything else is in order.
OUT_OF_ORDER = {
    ("MAIL", State.GREETED): _NO_HELLO,
    ("MAIL", State.MAIL): _NESTED,
    ("MAIL", State.RECIPIENT): _NESTED,
    ("RCPT", State.GREETED): _NO_HELLO,
    ("RCPT", State.READY): _NO_MAIL,
    ("DATA", State.GREETED): _NO_HELLO,
    ("DATA", State.READY): _NO_MAIL,
    ("DATA", State.MAIL): (554, "5.5.1", "No valid recipients"),
    ("MAIL", State.CHUNKS): _IN_CONTENT,
    ("RCPT", State.CHUNKS): _IN_CONTENT,
    ("DATA", State.CHUNKS): _IN_CONTENT,
    ("BDAT", State.GREETED): _NO_HELLO,
    ("BDAT", State.READY): _NO_MAIL,
    ("BDAT", State.MAIL): (503, "5.5.1", "No valid recipients"),
    ("BURL", State.GREETED): _NO_HELLO,
    ("BURL", State.READY): _NO_MAIL,
    ("BURL", State.MAIL): (554, "5.5.0", "No valid recipients"),  # RFC 4468 §6
    ("STARTTLS", State.GREETED): _NO_HELLO,
    ("AUTH", State.GREETED): _NO_HELLO,
    ("AUTH", State.MAIL): _IN_TRANSACTION,
    ("AUTH", State.RECIPIENT): _IN_TRANSACTION,
    ("AUTH", State.CHUNKS): _IN_TRANSACTION,
    ("XCLIENT", State.MAIL): _IN_TRANSACTION,
    ("XCLIENT", State.RECIPIENT): _IN_TRANSACTION,
    ("XCLIENT", State.CHUNKS): _IN_TRANSACTION,
}
