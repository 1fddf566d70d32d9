"""The log as programs read it; and a log file that is moved away."""

from __future__ import annotations

import io
import json
import os
import signal
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import FileLogObserver, Logger

from twisted_mta.journey.bus import Journey
from twisted_mta.journey.log import NAMESPACE, LogReader
from twisted_mta.message.address import Address
from twisted_mta.service.log_json import MOST_LISTED, render
from twisted_mta.service.log_lines import json_line_of, observer


class House:
    def __init__(self) -> None:
        self.written = io.StringIO()
        log = FileLogObserver(self.written, json_line_of)
        self.journey = Journey()
        self.journey.add_reader(LogReader(Logger(NAMESPACE, observer=log), render=render))
        self.log = Logger("twisted_mta.x", observer=log)

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.written.getvalue().splitlines()]


def test_an_event_is_an_object_with_its_facts() -> None:
    house = House()
    house.journey.tell(
        "accepted",
        "4f-1",
        size=812,
        to=(Address.parse("bob@b.test"), Address.parse("cid@c.test")),
        helo='a"\r\n\x1b\u2028',
        empty="",
        certifier="secret",
        half="\udcff",
        name="bücher.example",
    )
    house.journey.tell("ready")
    (first, second) = house.lines()
    time = str(first.pop("time"))
    assert len(time) == len("2026-01-31T12:00:00.123+01:00") and time[-3] == ":"
    assert first == {
        "level": "info",
        "event": "accepted",
        "queue_id": "4f-1",
        "facts": {
            "size": 812,
            "to": ["bob@b.test", "cid@c.test"],
            "helo": 'a"\r\n\x1b\u2028',
            "half": "\\udcff",
            "name": "xn--bcher-kva.example",
        },
    }
    assert "queue_id" not in second and second["facts"] == {}


def test_many_recipients_are_not_all_listed() -> None:
    house = House()
    house.journey.tell("accepted", "4f-1", to=tuple(range(1000)))
    facts = house.lines()[0]["facts"]
    assert isinstance(facts, dict) and len(facts["to"]) == MOST_LISTED + 1 and facts["to"][-1] == "…"


def test_trouble_has_its_traceback() -> None:
    house = House()
    try:
        raise ValueError("one\ntwo")
    except ValueError:
        house.log.failure("a {thing} broke\x1b", thing="pipe")
    house.log.debug("nobody wants to know")
    house.log.warn("odd")
    broken, odd = house.lines()
    assert (broken["level"], broken["source"], broken["message"]) == (
        "critical",
        "twisted_mta.x",
        "a pipe broke\x1b",
    )
    assert "ValueError: one\ntwo" in str(broken["traceback"])
    assert (odd["level"], odd["message"]) == ("warning", "odd") and "traceback" not in odd


class Reactor(Clock):
    def addSystemEventTrigger(self, *_: object) -> None:
        pass

    def callFromThread(self, function: object) -> None:
        function()  # type: ignore[operator]


@pytest.fixture
def reactor():
    before = signal.getsignal(signal.SIGUSR1)
    yield Reactor()
    signal.signal(signal.SIGUSR1, before)


def test_at_the_signal_a_moved_file_is_left(tmp_path: Path, reactor: Reactor) -> None:
    path = tmp_path / "mta.log"
    log = Logger("twisted_mta.x", observer=observer({"logfile": str(path)}, reactor))
    log.info("one")
    path.rename(tmp_path / "mta.log.1")
    (tmp_path / "mta.log.1").chmod(0o640)
    log.info("two")
    os.kill(os.getpid(), signal.SIGUSR1)
    log.info("three")
    assert [line.rpartition(" ")[2] for line in (tmp_path / "mta.log.1").read_text().splitlines()] == [
        "one",
        "two",
    ]
    assert path.read_text().endswith(" three\n") and path.read_text().count("\n") == 1
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_that_cannot_be_opened_anew_is_kept(tmp_path: Path, reactor: Reactor) -> None:
    path = tmp_path / "log" / "mta.log"
    path.parent.mkdir()
    log = Logger("twisted_mta.x", observer=observer({"logfile": str(path)}, reactor))
    path.parent.rename(tmp_path / "gone")
    os.kill(os.getpid(), signal.SIGUSR1)
    log.info("still here")
    assert (tmp_path / "gone" / "mta.log").read_text().endswith("still here\n")


def test_the_signal_does_no_harm_where_there_is_no_file(reactor: Reactor, capsys) -> None:
    log = Logger("twisted_mta.x", observer=observer({"nodaemon": True}, reactor))
    os.kill(os.getpid(), signal.SIGUSR1)
    log.info("here")
    assert capsys.readouterr().out.endswith("here\n")
