"""Lists in the DNS (RFC 5782): what is asked, which answers count, and lists that have gone bad."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from asked_check import done, judge
from dictionary_resolver import FAILURE, DictionaryResolver
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from twisted_mta.message.address import Address
from twisted_mta.trust.abuse.checks import DnsListCheck, GreylistCheck
from twisted_mta.trust.abuse.dnsbl import DnsList, DnsLists, fault, reversed_labels, trouble
from twisted_mta.trust.abuse.greylist import Greylist, GreylistRules
from twisted_mta.trust.check import Verdict
from twisted_mta.trust.dmarc.author import Author

BAD = DnsList("bad.test", score=5.0)
NAMES = DnsList("names.test", "domain", score=3.0)
GOOD = DnsList("good.test", score=-4.0)
LISTED = {"7.2.0.192.bad.test": ["127.0.0.2"]}


def lists(hosts: dict[str, Any], *which: DnsList, clock: Any = lambda: 0.0) -> DnsLists:
    return DnsLists(which, resolver=DictionaryResolver(hosts=hosts), seconds=clock)


def test_the_questions_of_the_rfc():
    assert reversed_labels("192.0.2.99") == "99.2.0.192"  # RFC 5782 §2.1
    assert reversed_labels("2001:db8:1:2:3:4:567:89ab") == (  # §2.4
        "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2"
    )
    assert reversed_labels("::ffff:192.0.2.99") == "99.2.0.192"
    assert reversed_labels("") == reversed_labels("mail.far.test") == ""


def test_listed_and_not_listed():
    asked = lists(LISTED, BAD, NAMES)
    (found,) = done(asked.of_address("192.0.2.7"))
    assert (found.list, found.subject, found.answer) == (BAD, "192.0.2.7", "127.0.0.2")
    assert done(asked.of_address("192.0.2.8")) == []
    assert done(asked.of_address("nonsense")) == []


def test_an_answer_is_remembered_be_it_none():
    resolver = DictionaryResolver(hosts=LISTED)
    now = [0.0]
    asked = DnsLists([BAD], resolver=resolver, seconds=lambda: now[0])
    for address in ("192.0.2.7", "192.0.2.8") * 3:
        done(asked.of_address(address))
    assert sorted(resolver.asked) == ["1.0.0.127.bad.test", "7.2.0.192.bad.test", "8.2.0.192.bad.test"]
    now[0] = 301
    done(asked.of_address("192.0.2.8"))
    assert len(resolver.asked) == 4


def test_who_asks_the_same_meanwhile_waits_for_the_answer():
    class Slow(DictionaryResolver):
        waiting: Deferred[None] = Deferred()

        async def ipv4(self, name: str) -> Any:
            await self.waiting
            return await super().ipv4(name)

    resolver = Slow(hosts=LISTED)
    asked = DnsLists([BAD], resolver=resolver, seconds=lambda: 0.0)
    found: list[Any] = []
    for _ in range(3):
        Deferred.fromCoroutine(asked.of_address("192.0.2.7")).addCallback(found.append)
    resolver.waiting.callback(None)
    assert [[listing.answer for listing in each] for each in found] == [["127.0.0.2"]] * 3
    assert resolver.asked.count("7.2.0.192.bad.test") == 1


def test_only_the_codes_that_are_meant_count():
    some = DnsList("bad.test", codes=(ipaddress.IPv4Network("127.0.0.4/30"),))
    assert done(lists(LISTED, some).of_address("192.0.2.7")) == []
    both = {"7.2.0.192.bad.test": ["127.0.0.2", "127.0.0.5"]}
    assert done(lists(both, some).of_address("192.0.2.7"))[0].answer == "127.0.0.5"


@pytest.mark.parametrize(
    "answer", ["127.255.255.254", "127.255.255.255", "127.0.0.1", "127.0.0.255", "192.0.2.1", "10.0.0.1"]
)
def test_an_answer_that_cannot_be_switches_a_list_off_for_an_hour(answer):
    now = [0.0]
    hosts = {"7.2.0.192.bad.test": [answer], "8.2.0.192.bad.test": ["127.0.0.2"]}
    asked = lists(hosts, BAD, clock=lambda: now[0])
    assert done(asked.of_address("192.0.2.7")) == []
    assert done(asked.of_address("192.0.2.8")) == []  # is not even asked
    now[0] = 3600
    assert len(done(asked.of_address("192.0.2.8"))) == 1
    assert "resolver" in trouble([answer])


def test_a_list_that_lists_everybody_counts_for_nothing():
    asked = lists(LISTED | {"1.0.0.127.bad.test": ["127.0.0.2"]}, BAD)
    assert done(asked.of_address("192.0.2.7")) == []


def test_a_list_that_cannot_be_asked_says_nothing():
    assert done(lists({"7.2.0.192.bad.test": FAILURE}, BAD).of_address("192.0.2.7")) == []
    found = done(lists(LISTED | {"1.0.0.127.bad.test": FAILURE}, BAD).of_address("192.0.2.7"))
    assert len(found) == 1


def test_domains_are_asked_for_as_they_are_and_as_registered():
    hosts = {"far.test.names.test": ["127.0.1.2"]}
    asked = lists(hosts, NAMES, BAD)
    (found,) = done(asked.of_domains(["mail.far.test", "far.test", "[192.0.2.1]", "192.0.2.1", "localhost"]))
    assert (found.subject, found.list) == ("far.test", NAMES)
    resolver = DictionaryResolver()
    done(
        DnsLists([NAMES], resolver=resolver, seconds=lambda: 0.0).of_domains(
            [f"n{i}.test" for i in range(50)]
        )
    )
    assert len(resolver.asked) == 10


@given(st.lists(st.ip_addresses(v=4).map(str), min_size=1, max_size=4))
def test_answers_are_judged_by_all_of_them(answers):
    refused = ("127.0.0.1", "127.0.0.255")
    allowed = all(
        answer.startswith("127.") and not answer.startswith("127.255.255.") and answer not in refused
        for answer in answers
    )
    assert bool(trouble(answers)) == (not allowed)


def test_points_findings_and_a_refusal_with_the_words_of_the_list():
    texts = {"7.2.0.192.bad.test": ["See https://bad.test/?ip=192.0.2.7\x07"]}
    resolver = DictionaryResolver(hosts=LISTED | {"far.test.names.test": ["127.0.0.2"]}, texts=texts)
    asked = DnsLists([BAD, NAMES, GOOD], resolver=resolver, seconds=lambda: 0.0)
    verdict = judge(DnsListCheck(asked, "recipient"), helo="mx.far.test")
    assert (verdict.action, verdict.score) == ("accept", 8.0)
    assert verdict.why == "192.0.2.7 is listed by bad.test; far.test is listed by names.test"
    assert [(f.method, f.result, f.properties["dns.zone"]) for f in verdict.findings] == [
        ("x-dnsbl", "fail", "bad.test"),
        ("x-dnsbl", "fail", "names.test"),
    ]
    refused = judge(DnsListCheck(asked, "recipient", reject=8.0), reverse_path=Address("ann", "far.test"))
    assert refused.action == "reject" and str(refused.error) == (
        "550 5.7.1 192.0.2.7 is listed by bad.test: See https://bad.test/?ip=192.0.2.7?"
    )
    assert judge(DnsListCheck(asked, "recipient", reject=8.0)).action == "accept"  # 5 points only


def test_a_list_of_the_good_outweighs():
    asked = lists(LISTED | {"7.2.0.192.good.test": ["127.0.9.2"]}, BAD, GOOD)
    verdict = judge(DnsListCheck(asked, "recipient", reject=2.0))
    assert (verdict.action, verdict.score) == ("accept", 1.0)
    assert ("dnswl", "pass") in [(f.method, f.result) for f in verdict.findings]


def test_the_authors_domain():
    asked = lists({"far.test.names.test": ["127.0.0.2"]}, NAMES)
    check = DnsListCheck(asked, "content", reject=3.0)
    assert judge(check, author=Author("mail.far.test")).action == "reject"
    assert judge(check, author=Author("near.test")) == Verdict()
    assert judge(check, author=Author("", "there is no From")) == Verdict()


def test_greylisting_looks_at_the_lists():
    def check(hosts: dict[str, Any]) -> GreylistCheck:
        asked = DnsListCheck(lists(hosts, BAD, GOOD), "recipient")
        return GreylistCheck(Greylist(GreylistRules(), seconds=lambda: 1e9), dnsbl=asked)

    named = {"name": "mx.far.test", "reverse": "pass"}
    assert judge(check(LISTED), **named).action == "defer"
    assert judge(check({}), **named).action == "accept"
    assert judge(check({"7.2.0.192.good.test": ["127.0.9.2"]}), reverse="none").action == "accept"


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        ({"2.0.0.127.bad.test": ["127.0.0.2"]}, ""),
        ({}, "does not list 2.0.0.127"),
        ({"2.0.0.127.bad.test": ["127.0.0.2"], "1.0.0.127.bad.test": ["127.0.0.2"]}, "lists everybody"),
        ({"2.0.0.127.bad.test": ["127.255.255.254"]}, "does not serve your DNS resolver"),
        ({"2.0.0.127.bad.test": FAILURE}, "cannot be asked"),
    ],
)
def test_what_mta_check_finds(hosts, words):
    found = fault(BAD, lambda name: asked(hosts, name))
    assert words in found and bool(words) == bool(found)


def asked(hosts: dict[str, Any], name: str) -> list[str]:
    if hosts.get(name) is FAILURE:
        raise FAILURE
    return list(hosts.get(name, ()))


def test_lists_of_domains_have_other_test_entries():
    assert fault(NAMES, lambda name: asked({"test.names.test": ["127.0.0.2"]}, name)) == ""
