"""What the server can do for a client (RFC 9051 §6.1.1, §7.2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

ENABLED_BY_REQUEST = {  # what ENABLE switches on (RFC 5161), as it is spelled in the answer
    "CONDSTORE": "CONDSTORE",  # RFC 7162
    "IMAP4REV2": "IMAP4rev2",  # RFC 9051
    "METADATA": "METADATA",  # RFC 5464
    "QRESYNC": "QRESYNC",  # RFC 7162
    "UIDONLY": "UIDONLY",  # RFC 9586
    "UTF8=ACCEPT": "UTF8=ACCEPT",  # RFC 6855
}

_EXTENSIONS = (
    "ACL",  # RFC 4314
    "BINARY",  # RFC 3516
    "CATENATE",  # RFC 4469
    "CHILDREN",  # RFC 3348
    "COMPRESS=DEFLATE",  # RFC 4978
    "CONDSTORE",  # RFC 7162
    "CONTEXT=SEARCH",  # RFC 5267
    "CONTEXT=SORT",  # RFC 5267
    "CREATE-SPECIAL-USE",  # RFC 6154
    "ENABLE",  # RFC 5161
    "ESEARCH",  # RFC 4731
    "ESORT",  # RFC 5267
    "FILTERS",  # RFC 5466
    "I18NLEVEL=1",  # RFC 5255
    "ID",  # RFC 2971
    "IDLE",  # RFC 2177
    "INPROGRESS",  # RFC 9585
    "LIST-EXTENDED",  # RFC 5258
    "LIST-METADATA",  # RFC 9590
    "LIST-MYRIGHTS",  # RFC 8440
    "LIST-STATUS",  # RFC 5819
    "LITERAL+",  # RFC 7888
    "METADATA",  # RFC 5464
    "MOVE",  # RFC 6851
    "MULTIAPPEND",  # RFC 3502
    "MULTISEARCH",  # RFC 7377
    "NAMESPACE",  # RFC 2342
    "NOTIFY",  # RFC 5465
    "OBJECTID",  # RFC 8474
    "PARTIAL",  # RFC 9394
    "PREVIEW",  # RFC 8970
    "QRESYNC",  # RFC 7162
    "QUOTA",  # RFC 9208
    "QUOTA=RES-MESSAGE",
    "QUOTA=RES-STORAGE",
    "REPLACE",  # RFC 8508
    "RIGHTS=texk",  # RFC 4314
    "SASL-IR",  # RFC 4959
    "SAVEDATE",  # RFC 8514
    "SEARCH=FUZZY",  # RFC 6203
    "SEARCHRES",  # RFC 5182
    "SORT",  # RFC 5256
    "SORT=DISPLAY",  # RFC 5957
    "SPECIAL-USE",  # RFC 6154
    "STATUS=SIZE",  # RFC 8438
    "THREAD=ORDEREDSUBJECT",  # RFC 5256
    "THREAD=REFERENCES",  # RFC 5256
    "THREAD=REFS",  # draft-ietf-morg-inthread
    "UIDONLY",  # RFC 9586
    "UIDPLUS",  # RFC 4315
    "UNAUTHENTICATE",  # RFC 8437
    "UNSELECT",  # RFC 3691
    "URL-PARTIAL",  # RFC 5550
    "URLAUTH",  # RFC 4467
    "URLAUTH=BINARY",  # RFC 5524
    "UTF8=ACCEPT",  # RFC 6855
    "WITHIN",  # RFC 5032
)
_ALWAYS = " ".join(("IMAP4rev1", "IMAP4rev2", *_EXTENSIONS))


def capabilities(session: ImapSession) -> str:
    """What the server can do for this client now (RFC 9051 §7.2.2)."""
    words = [_ALWAYS]
    words.append(f"APPENDLIMIT={session.access.limits.message}")  # RFC 7889
    words.append(f"MESSAGELIMIT={session.access.limits.messages}")  # RFC 9738
    if session.access.events is not None:
        words.append(f"IMAPSIEVE={session.access.events.url}")  # RFC 6785
    if session.login is not None:
        if session.login.tls_offered:
            words.append("STARTTLS")
        offered = session.login.attempts.offer().names
        words += [f"AUTH={name}" for name in offered] if offered else ["LOGINDISABLED"]
    return " ".join(words)
