"""Looks at the disk that a burst of deliveries shares."""

from __future__ import annotations

import pytest

from twisted_mta.transfer.mda.glances import MOMENT, Glances


class TestGlances:
    def setup_method(self) -> None:
        self.now = 100.0
        self.there = {"ann": 1, "bob": 2}
        self.looks: list[str] = []
        self.glances = Glances(self._look, lambda: self.now)

    def _look(self, account: str) -> int:
        self.looks.append(account)
        return self.there[account]

    def test_a_burst_looks_once_at_each_account(self) -> None:
        assert [self.glances.at(each) for each in ("ann", "bob", "ann", "bob", "ann")] == [1, 2, 1, 2, 1]
        assert self.looks == ["ann", "bob"]

    def test_what_has_changed_is_seen_a_moment_later(self) -> None:
        assert self.glances.at("ann") == 1
        self.there["ann"] = 3
        self.now += MOMENT / 2
        assert (self.glances.at("ann"), self.glances.at("bob")) == (1, 2)
        self.now += MOMENT
        assert self.glances.at("ann") == 3

    def test_a_look_that_fails_is_taken_again(self) -> None:
        with pytest.raises(KeyError):
            self.glances.at("cleo")
        self.there["cleo"] = 4
        assert self.glances.at("cleo") == 4
