from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.queue.ids import LENGTH, Numbers, decode, encode


@given(st.integers(0, 2**63 - 1))
def test_an_id_is_its_number(number: int) -> None:
    assert decode(encode(number)) == number
    assert decode(encode(number).lower()) == number
    assert len(encode(number)) == LENGTH


@given(st.lists(st.integers(0, 2**63 - 1), min_size=2))
def test_ids_sort_as_their_numbers(numbers: list[int]) -> None:
    assert sorted(map(encode, numbers)) == [encode(number) for number in sorted(numbers)]


def test_ids_have_no_vowels() -> None:
    assert not set("".join(encode(number) for number in range(0, 900 * 900, 7))) & set("AEIOUYaeiouy")


@pytest.mark.parametrize("bad", ["", "0", "0000000000000A", "00000000000A0", "../../etc/pass", "Z" * 13])
def test_what_is_no_id(bad: str) -> None:
    with pytest.raises(ValueError, match="not a queue id"):
        decode(bad)


def test_numbers_grow_though_the_clock_goes_back() -> None:
    times = iter([1000.0, 1000.0, 900.0, 5000.0, 10.0])
    numbers = Numbers(lambda: next(times), Random(1))
    given = [numbers.message() for _ in range(5)]
    assert given == sorted(set(given))


def test_numbers_rise_above_what_is_queued() -> None:
    numbers = Numbers(lambda: 1000.0, Random(1))
    numbers.rise_above(message=2_000_000_000 * 900 + 5, recipient=3_000_000_000)
    assert numbers.message() > 3_000_000_000 * 900
    assert numbers.recipient() > 3_000_000_000
