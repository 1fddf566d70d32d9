"""Lists of the bad, asked about our own addresses."""

from __future__ import annotations

from typing import Any

import pytest
from dictionary_resolver import FAILURE, DictionaryResolver
from twisted.internet.defer import Deferred

from twisted_mta.setup.blacklists import blacklists
from twisted_mta.setup.finding import Finding

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
    ("hosts", "sentence"),
    [
        ({}, "it does not list 2.0.0.127"),
        ({"2.0.0.127.one.test": ["127.255.255.254"]}, "does not serve your DNS resolver"),
        ({**SOUND, "1.0.0.127.one.test": ["127.0.0.2"]}, "it lists everybody"),
        ({"2.0.0.127.one.test": FAILURE}, "SERVFAIL"),
        ({**SOUND, "1.2.0.192.one.test": FAILURE}, "SERVFAIL"),
        ({**SOUND, "1.2.0.192.one.test": ["192.0.2.9"]}, "which is no answer of a list"),
    ],
)
def test_a_list_that_cannot_be_believed(hosts: dict[str, Any], sentence: str) -> None:
    (found,) = asked(hosts)
    assert found.state == "unknown" and sentence in found.text
