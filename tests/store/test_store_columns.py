"""The columns of a mailbox in memory against a plain model, and rows of UIDs however these lie."""

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.store.columns import Columns
from twisted_mta.store.errors import NoSuchMessage
from twisted_mta.store.flags import DELETED, SEEN
from twisted_mta.store.index.rows import Marked, Message, rows_of_uids

BITS = st.integers(0, 31)
KEYWORDS = st.sampled_from(["", "a", "a b", "c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), BITS, KEYWORDS, st.integers(0, 2**33)),
        st.tuples(st.just("flag"), BITS, KEYWORDS, st.integers(0, 100)),
        st.tuples(st.just("expunge"), st.sets(st.integers(0, 100), max_size=5)),
    ),
    max_size=40,
)


def message(uid, bits, keywords, size, modseq):
    return Message(uid, f"{uid}.h", "cur", ":2,", bits, keywords, size, 1.5 * uid, modseq, 7 + uid, 2.0 * uid)


def as_row(each):
    return (
        each.uid,
        each.flags,
        each.keywords,
        each.size,
        each.internal_date,
        each.modseq,
        each.email,
        each.save_date,
    )


def agree(columns, model):
    """Every answer is the one that the messages of the model give."""
    rows = [model[uid] for uid in sorted(model)]
    assert list(columns.uids) == [each.uid for each in rows]
    assert list(columns.sizes) == [min(each.size, 2**32 - 1) for each in rows]
    assert list(columns.modseqs) == [each.modseq for each in rows]
    assert list(columns.emails) == [each.email for each in rows]
    assert list(columns.dates) == [each.internal_date for each in rows]
    assert list(columns.save_dates) == [each.save_date for each in rows]
    sets = [columns.flag_sets[number] for number in columns.flag_numbers]
    assert [(flags.bits, flags.keywords) for flags in sets] == [(each.flags, each.keywords) for each in rows]
    unseen = [each.uid for each in rows if not each.flags & SEEN]
    assert columns.having(lambda names: "\\Seen" not in names) == unseen
    assert columns.first_having(lambda names: "\\Seen" not in names) == (unseen[0] if unseen else None)
    assert columns.counts() == (
        len(rows),
        len(unseen),
        sum(bool(each.flags & DELETED) for each in rows),
        sum(columns.sizes),
    )
    middle = rows[len(rows) // 2].modseq if rows else 1
    assert columns.changed_since(middle) == [each.uid for each in rows if each.modseq > middle]
    assert columns.recent(5) == sum(each.uid >= 5 for each in rows)
    wanted = list(range(20, -1, -1))
    assert [columns.uids[place] for place in columns.positions(wanted)] == [u for u in wanted if u in model]


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_columns_are_what_was_done_to_them(steps):
    columns, model = Columns(), {}
    next_uid, modseq = 1, 1
    for what, *how in steps:
        modseq += 1
        before, view = columns.uids, list(columns.uids)
        if what == "add":
            model[next_uid] = message(next_uid, *how, modseq)
            columns.append(model[next_uid])
            next_uid += 2
            assert columns.uids is before
        elif what == "flag":
            bits, keywords, uid = how
            if uid in model:
                model[uid] = model[uid]._replace(flags=bits, keywords=keywords, modseq=modseq)
                columns.mark(Marked(bits, keywords, [uid]), modseq)
            else:
                with pytest.raises(NoSuchMessage):
                    columns.mark(Marked(bits, keywords, [uid]), modseq)
        else:
            gone = how[0] & model.keys()
            columns.expunge(gone)
            for uid in gone:
                del model[uid]
            assert list(before) == view
        agree(columns, model)
    agree(Columns(as_row(model[uid]) for uid in sorted(model)), model)


def test_more_combinations_than_an_octet_counts():
    columns, model = Columns(), {}
    for uid in range(1, 601):
        model[uid] = message(uid, uid % 32, f"k{uid // 2}", 10, uid)
        columns.append(model[uid])
    agree(columns, model)
    assert not columns.cluttered
    for uid in range(1, 601, 3):
        model[uid] = model[uid]._replace(flags=SEEN, keywords="", modseq=700)
    columns.mark(Marked(SEEN, "", range(1, 601, 3)), 700)
    columns.expunge(range(2, 601, 3))
    agree(columns, {uid: each for uid, each in model.items() if uid % 3 != 2})
    columns.expunge([uid for uid in columns.uids if uid > 5])
    assert columns.cluttered


@given(st.sets(st.integers(1, 3000)), st.lists(st.integers(0, 3100)))
@settings(max_examples=100, deadline=None)
def test_rows_of_uids(there, wanted):
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE t (uid INTEGER PRIMARY KEY)")
    db.executemany("INSERT INTO t VALUES (?)", [(uid,) for uid in there])
    found = [uid for (uid,) in rows_of_uids(db, "SELECT uid FROM t WHERE 1", (), wanted)]
    assert found == sorted(there & set(wanted))


def test_many_rows_of_uids():
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE t (uid INTEGER PRIMARY KEY)")
    db.executemany("INSERT INTO t VALUES (?)", [(uid,) for uid in range(20_000)])
    for step in (1, 2, 3, 7):
        wanted = range(5, 20_000, step)
        found = [uid for (uid,) in rows_of_uids(db, "SELECT uid FROM t WHERE 1", (), wanted)]
        assert found == list(wanted)
