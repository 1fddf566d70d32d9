"""DMARC: the examples of RFC 7489 §B, the tree walk, and From fields that are made to deceive."""

from __future__ import annotations

from typing import Any

import pytest
from dictionary_resolver import FAILURE, DictionaryResolver
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from twisted_mta.message.address import a_labels
from twisted_mta.trust.dkim.verify import DkimResult
from twisted_mta.trust.dmarc.author import NoAuthor, author_domain, read_author
from twisted_mta.trust.dmarc.discovery import Discovered, discover, walk
from twisted_mta.trust.dmarc.evaluate import DmarcResult, evaluate
from twisted_mta.trust.dmarc.look_alike import looks_alike
from twisted_mta.trust.dmarc.record import ReportAddress, parse_record, select
from twisted_mta.trust.spf.check import SpfResult

RELAXED = {"_dmarc.example.com": ["v=DMARC1; p=reject; rua=mailto:r@example.com"]}
NO_SPF = SpfResult("none", "")


def judge(
    author: str, texts: dict[str, Any], *, spf: str = "", dkim: str = "", result: str = "pass"
) -> DmarcResult:
    """spf, dkim: the domains for which these have `result`."""
    header = f"From: <x@{author}>\r\n\r\n".encode()
    return judge_header(header, texts, spf=spf, dkim=dkim, result=result)


def judge_header(
    header: bytes, texts: dict[str, Any], *, spf: str = "", dkim: str = "", result: str = "pass"
) -> DmarcResult:
    signatures = [DkimResult(result, domain=dkim)] if dkim else []
    found: list[DmarcResult] = []
    judging = evaluate(
        read_author(header),
        SpfResult(result, spf) if spf else NO_SPF,
        signatures,
        resolver=DictionaryResolver(texts=texts, exchanges={"there.example.com": []}),
    )
    Deferred.fromCoroutine(judging).addCallback(found.append)
    return found[0]


@pytest.mark.parametrize(
    ("author", "identifier", "strict", "relaxed"),
    [  # RFC 7489 §B.1
        ("example.com", "example.com", "pass", "pass"),
        ("example.com", "child.example.com", "fail", "pass"),
        ("child.example.com", "example.com", "fail", "pass"),
        ("a.example.com", "b.example.com", "fail", "pass"),
        ("example.com", "example.net", "fail", "fail"),
        ("example.com", "notexample.com", "fail", "fail"),
        ("example.com", "com", "fail", "fail"),
    ],
)
def test_alignment(author: str, identifier: str, strict: str, relaxed: str) -> None:
    narrow = {"_dmarc.example.com": ["v=DMARC1; p=reject; adkim=s; aspf=s"]}
    for texts, outcome in ((RELAXED, relaxed), (narrow, strict)):
        assert judge(author, texts, spf=identifier).result == outcome
        assert judge(author, texts, dkim=identifier).result == outcome
        assert judge(author, texts, dkim=identifier, result="fail").result == "fail"


def test_a_failure_has_the_domains_policy() -> None:
    result = judge("example.com", RELAXED, spf="example.net")
    assert (result.result, result.policy, result.author) == ("fail", "reject", "example.com")


def test_policies_of_subdomains() -> None:
    texts = {"_dmarc.example.com": ["v=DMARC1; p=none; sp=quarantine; np=reject"]}
    assert judge("example.com", texts).policy == "none"
    assert judge("there.example.com", texts).policy == "quarantine"
    assert judge("nowhere.example.com", texts).policy == "reject"


@pytest.mark.parametrize("tag", ["t=y", "pct=0"])
def test_who_only_tests_is_taken_at_a_milder_word(tag: str) -> None:
    assert judge("example.com", {"_dmarc.example.com": [f"v=DMARC1; p=reject; {tag}"]}).policy == "quarantine"


def test_without_a_policy() -> None:
    assert judge("example.com", {}, spf="example.com").result == "none"


def test_trouble_in_the_dns() -> None:
    assert judge("example.com", {"_dmarc.example.com": FAILURE}).result == "temperror"
    assert judge("example.com", RELAXED, dkim="example.com", result="temperror").result == "temperror"
    assert judge("example.com", RELAXED, spf="example.com", dkim="x.test", result="pass").result == "pass"


def test_a_name_that_nobody_answers_for_is_not_rid_of_the_policy() -> None:
    texts = {**RELAXED, "_dmarc.lame.example.com": FAILURE}
    found = judge("lame.example.com", texts, dkim="evil.test")
    assert (found.result, found.policy) == ("temperror", "reject")
    assert judge("lame.example.com", texts, dkim="lame.example.com").policy == "none"
    assert judge("example.com", {**RELAXED, "_dmarc.com": FAILURE}, dkim="evil.test").policy == "reject"


# The walk up the tree


def find(domain: str, texts: dict[str, Any]) -> tuple[Discovered, list[str]]:
    resolver = DictionaryResolver(texts=texts)
    found: list[Discovered] = []
    Deferred.fromCoroutine(discover(domain, resolver)).addCallback(found.append)
    return found[0], resolver.asked


def test_no_more_than_eight_questions() -> None:
    names = walk("a.b.c.d.e.f.g.h.i.j.mail.example.com")
    assert names[:2] == ["a.b.c.d.e.f.g.h.i.j.mail.example.com", "g.h.i.j.mail.example.com"]
    assert (len(names), names[-1]) == (8, "com")
    assert walk("a.b.example.com") == ["a.b.example.com", "b.example.com", "example.com", "com"]


def test_the_uppermost_record_is_the_organizations() -> None:
    texts = {"_dmarc.a.example.com": ["v=DMARC1; p=none"], "_dmarc.example.com": ["v=DMARC1; p=reject"]}
    found, _ = find("b.a.example.com", texts)
    assert (found.domain, found.organization) == ("example.com", "example.com")
    found, _ = find("a.example.com", texts)
    assert (found.domain, found.organization) == ("a.example.com", "example.com")


def test_a_domain_may_stand_on_its_own() -> None:
    texts = {
        "_dmarc.a.example.com": ["v=DMARC1; p=none; psd=n"],
        "_dmarc.example.com": ["v=DMARC1; p=reject"],
    }
    found, asked = find("b.a.example.com", texts)
    assert (found.domain, found.organization) == ("a.example.com", "a.example.com")
    assert "TXT _dmarc.example.com" not in asked


def test_a_registry_joins_nobody_together() -> None:
    found, _ = find("mail.example.co.uk", {"_dmarc.co.uk": ["v=DMARC1; p=reject; psd=y"]})
    assert (found.domain, found.organization) == ("co.uk", "example.co.uk")
    found, _ = find("mail.example.co.uk", {"_dmarc.co.uk": ["v=DMARC1; p=reject"]})
    assert (found.domain, found.organization) == ("", "example.co.uk")


def test_a_public_suffix_has_a_policy_for_itself_alone() -> None:
    texts = {"_dmarc.gov.uk": ["v=DMARC1; p=reject"], "_dmarc.some.gov.uk": ["v=DMARC1; p=none"]}
    assert judge("gov.uk", texts).policy == "reject"
    assert judge("gov.uk", texts, dkim="gov.uk").result == "pass"
    assert judge("gov.uk", texts, dkim="some.gov.uk").result == "fail"
    assert judge("some.gov.uk", texts, dkim="gov.uk").result == "fail"
    assert judge("other.gov.uk", texts, dkim="gov.uk").result == "none"


def test_two_records_are_none() -> None:
    assert find("example.com", {"_dmarc.example.com": ["v=DMARC1; p=reject"] * 2})[0].record is None


# Records


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("v=DMARC1; p=reject", "reject"),
        ("v=DMARC1;p=Quarantine;", "quarantine"),
        ("v=DMARC1; p=odd; rua=mailto:a@b.test", "none"),
        ("v=DMARC1; rua=mailto:a@b.test", "none"),
        ("v=DMARC1; p=reject; sp=odd; adkim=x", "reject"),
        ("v=DMARC1; p=reject; p=none", None),
        ("v=DMARC1; p=odd", None),
        ("v=DMARC1; p=reject;;", "reject"),
        ("v=DMARC1; p=reject; ; rua=mailto:a@b.test; sp", "reject"),
    ],
)
def test_records(text: str, policy: str | None) -> None:
    record = parse_record(text)
    assert (record and record.policy) == policy


def test_other_texts_are_no_records() -> None:
    assert select(["v=spf1", "p=none; v=DMARC1", "v=DMARC12", "v=DMARC1 ; p=none"]) == ["v=DMARC1 ; p=none"]


def test_who_wants_reports() -> None:
    wanted = "rua=mailto:a@b.test!10m, mailto:c%2Bx@d.test?x,https://x.test/"
    record = parse_record(f"v=DMARC1; p=none; fo=1:d; pct=70; {wanted}")
    assert record is not None
    assert record.reports == (ReportAddress("a@b.test", 10 * 2**20), ReportAddress("c+x@d.test"))
    assert (record.percent, record.failures) == (70, "1:d")
    odd = parse_record("v=DMARC1; p=none; fo=x; pct=101")
    assert odd is not None and (odd.percent, odd.failures) == (100, "0")


@given(st.text(max_size=100))
def test_any_text_is_a_record_or_nothing(text: str) -> None:
    parse_record("v=DMARC1; " + text)


# From


@pytest.mark.parametrize(
    ("header", "domain"),
    [
        (b"From: a@B.test\r\n", "b.test"),
        (b'From: "you@bank.test" <a@b.test>\r\n', "b.test"),
        (b"From: (a@bank.test) a@b.test\r\n", "b.test"),
        (b"From: a@b.test (you@bank.test)\r\n", "b.test"),
        (b"From: A <a@b.test>, C <c@b.test>\r\n", "b.test"),
        ("From: a@bücher.test\r\n".encode(), "xn--bcher-kva.test"),
        (b"from\t: a@b.test\r\n", "b.test"),
        (b"From: you@bank.test <a@b.test>, (@x) c@b.test\r\n", "b.test"),
        (b'From: "you@bank.test"@b.test\r\n', "b.test"),
    ],
)
def test_authors(header: bytes, domain: str) -> None:
    assert author_domain(header + b"\r\n") == domain


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"From: \r\n",
        b"From: a\r\n",
        b"From: a@b.test\r\nFrom: you@bank.test\r\n",
        b"From: a@b.test\r\nfrom : you@bank.test\r\n",
        b"From: a@b.test, you@bank.test\r\n",
        b"From: friends: a@b.test;\r\n",
        b"From: undisclosed:;\r\n",
        b"From: you@bank.test@b.test\r\n",
        b"From: <you@bank.test@b.test>\r\n",
        b"From: <a@b.test>you@bank.test\r\n",
        b"From: <@c.test:a@b.test>\r\n",
        b"From: a@[192.0.2.1]\r\n",
        b"From: a@\xff.test\r\n",
        b"From: " + b"x@b.test, " * 200 + b"\r\n",
    ],
)
def test_who_is_nobody_in_particular(header: bytes) -> None:
    """Acceptance 43."""
    with pytest.raises(NoAuthor):
        author_domain(header + b"\r\n")
    assert judge_header(header + b"\r\n", RELAXED, spf="b.test").result == "permerror"


MIXED = ["exаmple.com", "pаypal.example.com", "μtorrent.example", "ехample.com", "καλhello.example"]
NOT_MIXED = ["bücher.example", "пример.example", "例え.example", "toyotaの車.example", "samsung한국.example"]


@pytest.mark.parametrize("domain", MIXED)  # with Cyrillic or Greek letters among Latin ones
def test_a_look_alike_fails_whatever_proves_it(domain: str) -> None:
    """Acceptance 43."""
    own = a_labels(domain)
    policy = {f"_dmarc.{own}": ["v=DMARC1; p=none"]}
    for texts in (RELAXED, {**RELAXED, **policy}):
        for proven in ("example.com", own):
            for written in (domain, domain.upper(), own, own.upper()):
                header = f"From: you@{written}\r\n\r\n".encode()
                found = judge_header(header, texts, spf=proven, dkim=proven)
                assert (found.result, found.author, found.deceptive) == ("fail", own, True)


@pytest.mark.parametrize("domain", NOT_MIXED)
def test_a_name_in_another_script_is_like_any_other(domain: str) -> None:
    own = a_labels(domain)
    header = f"From: you@{domain}\r\n\r\n".encode()
    texts = {f"_dmarc.{own}": ["v=DMARC1; p=reject"]}
    assert judge_header(header, texts, dkim=own).result == "pass"
    assert judge_header(header, texts, dkim="example").result == "fail"


def test_letters_that_mean_the_same_are_the_same_domain() -> None:
    """Full width, ideographic full stop, soft hyphen: UTS 46 maps them before anything is compared."""
    for written in ("ｅｘａｍｐｌｅ.com", "example。com", "exam\u00adple.com", "EXAMPLE.com"):
        header = f"From: you@{written}\r\n\r\n".encode()
        assert judge_header(header, RELAXED, dkim="example.com").result == "pass"
        assert judge_header(header, RELAXED, dkim="example.net").result == "fail"


@given(st.text(max_size=63), st.text(alphabet="abcxyz-0123456789", max_size=59))
def test_any_name_looks_alike_or_does_not(text: str, label: str) -> None:
    looks_alike(f"{text}.xn--{label}.test")


@given(st.binary(max_size=100))
def test_any_octets_have_an_author_or_none(value: bytes) -> None:
    judge_header(b"From: " + value + b"\r\n\r\n", RELAXED, spf="example.com")
