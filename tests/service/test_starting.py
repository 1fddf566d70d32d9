"""What is in place by when, while the server starts."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from twisted_mta.backup.draft import COMPLETE, DRAFT
from twisted_mta.service.data_dir import server
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.quantities import Domain
from twisted_mta.service.server import MailServer


class Calls:
    """A reactor that does not run yet."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def callFromThread(self, function: Callable[[], None]) -> None:
        self.waiting.append(function)


def test_a_reload_that_is_asked_for_as_soon_as_the_lock_is_held_is_remembered(tmp_path: Path) -> None:
    (tmp_path / DRAFT).mkdir()
    (tmp_path / DRAFT / COMPLETE).touch()  # the first to be refused when the lock is held
    config = Config(hostname=Domain("mx.a.test"), data_dir=str(tmp_path), domains=(Domain("a.test"),))
    calls = Calls()
    starting = MailServer(config, path=tmp_path, reactor=calls, observer=None)
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(SystemExit):
            starting.startService()
        assert server(tmp_path) is not None
        signal.raise_signal(signal.SIGHUP)
        assert len(calls.waiting) == 1
    finally:
        signal.signal(signal.SIGHUP, before)
        starting._lock.release()
