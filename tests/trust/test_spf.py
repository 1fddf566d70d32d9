"""SPF: the RFC's own examples of macros, the limits, and whatever a stranger may publish."""

from __future__ import annotations

from typing import Any

import pytest
from dictionary_resolver import FAILURE, DictionaryResolver
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from twisted_mta.interfaces import Found
from twisted_mta.trust.spf.check import SpfResult, check_host
from twisted_mta.trust.spf.macros import SyntaxFault, parse
from twisted_mta.trust.spf.record import parse_record

RESULTS = {"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"}


def judge(
    texts: dict[str, Any],
    *,
    hosts: dict[str, Any] | None = None,
    names: dict[str, Any] | None = None,
    exchanges: dict[str, Any] | None = None,
    sender: str = "strong-bad@email.example.com",
    address: str = "192.0.2.3",
) -> tuple[SpfResult, list[str]]:
    """The judgement, and the questions it took."""
    resolver = DictionaryResolver(hosts=hosts, texts=texts, names=names, exchanges=exchanges)
    found: list[SpfResult] = []
    judging = check_host(
        address, sender, "mail.example.com", resolver=resolver, receiver="us.test", seconds=lambda: 7.0
    )
    Deferred.fromCoroutine(judging).addCallback(found.append)
    return found[0], resolver.asked


@pytest.mark.parametrize(
    ("text", "expanded"),
    [  # RFC 7208 §7.4
        ("%{s}", "strong-bad@email.example.com"),
        ("%{o}", "email.example.com"),
        ("%{d}", "email.example.com"),
        ("%{d4}", "email.example.com"),
        ("%{d3}", "email.example.com"),
        ("%{d2}", "example.com"),
        ("%{d1}", "com"),
        ("%{dr}", "com.example.email"),
        ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"),
        ("%{l-}", "strong.bad"),
        ("%{lr}", "strong-bad"),
        ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"),
        ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
        ("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"),
        ("%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"),
        ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
    ],
)
def test_macros_of_the_rfc(text: str, expanded: str) -> None:
    _, asked = judge({"email.example.com": [f"v=spf1 exists:{text}.x.test -all"]})
    assert f"{expanded}.x.test" in asked


def test_a_client_with_an_ipv6_address() -> None:
    _, asked = judge(
        {"email.example.com": ["v=spf1 exists:%{ir}.%{v}._spf.%{d2} -all"]}, address="2001:db8::cb01"
    )
    nibbles = "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"
    assert f"{nibbles}.ip6._spf.example.com" in asked


def test_an_explanation() -> None:
    texts = {
        "email.example.com": ["v=spf1 -all exp=why.%{d}"],
        "why.email.example.com": ["%{i} may not; see http://%{d}/?s=%{S}&r=%{r}&t=%{t}"],
    }
    result, _ = judge(texts)
    assert result.explanation == (
        "192.0.2.3 may not; see http://email.example.com/?s=strong-bad%40email.example.com&r=us.test&t=7"
    )


def test_what_an_explanation_cannot_do() -> None:
    texts = {"email.example.com": ["v=spf1 -all exp=why.%{d}"], "why.email.example.com": ["two\r\nlines"]}
    assert judge(texts)[0].explanation == ""
    texts["why.email.example.com"] = ["x" * 5000]
    assert len(judge(texts)[0].explanation) == 400


def test_eleven_terms_are_too_many() -> None:
    chain = {f"d{i}.test": [f"v=spf1 include:d{i + 1}.test -all"] for i in range(40)}
    result, asked = judge(chain, sender="x@d0.test")
    assert (result.result, len(asked)) == ("permerror", 11)


def test_a_record_that_includes_itself_comes_to_an_end() -> None:
    result, asked = judge({"a.test": ["v=spf1 include:a.test redirect=a.test"]}, sender="x@a.test")
    assert (result.result, len(asked)) == ("permerror", 11)


def test_a_third_empty_answer_is_too_many() -> None:
    terms = " ".join(f"a:x{i}.test" for i in range(5))
    result, asked = judge({"a.test": [f"v=spf1 {terms} -all"]}, sender="x@a.test")
    assert (result.result, asked) == ("permerror", ["TXT a.test", "x0.test", "x1.test", "x2.test"])


def test_many_mail_hosts() -> None:
    exchanges = {"a.test": [(i, f"mx{i}.test") for i in range(11)]}
    result, asked = judge({"a.test": ["v=spf1 mx -all"]}, sender="x@a.test", exchanges=exchanges)
    assert (result.result, len(asked)) == ("permerror", 2)


def test_a_client_with_a_thousand_names() -> None:
    names = {"192.0.2.3": [f"h{i}.test" for i in range(1000)]}
    result, asked = judge({"a.test": ["v=spf1 ptr -all"]}, sender="x@a.test", names=names)
    assert (result.result, len(asked)) == ("fail", 12)


@pytest.mark.parametrize(
    "texts", [{"a.test": FAILURE}, {"a.test": ["v=spf1 include:b.test"], "b.test": FAILURE}]
)
def test_trouble_in_the_dns_is_temporary(texts: dict[str, Any]) -> None:
    assert judge(texts, sender="x@a.test")[0].result == "temperror"


def test_trouble_with_one_family_matters_to_its_clients_only() -> None:
    class OneFamily(DictionaryResolver):
        async def ipv4(self, name: str) -> Found[str] | None:
            raise FAILURE

    found: list[SpfResult] = []
    for address in ("192.0.2.1", "2001:db8::1"):
        resolver = OneFamily(texts={"a.test": ["v=spf1 a:h.test -all"]}, hosts={"h.test": ["2001:db8::1"]})
        judging = check_host(address, "x@a.test", "h", resolver=resolver, receiver="r", seconds=lambda: 0.0)
        Deferred.fromCoroutine(judging).addCallback(found.append)
    assert [result.result for result in found] == ["temperror", "pass"]


def test_a_mapped_address_is_the_ipv4_address() -> None:
    texts = {"a.test": ["v=spf1 ip4:192.0.2.0/24 -all"]}
    assert judge(texts, sender="x@a.test", address="::ffff:192.0.2.3")[0].result == "pass"


TERMS = """
a mx ptr all -all ~all ?all a:b.test mx:b.test/24 a//64 include:b.test exists:%{i}.b.test redirect=b.test
exp=b.test ip4:192.0.2.0/25 ip6:2001:db8::/32 ptr:b.test exists:%{p}.%{l}.b.test x=%{d} include:%{h}
"""
terms = st.sampled_from(TERMS.split())
records = st.lists(terms, max_size=8).map(lambda found: " ".join(["v=spf1", *found]))


@given(records, records, st.sampled_from(["192.0.2.3", "2001:db8::5"]))
def test_no_record_raises_and_the_questions_are_bounded(first: str, second: str, address: str) -> None:
    result, asked = judge(
        {"a.test": [first], "b.test": [second]},
        hosts={"b.test": ["192.0.2.200", "2001:db8::9"], "n.test": ["192.0.2.3"]},
        names={"192.0.2.3": ["n.test"]},
        exchanges={"a.test": [(1, "b.test")]},
        sender="x@a.test",
        address=address,
    )
    assert result.result in RESULTS
    assert len(asked) <= 130


@given(st.text(max_size=60))
def test_any_text_is_a_record_or_a_fault(text: str) -> None:
    for read in (
        lambda: parse_record("v=spf1 " + text),
        lambda: parse(text),
        lambda: parse(text, explanation=True),
    ):
        try:
            read()
        except SyntaxFault:
            pass


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_sender_has_a_result(sender: str, text: str) -> None:
    assert (
        judge({"a.test": ["v=spf1 exists:%{l}.%{o} " + text]}, sender=sender + "@a.test")[0].result in RESULTS
    )


def test_who_points_at_anothers_record_does_not_become_him() -> None:
    texts = {"evil.test": ["v=spf1 redirect=bank.test"], "bank.test": ["v=spf1 ip4:192.0.2.3 -all"]}
    found, _ = judge(texts, sender="x@evil.test")
    assert (found.result, found.domain) == ("pass", "evil.test")


def test_no_record_is_too_long_to_be_read_with_each_mail() -> None:
    long = "v=spf1 " + "ip4:10.0.0.0/8 " * 1000 + "-all"
    found, _ = judge({"email.example.com": [long]})
    assert found.result == "permerror" and "longer than 8192 characters" in found.problem


def test_a_name_with_a_thousand_addresses() -> None:
    many = {"email.example.com": [f"10.0.{number // 250}.{number % 250}" for number in range(1000)]}
    assert (
        judge({"email.example.com": ["v=spf1 a -all"]}, hosts=many, address="10.0.0.99")[0].result == "pass"
    )
    assert (
        judge({"email.example.com": ["v=spf1 a -all"]}, hosts=many, address="10.0.0.100")[0].result == "fail"
    )
