"""Lists of the bad, asked about our own addresses."""

from __future__ import annotations

from typing import Any

import pytest
from dictionary_resolver import FAILURE, DictionaryResolver
from twisted.internet.defer import Deferred

from twisted_mta.setup.blacklists import blacklists
from twisted_mta.setup.finding import Code, Finding

ADDRESS, SUBJECT = "192.0.2.1", "blacklists: 192.0.2.1"
SOUND = {"2.0.0.127.one.test": ["127.0.0.2"]}


def asked(hosts: dict[str, Any], texts: dict[str, Any] | None = None) -> list[Finding]:
    found: list[list[Finding]] = []
    resolver = DictionaryResolver(hosts=hosts, texts=texts)
    question = blacklists([ADDRESS], ["one.test", "one.test"], resolver=resolver)
    Deferred.fromCoroutine(question).addCallback(found.append)
    return found[0]


def test_an_address_that_is_in_none() -> None:
    assert asked(SOUND) == [Finding(SUBJECT, "ok", "in none of one.test")]


def test_an_address_that_is_listed() -> None:
    name = "1.2.0.192.one.test"
    (found,) = asked({**SOUND, name: ["127.0.0.3"]}, {name: ["see\x07 https://one.test/"]})
    assert (found.subject, found.state) == (SUBJECT, "wrong")
    assert found.text.startswith("listed by one.test (see? https://one.test/), so many refuse our mail; ")
    (found,) = asked({**SOUND, name: ["127.0.0.3"]})
    assert "(127.0.0.3)" in found.text


@pytest.mark.parametrize(
    ("hosts", "state", "sentence"),
    [
        ({}, "skipped", "it does not list 2.0.0.127"),
        ({"2.0.0.127.one.test": ["127.255.255.254"]}, "skipped", "does not serve your DNS resolver"),
        ({**SOUND, "1.0.0.127.one.test": ["127.0.0.2"]}, "skipped", "it lists everybody"),
        ({"2.0.0.127.one.test": FAILURE}, "skipped", "SERVFAIL"),
        ({**SOUND, "1.2.0.192.one.test": FAILURE}, "unknown", "SERVFAIL"),
        ({**SOUND, "1.2.0.192.one.test": ["192.0.2.9"]}, "skipped", "which is no answer of a list"),
    ],
)
def test_a_list_that_cannot_be_believed_is_no_fault_of_ours(
    hosts: dict[str, Any], state: str, sentence: str
) -> None:
    (found,) = asked(hosts)
    assert found.state == state and sentence in found.text
    assert (found.code == Code.OK) is (state == "skipped")
    if state == "skipped":
        assert found.text.count("a resolver of your own (dns.nameservers)") == 1
