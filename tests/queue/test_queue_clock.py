"""A wall clock that is set while mail waits: nothing stalls, nothing is lost, nobody is told nonsense.
Acceptance 14."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dispatch_house import DELAYED, DELIVERED, House

from twisted_mta.message.envelope import MailParameters
from twisted_mta.queue.schedule import DAY, HOUR, RetrySchedule


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "queue")
    yield house
    house.stop()


def set_clock(house: House, by: float) -> None:
    house.queue.writer.notice()  # as every second
    house.clock.rightNow += by
    house.queue.writer.notice()


@pytest.mark.parametrize("back", [HOUR, DAY])
def test_what_was_deferred_waits_no_longer_when_the_clock_is_set_back(house: House, back: float) -> None:
    house.put("cy@c.test")
    house.remote.take()[0].answer(DELAYED)
    house.clock.advance(100)
    set_clock(house, -back)
    house.clock.advance(198)
    assert house.remote.attempts == []
    house.clock.advance(2)
    (attempt,) = house.remote.take()
    assert attempt.recipients[0].attempts == 1


def test_what_its_sender_wants_held_waits_for_the_time_that_was_named(house: House) -> None:
    until = house.clock.seconds() + HOUR
    house.put("cy@c.test", parameters=MailParameters(hold_until=until))
    set_clock(house, -HOUR / 2)
    house.clock.advance(HOUR)
    assert house.remote.attempts == []
    house.clock.advance(HOUR / 2)
    assert len(house.remote.attempts) == 1


def test_mail_that_has_just_come_does_not_wait_for_the_old_time(house: House) -> None:
    """It is only on disk, as if the memory had been full."""
    house.put("cy@c.test", "cy@d.test")
    for attempt in house.remote.take():
        attempt.answer(DELAYED)
    house.by_hand().hold()
    house.queue.writer.notice()
    house.by_hand().release()
    set_clock(house, -HOUR)
    house.clock.advance(1)
    assert len(house.remote.take()) == 2


@pytest.mark.parametrize("ahead", [HOUR, DAY, 30 * DAY])
def test_a_clock_set_ahead_neither_warns_nor_returns(house: House, ahead: float) -> None:
    house.remote.always = DELAYED
    ids = [house.put(f"cy@c{number}.test") for number in range(20)]
    set_clock(house, ahead)
    house.clock.advance(1)
    assert len(house.remote.attempts) == 40
    assert set(house.queued()) == set(ids)
    assert house.local.attempts == []


def test_ids_grow_and_mail_goes_on_an_hour_back(house: House) -> None:
    house.remote.always = DELIVERED
    first = house.put("cy@c.test")
    set_clock(house, -HOUR)
    assert house.put("cy@c.test") > first
    assert house.queued() == {}


def test_a_warning_needs_attempts_as_well_as_age() -> None:
    schedule = RetrySchedule()
    assert not schedule.is_late(0.0, 1, 5 * DAY)
    assert not schedule.is_late(0.0, 7, 4 * HOUR - 1)
    assert schedule.is_late(0.0, 7, 4 * HOUR)
    assert not RetrySchedule(warn_after=0.0).is_late(0.0, 100, 5 * DAY)
