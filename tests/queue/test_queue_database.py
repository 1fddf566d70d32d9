"""The statements, and the promise of each transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.outcome import Action, Outcome, QueuedRecipient
from twisted_mta.queue.database import QueueDatabase
from twisted_mta.queue.records import NewMessage, Result, Settled, Settlement
from twisted_mta.queue.schema import MIGRATIONS, SchemaTooNew
from twisted_mta.queue.selection import EVERYTHING, Change, SelectedQueue

DELIVERED = Outcome(Action.DELIVERED, "2.0.0", "ok")
DELAYED = Outcome(Action.DELAYED, "4.4.1", "no answer", "mx.b.test")
FAILED = Outcome(Action.FAILED, "5.1.1", "550 unknown", "mx.b.test")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SelectedQueue]:
    database = SelectedQueue(tmp_path / "queue.sqlite")
    yield database
    database.close()


def new(number: int, *paths: str, sender: str | None = "ann@a.test", at: float = 1000.0) -> NewMessage:
    """Its recipients have the numbers 10 * number, 10 * number + 1, …"""
    return NewMessage(
        number=number,
        reverse_path=None if sender is None else Address.parse(sender),
        arrived=at,
        content=Content(b"Received: x\r\n", b"body"),
        size=17,
        checksum=0,
        recipients=tuple(
            QueuedRecipient(10 * number + i, Address.parse(path)) for i, path in enumerate(paths)
        ),
    )


def settle(database: QueueDatabase, message: NewMessage, *outcomes: Outcome, **more: object) -> Settled:
    results = tuple(
        Result(recipient, outcome, 2000.0)
        for recipient, outcome in zip(message.recipients, outcomes, strict=False)
    )
    (settled,) = database.commit([], [Settlement(message.number, 1500.0, results, **more)])  # type: ignore[arg-type]
    return settled


def states(database: QueueDatabase, message: int) -> dict[str, str]:
    return {recipient.forward_path: recipient.state for recipient in database.recipients(message)}


def test_a_message_comes_back_as_it_was(database: SelectedQueue) -> None:
    database.commit([new(1, "bob@b.test", '"odd one"@b.test'), new(2, "cy@c.test", sender=None)], [])
    stored = database.message(1)
    assert stored is not None
    assert (stored.reverse_path, stored.head, stored.body) == ("ann@a.test", b"Received: x\r\n", b"body")
    assert states(database, 1) == {"bob@b.test": "waiting", '"odd one"@b.test': "waiting"}
    other = database.message(2)
    assert other is not None
    assert other.reverse_path is None
    assert database.message(3) is None
    assert database.present([1, 3]) == {1}
    assert database.highest() == (2, 20)


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 200])
def test_a_batch_of_any_size(database: QueueDatabase, count: int) -> None:
    messages = [new(number, "bob@b.test") for number in range(1, count + 1)]
    database.commit(messages, [])
    assert len(database.due((0.0, 0), 1000.0, 1000).recipients) == count
    settlements = [Settlement(m.number, 1.0, (Result(m.recipients[0], DELIVERED),)) for m in messages]
    assert all(settled.finished for settled in database.commit([], settlements))
    assert database.highest() == (0, 0)


def test_a_message_goes_with_its_last_recipient(database: SelectedQueue) -> None:
    message = new(1, "bob@b.test", "cy@c.test")
    database.commit([message], [])
    first = replace(message, recipients=message.recipients[:1])
    last = replace(message, recipients=message.recipients[1:])
    assert not settle(database, first, DELIVERED).finished
    assert states(database, 1) == {"bob@b.test": "delivered", "cy@c.test": "waiting"}
    assert not settle(database, last, DELAYED).finished
    assert settle(database, last, DELIVERED).finished
    assert database.message(1) is None
    assert database.recipients(1) == []


def test_two_settlements_of_one_message_in_one_batch(database: SelectedQueue) -> None:
    message = new(1, "bob@b.test", "cy@c.test")
    database.commit([message], [])
    settlements = [Settlement(1, 1.0, (Result(recipient, DELIVERED),)) for recipient in message.recipients]
    # One of them tells of it.
    assert [settled.finished for settled in database.commit([], settlements)] == [False, True]
    assert database.message(1) is None


def test_a_delay_is_remembered(database: SelectedQueue) -> None:
    message = new(1, "bob@b.test")
    database.commit([message], [])
    assert settle(database, message, DELAYED) == Settled()
    (recipient,) = database.recipients(1)
    assert (recipient.state, recipient.attempts, recipient.last_attempt) == ("waiting", 1, 1500.0)
    assert (recipient.next_attempt, recipient.status, recipient.diagnostic) == (2000.0, "4.4.1", "no answer")
    assert recipient.remote_mta == "mx.b.test"


def test_a_failure_and_its_report_are_one(database: SelectedQueue) -> None:
    message = new(1, "bob@b.test", "cy@c.test")
    database.commit([message], [])
    settled = settle(database, message, FAILED, DELAYED, report=new(2, "ann@a.test", sender=None))
    assert settled == Settled(finished=False, reported=True)
    assert states(database, 1) == {"bob@b.test": "failed", "cy@c.test": "waiting"}
    assert states(database, 2) == {"ann@a.test": "waiting"}


def test_no_report_for_what_was_removed_by_hand(database: SelectedQueue) -> None:
    message = new(1, "bob@b.test")
    database.commit([message], [])
    database.change(Change.REMOVE, 1, EVERYTHING, now=0.0)
    settled = settle(database, message, FAILED, report=new(2, "ann@a.test", sender=None))
    assert settled == Settled(finished=False, reported=False)
    assert database.highest() == (0, 0)


def test_a_settlement_that_cannot_be_recorded_leaves_no_report(database: SelectedQueue) -> None:
    message = new(1, "bob@b.test")
    database.commit([message, new(2, "dan@d.test")], [])
    with pytest.raises(sqlite3.IntegrityError):
        settle(database, message, FAILED, report=new(2, "ann@a.test", sender=None))
    assert states(database, 1) == {"bob@b.test": "waiting"}
    assert states(database, 2) == {"dan@d.test": "waiting"}


def expanded(*paths: str, first: int) -> tuple[QueuedRecipient, ...]:
    team = Address.parse("team@a.test")
    return tuple(
        QueuedRecipient(first + i, Address.parse(path), original_path=team) for i, path in enumerate(paths)
    )


def test_an_expansion_takes_the_place_of_its_recipient(database: SelectedQueue) -> None:
    message = new(1, "team@a.test", "bob@b.test")
    database.commit([message], [])
    outcome = Outcome(Action.EXPANDED, "2.1.5", "")
    expansion = expanded("BOB@b.test", "cy@c.test", "cy@c.test", "team@a.test", first=50)
    (settled,) = database.commit(
        [], [Settlement(1, 1.0, (Result(message.recipients[0], outcome, 0.0, expansion),))]
    )
    assert [recipient.number for recipient in settled.added] == [51]
    assert states(database, 1) == {"team@a.test": "expanded", "bob@b.test": "waiting", "cy@c.test": "waiting"}
    assert database.recipients(1)[-1].original_path == "team@a.test"


def expand(message: NewMessage, number: int, *paths: str) -> Settlement:
    outcome = Outcome(Action.EXPANDED, "2.1.5", "")
    result = Result(message.recipients[number], outcome, 0.0, expanded(*paths, first=50 + 10 * number))
    return Settlement(message.number, 1.0, (result,))


def test_an_expansion_into_those_who_have_it_finishes_the_message(database: SelectedQueue) -> None:
    message = new(1, "team@a.test", "bob@b.test", "all@a.test")
    database.commit([message], [])
    settle(database, replace(message, recipients=message.recipients[1:2]), DELIVERED)
    database.commit([], [expand(message, 0, "bob@b.test")])
    (settled,) = database.commit([], [expand(message, 2, "TEAM@a.test", "bob@b.test")])
    assert settled == Settled(finished=True)


@pytest.mark.parametrize("other", [DELIVERED, FAILED])
def test_addresses_that_lead_to_each_other_only_are_not_the_end_of_a_message(
    database: SelectedQueue, other: Outcome
) -> None:
    """Each of the two may be settled without knowing of the other; whoever is the last must be told."""
    message = new(1, "ann@a.test", "bob@b.test", "cy@c.test")
    database.commit([message], [])
    settle(database, replace(message, recipients=message.recipients[2:]), other)
    database.commit([], [expand(message, 0, "bob@b.test")])
    told = replace(expand(message, 1, "Ann@a.test"), report=new(2, "ann@a.test", sender=None))
    (settled,) = database.commit([], [told])
    assert settled == Settled(nowhere=frozenset({message.recipients[1].number}))
    assert states(database, 1)["bob@b.test"] == "waiting"
    assert database.present([1, 2]) == {1}


def test_an_address_that_leads_to_itself_is_not_the_end_of_a_message(database: SelectedQueue) -> None:
    message = new(1, "team@a.test")
    database.commit([message], [])
    (settled,) = database.commit([], [expand(message, 0, "team@a.test")])
    assert settled.nowhere and not settled.finished


def test_pages_of_what_is_due(database: SelectedQueue) -> None:
    database.commit([new(number, "bob@b.test", at=1000.0 + number // 2) for number in range(1, 8)], [])
    seen, after = [], (0.0, 0)
    while True:
        page = database.due(after, 1002.0, 2)
        seen += [recipient.message for recipient in page.recipients]
        if page.complete:
            break
        after = (page.recipients[-1].next_attempt, page.recipients[-1].number)
    assert seen == [1, 2, 3, 4, 5]
    assert page.later == 1003.0
    assert database.due((0.0, 0), 5000.0, 100).later is None


def test_what_was_passed_over_is_due_for_one_domain(database: SelectedQueue) -> None:
    database.commit([new(1, "bob@b.test", "cy@c.test"), new(2, "bea@b.test", at=3000.0)], [])
    assert database.due_for("b.test", (0.0, 0), 2000.0, 10).recipients == ()
    database.pass_over([10, 11, 20])
    page = database.due_for("b.test", (0.0, 0), 2000.0, 10)
    assert [recipient.forward_path for recipient in page.recipients] == ["bob@b.test"]
    assert page.complete


def test_held_mail_is_not_due_and_its_running_attempt_counts(database: SelectedQueue) -> None:
    message = new(1, "bob@b.test")
    database.commit([message], [])
    assert database.hold(1) == 1
    assert database.due((0.0, 0), 5000.0, 10).recipients == ()
    settle(database, message, DELAYED)
    assert states(database, 1) == {"bob@b.test": "held"}
    database.change(Change.RELEASE, 1, EVERYTHING, now=1.0)
    assert len(database.due((0.0, 0), 5000.0, 10).recipients) == 1
    database.hold(1)
    assert settle(database, message, DELIVERED).finished


def test_no_statement_of_daily_work_reads_a_whole_table(database: SelectedQueue) -> None:
    message = new(1, "bob@b.test", "cy@c.test")
    database.commit([message], [])
    traced: list[str] = []
    database._connection.set_trace_callback(traced.append)
    database.due((1.0, 1), 2.0, 10)
    database.due_for("b.test", (0.0, 0), 2.0, 10)
    database.pass_over([10, 11])
    database.message(1)
    settle(database, message, DELAYED, DELIVERED)
    settle(database, message, FAILED)
    database._connection.set_trace_callback(None)
    work = [statement for statement in traced if statement.startswith(("SELECT", "UPDATE", "DELETE"))]
    assert len(work) >= 8
    for statement in work:
        plan = database._execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        assert not [row for row in plan if "SCAN" in row[3] or "TEMP B-TREE" in row[3]], (statement, plan)


def test_a_remote_reply_of_any_kind_can_be_kept(database: SelectedQueue) -> None:
    message = new(1, "bob@b.test")
    database.commit([message], [])
    settle(database, message, Outcome(Action.DELAYED, "4.0.0", "\udcff\x00é" * 5000))
    assert database.recipients(1)[0].diagnostic.startswith("?\x00é")


def test_a_database_of_a_later_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    QueueDatabase(path).close()
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(SchemaTooNew, match="written by a later release"):
        QueueDatabase(path)


def test_migrations_are_applied_in_order_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "queue.sqlite"
    database = QueueDatabase(path)
    database.commit([new(1, "bob@b.test")], [])
    database.close()
    added = ("ALTER TABLE message ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'",)
    monkeypatch.setattr("twisted_mta.queue.schema.MIGRATIONS", (*MIGRATIONS, added))
    for _ in range(2):
        database = QueueDatabase(path)
        assert database._execute("SELECT colour FROM message").fetchall() == [("red",)]
        database.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "queue.sqlite"
    QueueDatabase(path).close()
    broken = ("CREATE TABLE half (a TEXT)", "CREATE TABLE half (a TEXT)")
    with monkeypatch.context() as patch:
        patch.setattr("twisted_mta.queue.schema.MIGRATIONS", (*MIGRATIONS, broken))
        with pytest.raises(sqlite3.OperationalError):
            QueueDatabase(path)
    QueueDatabase(path).close()  # still of the version it had
