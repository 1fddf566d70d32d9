"""Databases of the first released version are taken over with everything in them."""

import os
import sqlite3

from store_case import Bench

from twisted_mta.store import hierarchy
from twisted_mta.store.flags import FLAGGED, SEEN
from twisted_mta.store.index.schema import MIGRATIONS
from twisted_mta.store.relocation import copy

FIRST_VERSION = {
    "mailboxes": "id, name, directory, uid_validity, uid_next, uid_reserved, recent_from, highest_modseq,"
    " special_use, moved_from, new_stamp, cur_stamp, settled",
    "messages": "mailbox, uid, name, directory, tail, flags, keywords, size, internal_date, modseq",
    "subscriptions": "name",
}


def as_first_version(bench):
    """The account as the first version would have left it: the same rows in the tables of that time."""
    bench.home.close()
    path = bench.path / "index.sqlite"
    os.rename(path, bench.path / "later.sqlite")
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(f"BEGIN;{MIGRATIONS[0]}PRAGMA user_version = 1;COMMIT;")
    db.execute("ATTACH ? AS later", (str(bench.path / "later.sqlite"),))
    for table, columns in FIRST_VERSION.items():
        db.execute(f"INSERT INTO main.{table} SELECT {columns} FROM later.{table}")
    db.execute("INSERT INTO main.facts SELECT * FROM later.facts WHERE name NOT IN ('epoch', 'next_email')")
    db.execute(
        "INSERT INTO main.renderings SELECT mailbox, uid, 'imap-structures', x'00' FROM later.messages"
    )
    db.close()
    os.unlink(bench.path / "later.sqlite")
    bench.boot("first boot")


def test_an_index_of_the_first_version_keeps_its_messages(tmp_path):
    bench = Bench(tmp_path / "a.test" / "alice")
    hierarchy.create(bench.home, "Lists/python", frozenset({"\\Archive"}))
    bench.put(1, 2, 3, bits=SEEN, keywords=frozenset({"$Work", "later"}))
    bench.put(4, 5, mailbox="Lists/python", bits=FLAGGED)
    bench.folder().expunge([2])
    before = contents(bench)
    highest = bench.home.index.marks(bench.folder().id)[2]
    as_first_version(bench)
    assert contents(bench) == before
    index = bench.home.index
    assert index._one("PRAGMA user_version")[0] == len(MIGRATIONS)
    rows = [row for mailbox in index.mailboxes() for row in index.messages(mailbox.id)]
    assert len({row.email for row in rows}) == len(rows) == 4
    assert {row.save_date for row in rows} == {0}
    objects = [mailbox.object_id for mailbox in index.mailboxes()]
    assert all(objects) and len(set(objects)) == len(objects)
    assert index.usage() == (sum(row.size for row in rows), 4)
    # What went before that version is not known to have gone.
    assert index.vanished_since(bench.folder().id, highest - 1) is None
    assert index.vanished_since(bench.folder().id, highest) == []


def test_an_index_that_was_migrated_goes_on(tmp_path):
    bench = Bench(tmp_path / "a.test" / "alice")
    bench.put(1, 2)
    as_first_version(bench)
    assert bench.put(3) == [3]
    inbox, sent = bench.folder(), bench.folder("Sent")
    assert copy(inbox, sent, [1, 3], bench.home.room()).target_uids == (1, 2)
    index = bench.home.index
    emails = [row.email for row in index.messages(inbox.id)]
    assert len(set(emails)) == 3
    assert [row.email for row in index.messages(sent.id)] == [emails[0], emails[2]]
    modseq = index.marks(inbox.id)[2]
    assert inbox.expunge([1]) == [1]
    assert index.vanished_since(inbox.id, modseq) == [1]


def contents(bench):
    """Everything that a client may have been told, by mailbox."""
    return {
        mailbox.name: (
            mailbox.uid_validity,
            " ".join(mailbox.special_uses),
            bench.home.index.marks(bench.folder(mailbox.name).id),
            [row[:9] for row in bench.home.index.messages(mailbox.id)],
        )
        for mailbox in bench.home.index.mailboxes()
    } | {"subscriptions": bench.home.index.subscriptions()}
