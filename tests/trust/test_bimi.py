"""BIMI: an indicator is found where DMARC passed and is enforced, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
from dictionary_resolver import FAILURE, DictionaryResolver
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from twisted_mta.trust.bimi import BimiCheck
from twisted_mta.trust.check import Incoming, Verdict
from twisted_mta.trust.dmarc.discovery import Discovered
from twisted_mta.trust.dmarc.evaluate import DmarcResult
from twisted_mta.trust.dmarc.record import parse_record
from twisted_mta.trust.finding import Finding
from twisted_mta.trust.results import value_of

NAME, ABOVE = "default._bimi.news.b.test", "default._bimi.b.test"
LOGO = "v=BIMI1; l=https://b.test/logo.svg; a="


def found(
    texts: dict[str, Any], record: str = "v=DMARC1; p=reject", result: str = "pass", policy: str = "reject"
) -> tuple[Finding | None, list[str]]:
    resolver = DictionaryResolver(texts=texts)
    dmarc = DmarcResult(
        result, "", policy, "news.b.test", Discovered("b.test", parse_record(record), "b.test")
    )
    told: list[Verdict] = []
    judged = BimiCheck(resolver).judge(Incoming("192.0.2.1", dmarc=dmarc))
    Deferred.fromCoroutine(judged).addCallback(told.append)
    assert told[0].action == "accept"
    return (told[0].findings[0] if told[0].findings else None), resolver.asked


@pytest.mark.parametrize(
    ("texts", "result"),
    [
        ({NAME: [LOGO]}, "pass"),
        ({ABOVE: [LOGO]}, "pass"),
        ({NAME: ["v=spf1"], ABOVE: [LOGO]}, "pass"),
        ({NAME: ["v=BIMI1; l=; a="], ABOVE: [LOGO]}, "declined"),
        ({NAME: ["v=BIMI1; l=http://b.test/x.svg"]}, "fail"),
        ({NAME: ["v=BIMI1; l=https://b.test/x.svg; a=http://b.test/x.pem"]}, "fail"),
        ({NAME: [LOGO, LOGO]}, "fail"),
        ({NAME: ["v=BIMI1; rubbish"]}, "fail"),
        ({NAME: FAILURE}, "temperror"),
        ({}, "none"),
    ],
)
def test_records(texts: dict[str, Any], result: str) -> None:
    finding, asked = found(texts)
    assert finding is not None and (finding.method, finding.result) == ("bimi", result)
    assert len(asked) <= 2


def test_how_it_is_written() -> None:
    finding, _ = found({ABOVE: [LOGO]})
    assert finding is not None
    assert value_of("mx.a.test", [finding]).replace("\r\n", "") == (
        "mx.a.test;\tbimi=pass header.d=b.test header.selector=default policy.authority=none "
        'policy.indicator-uri="https://b.test/logo.svg"'
    )


@pytest.mark.parametrize(
    ("record", "result", "policy"),
    [
        ("v=DMARC1; p=reject", "fail", "reject"),
        ("v=DMARC1; p=none", "pass", "none"),
        ("v=DMARC1; p=reject; sp=none", "pass", "reject"),
        ("v=DMARC1; p=quarantine; pct=50", "pass", "quarantine"),
        ("v=DMARC1; p=reject; t=y", "pass", "quarantine"),
    ],
)
def test_where_nobody_looks(record: str, result: str, policy: str) -> None:
    assert found({NAME: [LOGO]}, record, result, policy) == (None, [])


def test_without_dmarc() -> None:
    told: list[Verdict] = []
    judged = BimiCheck(DictionaryResolver()).judge(Incoming("192.0.2.1"))
    Deferred.fromCoroutine(judged).addCallback(told.append)
    assert told == [Verdict(findings=[])]


@given(st.lists(st.text(max_size=40), max_size=3))
def test_any_record(texts: list[str]) -> None:
    finding, _ = found({NAME: ["v=BIMI1;" + text for text in texts]})
    assert finding is not None and finding.result in ("pass", "none", "fail", "declined")
