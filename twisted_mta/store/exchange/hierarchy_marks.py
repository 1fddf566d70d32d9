"""What another server knows of mailboxes and a Maildir cannot hold: which are subscribed, and what for.

It goes into the index, and is for the one process that has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from twisted_mta.store.annotations import SPECIAL_USE
from twisted_mta.store.changes import NONE, Step
from twisted_mta.store.home import Home


class HierarchyMarks(NamedTuple):
    """Canonical names to subscribe to; a special use (RFC 6154) by name, for mailboxes that have none."""

    subscribed: Sequence[str]
    uses: Mapping[str, str]


def put_marks(home: Home, marks: HierarchyMarks) -> None:
    """In the lane: take them over. Names without a mailbox are passed over, and so is a use that a mailbox
    has.

    Raises StoreError, OSError, sqlite3.Error."""
    home.notice()
    rows = {row.name: row for row in home.rows()}
    taken = {use for row in rows.values() for use in row.special_uses}
    known = set(home.index.subscriptions())
    new = [name for name in marks.subscribed if name in rows and name not in known]
    used: list[int] = []
    with home.index.transaction():
        home.index.subscribe(new)
        for name, use in marks.uses.items():
            if name in rows and not rows[name].special_uses and use not in taken:
                taken.add(use)
                home.index.set_special_uses(rows[name].id, {use})
                used.append(rows[name].id)
    for number in used:
        home.tell(Step(number, annotation=SPECIAL_USE))
    for name in new:
        home.tell(Step(NONE, name=name, subscribed=True))
