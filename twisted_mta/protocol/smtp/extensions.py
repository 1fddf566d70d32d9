"""Which extensions a server offers, and the lines of EHLO that say so (RFC 5321 §4.1.1.1, §2.2).

What a parameter means is in `parameters.py`; a parameter whose extension is not offered is not known.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


class Extension(enum.Enum):
    """Those that not every service offers; the value is the keyword of EHLO."""

    __hash__ = object.__hash__  # that of Enum is a function in Python

    SMTPUTF8 = "SMTPUTF8"  # RFC 6531
    CHUNKING = "CHUNKING"  # RFC 3030
    BINARYMIME = "BINARYMIME"  # RFC 3030; needs CHUNKING
    DSN = "DSN"  # RFC 3461
    REQUIRETLS = "REQUIRETLS"  # RFC 8689; inside TLS only
    DELIVERBY = "DELIVERBY"  # RFC 2852
    FUTURERELEASE = "FUTURERELEASE"  # RFC 4865
    PRIORITY = "MT-PRIORITY"  # RFC 6710
    TRACKING = "MTRK"  # RFC 3885
    LIMITS = "LIMITS"  # RFC 9422
    NO_SOLICITING = "NO-SOLICITING"  # RFC 3865
    BURL = "BURL"  # RFC 4468; for those who have logged in


@dataclass(frozen=True, slots=True)
class SmtpLimits:
    """Lines in octets with CRLF, the message in octets of content; `recipients` per message; `errors` are
    commands that were malformed or out of order, `refusals` those the session refused, both since the
    last message that was accepted; the last of them ends the connection, and so does what comes after `idle`
    commands that bring no message any further, such as NOOP and EHLO. `hold`: seconds that a message may be
    held for its sender (RFC 4865). `no_soliciting`: classes of solicitation that nobody here wants (RFC
    3865 §2.2).

    Command lines may be longer than the 512 octets of RFC 5321 §4.5.3.1.4, which extensions outgrow.
    """

    command_line: int = 2048
    auth_line: int = 12288  # RFC 4954 §4
    message: int = 50 * 1024 * 1024
    recipients: int = 1000
    errors: int = 20
    refusals: int = 100
    idle: int = 100
    hold: int = 30 * 86400
    no_soliciting: tuple[str, ...] = ()

    def unwanted(self, classes: Iterable[str]) -> list[str]:
        """Those of these classes of solicitation that nobody here wants."""
        refused = {label.lower() for label in self.no_soliciting}
        return [label for label in classes if label.lower() in refused]


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the lines of EHLO and the meaning of a parameter depend on. now: seconds since the epoch."""

    offered: frozenset[Extension]
    limits: SmtpLimits
    secure: bool
    now: float


def keywords(here: Circumstances, *, authenticated: bool) -> Iterator[str]:
    """The lines of EHLO for what is offered here, in a steady order."""
    limits = here.limits
    for extension in Extension:
        if extension not in here.offered:
            continue
        match extension:
            case Extension.REQUIRETLS if not here.secure:
                pass
            case Extension.FUTURERELEASE:
                latest = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(here.now + limits.hold))
                yield f"FUTURERELEASE {limits.hold} {latest}"
            case Extension.NO_SOLICITING:
                yield " ".join(("NO-SOLICITING", ",".join(limits.no_soliciting))).rstrip()
            case Extension.BURL:
                yield "BURL imap" if authenticated else "BURL"  # RFC 4468 §3.1
            case Extension.LIMITS:
                yield f"LIMITS RCPTMAX={limits.recipients}"
            case _:
                yield extension.value
