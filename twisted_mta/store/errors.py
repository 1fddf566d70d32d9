"""What the store refuses, and how trouble with the disk is told (RFC 3463 X.2, X.3)."""

from __future__ import annotations

import errno
import sqlite3

from twisted_mta.message.status import MailError

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class StoreError(MailError):
    """A request that the store refuses; the base of the refusals below."""


class NoSuchMailbox(StoreError):
    """The account has no mailbox of that name, or it has been deleted since it was opened."""

    def __init__(self, text: str = "No such mailbox") -> None:
        super().__init__(550, "5.2.0", text)


class MailboxExists(StoreError):
    """There is a mailbox of that name already."""

    def __init__(self, text: str = "Mailbox exists already") -> None:
        super().__init__(550, "5.2.0", text)


class BadMailboxName(StoreError):
    """A name that no mailbox can have here."""

    def __init__(self, text: str = "Bad mailbox name") -> None:
        super().__init__(550, "5.2.0", text)


class NoSuchMessage(StoreError):
    """The mailbox holds no message with that UID (any more)."""

    def __init__(self, text: str = "No such message") -> None:
        super().__init__(550, "5.2.0", text)


class CannotDo(StoreError):
    """The request makes no sense for this mailbox, such as deleting INBOX."""

    def __init__(self, text: str) -> None:
        super().__init__(550, "5.2.0", text)


class TooManyMailboxes(CannotDo):
    """The account has `most` mailboxes, or subscriptions, which is as many as it may have."""

    def __init__(self, most: int, what: str = "mailboxes") -> None:
        super().__init__(f"There are {most:,} {what}, and there can be no more")


class NoPermission(StoreError):
    """The user may know of the mailbox, but has not the right to do this with it (RFC 4314 §4)."""

    def __init__(self, text: str = "You have not the right to do this") -> None:
        super().__init__(550, "5.7.1", text)


class OverQuota(StoreError):
    """The message does not fit into what the account may keep (RFC 9208 §4.3.1, RFC 3463 X.2.2).

    Temporary: its owner may make room, and what the queue has is tried again."""

    def __init__(self, text: str = "Mailbox is full") -> None:
        super().__init__(452, "4.2.2", text)


class BadAnnotation(StoreError):
    """No entry can have this name, or this value (RFC 5464 §3.2)."""

    def __init__(self, text: str = "Not a name that an annotation can have") -> None:
        super().__init__(550, "5.2.0", text)


class BadSpecialUse(StoreError):
    """The mailbox cannot have this special use (RFC 6154 §3)."""

    def __init__(self) -> None:
        super().__init__(550, "5.2.0", "A mailbox cannot have this special use here")


class AnnotationTooLong(StoreError):
    """A value has more octets than `maximum` (RFC 5464 §4.3)."""

    def __init__(self, maximum: int) -> None:
        super().__init__(552, "5.2.2", f"An annotation may have {maximum} octets at most")
        self.maximum = maximum


class TooManyAnnotations(StoreError):
    """The mailbox, the account or the server has as many annotations as it may have (RFC 5464 §4.3)."""

    def __init__(self) -> None:
        super().__init__(552, "5.2.2", "Too many annotations")


class StorageFull(StoreError):
    """No space left, or the disk quota of the server's user is exhausted (RFC 3463 X.3.1)."""

    def __init__(self) -> None:
        super().__init__(452, "4.3.1", "Message store is full, try again later")


class StorageFault(StoreError):
    """The disk, or the index on it, refuses to work. Temporary for the peer, loud in the log."""

    def __init__(self) -> None:
        super().__init__(451, "4.3.0", "Message store is not available, try again later")


def disk_error(error: OSError | sqlite3.Error) -> StoreError:
    """What a failed system call or SQL statement is called before a peer."""
    if isinstance(error, OSError):
        return StorageFull() if error.errno in _FULL else StorageFault()
    full = getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL
    return StorageFull() if full else StorageFault()
