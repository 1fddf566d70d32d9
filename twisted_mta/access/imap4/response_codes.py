"""Refusals of the store in the words of IMAP (RFC 5530, RFC 3501 §7.1; RFC 5464 §4.3, RFC 6154 §3, RFC 9208
§4.3.1)."""

from __future__ import annotations

from twisted_mta.message.status import MailError
from twisted_mta.store.errors import (
    AnnotationTooLong,
    BadMailboxName,
    BadSpecialUse,
    CannotDo,
    MailboxExists,
    NoPermission,
    NoSuchMailbox,
    NoSuchMessage,
    OverQuota,
    StorageFull,
    StoreError,
    TooManyAnnotations,
    TooManyMailboxes,
)

_CODES: tuple[tuple[type[MailError], str], ...] = (
    (NoSuchMailbox, "NONEXISTENT"),
    (MailboxExists, "ALREADYEXISTS"),
    (BadMailboxName, "CANNOT"),
    (TooManyMailboxes, "LIMIT"),
    (CannotDo, "CANNOT"),
    (NoSuchMessage, "EXPUNGEISSUED"),
    (NoPermission, "NOPERM"),
    (OverQuota, "OVERQUOTA"),
    (BadSpecialUse, "USEATTR"),
    (TooManyAnnotations, "METADATA TOOMANY"),
    # A full disk is no quota of the user's, yet it is the one code that makes clients stop and tell.
    (StorageFull, "OVERQUOTA"),
)


def code_of(error: MailError) -> str:
    """The response code for a tagged NO."""
    if isinstance(error, AnnotationTooLong):
        return f"METADATA MAXSIZE {error.maximum}"
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    if isinstance(error, StoreError):
        return "CANNOT" if error.permanent else "UNAVAILABLE"
    # Logins that nobody can check at the moment (RFC 4954 §6) are no accident.
    return "UNAVAILABLE" if error.code == 454 else "SERVERBUG"
