from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.queue.schedule import DAY, HOUR, MINUTE, RetrySchedule


def attempts_until_given_up(schedule: RetrySchedule, *, takes: float = 0.0) -> list[float]:
    """The times of the attempts, seconds after arrival, when each takes so long."""
    at, times = 0.0, []
    while True:
        times.append(at)
        following = schedule.next_attempt(0.0, len(times), at + takes)
        if following is None:
            return times
        at = following


def test_waits_grow_with_an_attempt_when_the_sender_is_warned_and_one_at_the_end() -> None:
    times = attempts_until_given_up(RetrySchedule())
    waits = [later - earlier for earlier, later in pairwise(times)]
    assert waits[:7] == [5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, 105 * MINUTE, 4 * HOUR]
    assert max(waits) == 4 * HOUR
    assert times[-1] == 5 * DAY


def test_slow_attempts_are_given_up_too() -> None:
    times = attempts_until_given_up(RetrySchedule(), takes=20 * MINUTE)
    assert 5 * DAY <= times[-1] <= 5 * DAY + 4 * HOUR


def test_a_clock_that_jumps_a_day_gives_nothing_up() -> None:
    schedule = RetrySchedule()
    for attempts in range(1, schedule.attempts_owed - 4):
        assert schedule.next_attempt(0.0, attempts, 4 * DAY + DAY) is not None


def test_a_server_that_was_off_for_a_week_tries_as_often_as_ever() -> None:
    schedule = RetrySchedule()
    following = schedule.next_attempt(0.0, 1, 7 * DAY)
    assert following == 7 * DAY + 5 * MINUTE


def test_a_clock_set_back_only_waits() -> None:
    assert RetrySchedule().next_attempt(100 * DAY, 3, 99 * DAY) == 99 * DAY + 20 * MINUTE


def test_no_lifetime_is_one_attempt() -> None:
    assert attempts_until_given_up(RetrySchedule((60.0,), 0.0)) == [0.0]


@given(
    st.lists(st.floats(1, 86400), min_size=1, max_size=12).map(tuple),
    st.floats(0, 10 * DAY),
)
def test_any_schedule_ends(delays: tuple[float, ...], lifetime: float) -> None:
    schedule = RetrySchedule(delays, min(lifetime, 500 * min(delays)))
    times = attempts_until_given_up(schedule)
    assert times[-1] <= schedule.lifetime
    assert len(times) >= schedule.attempts_owed


@pytest.mark.parametrize(("delays", "lifetime"), [((), 1.0), ((0.0,), 1.0), ((60.0,), -1.0)])
def test_nonsense_is_refused(delays: tuple[float, ...], lifetime: float) -> None:
    with pytest.raises(ValueError, match="retry schedule"):
        RetrySchedule(delays, lifetime)
