"""The dispatcher on a clock that the test advances, over a real database. Acceptance 13."""

from __future__ import annotations

import os
import random
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dispatch_house import BUSY, DELAYED, DELIVERED, FAILED, SILENCED, UNREACHABLE, Deliverer, House
from queue_house import NOON, now
from twisted.internet.defer import Deferred

from twisted_mta.message.address import Address, a_labels
from twisted_mta.message.envelope import NO_PARAMETERS, DeliverBy, Envelope, EnvelopeRecipient, MailParameters
from twisted_mta.message.outcome import Action, Outcome
from twisted_mta.queue import mailqueue
from twisted_mta.queue.database import QueueDatabase
from twisted_mta.queue.ids import decode
from twisted_mta.queue.schedule import DAY, HOUR, RetrySchedule
from twisted_mta.service.in_queue import is_queued
from twisted_mta.transfer.mta.active import ActiveLimits, who_sends

LARGE = b"Subject: large\r\n\r\n" + b"x" * 300_000 + b"\r\n"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path / "queue")
    yield house
    if house.queue.writer._running:
        house.stop()


def expansion(*paths: str) -> Outcome:
    return Outcome(Action.EXPANDED, "2.1.5", "", expansion=tuple(Address.parse(path) for path in paths))


class TestTheRoad:
    def test_mail_goes_at_once_to_the_right_deliverer_and_leaves_the_queue(self, house: House) -> None:
        queue_id = house.put("bob@a.test", "cy@c.test", "dee@c.test")
        (local,), (remote,) = house.local.attempts, house.remote.attempts
        assert local.to == ["bob@a.test"]
        assert remote.to == ["cy@c.test", "dee@c.test"]
        assert local.message.queue_id == queue_id
        assert local.text == b"Received: here\r\nSubject: x\r\n\r\ny\r\n"
        assert not local.message.recovered
        local.answer(DELIVERED)
        remote.answer(Outcome(Action.RELAYED, "2.0.0", "250 ok", "mx.c.test"))
        assert house.queued() == {}
        assert house.stages(queue_id) == ["done"]

    def test_a_large_message_takes_its_file_with_it(self, house: House) -> None:
        queue_id = house.put("bob@a.test", body=LARGE)
        assert os.listdir(house.queue.spool.directory) == [queue_id]
        (attempt,) = house.local.attempts
        assert attempt.text.endswith(LARGE)
        attempt.answer(DELIVERED)
        assert os.listdir(house.queue.spool.directory) == []

    def test_many_recipients_of_one_domain_go_a_hundred_at_a_time(self, house: House) -> None:
        house.remote.always = DELIVERED
        house.put(*(f"u{number}@c.test" for number in range(250)))
        assert [len(attempt.recipients) for attempt in house.remote.attempts] == [100, 100, 50]
        assert house.queued() == {}

    def test_an_alias_is_replaced_and_the_sender_hears_of_the_address_it_used(self, house: House) -> None:
        queue_id = house.put("team@a.test", "bob@a.test")
        (attempt,) = house.local.take()
        attempt.answer(expansion("BOB@a.test", "cy@c.test", "team@a.test"), DELIVERED)
        (remote,) = house.remote.take()
        assert remote.to == ["cy@c.test"]
        assert remote.recipients[0].original_path == Address.parse("team@a.test")
        assert house.local.take() == []
        assert house.queued()[queue_id]["team@a.test"] == "expanded"
        remote.answer(FAILED)
        (report,) = house.local.take()
        assert b"Final-Recipient: rfc822; team@a.test\r\n" in report.text
        assert b"SMTP-Remote-Recipient: cy@c.test\r\n" in report.text

    @pytest.mark.parametrize("to", [("a@a.test",), ("a@a.test", "b@a.test"), ("a@a.test", "cy@c.test")])
    def test_the_sender_hears_of_addresses_that_lead_in_a_circle(
        self, house: House, to: tuple[str, ...]
    ) -> None:
        circle = {"a": expansion("b@a.test"), "b": expansion("a@a.test")}
        house.local.always = lambda r: circle.get(r.forward_path.local, DELIVERED)
        house.remote.always = DELIVERED
        house.put(*to)
        report = house.local.attempts[-1]
        assert report.message.reverse_path is None
        assert report.to == ["ann@a.test"]
        assert b"Status: 5.4.6\r\n" in report.text
        assert report.text.count(b"Final-Recipient") == 1
        assert house.queued() == {}


class TestRetry:
    @pytest.mark.parametrize(
        "odd", ["b\u00f6b@c.test", "x" * 60 + "@" + ".".join(["\u00fc"] * 30) + ".test", '"a\\" b"@c.test']
    )
    def test_whatever_address_was_put_into_the_queue_can_be_read_from_it(
        self, house: House, odd: str
    ) -> None:
        """An alias or a script may bring in what no client may name; all other mail is read behind it."""
        house.remote.always = DELAYED
        local, _, domain = odd.rpartition("@")
        path = Address(local, a_labels(domain)) if local.isalnum() else Address.parse(odd)
        draft = house.queue.draft()
        now(draft.write(b"x\r\n"))
        now(draft.commit(Envelope(path, (EnvelopeRecipient(path),))))
        other = house.put("cy@c.test")
        house.restart()
        house.remote.attempts.clear()
        house.clock.advance(5 * 60)
        assert {attempt.message.queue_id for attempt in house.remote.attempts} == {draft.queue_id, other}
        (attempt,) = [a for a in house.remote.attempts if a.message.queue_id == draft.queue_id]
        assert attempt.message.reverse_path == attempt.recipients[0].forward_path == path

    def test_a_delay_is_tried_again_by_the_schedule(self, house: House) -> None:
        house.remote.always = DELAYED
        queue_id = house.put("cy@c.test")
        times = [house.clock.seconds() - NOON]
        while len(times) < 9:
            house.clock.advance(60)
            if len(house.remote.attempts) > len(times):
                times.append(house.clock.seconds() - NOON)
        minutes = [time / 60 for time in times]
        assert minutes == [0, 5, 15, 35, 75, 135, 240, 480, 720]
        assert [attempt.recipients[0].attempts for attempt in house.remote.attempts] == list(range(9))
        assert set(house.stages(queue_id)) == {"deferred"}
        (first, *_) = house.events
        assert first.facts["reason"] == "try later"
        assert first.facts["next"] == "Fri, 15 Jan 2027 08:05:00 +0000"

    def test_one_warning_after_four_hours_and_one_failure_after_five_days(self, house: House) -> None:
        house.remote.always = DELAYED
        house.local.always = DELIVERED
        queue_id = house.put("cy@c.test")
        while house.clock.seconds() - NOON < 4 * HOUR:
            assert house.local.attempts == []
            house.clock.advance(HOUR / 4)
        (warning,) = house.local.take()
        while house.queued():
            assert house.local.attempts == []
            house.clock.advance(HOUR / 4)
        assert house.clock.seconds() - NOON == 5 * DAY
        (report,) = house.local.take()
        for about, action in ((warning, b"delayed"), (report, b"failed")):
            assert about.message.reverse_path is None
            assert about.to == ["ann@a.test"]
            assert b"\r\nAction: " + action + b"\r\n" in about.text
        assert b"Will-Retry-Until: Wed, 20 Jan 2027 08:00:00 +0000\r\n" in warning.text
        assert b"for 5 days" in report.text
        assert house.stages(queue_id)[-2:] == ["expired", "done"]

    def test_only_the_delayed_recipient_is_tried_again(self, house: House) -> None:
        house.put("cy@c.test", "dee@c.test")
        house.remote.take()[0].answer(DELIVERED, DELAYED)
        house.clock.advance(300)
        (attempt,) = house.remote.attempts
        assert attempt.to == ["dee@c.test"]

    def test_a_deliverer_that_raises_is_tried_again(self, house: House) -> None:
        house.put("cy@c.test")
        house.remote.take()[0].done.errback(ZeroDivisionError())
        (event,) = house.events
        assert event.stage == "deferred"
        assert event.facts["status"] == "4.3.0"
        house.clock.advance(300)
        assert len(house.remote.attempts) == 1

    def test_a_deliverer_that_miscounts_is_tried_again(self, house: House) -> None:
        house.put("cy@c.test", "dee@c.test")
        house.remote.take()[0].done.callback([DELIVERED])
        house.clock.advance(300)
        assert house.remote.attempts[0].to == ["cy@c.test", "dee@c.test"]

    def test_a_clock_a_day_ahead_bounces_nothing(self, house: House) -> None:
        house.remote.always = DELAYED
        ids = [house.put(f"cy@c{number}.test") for number in range(20)]
        for _ in range(2):
            house.clock.advance(DAY)
        house.clock.rightNow += 30 * DAY
        house.clock.advance(0)
        assert set(house.queued()) == set(ids)
        assert house.local.attempts == []

    def test_a_clock_a_day_back_bounces_nothing_and_new_mail_goes(self, house: House) -> None:
        house.remote.always = DELAYED
        old = house.put("cy@c.test")
        house.clock.rightNow -= DAY
        new = house.put("dee@c.test")
        assert [attempt.to for attempt in house.remote.attempts] == [["cy@c.test"], ["dee@c.test"]]
        assert new > old
        house.clock.advance(300)
        assert house.remote.attempts[-1].to == ["dee@c.test"]


class TestBounces:
    def test_a_failure_is_reported_to_the_sender(self, house: House) -> None:
        queue_id = house.put("cy@c.test", "dee@c.test", sender="ann@elsewhere.test")
        house.remote.take()[0].answer(FAILED, DELIVERED)
        (report,) = house.remote.take()
        assert report.to == ["ann@elsewhere.test"]
        assert report.message.reverse_path is None
        assert b"Final-Recipient: rfc822; cy@c.test\r\n" in report.text
        assert b"dee@c.test" not in report.text
        assert list(house.queued()) == [report.message.queue_id]
        assert house.stages(queue_id) == ["bounced", "done"]
        report.answer(DELIVERED)
        assert house.queued() == {}

    def test_a_report_never_bounces(self, house: House) -> None:
        house.remote.always = FAILED
        queue_id = house.put("cy@c.test", sender="gone@c.test")
        assert len(house.remote.attempts) == 2
        assert house.queued() == {}
        report = house.remote.attempts[1].message.queue_id
        assert house.stages(queue_id) == ["bounced", "done"]
        assert house.stages(report) == ["report", "double-bounce", "done"]

    def test_mail_from_the_null_path_is_dropped_with_a_word(self, house: House) -> None:
        house.remote.always = FAILED
        queue_id = house.put("cy@c.test", sender=None)
        assert len(house.remote.attempts) == 1
        assert house.stages(queue_id) == ["double-bounce", "done"]

    def test_a_large_message_is_reported_with_its_header(self, house: House) -> None:
        house.remote.always = FAILED
        house.put("cy@c.test", body=LARGE)
        (report,) = house.local.attempts
        assert b"text/rfc822-headers" in report.text
        assert b"Subject: large\r\n" in report.text
        assert len(report.text) < 5000
        assert os.listdir(house.queue.spool.directory) == []


class TestFairness:
    def test_a_dead_domain_does_not_stand_in_the_way(self, tmp_path: Path) -> None:
        house = House(tmp_path, limits=ActiveLimits(remote=8, recipients=50, share=20))
        for number in range(60):
            house.put(f"u{number}@dead.test")
        house.put("cy@c.test")
        house.put("bob@a.test")
        assert Counter(a.recipients[0].forward_path.domain for a in house.remote.attempts) == {
            "dead.test": 2,
            "c.test": 1,
        }
        assert len(house.local.attempts) == 1
        house.stop()

    def test_a_destination_earns_its_attempts(self, tmp_path: Path) -> None:
        house = House(tmp_path, limits=ActiveLimits(per_domain=5))
        for number in range(40):
            house.put(f"u{number}@c.test")

        def next_round(outcome: Outcome) -> int:
            for attempt in house.remote.take():
                attempt.answer(outcome)
            return len(house.remote.attempts)

        assert len(house.remote.attempts) == 2
        assert next_round(DELAYED) == 2  # it is there, but no more than that
        assert next_round(DELIVERED) == 4
        assert next_round(DELIVERED) == 5
        assert next_round(FAILED) == 5
        house.remote.attempts[0].answer(UNREACHABLE)  # half of that, once for all that are under way
        for attempt in house.remote.take()[1:3]:
            attempt.answer(UNREACHABLE)
        assert house.remote.attempts == []
        house.stop()

    def test_after_trouble_it_earns_them_slowly(self, tmp_path: Path) -> None:
        house = House(tmp_path, limits=ActiveLimits(per_domain=8))
        for number in range(100):
            house.put(f"u{number}@c.test")

        def next_round(outcome: Outcome) -> int:
            for attempt in house.remote.take():
                attempt.answer(outcome)
            return len(house.remote.attempts)

        assert [next_round(DELIVERED) for _ in range(3)] == [4, 8, 8]
        assert next_round(BUSY) == 4
        assert [next_round(DELIVERED) for _ in range(5)] == [5, 6, 7, 8, 8]
        assert len(house.stages_of("deferred")) == 0
        house.stop()

    def test_one_attempt_too_many_is_put_back_in_line(self, tmp_path: Path) -> None:
        """A host that takes one connection at a time costs nobody a delay."""
        house = House(tmp_path)
        for number in range(10):
            house.put(f"u{number}@c.test")
        delivered = []
        while house.remote.attempts:
            first, *others = house.remote.take()
            for attempt in others:
                attempt.answer(BUSY)
            delivered += first.to
            first.answer(DELIVERED)
        assert sorted(delivered) == sorted(f"u{number}@c.test" for number in range(10))
        assert house.stages_of("deferred") == []
        assert house.queued() == {}
        house.stop()

    def test_a_destination_that_is_always_busy_rests(self, tmp_path: Path) -> None:
        house = House(tmp_path)
        house.remote.always = BUSY
        for number in range(10):
            house.put(f"u{number}@c.test")
        assert len(house.remote.take()) == 3
        assert len(house.stages_of("deferred")) == 10
        house.stop()

    def test_a_message_that_silences_a_host_does_not_stop_the_others(self, house: House) -> None:
        """Nor is it sent again and again: it waits as long as after every delay."""
        house.remote.always = SILENCED
        poison = [house.put("cy@c.test") for _ in range(5)]
        assert len(house.remote.take()) == 5
        house.remote.always = DELIVERED
        good = house.put("dee@c.test")
        assert house.stages(good) == ["done"]
        assert house.queued() == {queue_id: {"cy@c.test": "waiting"} for queue_id in poison}

    def test_a_probe_that_silences_the_host_ends_the_rest(self, house: House) -> None:
        house.remote.always = UNREACHABLE
        for _ in range(3):
            house.put("cy@c.test")
        good = house.put("dee@c.test")
        assert house.stages(good) == ["deferred"] and len(house.remote.take()) == 3
        house.remote.always = SILENCED
        house.clock.advance(300)
        assert house.remote.take() != []
        house.remote.always = DELIVERED
        assert house.stages(house.put("dee@c.test")) == ["done"]

    def test_hosts_that_fall_silent_get_fewer_attempts_at_once(self, house: House) -> None:
        for number in range(10):
            house.put(f"u{number}@c.test")
        for attempt in house.remote.take():
            attempt.answer(DELIVERED)
        assert len(house.remote.attempts) == 4
        house.remote.attempts[0].answer(SILENCED)
        for attempt in house.remote.take()[1:]:
            attempt.answer(DELAYED)
        assert len(house.remote.attempts) == 2

    def test_hosts_that_never_speak_leave_room_for_those_that_do(self, tmp_path: Path) -> None:
        house = House(tmp_path, limits=ActiveLimits(remote=20))
        house.put("cy@c.test")
        house.remote.take()[0].answer(DELIVERED)
        tarpits = [f"d{number}.test" for number in range(15)]
        for domain in tarpits:
            for number in range(20):
                house.put(f"u{number}@{domain}")
        assert len(house.remote.take()) == 10
        house.put("dee@d.test")  # never heard of: has to wait like the others
        assert house.remote.attempts == []
        house.stop()

    def test_what_answers_is_off_trial_and_those_put_off_follow_in_order(self, tmp_path: Path) -> None:
        house = House(tmp_path, limits=ActiveLimits(remote=8))
        for number in range(9):
            house.put("u1@c.test", sender=f"a{number}@a.test")
        for domain in ("d.test", "e.test", "f.test", "g.test"):
            house.put(f"u1@{domain}")
            house.put(f"u2@{domain}")
        first, second, *others = house.remote.take()
        assert [attempt.to for attempt in others] == [["u1@d.test"], ["u2@d.test"]]
        assert house.remote.attempts == []
        first.answer(DELIVERED)
        assert Counter(attempt.to[0] for attempt in house.remote.take()) == {
            "u1@c.test": 2,
            "u1@e.test": 1,
            "u2@e.test": 1,
        }
        second.answer(UNREACHABLE)  # on trial again, with two attempts more than there are trials for
        assert house.remote.attempts == []
        for attempt in others:
            attempt.answer(UNREACHABLE)
        assert house.remote.attempts == []
        house.stop()

    @pytest.mark.parametrize("seed", range(5))
    def test_the_accounts_of_the_lane_are_in_order_whatever_happens(self, tmp_path: Path, seed: int) -> None:
        chance = random.Random(seed)
        house = House(
            tmp_path, limits=ActiveLimits(remote=6, per_domain=4), schedule=RetrySchedule((60.0,), HOUR)
        )
        house.local.always = DELIVERED
        lane = house.dispatcher._active.remote
        for _ in range(400):
            if chance.random() < 0.5:
                house.put(f"u@d{chance.randrange(8)}.test")
            elif under_way := house.remote.attempts:
                attempt = under_way.pop(chance.randrange(len(under_way)))
                attempt.answer(chance.choice((DELIVERED, DELAYED, UNREACHABLE, UNREACHABLE, FAILED)))
            else:
                house.clock.advance(60)
            attempts = Counter(attempt.recipients[0].forward_path.domain for attempt in house.remote.attempts)
            known = house.dispatcher._active._destinations
            assert lane.running == sum(attempts.values()) <= 6
            trials = {domain: n for domain, n in attempts.items() if not known[domain, ""].answers}
            assert lane.trial.inside == sum(trials.values())
            assert lane.extra.inside == sum(max(0, n - 2) for d, n in attempts.items() if d not in trials)
            assert max(attempts.values(), default=0) <= 4
        house.remote.always = DELIVERED
        for attempt in house.remote.take():
            attempt.answer(DELIVERED)
        house.clock.advance(HOUR)
        assert house.queued() == {}
        assert (lane.running, lane.trial.inside, lane.extra.inside) == (0, 0, 0)
        house.stop()

    def test_senders_take_turns_each_with_their_mail_in_order(self, tmp_path: Path) -> None:
        house = House(tmp_path, limits=ActiveLimits(remote=1))
        for number in range(5):
            house.put(f"u{number}@c.test", sender="mass@a.test")
        house.put("v0@c.test", sender="ann@a.test")
        house.put("v1@d.test", sender="ann@a.test")
        house.put("w0@c.test", sender="bob@a.test")
        order = []
        while house.remote.attempts:
            (attempt,) = house.remote.take()
            order += [attempt.to[0].partition("@")[0]]
            attempt.answer(DELIVERED)
        assert order == ["u0", "u1", "v0", "w0", "u2", "v1", "u3", "u4"]
        house.stop()

    def test_whoever_is_one_sender(self) -> None:
        assert who_sends("ann@a.test", "list-1-bob=b.test@a.test") == "ann@a.test"
        assert who_sends("", None) == ""
        lists = ("list-1-bob=b.test@a.test", "List+77@a.test", "list+bob=b.test@a.test", "list@A.test")
        assert {who_sends("", Address.parse(path)) for path in lists} == {"list@a.test"}
        assert who_sends("", '"a@b"@c.test') == '"a@b"@c.test'

    def test_a_higher_priority_goes_first(self, tmp_path: Path) -> None:
        house = House(tmp_path, limits=ActiveLimits(remote=1))
        for number, priority in enumerate((0, 0, -4, 0, 6, 4, 6)):
            house.put(f"u{number}@c.test", parameters=MailParameters(priority=priority))
        order = []
        while house.remote.attempts:
            (attempt,) = house.remote.take()
            order += [attempt.to[0][1]]
            attempt.answer(DELIVERED)
        assert order == list("0465132")
        house.stop()

    def test_a_few_messages_do_not_wait_behind_a_large_mailing(self, tmp_path: Path) -> None:
        """Wherever they are: in memory, on disk when the server starts, or to other destinations."""
        limits = ActiveLimits(remote=4, per_domain=4, recipients=100, share=60)
        house = House(tmp_path, limits=limits)

        def mailing() -> None:
            for number in range(300):
                house.put(f"m{number}@{'c' if number % 3 else f'd{number}'}.test", sender="mass@a.test")

        def few() -> set[str]:
            paths = {f"{name}{number}@c.test" for name in ("ann", "bob") for number in range(3)}
            paths.add("ann@far.test")
            for path in sorted(paths):
                house.put(path, sender=f"{path[:3]}@a.test")
            return paths

        def delivered_until(wanted: set[str]) -> int:
            others = 0
            while wanted:
                attempt = house.remote.attempts.pop(0)
                others += attempt.to[0] not in wanted
                wanted -= set(attempt.to)
                attempt.answer(DELIVERED)
            return others

        mailing()
        assert delivered_until(few()) <= 20
        wanted = few()
        house.restart()
        house.remote.take()
        house.restart()
        assert delivered_until(wanted) <= 20
        house.remote.always = DELIVERED
        for attempt in house.remote.take():
            attempt.answer(DELIVERED)
        assert house.queued() == {}
        house.stop()

    def test_attempts_beyond_the_first_few_leave_places_free(self, tmp_path: Path) -> None:
        """A destination that is slow and earned all places does not keep others out."""
        house = House(tmp_path, limits=ActiveLimits(remote=16, per_domain=16))
        for number in range(100):
            house.put(f"u{number}@c.test")
        rounds = []
        for _ in range(4):
            for attempt in house.remote.take():
                attempt.answer(DELIVERED)
            rounds.append(len(house.remote.attempts))
        assert rounds == [4, 8, 14, 14]
        for number in range(5):
            house.put(f"u{number}@d.test")
        assert len(house.remote.attempts) == 16
        for attempt in house.remote.take():
            attempt.answer(DELIVERED)
        assert len(house.remote.attempts) == 16
        house.stop()

    @pytest.mark.parametrize("share", [5, 15, 40, 200])
    def test_memory_is_bounded_and_nothing_is_forgotten_or_repeated(self, tmp_path: Path, share: int) -> None:
        limits = ActiveLimits(remote=10, per_domain=4, recipients=40, share=share, octets=200)
        house = House(tmp_path, limits=limits)
        expected = set()
        for number in range(150):
            path = f"u{number}@{'big' if number % 3 else f'd{number % 7}'}.test"
            house.put(path)
            expected.add(path)
        most = 0
        delivered: list[str] = []
        while house.remote.attempts:
            for attempt in house.remote.take():
                delivered += attempt.to
                most = max(most, len(house.dispatcher._active.numbers))
                attempt.answer(DELIVERED)
        assert sorted(delivered) == sorted(expected)
        assert most <= 2 * 40 + 10
        assert house.queued() == {}
        house.stop()

    def test_not_even_those_who_have_nothing_in_memory_overfill_it(self, tmp_path: Path) -> None:
        house = House(tmp_path, limits=ActiveLimits(recipients=10))
        for number in range(30):
            house.put(f"u@d{number}.test", sender=f"s{number}@b.test")
        for _ in range(2):
            assert len(house.dispatcher._active.numbers) == 10
            house.restart()
        house.stop()

    def test_a_backlog_is_read_in_parts_after_a_restart(self, tmp_path: Path) -> None:
        house = House(
            tmp_path, limits=ActiveLimits(local=5, remote=10, per_domain=4, recipients=40, share=15)
        )
        paths = [f"u{number}@{'big' if number % 4 else f'd{number}'}.test" for number in range(400)]
        for path in paths:
            house.put(path)
        house.stop()
        house.remote.take()
        house.start()
        delivered: list[str] = []
        while house.remote.attempts:
            for attempt in house.remote.take():
                assert attempt.message.recovered
                delivered += attempt.to
                attempt.answer(DELIVERED)
        assert sorted(delivered) == sorted(paths)
        assert house.queued() == {}
        house.stop()

    def test_an_unreachable_domain_rests_then_is_probed(self, house: House) -> None:
        house.remote.always = UNREACHABLE
        for number in range(10):
            house.put(f"u{number}@dead.test")
        assert len(house.remote.take()) == 3
        assert {event.stage for event in house.events} == {"deferred"}
        assert len(house.events) == 10
        reasons = Counter(event.facts["reason"] for event in house.events)
        assert reasons == {
            "no answer": 3,
            "dead.test is left alone until Fri, 15 Jan 2027 08:05:00 +0000, after: no answer": 7,
        }
        assert {event.facts["status"] for event in house.events} == {"4.4.1"}
        house.clock.advance(300)
        assert len(house.remote.take()) == 1
        assert len(house.events) == 20
        house.remote.always = DELIVERED
        house.clock.advance(600)
        assert len(house.remote.take()) == 10
        assert house.queued() == {}

    def test_a_resting_domain_is_given_up_in_the_end(self, tmp_path: Path) -> None:
        house = House(tmp_path, schedule=RetrySchedule((300.0,), HOUR))
        house.remote.always = UNREACHABLE
        house.local.always = DELIVERED
        for number in range(6):
            house.put(f"u{number}@dead.test")
        for _ in range(20):
            house.clock.advance(300)
        assert house.queued() == {}
        assert len(house.local.attempts) == 6
        house.stop()


class TestOneNextHop:
    """Mail for many domains that goes to one smarthost: one destination."""

    def house(self, directory: Path, **options: object) -> House:
        return House(directory, next_hop=lambda *_: "smart.test:587", **options)

    def test_a_dead_one_costs_one_attempt_per_rest(self, tmp_path: Path) -> None:
        house = self.house(tmp_path)
        house.remote.always = UNREACHABLE
        for number in range(20):
            house.put(f"u@d{number}.test")
        assert len(house.remote.take()) == 3
        reasons = Counter(event.facts["reason"] for event in house.stages_of("deferred"))
        assert len(reasons) == 2
        assert max(reasons).startswith("smart.test:587 is left alone until ")
        house.clock.advance(300)
        assert len(house.remote.take()) == 1
        house.stop()

    def test_one_that_takes_few_connections_delays_nobody(self, tmp_path: Path) -> None:
        house = self.house(tmp_path)
        for number in range(20):
            house.put(f"u@d{number}.test")
        while house.remote.attempts:
            first, second, *others = [*house.remote.take(), None]
            for attempt in filter(None, others):
                attempt.answer(BUSY)
            first.answer(DELIVERED)
            if second is not None:
                second.answer(DELIVERED)
        assert house.stages_of("deferred") == []
        assert house.queued() == {}
        house.stop()

    @pytest.mark.parametrize("share", [5, 15, 40])
    def test_memory_is_bounded_and_nothing_is_forgotten(self, tmp_path: Path, share: int) -> None:
        house = self.house(tmp_path, limits=ActiveLimits(remote=10, recipients=50, share=share, octets=200))
        expected = [f"u@d{number}.test" for number in range(200)]
        for path in expected:
            house.put(path, sender=f"a{len(path) % 3}@a.test")
        most, delivered = 0, []
        while house.remote.attempts:
            for attempt in house.remote.take():
                delivered += attempt.to
                most = max(most, len(house.dispatcher._active.numbers))
                attempt.answer(DELIVERED)
        assert sorted(delivered) == sorted(expected)
        assert most <= share + 1
        assert house.queued() == {}
        house.stop()

    def test_what_comes_when_there_is_no_room_is_not_forgotten(self, tmp_path: Path) -> None:
        """Later than the backlog has looked: nobody but the second look finds it."""
        house = self.house(tmp_path, limits=ActiveLimits(remote=10, recipients=50, share=15))
        expected = [f"u@d{number}.test" for number in range(60)]
        for path in expected:
            house.put(path)
            house.clock.advance(0.1)
        delivered = []
        while house.remote.attempts:
            for attempt in house.remote.take():
                delivered += attempt.to
                attempt.answer(DELIVERED)
        assert sorted(delivered) == sorted(expected) and house.queued() == {}
        house.stop()

    def test_who_has_a_fair_share_of_full_memory_is_not_read_again_and_again(self, tmp_path: Path) -> None:
        """There is a place left in memory, and a place left in the share, and none by the rule."""
        house = House(
            tmp_path,
            limits=ActiveLimits(recipients=100, share=50),
            next_hop=lambda domain, *_: "" if domain == "a.test" else "smart.test:587",
        )
        for number in range(20):
            house.put(f"u@d{number}.test", sender=f"s{number}@b.test")
        for number in range(76):
            house.put(f"u{number}@a.test", sender=f"l{number}@b.test")
        house.put("late@c.test", sender="late@b.test")
        pages, due = 0, house.queue.due

        def counted(*arguments: Any) -> Any:
            nonlocal pages
            pages += 1
            if pages > 10:
                raise RuntimeError("round and round")
            return due(*arguments)

        first, *others = house.local.take()
        house.local.attempts += others
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(house.queue, "due", counted)
            first.answer(DELIVERED)
        assert pages <= 2
        while attempts := house.local.take() + house.remote.take():
            for attempt in attempts:
                attempt.answer(DELIVERED)
        assert house.queued() == {}
        house.stop()


class TestByHand:
    def notice(self, house: House) -> None:
        house.queue.writer.notice()

    @pytest.mark.parametrize("change", ["hold", "remove"])
    def test_what_is_changed_during_an_attempt_is_not_put_back_in_line(
        self, house: House, change: str
    ) -> None:
        first, _ = house.put("cy@c.test"), house.put("dee@c.test")
        one, other = house.remote.take()
        assert getattr(house.by_hand(), change)(first) == 1
        house.clock.advance(1)
        self.notice(house)
        one.answer(BUSY)
        other.answer(DELIVERED)
        house.clock.advance(DAY)
        assert house.remote.attempts == []
        assert house.queued() == ({first: {"cy@c.test": "held"}} if change == "hold" else {})

    def test_retry_now(self, house: House) -> None:
        queue_id = house.put("cy@c.test")
        house.remote.take()[0].answer(DELAYED)
        assert house.by_hand().retry(queue_id) == 1
        self.notice(house)
        assert len(house.remote.attempts) == 1
        assert house.stages(queue_id) == ["deferred", "retried"]

    def test_retry_ends_a_rest(self, house: House) -> None:
        house.remote.always = UNREACHABLE
        for number in range(4):
            house.put(f"u{number}@dead.test")
        house.remote.take()
        house.remote.always = DELIVERED
        assert house.by_hand().retry() == 4
        self.notice(house)
        assert len(house.remote.attempts) == 4

    def test_hold_and_release(self, tmp_path: Path) -> None:
        house = House(tmp_path, limits=ActiveLimits(remote=1))
        first, second = house.put("cy@c.test"), house.put("dee@c.test")
        assert house.by_hand().hold(second) == 1
        self.notice(house)
        house.remote.take()[0].answer(DELIVERED)
        assert house.remote.attempts == []
        assert house.queued() == {second: {"dee@c.test": "held"}}
        house.clock.advance(DAY)
        assert house.by_hand().release(second) == 1
        self.notice(house)
        house.remote.take()[0].answer(DELIVERED)
        assert house.queued() == {}
        assert house.stages(first) == ["done"]
        assert house.stages(second) == ["held", "released", "done"]
        house.stop()

    def test_remove_while_it_waits(self, house: House) -> None:
        queue_id = house.put("cy@c.test", body=LARGE)
        house.remote.take()[0].answer(DELAYED)
        house.by_hand().remove(queue_id)
        self.notice(house)
        assert house.stages(queue_id) == ["deferred", "removed"]
        house.clock.advance(DAY)
        assert house.remote.attempts == []
        assert os.listdir(house.queue.spool.directory) == []

    def test_remove_during_an_attempt_that_fails_makes_no_report(self, house: House) -> None:
        queue_id = house.put("cy@c.test")
        house.by_hand().remove(queue_id)
        house.remote.take()[0].answer(FAILED)
        assert house.queued() == {}
        assert house.local.attempts == []
        assert house.stages(queue_id) == []

    def test_remove_unnoticed_before_its_turn(self, tmp_path: Path) -> None:
        house = House(tmp_path, limits=ActiveLimits(remote=1, octets=0))
        house.put("cy@c.test")
        second = house.put("dee@c.test")
        house.by_hand().remove(second)
        house.remote.take()[0].answer(DELIVERED)
        assert house.remote.attempts == []
        assert house.dispatcher._active.numbers == set()
        house.stop()

    def test_done_without_a_server_is_told_by_the_next(self, house: House) -> None:
        queue_id = house.put("cy@c.test")
        house.remote.take()[0].answer(DELAYED)
        house.stop()
        house.by_hand().remove(queue_id)
        house.start()
        self.notice(house)
        assert house.stages(queue_id) == ["deferred", "removed"]


class TestTrouble:
    @pytest.mark.parametrize(
        "kind", [sqlite3.OperationalError, sqlite3.DatabaseError, sqlite3.IntegrityError, OSError]
    )
    def test_an_outcome_that_cannot_be_recorded_waits_for_the_disk(
        self, house: House, kind: type[Exception]
    ) -> None:
        queue_id = house.put("cy@c.test")
        house.queue.writer.broken = kind("disk I/O error")
        house.remote.take()[0].answer(DELIVERED)
        for _ in range(1000):
            house.clock.advance(1)
        assert house.stages(queue_id) == []
        house.queue.writer.broken = None
        house.clock.advance(30)
        assert house.stages(queue_id) == ["done"]
        assert house.remote.attempts == []

    def test_an_outcome_that_can_never_be_recorded_is_not_delivered_again(self, house: House) -> None:
        house.put("cy@c.test")
        house.queue.writer.broken = ZeroDivisionError("an accident")
        house.remote.take()[0].answer(DELIVERED)
        house.queue.writer.broken = None
        house.clock.advance(DAY)
        assert house.remote.attempts == []
        house.restart()
        assert len(house.remote.attempts) == 1

    @pytest.fixture
    def refusals(self, monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
        """What reading a message from the database raises, one after the other, until there is none left."""
        read, refusals = mailqueue._read, list[Exception]()

        def refuse(*arguments: Any, **named: Any) -> Any:
            if refusals:
                raise refusals.pop()
            return read(*arguments, **named)

        monkeypatch.setattr(mailqueue, "_read", refuse)
        return refusals

    def test_a_read_error_of_a_moment_costs_a_moment(self, house: House, refusals: list[Exception]) -> None:
        house.remote.always = DELAYED
        for number in range(3):
            house.put(f"u{number}@c.test")
        house.stop()
        house.remote.take()
        house.remote.always = DELIVERED
        refusals += [sqlite3.OperationalError("disk I/O error")] * 2
        house.start()
        house.clock.advance(300)
        assert house.remote.attempts == []
        house.clock.advance(1)
        assert len(house.remote.attempts) == 3
        assert house.queued() == {}

    @pytest.mark.parametrize("kind", [sqlite3.OperationalError, OSError, ZeroDivisionError])
    def test_what_cannot_be_read_is_delayed_and_makes_room(
        self, tmp_path: Path, refusals: list[Exception], kind: type[Exception]
    ) -> None:
        house = House(tmp_path, limits=ActiveLimits(recipients=2))
        house.remote.always = DELAYED
        ids = [house.put(f"u{number}@c.test") for number in range(6)]
        house.restart()
        house.remote.take()
        house.remote.always = DELIVERED
        refusals += [kind("what is it")] * 1000
        for _ in range(60):
            house.clock.advance(10)
        refusals.clear()
        assert house.remote.attempts == []
        for queue_id in ids:
            _, again, *_ = (event for event in house.stages_of("deferred") if event.queue_id == queue_id)
            assert again.facts["reason"] == "The message cannot be read at the moment"
        for _ in range(60):
            house.clock.advance(60)
        assert sorted(attempt.to[0] for attempt in house.remote.attempts) == [
            f"u{n}@c.test" for n in range(6)
        ]
        assert house.queued() == {}
        house.stop()

    @pytest.fixture
    def unreadable(self, monkeypatch: pytest.MonkeyPatch) -> set[int]:
        """The messages whose rows cannot be read."""
        read, unreadable = QueueDatabase.message, set[int]()

        def refuse(database: QueueDatabase, number: int) -> Any:
            if number in unreadable:
                raise sqlite3.OperationalError("disk I/O error")
            return read(database, number)

        monkeypatch.setattr(QueueDatabase, "message", refuse)
        return unreadable

    @pytest.mark.parametrize("parameters", [NO_PARAMETERS, MailParameters(deliver_by=DeliverBy(NOON + HOUR))])
    def test_rows_that_cannot_be_read_stop_no_destination_and_nobody_is_forgotten(
        self, tmp_path: Path, unreadable: set[int], parameters: MailParameters
    ) -> None:
        """Their time is up meanwhile: the sender is told as soon as they can be read."""
        house = House(tmp_path, schedule=RetrySchedule((600.0,), lifetime=2 * HOUR, warn_after=HOUR))
        house.local.always = house.remote.always = DELAYED
        ids = [house.put(f"u{number}@c.test", parameters=parameters) for number in range(2)]
        house.restart()
        unreadable.update(map(decode, ids))
        house.local.always = house.remote.always = DELIVERED
        for _ in range(6 * 60):
            house.clock.advance(60)
        good = house.put("good@c.test")
        for _ in range(40):  # while these are tried once more
            house.clock.advance(1)
        assert house.stages(good) == ["done"] and house.local.attempts == []
        assert house.queued() == {queue_id: {f"u{n}@c.test": "waiting"} for n, queue_id in enumerate(ids)}
        unreadable.clear()
        house.remote.always = DELAYED
        house.clock.advance(600)
        assert house.queued() == {} and len(house.local.attempts) == 2
        house.stop()

    def test_what_was_returned_by_hand_goes_back_once_it_can_be_read(
        self, house: House, unreadable: set[int]
    ) -> None:
        house.local.always = house.remote.always = DELAYED
        queue_id = house.put("cy@c.test")
        house.restart()
        unreadable.add(decode(queue_id))
        house.remote.take()
        house.local.always = DELIVERED
        assert house.by_hand().bounce(queue_id) == 1
        house.queue.writer.notice()
        for _ in range(60):
            house.clock.advance(60)
        assert house.queued() == {queue_id: {"cy@c.test": "waiting"}}
        unreadable.clear()
        for _ in range(60):
            house.clock.advance(60)
        assert house.queued() == {} and len(house.local.attempts) == 1 and house.remote.attempts == []

    def test_whether_it_is_queued_is_known_without_reading_it(
        self, house: House, unreadable: set[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queue_id = house.put("cy@c.test")
        unreadable.add(decode(queue_id))
        assert now(is_queued(house.queue, queue_id))
        house.remote.attempts[0].answer(DELIVERED)
        assert not now(is_queued(house.queue, queue_id))

        def refuse(*arguments: Any, **named: Any) -> Any:
            raise sqlite3.OperationalError("disk I/O error")

        monkeypatch.setattr(QueueDatabase, "present", refuse)
        asked = Deferred.fromCoroutine(is_queued(house.queue, queue_id))
        for _ in range(20):
            house.clock.advance(1)
        refused: list[Any] = []
        asked.addErrback(refused.append)
        assert refused[0].check(sqlite3.OperationalError)

    def test_a_spool_file_that_cannot_be_read_now_is_no_damage(self, house: House) -> None:
        house.remote.always = DELAYED
        queue_id = house.put("cy@c.test", body=LARGE)
        house.stop()
        house.remote.take()
        house.remote.always = DELIVERED
        file = house.queue.spool.path(decode(queue_id))
        aside = file.rename(file.with_name("aside"))
        file.mkdir()  # an open() that fails
        house.start()
        house.clock.advance(300)
        assert house.remote.attempts == []
        assert house.queued() == {queue_id: {"cy@c.test": "waiting"}}
        file.rmdir()
        aside.rename(file)
        house.clock.advance(600)
        assert house.queued() == {}

    def test_what_was_attempted_before_may_be_half_delivered(self, house: House) -> None:
        house.put("bob@a.test")
        (first,) = house.local.take()
        assert not first.message.recovered
        first.done.errback(ZeroDivisionError())
        house.clock.advance(300)
        (second,) = house.local.take()
        assert second.message.recovered

    @pytest.mark.parametrize("large", [False, True])
    @pytest.mark.parametrize("wanted_by", [None, DeliverBy(NOON + DAY, notify=True)])
    def test_a_damaged_message_can_be_returned(
        self, house: House, large: bool, wanted_by: DeliverBy | None
    ) -> None:
        parameters = MailParameters(deliver_by=wanted_by)
        queue_id = house.put(
            "cy@c.test", body=LARGE if large else b"Subject: x\r\n\r\ny\r\n", parameters=parameters
        )
        house.remote.take()[0].answer(DELAYED)
        house.local.always = DELIVERED
        if large:
            house.queue.spool.path(decode(queue_id)).unlink()
        else:
            database = house.queue.writer._database
            assert database is not None
            database._execute("UPDATE message SET body = zeroblob(length(body))")
        house.clock.advance(300)
        assert house.queued() == {queue_id: {"cy@c.test": "held"}}
        assert house.by_hand().bounce(queue_id) == 1
        house.queue.writer.notice()
        assert house.queued() == {} and house.remote.attempts == []
        (report,) = house.local.attempts
        assert report.to == ["ann@a.test"]
        assert b"Final-Recipient: rfc822; cy@c.test\r\n" in report.text

    def test_who_cannot_be_quoted_is_reported_all_the_same(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def sign(domain: str, report: bytes) -> bytes:
            if b"poison" in report:
                raise ZeroDivisionError
            return report

        monkeypatch.setattr(house.dispatcher._conclusions._bounces, "_sign", sign)
        house.local.always = DELIVERED
        house.put("cy@c.test", body=b"Subject: poison\r\n\r\ny\r\n")
        house.remote.take()[0].answer(FAILED)
        (report,) = house.local.attempts
        assert b"Status: 5.1.1\r\n" in report.text
        assert house.queued() == {}

    @pytest.mark.parametrize("harm", ["truncated", "zeroed", "missing"])
    def test_a_damaged_spool_file_is_held_and_the_rest_delivered(self, house: House, harm: str) -> None:
        house.remote.always = DELAYED
        bad, good = house.put("cy@c.test", body=LARGE), house.put("dee@c.test", body=LARGE)
        house.stop()
        file = house.queue.spool.path(decode(bad))
        if harm == "missing":
            file.unlink()
        else:
            os.truncate(file, 100_000)
            if harm == "zeroed":
                os.truncate(file, len(LARGE))
        house.remote.take()
        house.remote.always = DELIVERED
        house.start()
        house.clock.advance(300)
        assert [attempt.message.queue_id for attempt in house.remote.attempts] == [good]
        assert house.queued() == {bad: {"cy@c.test": "held"}}
        (recipient,) = house.by_hand().show(bad).recipients
        assert "missing or damaged" in recipient.diagnostic

    def test_a_damaged_body_in_the_database_is_held(self, house: House) -> None:
        queue_id = house.put("cy@c.test")
        house.stop()
        house.queue = house.queue.__class__(house.directory, house.clock)
        now(house.queue.start())
        database = house.queue.writer._database
        assert database is not None
        database._execute("UPDATE message SET body = zeroblob(length(body))")
        now(house.queue.stop())
        house.remote.take()
        house.start()
        assert house.remote.attempts == []
        assert house.queued() == {queue_id: {"cy@c.test": "held"}}


class TestStop:
    def test_attempts_under_way_are_waited_for_and_nothing_new_begins(self, tmp_path: Path) -> None:
        house = House(tmp_path, limits=ActiveLimits(remote=1))
        house.put("cy@c.test")
        second = house.put("dee@c.test")
        stopping = Deferred.fromCoroutine(house.dispatcher.stop())
        assert not stopping.called
        house.remote.take()[0].answer(DELIVERED)
        assert stopping.called
        assert house.remote.attempts == []
        now(house.queue.stop())
        house.start()
        assert house.remote.attempts[0].message.queue_id == second
        house.stop()

    def test_an_attempt_that_hangs_is_waited_for_a_bounded_time_and_made_again(self, house: House) -> None:
        queue_id = house.put("cy@c.test")
        stopping = Deferred.fromCoroutine(house.dispatcher.stop(10.0))
        house.clock.advance(9.9)
        assert not stopping.called
        house.clock.advance(0.1)
        assert stopping.called
        now(house.queue.stop())
        house.remote.take()[0].answer(DELIVERED)
        house.remote = Deliverer()
        house.start()
        (attempt,) = house.remote.attempts
        assert attempt.message.queue_id == queue_id
        assert attempt.message.recovered


class TestWhatTheSenderAsksFor:
    def test_mail_that_is_held_until_a_time_waits_for_it(self, house: House) -> None:
        """FUTURERELEASE (RFC 4865), also over a restart."""
        house.remote.always = DELIVERED
        house.put("cy@c.test", parameters=MailParameters(hold_until=NOON + HOUR))
        house.clock.advance(HOUR / 2)
        assert house.remote.attempts == []
        house.restart()
        house.clock.advance(NOON + HOUR - 1 - house.clock.seconds())
        assert house.remote.attempts == []
        house.clock.advance(1)
        assert len(house.remote.attempts) == 1
        assert house.queued() == {}

    @pytest.mark.parametrize("outcome", [DELAYED, UNREACHABLE])
    def test_mail_that_must_come_by_a_time_is_returned_then(self, house: House, outcome: Outcome) -> None:
        """DELIVERBY (RFC 2852), also at a destination that rests and from disk."""
        house.remote.always = outcome
        house.local.always = DELIVERED
        for _ in range(5):
            house.put("cy@c.test", parameters=MailParameters(deliver_by=DeliverBy(NOON + 1000)))
        house.clock.advance(500)
        house.restart()
        house.clock.advance(NOON + 999 - house.clock.seconds())
        assert len(house.queued()) == 5
        house.clock.advance(1)
        assert house.queued() == {}
        assert len(house.local.attempts) == 5

    def test_mail_that_was_returned_by_hand_is_not_tried(self, house: House) -> None:
        house.put("cy@c.test")
        house.remote.take()[0].answer(DELAYED)
        house.local.always = DELIVERED
        connection = sqlite3.connect(house.directory / "queue.sqlite")
        with connection:
            connection.execute("UPDATE recipient SET returned = 1, next_attempt = 0")
        connection.close()
        house.restart()
        assert house.remote.attempts == []
        assert house.queued() == {}
        assert len(house.local.attempts) == 1
