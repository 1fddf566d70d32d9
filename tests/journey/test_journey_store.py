"""The journey kept: written in a thread, read while it is written, bounded in memory and in age."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from twisted_mta.journey import store as journey_store
from twisted_mta.journey import words
from twisted_mta.journey.bus import Journey, TraceEvent
from twisted_mta.journey.database import MIGRATIONS, JourneyDatabase, JourneyReader
from twisted_mta.journey.store import DATABASE, INTERVAL, JourneyStore
from twisted_mta.journey.story import Told, stories_of, story
from twisted_mta.journey.words import lines
from twisted_mta.message.address import Address

NOON = 1_800_000_000.0
ANN, BOB, CY = (Address.parse(f"{name}@a.test") for name in ("ann", "bob", "cy"))
FIRST, SECOND, REPORT = "311111111111B", "322222222222B", "333333333333B"


class House:
    """A store on a clock that the test advances, and a bus that it listens to."""

    def __init__(self, directory: Path, keep: float = 30 * 86400.0) -> None:
        self.path = directory / DATABASE
        self.clock = Clock()
        self.clock.advance(NOON)
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.clock.callFromThread = lambda *call: self.calls.append((call[0], call[1:]))  # type: ignore[attr-defined]
        self.store = JourneyStore(self.path, reactor=self.clock, keep=keep)
        self.journey = Journey()
        self.journey.add_reader(self.store)

    def run(self) -> None:
        """Write what has been told, and end."""
        self.begin()
        self.end()

    def begin(self) -> None:
        assert not list(self.store.start().__await__())

    def end(self) -> None:
        stopping = self.store.stop()
        with pytest.raises(StopIteration):
            waiting = stopping.send(None)
            for thread in threading.enumerate():
                if thread.name == "journey":
                    thread.join(30)
            for function, arguments in self.calls:
                function(*arguments)
            assert waiting.called
            stopping.send(None)

    def reader(self) -> JourneyReader:
        return JourneyReader(self.path)

    def tell_a_story(self) -> None:
        tell = self.journey.tell
        tell(
            "accepted",
            FIRST,
            client="192.0.2.1",
            reverse_path="<ann@a.test>",
            to=(BOB, CY),
            size=1200,
            tls="",
            message_id="<One@A.test>",
        )
        self.clock.advance(1)
        tell("delivered", FIRST, to=BOB, mailbox="INBOX", account="bob@a.test")
        tell("bounced", FIRST, to=CY, status="5.1.1", reason="550 no such user", report=REPORT)
        tell("report", REPORT, about=FIRST, to=(ANN,), size=2000)
        tell("done", FIRST)
        tell("delivered", REPORT, to=ANN, mailbox="INBOX", account="ann@a.test")


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def found(reader: JourneyReader, handle: str, since: float = 0.0) -> list[str]:
    return [each.queue_id for each in stories_of(reader, handle, since, 10)]


def test_a_story_with_its_child(house: House) -> None:
    house.tell_a_story()
    house.run()
    told = story(house.reader(), FIRST)
    assert told is not None
    assert [event.stage for event in told.events] == ["accepted", "delivered", "bounced", "done"]
    assert [event.time - NOON for event in told.events] == [0, 1, 1, 1]
    assert told.events[0].facts["to"] == ["bob@a.test", "cy@a.test"]
    assert "tls" not in told.events[0].facts
    (child,) = told.children
    assert (child.queue_id, child.parent) == (REPORT, FIRST)
    assert story(house.reader(), SECOND) is None


def test_the_story_in_plain_words(house: House) -> None:
    house.tell_a_story()
    house.run()
    told = story(house.reader(), FIRST)
    assert told is not None
    written = [line.strip().split("  ", 1)[-1] for line in lines(told)]
    assert written == [
        FIRST,
        "accepted from 192.0.2.1: from <ann@a.test> to bob@a.test, cy@a.test, 1200 octets"
        ", Message-ID <One@A.test>",
        "delivered to bob@a.test: mailbox INBOX of bob@a.test",
        f"given back for cy@a.test, 5.1.1; its sender is told in {REPORT}; reason: 550 no such user",
        "done: nothing more to do for it",
        f"{REPORT}, a report about {FIRST}",
        f"made here as a report about {FIRST} for ann@a.test, 2000 octets",
        "delivered to ann@a.test: mailbox INBOX of ann@a.test",
    ]


@pytest.mark.parametrize(
    ("handle", "messages"),
    [
        ("ann@a.test", [REPORT, FIRST]),
        ("BOB@a.test", [FIRST]),
        ("cy@a.test", [FIRST]),
        ("<one@a.test>", [FIRST]),
        ("dee@a.test", []),
        ("%@a.test", []),
    ],
)
def test_found_by_whom_it_concerns(house: House, handle: str, messages: list[str]) -> None:
    house.tell_a_story()
    house.run()
    assert found(house.reader(), handle) == messages
    assert found(house.reader(), handle, since=NOON + 5) == []


def test_refusals_are_found_though_there_was_no_message(house: House) -> None:
    house.journey.tell(
        "refused", "", client="192.0.2.9", reverse_path="<x@y.test>", forward_path="<bob@a.test>"
    )
    house.journey.tell("login", "", account="bob@a.test")
    house.run()
    (told,) = stories_of(house.reader(), "bob@a.test", 0.0, 10)
    assert (told.queue_id, [event.stage for event in told.events]) == ("", ["refused"])
    assert found(house.reader(), "x@y.test") == [""]


def test_what_is_told_can_be_read_while_the_server_runs(house: House) -> None:
    house.begin()
    house.tell_a_story()
    house.clock.advance(INTERVAL)
    house.store._batches.put([])  # the next batch is taken once this one is written
    while house.store._batches.qsize():
        pass
    reader = house.reader()
    house.end()
    assert story(reader, FIRST) is not None


def test_nothing_hostile_disturbs_it(house: House) -> None:
    house.journey.tell("deferred", FIRST, to=BOB, reason="450 \udcff\x1b[2J\x00" + "x" * 5000)
    house.journey.tell("accepted", FIRST, reverse_path="<\udcff@a.test>", to=(), message_id="<\udce9>")
    house.journey.tell("done", FIRST)
    house.run()
    told = story(house.reader(), FIRST)
    assert told is not None
    assert [event.stage for event in told.events] == ["deferred", "accepted", "done"]
    assert all(line.isprintable() for line in lines(told))


def test_the_secret_part_of_a_request_to_track_is_nowhere_to_be_read(house: House) -> None:
    house.journey.tell("accepted", FIRST, to=(BOB,), envid="1@a.test", certifier="c2VjcmV0")
    house.run()
    reader = house.reader()
    assert reader.tracked("1@a.test", 10) == [("c2VjcmV0", FIRST)]
    (event,) = reader.events(FIRST, 10)
    assert json.loads(event.facts) == {"to": ["bob@a.test"], "envid": "1@a.test"}


def test_memory_is_bounded_and_what_is_lost_is_counted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journey_store, "MOST_WAITING", 100)
    for _ in range(250):  # the thread does not run yet, as if the disk stood still
        house.journey.tell("delivered", FIRST, to=BOB)
    assert len(house.store._gathered) == 100
    assert house.store._dropped == 150
    house.run()
    assert len(house.reader().events(FIRST, 1000)) == 100
    assert house.store._dropped == 0


def test_a_batch_does_not_wait_for_the_interval(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journey_store, "BATCH", 10)
    for _ in range(25):
        house.journey.tell("delivered", FIRST, to=BOB)
    assert house.store._batches.qsize() == 2
    assert len(house.store._gathered) == 3
    house.run()
    assert len(house.reader().events(FIRST, 1000)) == 25


def test_what_is_old_is_forgotten(tmp_path: Path) -> None:
    early = House(tmp_path, keep=100.0)
    early.tell_a_story()
    early.clock.advance(1)
    early.run()
    later = House(tmp_path, keep=100.0)
    later.clock.advance(100.5)
    later.journey.tell("accepted", SECOND, to=(BOB,), reverse_path="<ann@a.test>")
    later.run()
    reader = later.reader()
    assert [event.stage for event in reader.events(FIRST, 10)] == ["delivered", "bounced", "done"]
    assert found(reader, "cy@a.test") == []
    assert found(reader, "bob@a.test") == [SECOND]


def test_refusals_do_not_fill_the_disk(tmp_path: Path) -> None:
    database = JourneyDatabase(tmp_path / DATABASE)
    events = [journey_store.Event(n, NOON, "", "refused", "{}") for n in range(1, 51)]
    events.append(journey_store.Event(51, NOON, FIRST, "accepted", "{}"))
    database.add(events, [("x@y.test", event.number) for event in events], [])
    while database.prune(NOON - 1, refusals=20, limit=10):
        pass
    reader = JourneyReader(tmp_path / DATABASE)
    assert [event.number for event in reader.events("", 100)] == list(range(31, 51))
    assert len(reader.found_by("x@y.test", 0.0, 100)) == 21
    database.close()


@pytest.mark.parametrize("damage", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 8000])
def test_a_damaged_file_is_moved_aside(house: House, damage: bytes) -> None:
    house.path.write_bytes(damage)
    house.tell_a_story()
    house.run()
    assert found(house.reader(), "bob@a.test") == [FIRST]
    (aside,) = house.path.parent.glob("*.damaged-*")
    assert aside.read_bytes() == damage


def test_a_directory_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    house = House(tmp_path / "missing")
    house.tell_a_story()
    house.run()
    assert not house.path.exists()


def test_a_disk_that_is_nearly_full_is_left_to_the_mail(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.run()
    house = House(house.path.parent)
    full = os.statvfs_result((4096, 4096, 1_000_000, 10_000, 10_000, 9, 9, 9, 0, 255))  # of 4 GB 40 MB
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    house.tell_a_story()
    house.run()
    assert house.reader().events(FIRST, 10) == []
    monkeypatch.undo()
    house = House(house.path.parent)
    house.tell_a_story()
    house.run()
    assert house.reader().events(FIRST, 10)


def test_a_later_version_is_left_alone(house: House) -> None:
    with sqlite3.connect(house.path) as connection:
        connection.execute("CREATE TABLE later (x)")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    connection.close()
    house.tell_a_story()
    house.run()
    with sqlite3.connect(house.path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("later",)]
    connection.close()


def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    for _ in range(3):
        house = House(tmp_path)
        house.journey.tell("retried", FIRST, by="hand")
        house.run()
    assert [event.number for event in house.reader().events(FIRST, 10)] == [1, 2, 3]


def test_two_processes_tell_one_story(tmp_path: Path) -> None:
    """Each writes when it likes; the order is that in which things happened."""
    transfer, access = House(tmp_path), House(tmp_path)
    told = {"accepted": (transfer, 1.0), "delivered": (access, 2.0), "done": (transfer, 3.0)}
    for stage in ("delivered", "accepted", "done"):
        house, when = told[stage]
        house.store._write([(NOON + when, TraceEvent(stage, FIRST, {}))])
    events = transfer.reader().events(FIRST, 10)
    assert [(event.stage, event.number) for event in events] == [
        ("accepted", 2),
        ("delivered", 1),
        ("done", 3),
    ]


def test_a_message_that_was_told_of_a_thousand_times_is_still_read_at_once(house: House) -> None:
    for _ in range(3000):
        house.journey.tell("deferred", FIRST, to=BOB, reason="450 later", attempts=1, next="soon")
    house.run()
    told = story(house.reader(), FIRST)
    assert told is not None
    written = list(lines(told))
    assert sum("450 later" in line for line in written) == 1  # the same words are not said twice in a row


def test_every_stage_has_words_and_none_says_what_is_not_known() -> None:
    for stage, pieces in words.SENTENCES.items():
        assert words.sentence(Told(NOON, stage, {})).strip(), stage
        facts = {name: "x" for piece in pieces for name in words.NAME.findall(piece)}
        said = words.sentence(Told(NOON, stage, facts))
        assert "{" not in said
        assert stage not in ("accepted", "deferred") or said.count("x") >= len(facts)
    assert words.sentence(Told(NOON, "unheard-of", {"a": 1})) == "unheard-of a=1"


def test_who_was_not_asked_has_said_nothing() -> None:
    ours = Told(NOON, "relay-failed", {"to": BOB, "reason": "Domain b.test does not exist"})
    assert words.sentence(ours) == f"refused for {BOB}; reason: Domain b.test does not exist"
    theirs = Told(NOON, "relay-failed", {"to": BOB, "host": "mx.b.test", "reply": "550 no"})
    assert words.sentence(theirs) == f"refused for {BOB} by mx.b.test; it said: 550 no"


def test_a_thousand_recipients_are_one_line() -> None:
    to = [f"u{number}@b.test" for number in range(1000)]
    said = words.sentence(Told(NOON, "accepted", {"client": "192.0.2.1", "to": to}))
    assert said.endswith("u9@b.test and 990 more")
