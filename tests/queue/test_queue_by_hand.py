"""What a running server makes of changes by hand, wherever the message is at that moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dispatch_house import DELAYED, DELIVERED, House

from twisted_mta.queue.selection import Selection


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "queue")
    yield house
    house.stop()


def notice(house: House) -> None:
    """As the server does once a second."""
    house.clock.advance(1)
    house.queue.writer.notice()


def report(house: House) -> bytes:
    """The text of the one report that came back."""
    (attempt,) = house.local.take()
    assert attempt.message.reverse_path is None
    assert attempt.to == ["ann@a.test"]
    attempt.answer(DELIVERED)
    return attempt.text


def test_deferred_mail_is_returned_at_once(house: House) -> None:
    queue_id = house.put("cy@c.test", "dee@d.test")
    for attempt in house.remote.take():
        attempt.answer(DELAYED)
    house.by_hand().bounce(queue_id, Selection(domain="c.test"))
    notice(house)
    text = report(house)
    assert b"cy@c.test" in text
    assert b"dee@d.test" not in text
    assert house.remote.take() == []
    assert house.queued() == {queue_id: {"cy@c.test": "failed", "dee@d.test": "waiting"}}
    assert "returned" in house.stages(queue_id)


def test_held_mail_is_returned_at_once(house: House) -> None:
    queue_id = house.put("cy@c.test")
    house.remote.take()[0].answer(DELAYED)
    house.by_hand().hold(queue_id)
    notice(house)
    house.by_hand().bounce(queue_id)
    notice(house)
    assert b"cy@c.test" in report(house)
    assert house.queued() == {}


def test_mail_in_an_attempt_is_returned_when_the_attempt_has_failed(house: House) -> None:
    queue_id = house.put("cy@c.test")
    (attempt,) = house.remote.take()
    house.by_hand().bounce(queue_id)
    notice(house)
    house.clock.advance(200)
    assert house.local.attempts == []
    attempt.answer(DELAYED)
    assert b"cy@c.test" in report(house)
    assert house.remote.take() == []
    assert house.queued() == {}


def test_mail_that_is_delivered_meanwhile_is_not_returned(house: House) -> None:
    queue_id = house.put("cy@c.test")
    (attempt,) = house.remote.take()
    house.by_hand().bounce(queue_id)
    notice(house)
    attempt.answer(DELIVERED)
    assert house.local.take() == []
    assert house.queued() == {}


def test_what_is_to_be_returned_is_when_the_server_comes_back(house: House) -> None:
    queue_id = house.put("cy@c.test")
    house.remote.take()[0].answer(DELAYED)
    house.dispatcher._stopping = True
    house.by_hand().bounce(queue_id)
    house.restart()
    assert b"cy@c.test" in report(house)


def test_another_next_hop_for_what_is_deferred_and_for_what_is_in_an_attempt(house: House) -> None:
    deferred = house.put("cy@c.test")
    house.remote.take()[0].answer(DELAYED)
    under_way = house.put("dee@d.test")
    (attempt,) = house.remote.take()
    house.by_hand().reroute("relay.test:25")
    notice(house)
    attempt.answer(DELAYED)
    again = {a.message.queue_id: a for a in house.remote.take()}
    assert set(again) == {deferred, under_way}
    for attempt in again.values():
        assert attempt.recipients[0].route == "relay.test:25"
        attempt.answer(DELIVERED)
    assert house.queued() == {}


def test_one_recipient_of_a_message_is_removed(house: House) -> None:
    queue_id = house.put("cy@c.test", "dee@d.test")
    for attempt in house.remote.take():
        attempt.answer(DELAYED)
    house.by_hand().remove(queue_id, Selection(recipient="cy@c.test"))
    notice(house)
    house.clock.advance(300)
    (attempt,) = house.remote.take()
    assert attempt.to == ["dee@d.test"]
    attempt.answer(DELIVERED)
    assert house.queued() == {}
    removed = next(event for event in house.events if event.stage == "removed")
    assert (removed.queue_id, removed.facts["to"]) == (queue_id, "cy@c.test")
