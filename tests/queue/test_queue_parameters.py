"""What MAIL and RCPT asked for comes back from the disk as it went in; a queue of the first version, too.

`queue_version_1.sqlite` was written by the release whose schema ended with the first migration: 1 waits; 2 is
partly delivered, deferred and expanded; 3, from the null path, is held, and nobody has been told yet.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from queue_house import InlineQueue, WallClock, now

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import (
    NO_PARAMETERS,
    DeliverBy,
    Envelope,
    EnvelopeRecipient,
    MailParameters,
)
from twisted_mta.message.outcome import Action, Outcome, QueuedRecipient
from twisted_mta.queue.ids import decode
from twisted_mta.queue.records import Intervention, NewMessage, Result, Settlement
from twisted_mta.queue.schema import MIGRATIONS
from twisted_mta.queue.selection import EVERYTHING, Change, SelectedQueue

VERSION_1 = Path(__file__).with_name("queue_version_1.sqlite")
BOB = Address.parse("bob@b.test")
ALL = MailParameters(
    body="BINARYMIME",
    smtputf8=True,
    ret="HDRS",
    envid="QQ 314159",
    require_tls=True,
    priority=-4,
    hold_until=1_900_000_000.5,
    deliver_by=DeliverBy(1_900_000_900.0, notify=True, trace=True),
    tracking="Tk9ORQ==",
    junk="nothing proves that b.test sent it",
)

parameters = st.builds(
    MailParameters,
    body=st.sampled_from(["7BIT", "8BITMIME", "BINARYMIME"]),
    smtputf8=st.booleans(),
    ret=st.sampled_from(["", "FULL", "HDRS"]),
    envid=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=100),
    require_tls=st.booleans(),
    priority=st.integers(-9, 9),
    hold_until=st.sampled_from([0.0, 1_900_000_000.5]),
    deliver_by=st.none() | st.builds(DeliverBy, st.floats(0, 2e9), notify=st.booleans(), trace=st.booleans()),
    tracking=st.sampled_from(["", "Tk9ORQ=="]),
    junk=st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
)
recipients = st.builds(
    EnvelopeRecipient,
    st.just(BOB),
    notify=st.frozensets(st.sampled_from(["SUCCESS", "FAILURE", "DELAY"])) | st.just(frozenset({"NEVER"})),
    orcpt=st.sampled_from(["", "rfc822;Bob+x@old.test", "utf-8;\N{GREEK SMALL LETTER ALPHA}@b.test"]),
)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SelectedQueue]:
    database = SelectedQueue(tmp_path / "queue.sqlite")
    yield database
    database.close()


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """The path of a copy."""
    return Path(shutil.copy(VERSION_1, tmp_path / "queue.sqlite"))


def new(number: int, given: MailParameters, *recipients: EnvelopeRecipient, account: str = "") -> NewMessage:
    queued = tuple(
        QueuedRecipient(10 * number + place, each.forward_path, notify=each.notify, orcpt=each.orcpt)
        for place, each in enumerate(recipients or [EnvelopeRecipient(BOB)])
    )
    sender = Address.parse("ann@a.test")
    return NewMessage(number, sender, 1000.0, Content(b"", b"body"), 4, 0, queued, given, account)


@given(given_parameters=parameters, recipient=recipients, account=st.sampled_from(["", "ann@a.test"]))
def test_all_of_it_comes_back(
    given_parameters: MailParameters, recipient: EnvelopeRecipient, account: str
) -> None:
    database = SelectedQueue(Path(":memory:"))
    message = new(1, given_parameters, recipient, account=account)
    database.commit([new(3, NO_PARAMETERS), message], [])
    stored = database.message(1)
    assert stored is not None
    assert (stored.parameters, stored.account) == (given_parameters, account)
    assert database.listed([1]) == [replace(stored, head=b"", body=None)]
    (due,) = (each for each in database.due((0.0, 0), 2e9, 9).recipients if each.message == 1)
    assert due.queued() == message.recipients[0]
    assert (due.priority, due.arrived) == (given_parameters.priority, message.begins)
    by = given_parameters.deliver_by
    assert due.deliver_by == (by.when if by else None)
    assert (due.reverse_path, due.account) == ("ann@a.test", account)
    database.pass_over([due.number])
    (passed_over,) = database.due_for("b.test", (0.0, 0), 2e9, 9).recipients
    assert passed_over == due._replace(passed_over=1)
    plain = database.message(3)
    assert plain is not None
    assert (plain.parameters, plain.account) == (NO_PARAMETERS, "")
    database.close()


def test_through_the_house(tmp_path: Path) -> None:
    """From the envelope to what a deliverer is handed, by memory and by disk."""
    clock = WallClock()
    queue = InlineQueue(tmp_path / "queue", clock)
    now(queue.start())
    told: list[NewMessage] = []
    queue.watch(told.extend, lambda interventions: None)
    draft = queue.draft()
    now(draft.write(b"Subject: x\r\n\r\n"))
    recipient = EnvelopeRecipient(BOB, frozenset({"SUCCESS", "DELAY"}), "rfc822;bob@old.test")
    now(draft.commit(Envelope(Address.parse("ann@a.test"), (recipient,), ALL, "ann@a.test")))
    loaded = now(queue.message(decode(draft.queue_id)))
    assert (loaded.parameters, loaded.account) == (ALL, "ann@a.test")
    assert loaded == told[0].queued()
    assert now(queue.has_envelope(ALL.envid)) and not now(queue.has_envelope("another"))
    assert now(queue.has_recipient("ann@a.test", recipient.orcpt))
    assert not now(queue.has_recipient("bob@a.test", recipient.orcpt))
    assert not now(queue.has_recipient("ann@a.test", "rfc822;ann@old.test"))
    assert now(queue.due((0.0, 0), clock.seconds(), 9)).recipients == ()
    (due,) = now(queue.due((0.0, 0), ALL.hold_until, 9)).recipients
    assert due.next_attempt == ALL.hold_until
    now(queue.stop())


def test_parameters_go_with_their_message(database: SelectedQueue) -> None:
    message = new(1, ALL)
    database.commit([message], [])
    result = Result(message.recipients[0], Outcome(Action.DELIVERED, "2.0.0", "ok"))
    assert database.commit([], [Settlement(1, 1.0, (result,))])[0].finished
    assert database._execute("SELECT count(*) FROM parameters").fetchone() == (0,)


def test_plain_mail_has_no_row_of_parameters(database: SelectedQueue) -> None:
    database.commit([new(number, MailParameters(body="8BITMIME")) for number in range(1, 9)], [])
    assert database._execute("SELECT count(*) FROM parameters").fetchone() == (0,)


def test_a_delay_is_told_once(database: SelectedQueue) -> None:
    message = new(1, NO_PARAMETERS)
    database.commit([message], [])
    late = Outcome(Action.DELAYED, "4.4.1", "no answer")
    report = new(2, NO_PARAMETERS)
    told = Result(message.recipients[0], late, 5000.0, delay_told=True)
    (settled,) = database.commit([], [Settlement(1, 1.0, (told,), report)])
    assert settled.reported
    (due,) = database.due((1000.0, 20), 9000.0, 9).recipients
    assert (due.next_attempt, due.attempts, due.queued().delay_told) == (5000.0, 1, True)
    database.commit([], [Settlement(1, 2.0, (Result(message.recipients[0], late, 6000.0),))])
    (due,) = database.due((1000.0, 20), 9000.0, 9).recipients
    assert (due.next_attempt, due.attempts, due.queued().delay_told) == (6000.0, 2, True)


def test_a_delivery_may_be_reported_and_a_delay_of_what_was_removed_is_not(database: SelectedQueue) -> None:
    message = new(1, NO_PARAMETERS)
    for outcome, reported in (
        (Outcome(Action.RELAYED, "2.0.0", "ok"), True),
        (Outcome(Action.DELAYED, "4.4.1", "no answer"), False),
    ):
        database.commit([message], [])
        database.change(Change.REMOVE, 1, EVERYTHING, now=0.0)
        result = Result(message.recipients[0], outcome, 5000.0)
        (settled,) = database.commit([], [Settlement(1, 1.0, (result,), new(2, NO_PARAMETERS))])
        assert settled.reported is reported
        database.change(Change.REMOVE, 2, EVERYTHING, now=0.0)


def test_a_queue_of_the_first_version_is_taken_over(old: Path) -> None:
    database = SelectedQueue(old)
    one, two, three = database.listed([1, 2, 3])
    assert (one.reverse_path, one.arrived, one.parameters) == ("ann@a.test", 1_700_000_001.5, NO_PARAMETERS)
    assert two.parameters == MailParameters(body="8BITMIME")
    assert (three.reverse_path, three.account) == (None, "")
    states = {r.forward_path: (r.state, r.attempts) for n in (1, 2, 3) for r in database.recipients(n)}
    assert states == {
        "bob@b.test": ("delivered", 1),
        "cy@c.test": ("waiting", 1),
        "team@a.test": ("expanded", 1),
        "dan@d.test": ("waiting", 0),
        "ann@a.test": ("held", 0),
    }
    due = [recipient.queued() for recipient in database.due((0.0, 0), 2e9, 9).recipients]
    assert due == [
        QueuedRecipient(10, BOB),
        QueuedRecipient(30001, Address.parse("dan@d.test"), original_path=Address.parse("team@a.test")),
        QueuedRecipient(21, Address.parse("cy@c.test"), attempts=1),
    ]
    assert database.take_interventions() == [Intervention(3, "held")]
    stored = database.message(2)
    assert stored is not None
    assert stored.body == b"Subject: 2\r\n\r\nbody\r\n"
    database.commit([new(4, ALL)], [])
    database.close()
    assert version(old) == len(MIGRATIONS)
    database = SelectedQueue(old)
    assert database.present([1, 2, 3, 4]) == {1, 2, 3, 4}
    database.close()


def version(path: Path) -> int:
    """As it stands in the header; a file that is opened is written to."""
    return int.from_bytes(path.read_bytes()[60:64], "big")


def test_the_first_version_is_what_it_was() -> None:
    """A migration that was released is never changed."""
    shipped = sqlite3.connect(f"file:{VERSION_1}?immutable=1", uri=True)
    made = sqlite3.connect(":memory:")
    for statement in MIGRATIONS[0]:
        made.execute(statement)
    schemas = [
        connection.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        for connection in (shipped, made)
    ]
    assert version(VERSION_1) == 1
    assert schemas[0] == schemas[1]
    shipped.close()
    made.close()


def test_a_damaged_queue_of_the_first_version_is_salvaged(old: Path, tmp_path: Path) -> None:
    connection = sqlite3.connect(old)
    (index,) = connection.execute(
        "SELECT rootpage FROM sqlite_master WHERE name = 'recipient_due'"
    ).fetchone()
    connection.close()
    with old.open("r+b") as file:
        file.seek((index - 1) * 4096)
        file.write(os.urandom(4096))
    directory = tmp_path / "queue"
    directory.mkdir()
    old.rename(directory / "queue.sqlite")
    queue = InlineQueue(directory, WallClock())
    now(queue.start())
    assert queue.writer._require_database().present([1, 2, 3]) == {1, 2, 3}
    assert (directory / "quarantine").exists()
    now(queue.stop())
