"""A crash in every state of docs/queue-states.md: a process kills itself there, the next one recovers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from crash_actor import outcome
from dispatch_house import House
from programs import program

from twisted_mta.message.outcome import Action
from twisted_mta.queue.administration import QueueAdministration

ROOT = Path(__file__).parents[2]
ACTOR = Path(__file__).with_name("crash_actor.py")


def actor(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command = [sys.executable, str(ACTOR), str(directory), *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def act(directory: Path, *arguments: str, dies: bool = False) -> list[str]:
    """The lines it told."""
    process = actor(directory, *arguments)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if dies else 0), told
    return told.splitlines()


def recover(directory: Path) -> tuple[list[str], list[str]]:
    """The second life: who got the message in it, and what is left in the queue when all has been tried."""
    house = House(directory)
    delivered = []
    while attempts := house.local.take() + house.remote.take():
        for attempt in attempts:
            outcomes = [outcome(path) for path in attempt.to]
            delivered += [
                path for path, o in zip(attempt.to, outcomes, strict=True) if o.action is Action.DELIVERED
            ]
            assert attempt.text
            attempt.answer(*outcomes)
    left = [f"{path} {state}" for states in house.queued().values() for path, state in states.items()]
    house.stop()
    return delivered, left + os.listdir(directory / "spool")


def crash(directory: Path, point: str, body: str, *paths: str) -> tuple[bool, Counter[str], list[str]]:
    """Crash at a point, then recover: whether the message was acknowledged, who got it how often in both
    lives together, and what is left in the queue."""
    told = act(directory, "queue", point, body, *paths, dies=True)
    delivered, left = recover(directory)
    before = [line.split()[1] for line in told if line.startswith("delivered")]
    return any(line.startswith("250") for line in told), Counter(before + delivered), left


LOST = (False, {}, [])
ONCE = {"ok@b.test": 1}
REPORT = {"ann@a.test": 1}

ROWS = [
    # state, point, body, recipients, acknowledged, deliveries, left
    ("receiving", "before write", "large", ["ok@b.test"], *LOST),
    ("receiving", "after write", "large", ["ok@b.test"], *LOST),
    ("received", "before finish", "large", ["ok@b.test"], *LOST),
    ("received", "before sync", "large", ["ok@b.test"], *LOST),
    ("received", "after finish", "large", ["ok@b.test"], *LOST),
    ("received", "before commit", "small", ["ok@b.test"], *LOST),
    ("committing", "after add", "small", ["ok@b.test"], *LOST),
    ("committing", "after add", "large", ["ok@b.test"], *LOST),
    ("committed", "after commit", "small", ["ok@b.test"], False, ONCE, []),
    ("committed", "after commit", "large", ["ok@b.test"], False, ONCE, []),
    ("committed", "before acknowledge", "small", ["ok@b.test"], False, ONCE, []),
    ("active", "before deliver", "small", ["ok@b.test"], True, ONCE, []),
    ("active", "before deliver", "large", ["ok@b.test"], True, ONCE, []),
    ("attempted", "after deliver", "small", ["ok@b.test"], True, {"ok@b.test": 2}, []),
    ("attempted", "after acknowledge", "small", ["ok@b.test"], True, {"ok@b.test": 2}, []),
    ("attempted", "before commit 2", "small", ["ok@b.test"], True, {"ok@b.test": 2}, []),
    ("settling", "after settle", "small", ["ok@b.test"], True, {"ok@b.test": 2}, []),
    ("done", "after commit 2", "small", ["ok@b.test"], True, ONCE, []),
    ("done", "before unlink 1", "large", ["ok@b.test"], True, ONCE, []),
    ("done", "after unlink 1", "large", ["ok@b.test"], True, ONCE, []),
    (
        "deferred",
        "before commit 2",
        "small",
        ["later@b.test"],
        True,
        {},
        ["later@b.test waiting"],
    ),
    (
        "deferred",
        "after commit 2",
        "small",
        ["later@b.test"],
        True,
        {},
        ["later@b.test waiting"],
    ),
    ("warned", "before commit 2", "small", ["late@b.test"], True, {}, ["late@b.test waiting"]),
    ("warned", "after replace", "small", ["late@b.test"], True, {}, ["late@b.test waiting"]),
    ("warned", "after commit 2", "small", ["late@b.test"], True, REPORT, ["late@b.test waiting"]),
    (
        "partly delivered",
        "after commit 2",
        "small",
        ["ok@b.test", "later@b.test"],
        True,
        ONCE,
        ["ok@b.test delivered", "later@b.test waiting"],
    ),
    ("failed", "before commit 2", "small", ["bad@b.test"], True, REPORT, []),
    ("failed", "after replace", "small", ["bad@b.test"], True, REPORT, []),
    ("failed", "after commit 2", "small", ["bad@b.test"], True, REPORT, []),
    ("expanded", "before commit 2", "small", ["team@b.test"], True, {"ok2@b.test": 1}, []),
    ("expanded", "after replace", "small", ["team@b.test"], True, {"ok2@b.test": 1}, []),
    ("expanded", "after commit 2", "small", ["team@b.test"], True, {"ok2@b.test": 1}, []),
]


@pytest.mark.parametrize(
    ("state", "point", "body", "paths", "acknowledged", "delivered", "left"),
    ROWS,
    ids=[f"{state}-{point}-{body}".replace(" ", "_") for state, point, body, *_ in ROWS],
)
def test_a_crash_in(
    tmp_path: Path,
    state: str,
    point: str,
    body: str,
    paths: list[str],
    acknowledged: bool,
    delivered: dict[str, int],
    left: list[str],
) -> None:
    """Acceptance 4."""
    assert crash(tmp_path / "queue", point, body, *paths) == (acknowledged, delivered, left)


def test_what_is_held_is_held_after_a_crash(tmp_path: Path) -> None:
    directory = tmp_path / "queue"
    act(directory, "queue", "after commit 2", "small", "later@b.test", dies=True)
    QueueAdministration(directory).hold()
    assert recover(directory) == ([], ["later@b.test held"])


def test_what_is_returned_by_hand_is_after_a_crash(tmp_path: Path) -> None:
    directory = tmp_path / "queue"
    act(directory, "queue", "after commit 2", "small", "later@b.test", dies=True)
    QueueAdministration(directory).bounce()
    assert recover(directory) == (["ann@a.test"], [])


def test_what_is_rerouted_by_hand_is_after_a_crash(tmp_path: Path) -> None:
    directory = tmp_path / "queue"
    act(directory, "queue", "after commit 2", "small", "later@b.test", dies=True)
    QueueAdministration(directory).reroute("relay.test:25")
    house = House(directory)
    (attempt,) = house.local.take() + house.remote.take()
    assert attempt.recipients[0].route == "relay.test:25"
    house.stop()


def test_a_crash_of_whoever_removes_by_hand(tmp_path: Path) -> None:
    directory = tmp_path / "queue"
    act(directory, "queue", "after commit 2", "large", "later@b.test", dies=True)
    (message,) = QueueAdministration(directory).list()
    script = (
        "import os, sys; from pathlib import Path; "
        "from twisted_mta.queue.administration import QueueAdministration; "
        "from twisted_mta.queue.spool import Spool; Spool.remove = lambda *_: os.kill(os.getpid(), 9); "
        "QueueAdministration(Path(sys.argv[1])).remove(sys.argv[2])"
    )
    killed = subprocess.run([sys.executable, "-c", script, str(directory), message.queue_id], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert os.listdir(directory / "spool") == [message.queue_id]
    assert recover(directory) == ([], [])


def test_every_state_of_the_table_has_its_crash() -> None:
    text = (ROOT / "docs" / "queue-states.md").read_text().partition("\n## Sent from an Outbox")[0]
    table = set(re.findall(r"^\| \*\*(.+?)\*\* \|", text, re.MULTILINE))
    by_hand = {state for state in table if state.endswith(" by hand")} | {"held", "quarantined"}
    posted = {"posted"}  # the post is committed as any message is, and its recipient is attempted again
    assert table - by_hand - posted == {state for state, *_ in ROWS}


@pytest.mark.parametrize("acknowledgements", [1, 50, 333])
def test_everything_acknowledged_is_there_after_kill_nine(tmp_path: Path, acknowledgements: int) -> None:
    directory = tmp_path / "queue"
    process = actor(directory, "load")
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(acknowledgements)]
    process.kill()
    told += process.stdout.readlines()
    process.wait()
    process.stdout.close()
    acknowledged = {line.split()[1] for line in told if line.endswith("\n")}
    queued = {message.queue_id for message in QueueAdministration(directory).list()}
    assert len(acknowledged) >= acknowledgements
    assert acknowledged <= queued
    assert len(queued - acknowledged) <= 20  # those in the last batch, not answered yet


def traced(trace: Path, options: list[str], directory: Path, *arguments: str) -> list[str]:
    """The lines that an actor told under strace, whose own lines are in `trace`."""
    command = [program("strace"), "-f", "-y", "-qq", "-s", "20", "-o", str(trace), *options]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    command += [sys.executable, str(ACTOR), str(directory), *arguments]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True, timeout=60)
    return done.stdout.splitlines()


@pytest.mark.parametrize("body", ["small", "large"])
def test_the_disk_has_it_before_the_answer_leaves(tmp_path: Path, body: str) -> None:
    """kill -9 cannot show a missing sync, since the page cache survives it: look at the system calls."""
    trace, directory = tmp_path / "trace", tmp_path / "queue"
    traced(trace, ["-e", "trace=fsync,fdatasync,pwrite64,write"], directory, "commit", body)
    events = finished_calls(trace.read_text())

    answer = next(place for place, (call, text) in enumerate(events) if call == "write" and '"250 ' in text)
    before = events[:answer]
    synced = last(before, "fdatasync", "queue.sqlite-wal>")
    assert synced > last(before, "pwrite64", "queue.sqlite-wal>") >= 0
    if body == "large":
        file = last(before, "fsync", "/queue/spool/")
        name = last(before, "fsync", "/queue/spool>")
        assert 0 <= last(before, "write", "/queue/spool/") < file < name < synced
        assert name < last(before, "pwrite64", "queue.sqlite-wal>")


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_a_sync_that_fails_is_never_a_250(tmp_path: Path, error: str) -> None:
    """Acceptance 5."""
    directory = tmp_path / "queue"
    fault = ["-P", str(directory / "queue.sqlite-wal"), "-e", f"inject=fdatasync:error={error}:when=7..9"]
    told = traced(tmp_path / "trace", ["-e", "trace=fdatasync", *fault], directory, "persist")
    failed = (tmp_path / "trace").read_text().count("(INJECTED)")
    codes = [line.split()[0] for line in told]
    assert failed == 3
    assert len(codes) == 12
    assert 1 <= codes.count("451") <= 3
    assert codes[-1] == "250"
    queued = {message.queue_id for message in QueueAdministration(directory).list()}
    assert {line.split()[1] for line in told if line.startswith("250")} == queued


@pytest.mark.parametrize("body", ["small", "large"])
def test_no_room_is_a_452_and_it_goes_on_when_there_is_room_again(tmp_path: Path, body: str) -> None:
    told = act(tmp_path / "queue", "fill", body)
    assert told[-2] == "452 4.3.1"
    assert told[-1].startswith("250 ")
    queued = {message.queue_id for message in QueueAdministration(tmp_path / "queue").list()}
    assert {line.split()[1] for line in told if line.startswith("250")} == queued


def finished_calls(trace: str) -> list[tuple[str, str]]:
    """(name, line) of system calls in the order in which they returned; a write counts from its beginning."""
    pending: dict[str, str] = {}
    calls = []
    for line in trace.splitlines():
        thread, _, text = line.partition(" ")
        text = text.strip()
        if resumed := re.match(r"<\.\.\. (\w+) resumed>", text):
            calls.append((resumed[1], pending.pop(thread)))
        elif text.endswith("<unfinished ...>") and not text.startswith("write("):
            pending[thread] = text
        elif call := re.match(r"(\w+)\(", text):
            calls.append((call[1], text))
            pending[thread] = text
    return calls


def last(calls: list[tuple[str, str]], name: str, path: str) -> int:
    """The place of the last call of that name on that path; -1 when there is none."""
    return max(
        (place for place, (call, text) in enumerate(calls) if call == name and path in text), default=-1
    )
