"""How a mailbox comes into memory, and leaves it, and how it is counted without; in the account's lane.

The rows of the index make its columns, unless a snapshot of these was kept when they left memory.
"""

from __future__ import annotations

from twisted_mta.store import snapshot
from twisted_mta.store.columns import Columns, Counts
from twisted_mta.store.flags import DELETED, SEEN
from twisted_mta.store.folder import Folder
from twisted_mta.store.home import Home
from twisted_mta.store.mailbox import Loaded, Mailbox, MailboxStatus


def load(home: Home, name: str) -> Loaded:
    """The mailbox of that canonical name, up to date. Raises NoSuchMailbox."""
    folder = home.folder(name)
    folder.refresh()
    return _loaded(home, folder)


def _loaded(home: Home, folder: Folder) -> Loaded:
    uid_next, recent_from, highest_modseq = home.index.marks(folder.id)
    return Loaded(
        number=folder.id,
        name=folder.name,
        directory=folder.maildir.path,
        uid_validity=folder.uid_validity,
        object_id=folder.object_id,
        epoch=home.index.emails.epoch,
        uid_next=uid_next,
        recent_from=recent_from,
        highest_modseq=highest_modseq,
        columns=_columns(home, folder, snapshot.Marks(home.index.emails.epoch, uid_next, highest_modseq)),
    )


def _columns(home: Home, folder: Folder, marks: snapshot.Marks) -> Columns:
    try:
        found = snapshot.take(home.path, folder.id, marks)
    except OSError as error:
        home.report(f"{home.path}: {error!r}")
        found = None
    return Columns(home.index.columns(folder.id)) if found is None else found


def status(home: Home, name: str) -> MailboxStatus | Loaded:
    """The counts of the mailbox of that canonical name. One that has changed since it was counted last is
    loaded: it will be asked about again. Raises NoSuchMailbox."""
    folder = home.folder(name)
    folder.refresh()
    uid_next, _, highest_modseq = home.index.marks(folder.id)
    if folder.counted is None:
        folder.counted = highest_modseq, Counts(*home.index.counts(folder.id, SEEN, DELETED))
    counted_at, counts = folder.counted
    if counted_at != highest_modseq:
        return _loaded(home, folder)
    return MailboxStatus(
        messages=counts.messages,
        recent=home.index.recent(folder.id),
        uid_next=uid_next,
        uid_validity=folder.uid_validity,
        unseen=counts.unseen,
        deleted=counts.deleted,
        size=counts.size,
        highest_modseq=highest_modseq,
        object_id=folder.object_id,
    )


def packed(mailbox: Mailbox) -> bytes:
    """What is worth keeping of a mailbox that leaves memory; b"": nothing. In the reactor's thread."""
    if mailbox.deleted or len(mailbox) < snapshot.WORTHWHILE or mailbox.columns.cluttered:
        return b""
    marks = snapshot.Marks(mailbox.account.epoch, mailbox.uid_next, mailbox.highest_modseq)
    return snapshot.pack(mailbox.columns, marks)


def save(home: Home, packed: dict[int, bytes]) -> None:
    """Keep what was packed, by the numbers of the mailboxes. Raises OSError."""
    for number, octets in packed.items():
        snapshot.save(home.path, number, octets)
