"""What is kept of overviews in memory, beside a mailbox that changes."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.store.overview_columns import Look, OverviewColumns, OverviewMemory, Overviews

SUBJECT, LENGTH = Look("subject"), Look("subject", len)


def row(uid, looks):
    return tuple(look.see(f"subject {uid}") for look in looks)


def ask(columns, uids, wanted, looks, learnable=lambda uid: True):
    """What a mailbox answers, and the UIDs that it had to look up."""
    columns.align(uids, looks)
    unknown = columns.lacking(columns.places(wanted), looks)
    columns.take({uid: row(uid, looks) for uid in unknown if learnable(uid)}, looks)
    return columns.seen(columns.places(wanted), looks), unknown


def test_what_was_asked_once_is_not_looked_up_again():
    columns, uids = OverviewColumns(), array("I", [2, 3, 5, 8])
    found, unknown = ask(columns, uids, uids[1:3], [SUBJECT])
    assert found == Overviews(array("I", [3, 5]), range(1, 3), [["subject 3", "subject 5"]])
    assert unknown == [3, 5]
    found, unknown = ask(columns, uids, [8, 4, 3, 2], [SUBJECT, LENGTH])
    assert (list(found.uids), list(found.places)) == ([8, 3, 2], [3, 1, 0])
    assert found.values == [["subject 8", "subject 3", "subject 2"], [9, 9, 9]]
    assert unknown == [8, 3, 2]  # of 3 the length was not asked for
    assert ask(columns, uids, uids, [LENGTH])[1] == [5]
    assert ask(columns, uids, uids, [SUBJECT, LENGTH])[1] == []
    assert ask(columns, uids, [], [SUBJECT])[0].values == [[]]


def test_an_answer_does_not_change_with_the_mailbox():
    columns, uids = OverviewColumns(), array("I", [1, 2])
    found, _ = ask(columns, uids, uids, [SUBJECT])
    uids.append(3)
    ask(columns, uids, uids, [SUBJECT])
    assert found.values == [["subject 1", "subject 2"]] and list(found.uids) == [1, 2]


def test_what_cannot_be_known_is_left_out():
    columns, uids = OverviewColumns(), array("I", [1, 2, 3])
    found, _ = ask(columns, uids, uids, [SUBJECT], lambda uid: uid != 2)
    assert (list(found.uids), list(found.places)) == ([1, 3], [0, 2])
    assert ask(columns, uids, uids, [SUBJECT])[1] == [2]


steps = st.lists(st.tuples(st.sampled_from(["arrive", "go", "ask"]), st.sets(st.integers(0, 12), max_size=5)))


@given(steps)
def test_columns_follow_the_mailbox(steps):
    columns, uids, looked_up = OverviewColumns(), array("I"), set()
    uid_next = 1
    for step, numbers in steps:
        if step == "arrive":
            uids.extend(range(uid_next, uid_next + len(numbers)))
            uid_next += len(numbers)
        elif step == "go":
            uids = array("I", [uid for at, uid in enumerate(uids) if at not in numbers])
        else:
            wanted = array("I", sorted(uids[at] for at in numbers if at < len(uids)))
            found, unknown = ask(columns, uids, wanted, [SUBJECT])
            assert list(found.uids) == list(wanted)
            assert [uids[at] for at in found.places] == list(wanted)
            assert found.values == [[f"subject {uid}" for uid in wanted]]
            assert looked_up.isdisjoint(unknown)
            looked_up.update(unknown)


def test_answers_hold_until_a_message_comes_or_goes():
    columns, uids = OverviewColumns(), array("I", [1, 2, 3])
    everything, _ = ask(columns, uids, uids, [SUBJECT])
    columns.answers_about(everything)["order"] = [2, 0, 1]
    part, _ = ask(columns, uids, [1, 2], [SUBJECT])
    columns.answers_about(part)["order"] = [0]
    assert "order" not in columns.answers_about(part)
    everything, _ = ask(columns, uids, uids, [LENGTH])
    held = columns.answers_about(everything)
    assert held == {"order": [2, 0, 1]}
    uids.append(4)
    everything, _ = ask(columns, uids, uids, [SUBJECT])
    assert columns.answers_about(everything) == {}
    held["late"] = [0]  # made while the mailbox has changed: nobody will find it
    columns.answers_about(everything)["order"] = [3]
    uids = array("I", [1, 2, 4])
    everything, _ = ask(columns, uids, uids, [SUBJECT])
    assert columns.answers_about(everything) == {}
    for number in range(20):
        columns.answers_about(everything)[number] = number
    assert list(columns.answers_about(everything)) == list(range(12, 20))


def test_ranks_are_kept_while_they_are_of_use():
    columns, uids = OverviewColumns(), array("I", range(1, 11))
    ask(columns, uids, uids, [SUBJECT])
    before = columns.octets
    columns.keep_ranks(SUBJECT, {f"subject {uid}": uid for uid in uids})
    assert columns.ranks(SUBJECT)["subject 3"] == 3 and columns.octets > before
    for left in (5, 4):
        uids = uids[:left]
        ask(columns, uids, uids, [SUBJECT])
        assert len(columns.ranks(SUBJECT)) == (10 if left == 5 else 0)
    columns.keep_ranks(SUBJECT, {"x": 0})
    columns.clear()
    assert not columns.ranks(SUBJECT) and columns.octets == 0


def test_what_was_asked_longest_ago_is_given_up_first():
    memory, mailboxes = OverviewMemory(20_000), [OverviewColumns() for _ in range(4)]
    uids = array("I", range(1, 101))  # some 7000 octets
    for columns in mailboxes[:2]:
        with memory.using(columns):
            ask(columns, uids, uids, [SUBJECT])
    with memory.using(mailboxes[0]):
        assert ask(mailboxes[0], uids, uids, [SUBJECT])[1] == []
        with memory.using(mailboxes[2]):
            ask(mailboxes[2], uids, uids, [SUBJECT])
        with memory.using(mailboxes[3]):
            ask(mailboxes[3], uids, uids, [SUBJECT])
    assert [columns.octets > 0 for columns in mailboxes] == [True, False, False, True]
    memory.forget(mailboxes[0])
    assert mailboxes[0].octets == 0
    assert ask(mailboxes[0], uids, uids, [SUBJECT])[1] == list(uids)
