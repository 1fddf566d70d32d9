"""[proxy] and [smtp] of the configuration: what is refused, in which words, and what is made of the rest."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from configured import configured
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock

from twisted_mta.protocol.smtp.extensions import Extension
from twisted_mta.service.checks.configuration import findings
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.proxy import Proxy, Smtp
from twisted_mta.service.options.quantities import Network
from twisted_mta.service.wiring.proxy import behind_proxies, with_manners
from twisted_mta.transfer.policy import TransferPolicy
from twisted_mta.wire.proxied import ProxyAware

NETWORK = ipaddress.ip_network("192.0.2.0/24")


@pytest.mark.parametrize(
    ("sections", "sentence"),
    [
        ({"proxy": {"networks": ["0.0.0.0/0"]}}, "proxy.networks: 0.0.0.0/0 is everybody"),
        ({"proxy": {"networks": ["haproxy"]}}, "proxy.networks"),
        ({"proxy": {"services": ["smtp"]}}, "proxy.networks: missing"),
        (
            {"proxy": {"networks": ["192.0.2.1"], "services": ["imap"]}},
            "proxy.services: imap is not",
        ),
        ({"proxy": {"network": ["192.0.2.1"]}}, "proxy"),
        ({"smtp": {"xclient": ["::/0"]}}, "smtp.xclient: ::/0 is everybody"),
        (
            {"smtp": {"normalise_line_ends": ["0.0.0.0/0"]}},
            "smtp.normalise_line_ends: 0.0.0.0/0",
        ),
        ({"smtp": {"no_soliciting": ["no spam"]}}, "smtp.no_soliciting: 'no spam' is no class"),
        ({"smtp": {"no_soliciting": ["a" * 500, "b" * 500]}}, "smtp.no_soliciting: all classes together"),
        ({"smtp": {"help": "ask bob"}}, "smtp.help: write a URL or an address"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(
    tmp_path: Path, sections: dict[str, object], sentence: str
) -> None:
    with pytest.raises(ConfigError) as error:
        configured(tmp_path, **sections)
    assert sentence in str(error.value)


def test_networks_that_are_hardly_ones_own_are_warned_of(tmp_path: Path) -> None:
    wide = configured(tmp_path, proxy={"networks": ["8.0.0.0/8"]}, smtp={"xclient": ["2000::/16"]})
    told = [text.partition(":")[0] for text in findings(wide)]
    assert told[:2] == ["proxy.networks", "smtp.xclient"]
    own = configured(tmp_path, proxy={"networks": ["10.0.0.0/8"]}, smtp={"xclient": ["192.0.2.1"]})
    assert not {"proxy.networks", "smtp.xclient"} & {text.partition(":")[0] for text in findings(own)}


def test_without_a_word_about_proxies_there_are_none(tmp_path: Path) -> None:
    config = configured(tmp_path)
    factory = Factory()
    assert behind_proxies(factory, "smtp", proxy=config.proxy, reactor=Clock()) is factory
    policy = TransferPolicy(hostname="mx.a.test", postmaster_domain="a.test")
    assert with_manners(policy, config.smtp, strangers=True) == policy


def test_the_services_behind_proxies() -> None:
    proxies = (Network("192.0.2.0/24"),)
    factory = Factory()
    for services, expected in (((), True), (("smtp",), True), (("imaps",), False)):
        proxy = Proxy(networks=proxies, services=services)
        made = behind_proxies(factory, "smtp", proxy=proxy, reactor=Clock())
        assert isinstance(made, ProxyAware) is expected


def test_manners() -> None:
    smtp = Smtp(
        xclient=(Network("192.0.2.0/24"),),
        normalise_line_ends=(Network("192.0.2.0/24"),),
        no_soliciting=("org.example:ADV",),
        help="https://a.test/",
    )
    policy = TransferPolicy(hostname="mx.a.test", postmaster_domain="a.test")
    stranger = with_manners(policy, smtp, strangers=True)
    assert stranger.contact == "https://a.test/"
    assert stranger.xclient_networks == stranger.normalise_networks == (NETWORK,)
    assert stranger.limits.no_soliciting == ("org.example:ADV",)
    assert Extension.NO_SOLICITING in stranger.extensions
    own = with_manners(policy, smtp, strangers=False)
    assert own.limits.no_soliciting == () and Extension.NO_SOLICITING not in own.extensions
