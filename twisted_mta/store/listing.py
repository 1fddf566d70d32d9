"""The list of an account's mailboxes; it is made anew only when something about them has changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted_mta.store.hierarchy import virtual_parents
from twisted_mta.store.rights import ALL

if TYPE_CHECKING:
    from twisted_mta.store.home import Home


@dataclass(frozen=True, slots=True)
class MailboxInfo:
    r"""One line of the list. `special_use` is "" or an attribute such as `\Sent` (RFC 6154);
    a mailbox that is not `selectable` only has children. `object_id` is MAILBOXID (RFC 8474), or "".
    `rights` and `own` are those of the user whose list it is (see `Viewpoint`)."""

    name: str
    special_use: str
    subscribed: bool
    selectable: bool
    object_id: str = ""
    rights: frozenset[str] = ALL
    own: bool = True


def list_mailboxes(home: Home) -> list[MailboxInfo]:
    """In the lane: every mailbox, and every parent that is none, by name with INBOX first.

    Raises OSError, sqlite3.Error."""
    home.notice()
    rows = home.rows()
    if home.listing is None:
        subscribed = set(home.index.subscriptions())
        infos = [
            MailboxInfo(row.name, row.special_use, row.name in subscribed, True, row.object_id)
            for row in rows
        ]
        for name in virtual_parents(row.name for row in rows):
            infos.append(MailboxInfo(name, "", name in subscribed, False))
        home.listing = sorted(infos, key=lambda info: (info.name != "INBOX", info.name))
    return list(home.listing)
