"""The queue by hand, with and without a running server."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from queue_house import NOON, InlineQueue, WallClock, envelope, now, put
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from twisted_mta.message.outcome import Action, Outcome, QueuedRecipient
from twisted_mta.queue.administration import Figures, NoSuchMessage, QueueAdministration
from twisted_mta.queue.database import QueueDatabase
from twisted_mta.queue.ids import decode
from twisted_mta.queue.mailqueue import SPOOL, MailQueue
from twisted_mta.queue.records import Intervention, Result, Settlement
from twisted_mta.queue.selection import EVERYTHING, Change, SelectedQueue, Selection


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "queue"


def filled(directory: Path, count: int) -> list[str]:
    queue = InlineQueue(directory, WallClock())
    now(queue.start())
    ids = [
        put(queue, f"bob{number}@b.test", sender=None if number == 0 else "ann@a.test")
        for number in range(count)
    ]
    now(queue.stop())
    return ids


class Office:
    """Messages of several senders for several recipients; `left` is who waits or is held for what."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        queue = InlineQueue(directory, WallClock())
        now(queue.start())
        self.ids = [
            put(queue, "bob@b.test", "cy@c.test", sender="Ann@a.test"),
            put(queue, "Bob@B.test", "dan@d.test", sender="eve@a.test"),
            put(queue, "cy@c.test", sender=None),
            put(queue, "cy@sub.c.test", sender="ann@a_test.test", body=b"z" * 300_000),
        ]
        now(queue.stop())
        self.by_hand = QueueAdministration(directory, seconds=lambda: NOON + 60)

    def recipients(self, **of: object) -> list[str]:
        """`ID:address` of those that are as said, by their place in `ids`."""
        return [
            f"{self.ids.index(message.queue_id)}:{recipient.forward_path}"
            for message in self.by_hand.list()
            for recipient in message.recipients
            if all(getattr(recipient, name) == value for name, value in of.items())
        ]

    def words(self) -> list[Intervention]:
        database = QueueDatabase(self.directory / "queue.sqlite")
        try:
            return database.take_interventions()
        finally:
            database.close()


@pytest.fixture
def office(directory: Path) -> Office:
    return Office(directory)


def test_no_queue_yet(directory: Path) -> None:
    administration = QueueAdministration(directory)
    assert list(administration.list()) == []
    assert administration.retry() == 0
    assert administration.figures() == Figures(0, {}, 0, 0, None, None, (), 0)
    with pytest.raises(NoSuchMessage):
        administration.show("0000000000000")
    assert not directory.exists()


def test_list_in_pages_oldest_first(directory: Path) -> None:
    ids = filled(directory, 450)
    listed = list(QueueAdministration(directory).list())
    assert [message.queue_id for message in listed] == ids
    assert listed[0].reverse_path == ""
    assert listed[1].reverse_path == "ann@a.test"
    assert listed[1].recipients[0].forward_path == "bob1@b.test"
    assert listed[1].size == len(b"Received: here\r\nSubject: x\r\n\r\ny\r\n")


def test_one_message(directory: Path) -> None:
    (queue_id,) = filled(directory, 1)
    administration = QueueAdministration(directory)
    assert administration.show(queue_id.lower()).queue_id == queue_id
    assert administration.hold(queue_id) == 1
    assert administration.hold(queue_id) == 0
    assert administration.show(queue_id).recipients[0].state == "held"
    assert administration.retry(queue_id) == 0
    assert administration.release(queue_id) == 1
    assert administration.remove(queue_id) == 1
    for act in (
        administration.show,
        administration.remove,
        administration.retry,
        administration.hold,
        administration.bounce,
    ):
        with pytest.raises(NoSuchMessage):
            act(queue_id)


@pytest.mark.parametrize("bad", ["", "nonsense", "../../../etc/x", "ZZZZZZZZZZZZZ"])
def test_what_is_no_id_is_no_message(directory: Path, bad: str) -> None:
    filled(directory, 1)
    with pytest.raises(NoSuchMessage):
        QueueAdministration(directory).remove(bad)


def test_all_of_the_queue(directory: Path) -> None:
    filled(directory, 450)
    administration = QueueAdministration(directory)
    assert administration.hold() == 450
    assert administration.release() == 450
    assert administration.retry() == 450
    assert administration.bounce() == 450
    assert administration.remove() == 450
    assert list(administration.list()) == []


def test_a_large_change_lets_the_server_have_its_turn(directory: Path) -> None:
    filled(directory, 450)
    pauses: list[float] = []
    QueueAdministration(directory, pause=pauses.append).hold()
    assert len(pauses) == 3
    assert min(pauses) > 0


@pytest.mark.parametrize(
    ("selection", "picked"),
    [
        (
            EVERYTHING,
            ["0:bob@b.test", "0:cy@c.test", "1:Bob@b.test", "1:dan@d.test", "2:cy@c.test", "3:cy@sub.c.test"],
        ),
        (Selection(sender="ann@A.test"), ["0:bob@b.test", "0:cy@c.test"]),
        (Selection(sender=""), ["2:cy@c.test"]),
        (Selection(sender="@a.test"), ["0:bob@b.test", "0:cy@c.test", "1:Bob@b.test", "1:dan@d.test"]),
        (Selection(sender="@a_test.test"), ["3:cy@sub.c.test"]),
        (Selection(sender="@aXtest.test"), []),
        (Selection(recipient="BOB@b.test"), ["0:bob@b.test", "1:Bob@b.test"]),
        (Selection(domain="C.test"), ["0:cy@c.test", "2:cy@c.test"]),
        (Selection(sender="ann@a.test", domain="c.test"), ["0:cy@c.test"]),
        (Selection(sender="eve@a.test", domain="c.test"), []),
        (Selection(state="held"), []),
        (Selection(recipient="' OR 1 = 1 --@b.test"), []),
    ],
)
def test_who_is_picked(office: Office, selection: Selection, picked: list[str]) -> None:
    messages = sorted({int(who[0]) for who in picked})
    assert [office.ids.index(message.queue_id) for message in office.by_hand.list(selection)] == messages
    assert office.by_hand.hold(selection=selection) == len(picked)
    assert office.recipients(state="held") == picked


def test_one_recipient_of_one_message(office: Office) -> None:
    assert office.by_hand.hold(office.ids[0], Selection(recipient="cy@c.test")) == 1
    assert office.recipients(state="held") == ["0:cy@c.test"]
    assert office.by_hand.release(selection=Selection(state="held")) == 1
    assert office.recipients(state="held") == []


def test_what_is_returned_is_due_even_if_it_was_held(office: Office) -> None:
    office.by_hand.hold(selection=Selection(domain="c.test"))
    assert office.by_hand.bounce(selection=Selection(sender="ann@a.test")) == 2
    assert office.recipients(returned=True, state="waiting", next_attempt=NOON + 60) == [
        "0:bob@b.test",
        "0:cy@c.test",
    ]
    assert office.recipients(state="held") == ["2:cy@c.test"]


def test_an_attempt_under_way_does_not_put_off_what_is_returned(office: Office) -> None:
    office.by_hand.bounce(office.ids[2])
    database = QueueDatabase(office.directory / "queue.sqlite")
    (due,) = (r for r in database.due((0.0, 0), NOON + 60, 9).recipients if r.returned)
    began = replace(due.queued(), returned=False)
    delayed = Result(began, Outcome(Action.DELAYED, "4.4.1", "no answer"), NOON + 9999)
    database.commit([], [Settlement(due.message, NOON + 70, (delayed,))])
    database.close()
    assert office.recipients(returned=True, next_attempt=NOON + 60, attempts=1) == ["2:cy@c.test"]


def test_another_next_hop(office: Office) -> None:
    office.by_hand.hold(selection=Selection(domain="d.test"))
    assert office.by_hand.reroute("relay.test:25", selection=Selection(sender="eve@a.test")) == 2
    assert office.recipients(route="relay.test:25") == ["1:Bob@b.test", "1:dan@d.test"]
    assert office.recipients(next_attempt=NOON + 60) == ["1:Bob@b.test"]
    assert office.recipients(state="held") == ["1:dan@d.test"]
    database = QueueDatabase(office.directory / "queue.sqlite")
    routes = {due.queued().route for due in database.due((0.0, 0), NOON + 60, 9).recipients}
    database.close()
    assert routes == {"", "relay.test:25"}
    assert office.by_hand.reroute("") == 6
    assert office.recipients(route="relay.test:25") == []


def test_a_message_goes_with_the_last_recipient_that_is_removed(office: Office) -> None:
    spool = office.directory / "spool"
    assert office.by_hand.remove(selection=Selection(domain="c.test")) == 2
    assert office.recipients() == ["0:bob@b.test", "1:Bob@b.test", "1:dan@d.test", "3:cy@sub.c.test"]
    assert [path.name for path in spool.iterdir()] == [office.ids[3]]
    assert office.by_hand.remove(selection=Selection(domain="sub.c.test")) == 1
    assert list(spool.iterdir()) == []


def test_what_has_ended_is_no_longer_picked(office: Office) -> None:
    database = QueueDatabase(office.directory / "queue.sqlite")
    number = decode(office.ids[0])
    (bob, _) = database.recipients(number)
    ended = Result(
        QueuedRecipient(bob.number, envelope(bob.forward_path).recipients[0].forward_path),
        Outcome(Action.DELIVERED, "2.0.0", "ok"),
    )
    database.commit([], [Settlement(number, NOON, (ended,))])
    database.close()
    assert office.by_hand.hold(office.ids[0]) == 1
    assert office.by_hand.bounce(selection=Selection(recipient="bob@b.test")) == 1
    assert office.recipients(state="delivered") == ["0:bob@b.test"]
    assert office.by_hand.remove(office.ids[0]) == 1
    assert office.recipients() == ["1:Bob@b.test", "1:dan@d.test", "2:cy@c.test", "3:cy@sub.c.test"]


def test_the_server_is_left_word(office: Office) -> None:
    first, second, third, _ = map(decode, office.ids)
    office.by_hand.hold(office.ids[0])
    office.by_hand.bounce(selection=Selection(sender=""))
    office.by_hand.remove(selection=Selection(recipient="dan@d.test"))
    assert office.words() == [
        Intervention(first, "held"),
        Intervention(third, "returned"),
        Intervention(second, "removed", "dan@d.test"),
    ]


def test_of_a_large_change_few_words(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twisted_mta.queue.administration._WORDS", 250)
    filled(directory, 450)
    QueueAdministration(directory).hold()
    database = QueueDatabase(directory / "queue.sqlite")
    assert len(database.take_interventions()) == 250
    database.close()


def test_figures_while_a_file_goes(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message is delivered while the files are looked at."""
    before = office.by_hand.figures().octets
    gone = office.directory / SPOOL / "gone"
    gone.write_bytes(b"x" * 1000)
    look = Path.stat

    def stat(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = look(path, follow_symlinks=follow_symlinks)
        if path == gone:
            gone.unlink()
        return found

    monkeypatch.setattr(Path, "stat", stat)
    assert office.by_hand.figures().octets == before + 1000


def test_figures(office: Office) -> None:
    office.by_hand.hold(selection=Selection(domain="c.test"))
    figures = office.by_hand.figures(domains=2)
    assert (figures.messages, figures.recipients) == (4, {"waiting": 4, "held": 2})
    assert (figures.due, figures.attempted) == (4, 0)
    assert figures.oldest == figures.next_attempt == NOON
    assert [(d.domain, d.waiting, d.held, d.attempted) for d in figures.domains] == [
        ("b.test", 2, 0, 0),
        ("c.test", 0, 2, 0),
    ]
    assert figures.octets > 300_000


@pytest.mark.parametrize("change", list(Change))
def test_no_change_reads_a_whole_table(office: Office, change: Change) -> None:
    """But for the page of messages that it begins with."""
    database = SelectedQueue(office.directory / "queue.sqlite")
    traced: list[str] = []
    database._connection.set_trace_callback(traced.append)
    database.change(change, decode(office.ids[0]), Selection(recipient="bob@b.test"), now=NOON)
    database._connection.set_trace_callback(None)
    assert traced
    for statement in traced:
        plan = database._execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
        assert not [row for row in plan if "SCAN" in row[3]], (statement, plan)
    database.close()


class RunningServerTest(TestCase):
    async def test_it_notices_what_another_process_does(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        queue = MailQueue(Path(directory.name), reactor=reactor)
        await queue.start()
        draft = queue.draft()
        await draft.write(b"Subject: x\r\n\r\n")
        await draft.commit(envelope("bob@b.test"))
        noticed: Deferred[list[Intervention]] = Deferred()

        def notice(interventions: list[Intervention]) -> None:
            if interventions:
                noticed.callback(interventions)

        queue.watch(lambda messages: None, notice)
        script = (
            "import sys; from pathlib import Path; "
            "from twisted_mta.queue.administration import QueueAdministration; "
            "QueueAdministration(Path(sys.argv[1])).hold(sys.argv[2])"
        )
        other = subprocess.Popen([sys.executable, "-c", script, directory.name, draft.queue_id])
        (intervention,) = await noticed
        self.assertEqual(intervention, Intervention(draft._number, "held"))
        self.assertEqual(other.wait(), 0)
        await queue.stop()
