"""What strangers have to stand at port 25: their names, their sender's domain, rates, errors, patience."""

from __future__ import annotations

import ipaddress

import pytest
from dictionary_resolver import FAILURE, DictionaryResolver
from twisted.internet.defer import Deferred

from tests.transfer.smtp_session import Town
from twisted_mta.protocol.smtp.extensions import Extension, SmtpLimits
from twisted_mta.transfer.screening import hello, screening
from twisted_mta.transfer.screening.screening import Screening, ScreeningRules
from twisted_mta.wire.rates import Rate, RateLimits, Rates

CLIENT = "192.0.2.1"
REJECT = {"hello": "reject", "reverse_dns": "reject", "sender_domain": "reject"}
RECORD = {"hello": "record", "reverse_dns": "record", "sender_domain": "record"}
OURS = frozenset(("mx.a.test", "a.test"))


class Names(DictionaryResolver):
    """Knows a decent host. `gate`, when it is set, holds every answer back until it fires."""

    gate: Deferred | None = None

    def __init__(self, **changes):
        known = {
            "names": {CLIENT: ["mail.b.test"], "2001:db8::1": ["six.b.test"]},
            "hosts": {"mail.b.test": [CLIENT], "six.b.test": ["2001:db8::1"], "b.test": ["192.0.2.9"]},
            "exchanges": {"b.test": [(10, "mail.b.test")]},
        }
        super().__init__(
            **{key: {**known.get(key, {}), **changes.get(key, {})} for key in {*known, *changes}}
        )

    async def ptr(self, address):
        await self._wait()
        return await super().ptr(address)

    async def mx(self, domain):
        await self._wait()
        return await super().mx(domain)

    async def _wait(self):
        if self.gate is not None:
            gate = self.gate
            waiter = Deferred()
            gate.addCallback(lambda _: waiter.called or waiter.callback(None))
            await waiter


def screened(resolver=None, rates=None, trusted=(), **rules):
    networks = tuple(ipaddress.ip_network(network) for network in trusted)
    return Screening(
        ScreeningRules(own_names=OURS, trusted=networks, **rules), resolver=resolver, rates=rates
    )


def answers(town, helo="mail.b.test", sender="x@b.test", to="alice@a.test"):
    """The last reply to RCPT."""
    return town.say(f"EHLO {helo}", f"MAIL FROM:<{sender}>", f"RCPT TO:<{to}>")[-1]


def deliver(town, **envelope):
    assert answers(town, **envelope) == "250 2.1.5 Recipient ok"
    town.say("DATA")
    assert town.say("Subject: hi", "", ".")[-1].startswith("250 2.0.0")
    accepted = town.told[-1]
    assert accepted.stage == "accepted"
    return town.intake.stored[-1][1].decode(), accepted.facts


# Names


def test_a_decent_host_is_let_in_and_recorded():
    head, facts = deliver(Town(screening=screened(Names(), **REJECT)))
    assert head.startswith("Received: from mail.b.test (mail.b.test [192.0.2.1]) by mx.a.test")
    assert facts["client_name"] == "mail.b.test" and facts["doubts"] == ""


def test_ipv6():
    town = Town(host="2001:db8::1", screening=screened(Names(), **REJECT))
    head, _ = deliver(town, helo="[IPv6:2001:DB8:0::1]")
    assert "(six.b.test [IPv6:2001:db8::1])" in head


@pytest.mark.parametrize(
    ("names", "hosts", "refusal", "doubt"),
    [
        ({CLIENT: []}, {}, "550 5.7.25", "its address has no name"),
        ({CLIENT: ["mail.b.test"]}, {"mail.b.test": ["192.0.2.66"]}, "550 5.7.25", "does not lead back"),
        ({CLIENT: ["gone.b.test"]}, {}, "550 5.7.25", "does not lead back"),
        ({CLIENT: FAILURE}, {}, "450 4.7.25", "could not be looked up"),
        ({CLIENT: ["mail.b.test"]}, {"mail.b.test": FAILURE}, "450 4.7.25", "could not be looked up"),
        ({CLIENT: ["x.b.test", "mail.b.test"]}, {}, "250 2.1.5", ""),
        ({CLIENT: [*[f"x{i}.b.test" for i in range(50)], "mail.b.test"]}, {}, "550 5.7.25", "lead back"),
    ],
)
def test_reverse_names(names, hosts, refusal, doubt):
    resolver = Names(names=names, hosts=hosts)
    town = Town(screening=screened(resolver, reverse_dns="reject"))
    assert answers(town).startswith(refusal)
    assert len(resolver.asked) < 10
    _, facts = deliver(Town(screening=screened(Names(names=names, hosts=hosts), reverse_dns="record")))
    assert doubt in facts["doubts"] and bool(doubt) == bool(facts["doubts"])


@pytest.mark.parametrize(
    ("name", "address", "expected"),
    [
        ("mail.b.test", CLIENT, ""),
        ("mail.b.test.", CLIENT, ""),
        ("WIN_HOST-1", CLIENT, ""),
        ("xn--bcher-kva.test", CLIENT, ""),
        ("[192.0.2.1]", CLIENT, ""),
        ("[192.0.2.1]", "::ffff:192.0.2.1", ""),
        ("[IPv6:2001:db8::1]", "2001:db8:0:0::1", ""),
        ("[192.0.2.2]", CLIENT, "its name is an address that is not its own"),
        ("[IPv6:2001:db8::2]", "2001:db8::1", "its name is an address that is not its own"),
        ("[192.0.2.1", CLIENT, "its name is no address literal"),
        ("[]", CLIENT, "its name is no address literal"),
        ("[nonsense]", CLIENT, "its name is no address literal"),
        ("192.0.2.1", CLIENT, "its name is an address without brackets"),
        ("10.300", CLIENT, "its name is an address without brackets"),
        ("mx.a.test", CLIENT, "its name is ours"),
        ("A.TEST.", CLIENT, "its name is ours"),
        ("www.a.test", CLIENT, ""),
        ("-x.test", CLIENT, "its name is not a domain name"),
        ("b..test", CLIENT, "its name is not a domain name"),
        ("(b.test)", CLIENT, "its name is not a domain name"),
        ("a" * 64 + ".test", CLIENT, "its name is not a domain name"),
    ],
)
def test_lies(name, address, expected):
    assert hello.lie(name, address, OURS) == expected


def test_who_lies_is_refused_at_rcpt_and_may_write_to_postmaster():
    town = Town(screening=screened(Names(), **REJECT))
    refusal = "550 5.7.1 Client refused: its name is ours"
    assert town.say("EHLO a.test", "MAIL FROM:<x@b.test>", "RCPT TO:<alice@a.test>")[-2:] == [
        "250 2.1.0 Sender ok",
        refusal,
    ]
    assert (town.told[-1].stage, town.told[-1].facts["reply"]) == ("refused", refusal)
    assert town.say("RCPT TO:<postmaster>", "RCPT TO:<Postmaster@a.test>") == ["250 2.1.5 Recipient ok"] * 2
    assert town.say("EHLO mail.b.test", "MAIL FROM:<x@b.test>", "RCPT TO:<bob@a.test>")[-1].startswith("250")


@pytest.mark.parametrize(
    ("helo", "strict"),
    [
        ("mail.b.test", "250 2.1.5"),
        ("b.test", "250 2.1.5"),
        ("[192.0.2.1]", "250 2.1.5"),
        ("gone.b.test", "550 5.7.1"),
        ("localhost", "550 5.7.1"),
        ("trouble.test", "250 2.1.5"),  # which is no fault of the name
    ],
)
def test_names_that_the_dns_does_not_know(helo, strict):
    resolver = Names(hosts={"trouble.test": FAILURE})
    assert answers(Town(screening=screened(resolver, hello="strict")), helo).startswith(strict)
    assert answers(Town(screening=screened(resolver, hello="reject")), helo).startswith("250")
    asked = len(resolver.asked)
    deliver(Town(screening=screened(resolver, hello="record")), helo=helo)
    assert len(resolver.asked) == asked


@pytest.mark.parametrize(
    ("exchanges", "hosts", "expected"),
    [
        ({"b.test": [(0, "")]}, {}, "550 5.7.27 Sender address has null MX: <x@b.test>"),
        (
            {"b.test": []},
            {"b.test": []},
            "550 5.1.8 The domain of <x@b.test> takes no mail: no MX, no address",
        ),
        ({"b.test": FAILURE}, {}, "450 4.1.8 The domain of <x@b.test> cannot be looked up, try again later"),
        (
            {"b.test": []},
            {"b.test": FAILURE},
            "450 4.1.8 The domain of <x@b.test> cannot be looked up, try again later",
        ),
        ({"b.test": []}, {}, "250 2.1.5 Recipient ok"),  # an address will do
    ],
)
def test_senders_that_no_answer_would_reach(exchanges, hosts, expected):
    resolver = Names(exchanges=exchanges, hosts=hosts)
    assert answers(Town(screening=screened(resolver, sender_domain="reject"))) == expected
    _, facts = deliver(Town(screening=screened(resolver, sender_domain="record")))
    assert facts["doubts"] == ("" if expected.startswith("250") else expected.split(" ", 2)[2])


def test_senders_that_are_not_looked_up():
    for sender in ("", "x@[192.0.2.1]"):
        resolver = Names()
        assert answers(Town(screening=screened(resolver, sender_domain="reject")), sender=sender).startswith(
            "250"
        )
        assert resolver.asked == []
    town = Town(screening=screened(Names(), sender_domain="reject"))
    assert answers(town, sender="x@gone.test").startswith("550 5.1.8")
    assert town.say("RSET", "MAIL FROM:<x@b.test>", "RCPT TO:<alice@a.test>")[-1].startswith("250")


@pytest.mark.parametrize("how", ["loopback", "allowed", "submission"])
def test_who_is_not_screened(how):
    resolver = Names(names={CLIENT: [], "127.0.0.1": []})
    rules = screened(resolver, trusted=[CLIENT] if how == "allowed" else [], greeting_delay=5.0, **REJECT)
    if how == "submission":
        town = Town("submission", secure=True, screening=screened(resolver, **REJECT))
        town.say("EHLO a.test", "AUTH PLAIN AGFsaWNlAHNlY3JldA==")
        assert town.say("MAIL FROM:<alice@a.test>", "RCPT TO:<x@gone.test>")[-1].startswith("250")
    else:
        town = Town(host="127.0.0.1" if how == "loopback" else CLIENT, screening=rules)
        assert answers(town, helo="a.test", sender="x@gone.test").startswith("250")
        assert resolver.asked == []


# A slow DNS


def test_names_are_looked_up_beside_the_dialog_and_waited_for_at_rcpt():
    resolver = Names()
    resolver.gate = Deferred()
    town = Town(screening=screened(resolver, answers=5.0, **REJECT))
    assert town.said().startswith(b"220")
    town.clock.advance(4)
    assert len(town.say("EHLO mail.b.test", "MAIL FROM:<x@b.test>")) == 2
    assert town.say("RCPT TO:<alice@a.test>", "NOOP") == []
    resolver.gate.callback(None)
    assert [line[:9] for line in town.said().decode().splitlines()] == ["250 2.1.5", "250 2.0.0"]


@pytest.mark.parametrize(("mode", "reply"), [("record", "250 2.1.5"), ("reject", "450 4.7.25")])
def test_a_dns_that_does_not_answer_costs_no_more_than_is_said(mode, reply):
    resolver = Names()
    resolver.gate = Deferred()
    town = Town(screening=screened(resolver, answers=5.0, reverse_dns=mode))
    town.clock.advance(3)
    assert len(town.say("EHLO b.test", "MAIL FROM:<x@b.test>", "RCPT TO:<alice@a.test>")) == 3
    town.clock.advance(1.9)
    assert town.said() == b""
    town.clock.advance(0.2)  # five seconds from the connection on, not from RCPT
    assert town.said().decode().startswith(reply)


def test_who_leaves_is_waited_for_no_longer():
    resolver = Names()
    resolver.gate = Deferred()
    shared = screened(resolver, **RECORD)
    town = Town(screening=shared)
    town.say("EHLO b.test", "MAIL FROM:<x@b.test>", "RCPT TO:<alice@a.test>")
    assert shared.questions >= 1
    town.hang_up()
    asked = len(resolver.asked)
    resolver.gate.callback(None)
    assert shared.questions == 0 and len(resolver.asked) > asked  # what has been asked ends by itself
    assert town.stages == [] and not town.intake.stored


def test_questions_count_until_they_are_answered(monkeypatch):
    """Who comes and goes in haste must not pile up work."""
    monkeypatch.setattr(screening, "MOST_QUESTIONS", 3)
    resolver = Names()
    resolver.gate = Deferred()
    shared = screened(resolver, reverse_dns="record")
    for _ in range(10):
        Town(screening=shared).hang_up()
    assert shared.questions == 3
    resolver.gate.callback(None)
    assert shared.questions == 0


def test_too_many_questions_are_not_asked(monkeypatch):
    monkeypatch.setattr(screening, "MOST_QUESTIONS", 3)
    resolver = Names()
    resolver.gate = Deferred()
    shared = screened(resolver, reverse_dns="record")
    towns = [Town(screening=shared) for _ in range(10)]
    assert shared.questions == 3
    _, facts = deliver(towns[9])
    assert "could not be looked up" in facts["doubts"]


# The greeting


def test_strangers_wait_for_the_greeting_and_those_who_are_known_do_not():
    shared = screened(greeting_delay=3.0)
    town = Town(screening=shared)
    assert town.said() == b""
    town.clock.advance(2.9)
    assert town.said() == b""
    town.clock.advance(0.2)
    assert town.said().startswith(b"220 mx.a.test")
    deliver(town)
    assert Town(screening=shared).said().startswith(b"220")
    assert Town(host="192.0.2.2", screening=shared).said() == b""
    late = Town(screening=shared)
    late.clock.advance(1)
    assert shared.is_known(CLIENT, late.clock.seconds())
    assert not shared.is_known(CLIENT, late.clock.seconds() + 10 + screening.KNOWN_FOR)


@pytest.mark.parametrize("said", [b"EHLO b.test\r\n", b"x", b"GET / HTTP/1.0\r\n\r\n"])
def test_who_talks_before_the_greeting_is_sent_away(said):
    shared = screened(greeting_delay=3.0)
    town = Town(screening=shared)
    assert town.send(said) == b"554 5.5.0 mx.a.test You spoke before the greeting; closing\r\n"
    assert town.closed and town.stages == ["refused"]
    town.clock.advance(10)
    assert town.said() == b""


def test_who_hangs_up_before_the_greeting_leaves_nothing_behind():
    town = Town(screening=screened(greeting_delay=3.0))
    town.hang_up()
    assert not [call for call in town.clock.getDelayedCalls() if call.getTime() < town.clock.seconds() + 4]


def test_a_server_that_stops_says_so_instead_of_greeting():
    town = Town(screening=screened(greeting_delay=3.0))
    town.listener.end_all()
    town.clock.advance(4)
    assert town.said() == b"421 4.3.2 mx.a.test Shutting down, closing\r\n"


def test_known_clients_are_bounded(monkeypatch):
    monkeypatch.setattr(screening, "MOST_KNOWN", 10)
    shared = screened()
    for number in range(100):
        shared.remember(f"192.0.2.{number}", 0.0)
    assert len(shared._known) == 10


# Errors


def pause(town, *lines):
    """Seconds until there is an answer to what comes behind."""
    town.say(*lines)
    answer = town.say("NOOP")
    waited = 0
    while not answer and not town.closed:
        town.clock.advance(1)
        waited += 1
        answer = [line for line in town.said().decode().splitlines() if line.startswith("250 2.0.0")]
    return waited


@pytest.mark.parametrize("error", ["NONSENSE", "RCPT TO:<alice@a.test>", "MAIL FROM:<x@b.test", "x\rx"])
def test_errors_cost_more_and_more_up_to_a_limit(error):
    town = Town(screening=screened(step=1.0, errors=3, longest=5.0), limits=SmtpLimits(errors=100))
    town.say("EHLO b.test")
    assert [pause(town, error) for _ in range(10)] == [0, 0, 0, 1, 2, 3, 4, 5, 5, 5]


def test_refusals_cost_too_and_an_accepted_message_makes_up_for_them():
    town = Town(screening=screened(step=1.0, errors=3, longest=5.0))
    town.say("EHLO b.test", "MAIL FROM:<x@b.test>")
    costs = [pause(town, f"RCPT TO:<nobody{i}@a.test>") for i in range(6)]
    assert costs == [0, 0, 0, 1, 2, 3]
    town.say("RCPT TO:<alice@a.test>", "DATA")
    assert town.say("x: y", ".")[-1].startswith("250")
    town.say("MAIL FROM:<x@b.test>")
    assert pause(town, "RCPT TO:<nobody@a.test>") == 0


def test_pipelined_errors_are_answered_one_by_one():
    town = Town(screening=screened(step=1.0, errors=3, longest=5.0))
    town.say("EHLO b.test")
    town.send(b"X\r\n" * 8 + b"NOOP\r\n")
    town.clock.pump([1.0] * 60)
    assert town.said().count(b"500 5.5.2") > 0 and not town.transport.held


def test_our_own_trouble_costs_nothing():
    town = Town(screening=screened(step=1.0, errors=0, longest=5.0))
    town.full.add("alice@a.test")
    town.say("EHLO b.test", "MAIL FROM:<x@b.test>")
    assert [pause(town, "RCPT TO:<alice@a.test>") for _ in range(5)] == [0] * 5


def test_waiting_ends_when_the_server_stops_or_the_client_leaves():
    shared = screened(step=100.0, errors=0, longest=100.0)
    stopped, left = Town(screening=shared), Town(screening=shared)
    for town in (stopped, left):
        town.say("EHLO b.test", "MAIL FROM:<x@b.test>", "RCPT TO:<nobody@a.test>")
    assert shared.slowed == 2
    left.hang_up()
    stopped.listener.end_all()
    assert shared.slowed == 0 and stopped.closed
    assert stopped.said().startswith(b"550 5.1.1")


def test_what_is_refused_when_the_server_stops_is_not_held_back():
    shared = screened(step=100.0, errors=0, longest=100.0)
    pipelining, looked_up, left = (Town(screening=shared) for _ in range(3))
    gates = looked_up.directory.gate, left.directory.gate = Deferred(), Deferred()
    for town in (pipelining, looked_up, left):
        town.say("EHLO b.test", "MAIL FROM:<x@b.test>", *["RCPT TO:<nobody@a.test>"] * 3)
    assert shared.slowed == 1
    left.hang_up()
    for town in (pipelining, looked_up):
        town.listener.end_all()
    for gate in gates:
        gate.callback(None)
    assert shared.slowed == 0 and pipelining.closed and looked_up.closed
    for town in (pipelining, looked_up):
        assert [line[:3] for line in town.said().splitlines()] == [b"550", b"421"]


def test_no_more_than_so_many_are_kept_waiting(monkeypatch):
    monkeypatch.setattr(screening, "MOST_SLOWED", 2)
    shared = screened(step=1.0, errors=0)
    towns = [Town(screening=shared) for _ in range(3)]
    for town in towns:
        town.say("NONSENSE")
    assert shared.slowed == 2
    assert towns[2].say("NOOP") == ["250 2.0.0 Ok"]


@pytest.mark.parametrize(
    "begin", [(), ("EHLO b.test", "MAIL FROM:<x@b.test>", "RCPT TO:<alice@a.test>", "DATA")]
)
def test_an_octet_every_ten_seconds_is_no_progress(begin):
    town = Town(screening=screened())
    town.say(*begin)
    for _ in range(29):
        town.clock.advance(10)
        assert town.send(b"E") == b"" and not town.closed
    town.clock.advance(20)
    town.listener.sweep()
    assert town.said() == b"421 4.4.2 mx.a.test Timeout, closing\r\n" and town.closed


# Rates


def test_messages_and_recipients_of_a_network_are_limited():
    buckets = Rates(RateLimits(messages=Rate(2, 60.0), recipients=Rate(3, 60.0)), seconds=lambda: 0.0)
    shared = screened(rates=buckets)
    town = Town(screening=shared)
    town.say("EHLO b.test", "MAIL FROM:<x@b.test>")
    assert town.say(*["RCPT TO:<alice@a.test>"] * 4)[-2:] == [
        "250 2.1.5 Recipient ok",
        "452 4.7.1 Too many recipients from your network, try again later",
    ]
    assert town.say("RSET", "MAIL FROM:<x@b.test>", "RSET", "MAIL FROM:<x@b.test>")[1::2] == [
        "250 2.1.0 Sender ok",
        "450 4.7.1 Too many messages from your network, try again later",
    ]
    other = Town(host="192.0.2.2", screening=shared)
    assert answers(other).startswith("250")
    local = Town(host="127.0.0.1", screening=shared)
    assert answers(local).startswith("250")


# Contents


def test_one_stranger_has_a_quarter_of_the_places_for_contents():
    town = Town(receiving=4)
    town.say("EHLO b.test", "MAIL FROM:<x@b.test>", "RCPT TO:<alice@a.test>", "DATA")
    others = [enter(town, CLIENT), enter(town, "192.0.2.2")]
    for other in others:
        other.dataReceived(b"EHLO b.test\r\nMAIL FROM:<x@b.test>\r\n")
    assert (
        others[0]
        .transport.value()
        .endswith(b"451 4.3.2 Too many messages are coming in, try again later\r\n")
    )
    assert others[1].transport.value().endswith(b"250 2.1.0 Sender ok\r\n")


def test_a_place_is_taken_when_the_content_begins():
    """Who has come as far as RCPT while there was room, has no place for that."""
    town = Town(receiving=4, extensions=frozenset({Extension.CHUNKING}))
    sessions = [enter(town, f"192.0.2.{i}") for i in range(10, 16)]
    for session in sessions:
        session.dataReceived(b"EHLO b.test\r\nMAIL FROM:<x@b.test>\r\nRCPT TO:<alice@a.test>\r\n")
        session.transport.clear()
    for session in sessions[:5]:
        session.dataReceived(b"DATA\r\n")
    assert [session.transport.value()[:3] for session in sessions[:5]] == [b"354"] * 4 + [b"451"]
    sessions[5].dataReceived(b"BDAT 8 LAST\r\nA: b\r\n\r\nNOOP\r\n")
    answers = [line[:9] for line in sessions[5].transport.value().splitlines()]
    assert answers == [b"451 4.3.2", b"250 2.0.0"]
    sessions[0].connectionLost()
    sessions[4].transport.clear()
    sessions[4].dataReceived(b"DATA\r\n")
    assert sessions[4].transport.value()[:3] == b"354"


def test_those_who_hold_a_place_for_nothing_lose_it():
    town = Town(receiving=4)
    sessions = [enter(town, f"192.0.2.{i}") for i in range(10, 14)]
    for session in sessions:
        session.dataReceived(b"EHLO b.test\r\nMAIL FROM:<x@b.test>\r\nRCPT TO:<alice@a.test>\r\nDATA\r\n")
    assert town.say("EHLO b.test", "MAIL FROM:<x@b.test>")[-1].startswith("451 4.3.2")
    town.clock.advance(11)
    for session in sessions:
        session.dataReceived(b"x")  # no progress
    town.say("MAIL FROM:<x@b.test>")
    assert all(session.transport.value().endswith(b"Timeout, closing\r\n") for session in sessions)
    for session in sessions:
        session.connectionLost()
    assert town.say("MAIL FROM:<x@b.test>")[-1].startswith("250")


def enter(town, host):
    """One more session at the same listener."""
    session = town.listener.buildProtocol(None)
    session.makeConnection(type(town.transport)(host))
    return session
