"""What the server can do for a client (RFC 9051 §6.1.1, §7.2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_mta.protocol.sasl.mechanism import MECHANISMS

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

ENABLED_BY_REQUEST = {  # what ENABLE switches on (RFC 5161), as it is spelled in the answer
    "IMAP4REV2": "IMAP4rev2",  # RFC 9051
    "UTF8=ACCEPT": "UTF8=ACCEPT",  # RFC 6855
}

_EXTENSIONS = (
    "CHILDREN",  # RFC 3348
    "COMPRESS=DEFLATE",  # RFC 4978
    "ENABLE",  # RFC 5161
    "ID",  # RFC 2971
    "IDLE",  # RFC 2177
    "LITERAL+",  # RFC 7888
    "MOVE",  # RFC 6851
    "NAMESPACE",  # RFC 2342
    "SASL-IR",  # RFC 4959
    "SPECIAL-USE",  # RFC 6154
    "UIDPLUS",  # RFC 4315
    "UNAUTHENTICATE",  # RFC 8437
    "UNSELECT",  # RFC 3691
)


def capabilities(session: ImapSession) -> str:
    """What the server can do for this client now (RFC 3501 §7.2.1)."""
    words = ["IMAP4rev1", *_EXTENSIONS]
    if session.login is not None:
        if session.login.tls_offered:
            words.append("STARTTLS")
        if session.login.allowed:
            words += [f"AUTH={name}" for name in MECHANISMS]
        else:
            words.append("LOGINDISABLED")
    return " ".join(words)
