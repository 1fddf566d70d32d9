"""Which mailboxes are meant: `personal`, `subtree (a b)` and so on (RFC 5465 §6, RFC 7377 §2.2)."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.protocol.imap4.grammar import Cursor

_BARE = frozenset({"selected", "selected-delayed", "inboxes", "personal", "subscribed"})
_NAMING = frozenset({"subtree", "subtree-one", "mailboxes"})


@dataclass(frozen=True, slots=True)
class MailboxFilter:
    """`kind` in lower case; `names` decoded, for the kinds that name mailboxes."""

    kind: str
    names: tuple[str, ...] = ()


def parse_mailbox_filter(cursor: Cursor) -> MailboxFilter:
    """`filter-mailboxes` at the cursor. Raises CommandError."""
    kind = cursor.atom().lower()
    if kind in _BARE:
        return MailboxFilter(kind)
    if kind not in _NAMING:
        cursor.fail("a kind of mailboxes")
    cursor.space()
    if cursor.peek() == b"(":
        return MailboxFilter(kind, tuple(cursor.parenthesized(cursor.mailbox)))
    return MailboxFilter(kind, (cursor.mailbox(),))
