"""What the configuration says about abuse: values, and the sentences about wrong ones."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from twisted_mta.service.options.abuse import check_abuse
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config, decode
from twisted_mta.service.wiring.abuse import dns_lists
from twisted_mta.trust.abuse.dnsbl import DnsList

LEAST: dict[str, Any] = {"hostname": "mx.a.test", "data_dir": "data", "domains": ["a.test"]}


def config(**abuse: Any) -> Config:
    found = decode({**LEAST, "abuse": abuse})
    check_abuse(found.abuse)
    return found


def test_by_default_no_list_is_asked_and_nothing_is_put_by() -> None:
    plain = config()
    assert dns_lists(plain) == [] and plain.abuse.rejects.keep == 0
    assert plain.abuse.greylist.clients == "suspicious" and plain.abuse.junk.learn


def test_lists() -> None:
    zones = {"zen.example.org": {"score": 4, "codes": ["127.0.0.0/28"]}, "names.example": {"kind": "domain"}}
    assert dns_lists(config(dnsbl={"lists": zones})) == [
        DnsList("zen.example.org", "address", 4.0, (ipaddress.IPv4Network("127.0.0.0/28"),)),
        DnsList("names.example", "domain", 3.0),
    ]


@pytest.mark.parametrize(
    ("abuse", "sentence"),
    [
        ({"greylist": {"delay": "3d"}}, r"abuse\.greylist\.window: not longer than abuse\.greylist\.delay"),
        ({"greylist": {"clients": "some"}}, r'abuse\.greylist\.clients: .*"suspicious"'),
        ({"dnsbl": {"lists": {"no zone": {}}}}, r'abuse\.dnsbl\.lists\."no zone": .* is not a domain name'),
        ({"dnsbl": {"lists": {"Bl.test": {}}}}, r'abuse\.dnsbl\.lists\."Bl\.test": write "bl\.test"'),
        ({"dnsbl": {"lists": {"bl.test": {"score": 0}}}}, r"score: 0 points change nothing"),
        (
            {"dnsbl": {"lists": {"bl.test": {"codes": ["192.0.2.0/24"]}}}},
            r"codes: .* is not in 127\.0\.0\.0/8",
        ),
        ({"dnsbl": {"lists": {"bl.test": {"kind": "url"}}}}, r"abuse\.dnsbl\.lists"),
        ({"junk": {"junk": 0.5}}, r"abuse\.junk\.junk"),
        (
            {"traps": {"addresses": ["nobody"]}},
            r"abuse\.traps\.addresses\[0\]: 'nobody' is not a mail address",
        ),
        ({"rejects": {"keep": "often"}}, r"abuse\.rejects\.keep: expected a duration"),
    ],
)
def test_what_is_wrong_is_named(abuse: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        config(**abuse)
