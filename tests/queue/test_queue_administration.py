"""The queue by hand, from another process, with a real writer thread at work or without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from queue_house import InlineQueue, WallClock, envelope, now, put
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from twisted_mta.queue.administration import NoSuchMessage, QueueAdministration
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.queue.records import Intervention


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


def test_no_queue_yet(directory: Path) -> None:
    administration = QueueAdministration(directory)
    assert list(administration.list()) == []
    assert administration.retry() == 0
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
    administration.remove(queue_id)
    for act in (administration.show, administration.remove, administration.retry, administration.hold):
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
