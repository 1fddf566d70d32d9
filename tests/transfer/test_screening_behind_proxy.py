"""Clients for whom a trusted proxy speaks (XCLIENT) are screened as if they had come by themselves."""

from __future__ import annotations

import ipaddress

import pytest
from test_screening import CLIENT, RECORD, REJECT, Names, answers, deliver, screened

from tests.transfer.smtp_session import Town
from twisted_mta.wire.rates import Rate, RateLimits, Rates

PROXY = "203.0.113.1"


@pytest.mark.parametrize(
    ("said", "answer", "asked"),
    [
        (f"ADDR={CLIENT}", "250 2.1.5", True),
        ("ADDR=192.0.2.2", "550 5.7.25", True),
        (f"ADDR={CLIENT} NAME=other.test", "250 2.1.5", False),
        (f"ADDR={CLIENT} NAME=[UNAVAILABLE]", "550 5.7.25", False),
        (f"ADDR={CLIENT} NAME=[TEMPUNAVAIL]", "450 4.7.25", False),
        (f"ADDR={CLIENT} NAME=other.test HELO=a.test", "550 5.7.1", False),
    ],
)
def test_whom_a_proxy_speaks_for_is_screened(said, answer, asked):
    resolver = Names()
    networks = (ipaddress.ip_network(PROXY),)
    shared = screened(resolver, trusted=[PROXY], greeting_delay=5.0, **REJECT)
    town = Town(host=PROXY, xclient_networks=networks, screening=shared)
    assert town.said().startswith(b"220")
    town.say("EHLO proxy.test", f"XCLIENT {said}")
    assert answers(town).startswith(answer)
    assert any(question.startswith("PTR") for question in resolver.asked) == asked
    assert town.session.client.address != PROXY


def unknown(name="", **town):
    """A client whose address its proxy does not know."""
    networks = (ipaddress.ip_network(PROXY),)
    here = Town(host=PROXY, xclient_networks=networks, **town)
    here.say("EHLO proxy.test", f"XCLIENT ADDR=[UNAVAILABLE]{name}")
    return here


@pytest.mark.parametrize(
    ("name", "helo", "sender", "answer"),
    [
        ("", "mail.b.test", "x@b.test", "250 2.1.5"),
        (" NAME=[UNAVAILABLE]", "mail.b.test", "x@b.test", "250 2.1.5"),
        ("", "[198.51.100.7]", "x@b.test", "250 2.1.5"),  # who could say that it is not?
        ("", "mx.a.test", "x@b.test", "550 5.7.1 Client refused: its name is ours"),
        ("", "[nonsense]", "x@b.test", "550 5.7.1"),
        ("", "mail.b.test", "x@nowhere.test", "550 5.1.8"),
    ],
)
def test_a_client_that_a_proxy_does_not_know_is_a_stranger(name, helo, sender, answer):
    """What could be said of its address nobody knows; all else is asked as of everybody."""
    resolver = Names()
    town = unknown(name, screening=screened(resolver, trusted=[PROXY], **REJECT))
    assert not town.session.trusted
    assert answers(town, helo=helo, sender=sender).startswith(answer)
    assert not any(question.startswith("PTR") for question in resolver.asked)


def test_what_is_recorded_of_a_client_that_nobody_knows():
    head, facts = deliver(unknown(screening=screened(Names(), **RECORD)))
    assert head.startswith("Received: from mail.b.test by mx.a.test with ESMTP id Q1 for <")
    assert (facts["client"], facts["doubts"]) == ("", "its address is not known")


def test_a_client_that_nobody_knows_may_not_relay():
    town = unknown(networks=["0.0.0.0/0", "::/0", PROXY])
    assert answers(town, to="bob@elsewhere.test").startswith("550 5.7.1")


def test_clients_that_nobody_knows_stay_strangers():
    """One of them having had a message accepted says nothing of the next."""
    shared = screened(Names(), trusted=[PROXY], greeting_delay=5.0)
    deliver(unknown(screening=shared))
    assert not shared.is_known("", 0.0)
    assert unknown(screening=shared).session._visit.greeting_delay == 5.0


def test_clients_that_nobody_knows_share_their_rate():
    buckets = Rates(RateLimits(messages=Rate(2)), seconds=lambda: 0.0)
    shared = screened(rates=buckets)
    said = [unknown(screening=shared).say("EHLO b.test", "MAIL FROM:<x@b.test>")[-1] for _ in range(3)]
    assert [line[:3] for line in said] == ["250", "250", "450"]
