"""What the configuration says of mail from strangers: refused with a sentence where wrong, and in force."""

from __future__ import annotations

import pytest
from dictionary_resolver import DictionaryResolver
from twisted.internet.task import Clock

from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import decode
from twisted_mta.service.options.trust import check_trust
from twisted_mta.service.wiring.trust import build_judge

LEAST = {"hostname": "mx.a.test", "data_dir": "data", "domains": ["a.test"]}


@pytest.mark.parametrize(
    ("trust", "sentence"),
    [
        ({"dmarc": "reject"}, 'trust.dmarc: expected "enforce" or "junk" or "record", found'),
        ({"spf": "fail"}, 'trust.spf: expected "junk" or "record" or "reject", found'),
        ({"domains": {"b.test": "spam"}}, "trust.domains"),
        ({"domains": {"*.": "junk"}}, "trust.domains: '' is not a domain name"),
        ({"domains": {"B.test": "junk"}}, "trust.domains: write \"b.test\" for 'B.test'"),
        ({"sealers": ["us and them"]}, "trust.sealers[0]: 'us and them' is not a domain name"),
        ({"dns": "soon"}, "trust.dns: expected a duration"),
        ({"junk_score": -1}, "trust.junk_score"),
        ({"reject_score": 2.0}, "trust.reject_score: less than trust.junk_score"),
    ],
)
def test_what_is_wrong_is_named(trust: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_trust(decode({**LEAST, "trust": trust}).trust)
    assert sentence in str(error.value)


def test_it_is_in_force() -> None:
    trust = {
        "dmarc": "enforce",
        "spf": "reject",
        "domains": {"*.b.test": "record"},
        "sealers": ["lists.test"],
        "dns": "3s",
        "junk_score": 2,
        "reject_score": 0,
    }
    judge = build_judge(decode({**LEAST, "trust": trust}), resolver=DictionaryResolver(), reactor=Clock())
    rules = judge.rules
    assert (rules.service, rules.spf, rules.sealers, rules.dns) == (
        *("mx.a.test", "reject"),
        frozenset({"lists.test"}),
        3.0,
    )
    assert (rules.junk_score, rules.reject_score) == (2.0, 0.0)
    modes = [rules.mode(domain) for domain in ("b.test", "x.b.test", "x.y.b.test", "c.test", "")]
    assert modes == ["enforce", "record", "record", "enforce", "enforce"]
