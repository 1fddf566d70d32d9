"""Coroutines without a Deferred of their own."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from twisted_mta.wire.drive import drive


class TestDrive:
    def setup_method(self) -> None:
        self.said: list[object] = []
        self.failures: list[Failure] = []
        self.first: Deferred[str] = Deferred()
        self.second: Deferred[str] = Deferred()

    async def _work(self) -> None:
        self.said.append("begun")
        self.said.append(await succeed("at once"))
        self.said.append(await self.first)
        try:
            self.said.append(await self.second)
        except KeyError:
            self.said.append("lost")

    def test_it_begins_at_once_and_goes_on_with_what_comes(self) -> None:
        drive(self._work(), self.failures.append)
        assert self.said == ["begun", "at once"]
        self.first.callback("one")
        self.second.callback("two")
        assert (self.said, self.failures) == (["begun", "at once", "one", "two"], [])

    def test_a_failure_is_raised_where_it_is_awaited(self) -> None:
        drive(self._work(), self.failures.append)
        self.first.callback("one")
        self.second.errback(Failure(KeyError("two")))
        assert (self.said[-1], self.failures) == ("lost", [])

    def test_what_ends_badly_is_told_once(self) -> None:
        drive(self._work(), self.failures.append)
        self.first.errback(Failure(ValueError("one")))
        assert [failure.type for failure in self.failures] == [ValueError]
        assert self.first.result is None  # nobody else has to handle it

    def test_what_ends_badly_before_it_waits_is_told_too(self) -> None:
        async def stumbles() -> None:
            raise ValueError("at once")

        drive(stumbles(), self.failures.append)
        assert [failure.type for failure in self.failures] == [ValueError]
