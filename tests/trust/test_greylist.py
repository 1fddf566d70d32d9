"""Greylisting (RFC 6647): who has to come back, who is free, and what is remembered."""

from __future__ import annotations

from typing import Any

import asked_check
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.message.address import Address
from twisted_mta.trust.abuse.checks import GreylistCheck
from twisted_mta.trust.abuse.greylist import MOST_OF_ONE, Greylist, GreylistRules
from twisted_mta.trust.abuse.memory import Memory, Remembered
from twisted_mta.trust.abuse.origin import is_generic, network_of, origin_of, registered, vouched
from twisted_mta.trust.abuse.senders import SenderEntry, SenderLists
from twisted_mta.trust.check import Verdict
from twisted_mta.trust.spf.check import SpfResult

RULES = GreylistRules(delay=300, window=86400, trust=30 * 86400)
ANN = Address("ann", "far.test")


class Now:
    """The wall clock."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def __call__(self) -> float:
        return self.time


def test_who_comes_back_in_time_is_free_and_all_his_mail_with_him():
    now = Now()
    greylist = Greylist(RULES, seconds=now)
    assert greylist.wait("192.0.2.0/24", "far.test", "bob@here.test") == 300
    now.time += 299
    assert greylist.wait("192.0.2.0/24", "far.test", "bob@here.test") == 1  # too early, and no new beginning
    now.time += 1
    assert greylist.wait("192.0.2.0/24", "far.test", "bob@here.test") == 0
    assert greylist.wait("192.0.2.0/24", "other.test", "carol@here.test") == 0
    assert greylist.wait("198.51.100.0/24", "far.test", "bob@here.test") == 300


def test_another_recipient_or_sender_is_another_beginning():
    now = Now()
    greylist = Greylist(RULES, seconds=now)
    greylist.wait("o", "far.test", "bob@here.test")
    now.time += 400
    assert greylist.wait("o", "far.test", "carol@here.test") == 300
    assert greylist.wait("o", "near.test", "bob@here.test") == 300
    assert greylist.wait("o", "far.test", "bob@here.test") == 0


def test_who_comes_back_too_late_begins_anew_and_trust_lasts_while_it_is_used():
    now = Now()
    greylist = Greylist(RULES, seconds=now)
    greylist.wait("o", "far.test", "bob")
    now.time += 86401
    assert greylist.wait("o", "far.test", "bob") == 300
    now.time += 300
    assert greylist.wait("o", "far.test", "bob") == 0
    for _ in range(4):
        now.time += 20 * 86400
        assert greylist.is_trusted("o")
    now.time += 31 * 86400
    assert greylist.wait("o", "far.test", "bob") == 300


def test_a_flood_of_one_washes_nobody_out():
    now = Now()
    greylist = Greylist(RULES, seconds=now)
    for number in range(3 * MOST_OF_ONE):
        assert greylist.wait("flood", "x.test", f"user{number}") == 300
    assert len(greylist.waiting) == MOST_OF_ONE
    now.time += 300
    assert greylist.wait("flood", "x.test", "user0") == 300  # its own oldest made room
    assert greylist.wait("flood", "x.test", f"user{3 * MOST_OF_ONE - 1}") == 0


@given(st.lists(st.tuples(st.integers(1, 2000), st.sampled_from("pq"), st.sampled_from("ab")), max_size=30))
def test_nobody_is_free_before_he_has_come_back_in_time_and_then_he_is(visits):
    now, first, free = Now(), {}, {}
    greylist = Greylist(GreylistRules(delay=300, window=1500, trust=4000), seconds=now)
    for pause, origin, recipient in visits:
        now.time += pause
        if now.time < free.get(origin, 0):
            assert greylist.wait(origin, "far.test", recipient) == 0
            continue
        began = first.get((origin, recipient))
        if began is None or now.time - began >= 1500:
            began = first[origin, recipient] = now.time
        if now.time - began >= 300:
            assert greylist.wait(origin, "far.test", recipient) == 0
            first.pop((origin, recipient))
            free[origin] = now.time + 4000
        else:
            assert greylist.wait(origin, "far.test", recipient) == began + 300 - now.time


def test_what_is_remembered_goes_to_the_disk_and_back():
    now = Now()
    before = Greylist(RULES, seconds=now)
    before.wait("o", "far.test", "bob")
    before.trust("p")
    after = Greylist(RULES, seconds=now)
    after.waiting.settle(before.waiting.take_changes())
    after.trusted.settle(before.trusted.take_changes())
    assert before.waiting.take_changes() == []
    now.time += 300
    assert after.wait("o", "far.test", "bob") == 0 and after.is_trusted("p")
    assert [change.until for change in after.waiting.take_changes()] == [0]  # no longer needed


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 20), st.booleans())), st.integers(1, 4))
def test_a_memory_is_bounded_and_what_is_written_down_is_what_it_holds(steps, most):
    memory, written, now = Memory(most), {}, 0
    for key, length, drop in steps:
        now += 1
        if drop:
            memory.drop(key)
        else:
            memory.put(key, now, now + length)
        for change in memory.take_changes():
            written[change.key] = change
        assert len(memory) <= most
    kept = {key for key, change in written.items() if change.until > now}
    assert kept == {key for key in "abcdef" if memory.get(key, now) is not None}


@pytest.mark.parametrize(
    ("address", "name", "origin"),
    [
        ("192.0.2.7", "mail.far.test", "far.test"),
        ("192.0.2.7", "mail-12.out.far.co.uk", "far.co.uk"),
        ("192.0.2.7", "", "192.0.2.0/24"),
        ("192.0.2.7", "dsl-192-0-2-7.provider.test", "192.0.2.0/24"),
        ("192.0.2.7", "7.2.0.192.dyn.provider.test", "192.0.2.0/24"),
        ("192.0.2.7", "host192000002007.provider.test", "192.0.2.0/24"),
        ("192.0.2.7", "c0000207.provider.test", "192.0.2.0/24"),
        ("192.0.2.7", "mx7.far.test", "far.test"),
        ("2001:db8::1:2", "", "2001:db8::/64"),
        ("2001:db8::1:2", "2001-0db8-0000-0000-0000-0000-0001-0002.provider.test", "2001:db8::/64"),
        ("::ffff:192.0.2.7", "", "192.0.2.0/24"),
        ("nonsense", "", ""),
    ],
)
def test_who_is_one_and_the_same(address, name, origin):
    assert origin_of(address, name) == origin


@given(st.text(max_size=30), st.text(max_size=30))
def test_origins_of_nonsense(address, name):
    assert isinstance(origin_of(address, name), str)
    assert isinstance(is_generic(name, address), bool)
    assert isinstance(network_of(address), str) and isinstance(registered(name), str)


# The check


def judge(check: GreylistCheck, **client: Any) -> Verdict:
    return asked_check.judge(check, **{"reverse": "none", "reverse_path": ANN, **client})


def test_who_is_told_to_come_back_hears_when_and_why():
    verdict = judge(GreylistCheck(Greylist(RULES, seconds=Now())))
    assert verdict.action == "defer" and verdict.error is not None
    assert str(verdict.error) == (
        "451 4.7.1 We have not had mail from 192.0.2.0/24 before: try again in 5 minutes and it will be taken"
    )
    assert "no name that leads back" in verdict.why


@pytest.mark.parametrize(
    ("client", "all_clients", "action"),
    [
        ({"reverse": "pass", "name": "mail.far.test"}, False, "accept"),
        ({"reverse": "pass", "name": "mail.far.test"}, True, "defer"),
        ({"reverse": "pass", "name": "dsl-192-0-2-7.provider.test"}, False, "defer"),
        ({"reverse": "fail"}, False, "defer"),
        ({"reverse": "temperror"}, False, "accept"),  # the DNS's trouble is not the client's
        ({"reverse": ""}, False, "accept"),
        ({"forward_paths": (Address("Postmaster", "here.test"),)}, True, "accept"),
        ({"reverse_path": None}, False, "defer"),
        ({"address": ""}, True, "accept"),
    ],
)
def test_who_is_asked_to_come_back(client, all_clients, action):
    check = GreylistCheck(Greylist(RULES, seconds=Now()), "all" if all_clients else "suspicious")
    assert judge(check, **client).action == action


def test_people_whom_accounts_have_written_to_and_allowed_ones_do_not_wait():
    async def known(address: Address) -> bool:
        return address == ANN

    lists = SenderLists([SenderEntry("", "far.test", "allow")])
    assert judge(GreylistCheck(Greylist(RULES, seconds=Now()), known_sender=known)).action == "accept"
    assert judge(GreylistCheck(Greylist(RULES, seconds=Now()), lists=lists)).action == "accept"
    other = {"reverse_path": Address("eve", "x.test")}
    assert judge(GreylistCheck(Greylist(RULES, seconds=Now()), known_sender=known), **other).action == "defer"
    assert judge(GreylistCheck(Greylist(RULES, seconds=Now()), lists=lists), **other).action == "defer"


def test_forgetting_what_is_over():
    memory = Memory(10)
    memory.settle([Remembered("a", 1, 5), Remembered("b", 1, 50)])
    memory.forget_old(10)
    assert len(memory) == 1 and memory.get("b", 10) is not None and memory.take_changes() == []


# Who answers for a client


def spf(domain: str, mechanism: str = "mx", result: str = "pass") -> SpfResult:
    return SpfResult(result, domain, mechanism)


@pytest.mark.parametrize(
    ("found", "domain"),
    [
        (spf("mail.far.co.uk"), "far.co.uk"),
        (spf("far.test", "include:_spf.provider.test"), "far.test"),
        (spf("far.test", "+all"), ""),  # anybody's client would pass
        (spf("far.test", "ALL"), ""),
        (spf("far.test", result="softfail"), ""),
        (spf("far.test", result="temperror"), ""),
        (None, ""),
    ],
)
def test_who_answers_for_a_client(found, domain):
    assert vouched(found) == domain


def test_at_a_large_provider_nobody_is_free_for_others_or_waits_longer_for_them():
    now = Now()
    greylist = Greylist(RULES, seconds=now)
    check = GreylistCheck(greylist)

    def said(domain: str, result: str = "pass") -> str:
        return judge(check, reverse_path=Address("x", domain), spf=spf(domain, result=result)).action

    assert said("spam.test") == said("far.test") == said("none.test", "none") == "defer"
    for number in range(2 * MOST_OF_ONE):  # what one of them does pushes out its own alone
        judge(check, reverse_path=ANN, spf=spf("spam.test"), forward_paths=(Address(f"b{number}", "h.test"),))
    now.time += 300
    assert said("far.test") == "accept" and greylist.is_trusted("far.test")
    assert said("near.test") == "defer" and not greylist.is_trusted("192.0.2.0/24")
    assert said("none.test", "none") == "accept" and greylist.is_trusted("192.0.2.0/24")
    assert said("next.test") == "defer" and said("next.test", "none") == "accept"
