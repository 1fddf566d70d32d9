"""The list of an account's mailboxes; it is made anew only when something about them has changed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted_mta.store.hierarchy import virtual_parents
from twisted_mta.store.rights import ALL

if TYPE_CHECKING:
    from twisted_mta.store.home import Home


@dataclass(frozen=True, slots=True)
class MailboxInfo:
    r"""One line of the list. `special_uses`: attributes such as `\Sent` (RFC 6154), spelled as there;
    a mailbox that is not `selectable` only has children. `object_id` is MAILBOXID (RFC 8474), or "".
    `rights` and `own` are those of the user whose list it is (see `Viewpoint`)."""

    name: str
    special_uses: frozenset[str]
    subscribed: bool
    selectable: bool
    object_id: str = ""
    rights: frozenset[str] = ALL
    own: bool = True


def list_at_hand(home: Home) -> list[MailboxInfo] | None:
    """What `list_mailboxes` would give, when nothing has changed since it was asked last; None when that has
    to be seen. For one stat call in the reactor's thread, while the lane is at rest."""
    with suppress(OSError):
        if home.listing is not None and home.is_unchanged():
            return list(home.listing)
    return None


def list_mailboxes(home: Home) -> list[MailboxInfo]:
    """In the lane: every mailbox, and every parent that is none, by name with INBOX first.

    Raises OSError, sqlite3.Error."""
    home.notice()
    rows = home.rows()
    if home.listing is None:
        subscribed = set(home.index.subscriptions())
        infos = [
            MailboxInfo(row.name, row.special_uses, row.name in subscribed, True, row.object_id)
            for row in rows
        ]
        for name in virtual_parents(row.name for row in rows):
            infos.append(MailboxInfo(name, frozenset(), name in subscribed, False))
        home.listing = sorted(infos, key=lambda info: (info.name != "INBOX", info.name))
    return list(home.listing)
