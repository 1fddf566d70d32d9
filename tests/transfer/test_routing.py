"""Where mail goes, and where it does not."""

import random

import pytest
from dictionary_resolver import FAILURE, DictionaryResolver
from twisted.internet.defer import Deferred

from twisted_mta.interfaces import Found
from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.transfer.mta.routing import Credentials, Host, NextHop, Proxy, Route, Routing, ascii_domain


def route(domain, exchanges=None, hosts=None, *, seed=1, resolver=None, mail=None, **settings):
    """`mail`: sender, account and override of the message."""
    settings = {"hostname": "mx.a.test", "own_addresses": [("192.0.2.1", 25)], **settings}
    resolver = resolver or DictionaryResolver(exchanges, hosts)
    routing = Routing(resolver=resolver, randomness=random.Random(seed), **settings)
    results = []
    Deferred.fromCoroutine(routing.route(domain, **(mail or {}))).addBoth(results.append)
    (result,) = results
    if isinstance(result, Route):
        return result
    assert result.check(MailError), result
    return result.value


def names(result):
    assert isinstance(result, Route), result
    return [host.name for host in result.hosts]


def refusal(result):
    assert isinstance(result, MailError), result
    return result.code // 100, result.status


def test_mx_in_order_of_preference():
    exchanges = {"b.test": [(20, "two"), (10, "one"), (30, "three")]}
    hosts = {"one": ["198.51.100.1"], "two": ["198.51.100.2"], "three": ["198.51.100.3"]}
    result = route("b.test", exchanges, hosts)
    assert result.hosts == (
        Host("one", "198.51.100.1", 25),
        Host("two", "198.51.100.2", 25),
        Host("three", "198.51.100.3", 25),
    )
    assert result.destination == "b.test" and result.credentials is None


def test_equal_preferences_are_shuffled():
    exchanges = {"b.test": [(10, "one"), (10, "two"), (10, "three"), (20, "last")]}
    hosts = {name: ["198.51.100.1"] for name in ("one", "two", "three", "last")}
    orders = {tuple(names(route("b.test", exchanges, hosts, seed=seed))) for seed in range(100)}
    assert len(orders) == 6
    assert {order[-1] for order in orders} == {"last"}


def test_both_families_take_turns():
    hosts = {"b.test": ["2001:db8::1", "2001:db8::2", "2001:db8::3", "198.51.100.1", "198.51.100.2"]}
    families = ["IPv6" if ":" in host.address else "IPv4" for host in route("b.test", None, hosts).hosts]
    assert families == ["IPv4", "IPv6", "IPv4", "IPv6", "IPv6"]


def test_no_mx_means_the_domain_itself():
    assert route("b.test", {"b.test": []}, {"b.test": ["198.51.100.1"]}).hosts == (
        Host("b.test", "198.51.100.1"),
    )


def test_an_mx_without_addresses_is_no_reason_to_ask_the_domain():
    exchanges = {"b.test": [(10, "one")]}
    assert refusal(route("b.test", exchanges, {"b.test": ["198.51.100.1"]})) == (5, "5.4.4")
    assert refusal(route("b.test", exchanges, {"b.test": ["198.51.100.1"], "one": []})) == (5, "5.4.4")


def test_null_mx():
    resolver = DictionaryResolver({"b.test": [(0, "")]}, {"b.test": ["198.51.100.1"]})
    assert refusal(route("b.test", resolver=resolver)) == (5, "5.1.10")
    assert resolver.asked == ["MX b.test"]


def test_a_null_mx_among_others_is_ignored():
    exchanges = {"b.test": [(0, ""), (10, "one")]}
    assert names(route("b.test", exchanges, {"one": ["198.51.100.1"]})) == ["one"]


def test_no_such_domain():
    assert refusal(route("b.test")) == (5, "5.1.2")
    assert refusal(route("b.test", {"b.test": []})) == (5, "5.1.2")
    assert refusal(route("b.test", {"b.test": []}, {"b.test": []})) == (5, "5.1.2")


def test_the_dns_does_not_answer():
    assert refusal(route("b.test", {"b.test": FAILURE})) == (4, "4.4.3")
    assert refusal(route("b.test", {"b.test": []}, {"b.test": FAILURE})) == (4, "4.4.3")
    assert refusal(route("b.test", {"b.test": [(10, "one")]}, {"one": FAILURE})) == (4, "4.4.3")


def test_one_host_that_cannot_be_resolved_now():
    exchanges = {"b.test": [(10, "one"), (20, "two")]}
    result = route("b.test", exchanges, {"one": FAILURE, "two": ["198.51.100.2"]})
    assert names(result) == ["two"] and result.unresolved == "SERVFAIL"


EXCHANGES = {"b.test": [(10, "one"), (20, "two"), (20, "mx.a.test"), (30, "three")]}
HOSTS = {name: [f"198.51.100.{n}"] for n, name in enumerate(("one", "two", "mx.a.test", "three"))}


def test_our_name_among_the_hosts():
    assert names(route("b.test", EXCHANGES, HOSTS)) == ["one"]
    assert names(route("b.test", EXCHANGES, HOSTS, hostname="MX.A.TEST")) == ["one"]


def test_our_address_among_the_hosts():
    hosts = {**HOSTS, "mx.a.test": ["198.51.100.9", "192.0.2.1"]}
    assert names(route("b.test", EXCHANGES, hosts, hostname="other.test")) == ["one"]
    assert len(names(route("b.test", EXCHANGES, hosts, hostname="other.test", own_addresses=[]))) == 5


def test_we_are_the_best_host():
    exchanges = {"b.test": [(10, "mx.a.test"), (20, "two")]}
    assert refusal(route("b.test", exchanges, HOSTS)) == (5, "5.4.6")


def test_we_are_the_domain():
    assert refusal(route("b.test", None, {"b.test": ["192.0.2.1"]})) == (5, "5.4.6")
    assert refusal(route("mx.a.test", None, HOSTS)) == (5, "5.4.6")


@pytest.mark.parametrize(
    ("own", "address", "loops"),
    [
        (("127.0.0.1", 25), "127.0.0.1", True),
        (("127.0.0.1", 25), "127.0.0.2", False),
        (("127.0.0.1", 2525), "127.0.0.1", False),
        (("0.0.0.0", 25), "127.0.0.2", True),
        (("0.0.0.0", 25), "198.51.100.1", False),
        (("0.0.0.0", 25), "::1", False),
        (("::", 25), "::1", True),
        (("2001:db8::1", 25), "2001:DB8:0::1", True),
        (("192.0.2.1", 25), "0.0.0.0", True),
    ],
)
def test_what_is_our_address(own, address, loops):
    result = route("b.test", None, {"b.test": [address]}, own_addresses=[own])
    assert isinstance(result, MailError) == loops


def test_two_hundred_exchanges():
    exchanges = {"b.test": [(n, f"mx{n}") for n in range(200)]}
    resolver = DictionaryResolver(exchanges, {f"mx{n}": ["198.51.100.1", "2001:db8::1"] for n in range(200)})
    result = route("b.test", resolver=resolver, max_hosts=20)
    assert names(result) == [f"mx{n // 2}" for n in range(20)]
    assert len(resolver.asked) == 21


def test_another_port():
    assert route("b.test", None, {"b.test": ["198.51.100.1"]}, mx_port=2525).hosts[0].port == 2525


def test_address_literals():
    assert route("[198.51.100.1]").hosts == (Host("198.51.100.1", "198.51.100.1"),)
    assert route("[IPv6:2001:db8::1]").hosts == (Host("2001:db8::1", "2001:db8::1"),)
    assert refusal(route("[192.0.2.1]")) == (5, "5.4.6")


def test_routes_win_over_the_dns_and_the_smarthost():
    resolver = DictionaryResolver({"b.test": [(10, "one")]}, {"inner.test": ["198.51.100.7"]})
    settings = {"routes": {"b.test": "inner.test:2525"}, "smarthost": "smart.test"}
    result = route("b.test", resolver=resolver, **settings)
    assert result.hosts == (Host("inner.test", "198.51.100.7", 2525),)
    assert result.destination == "inner.test:2525" and not result.may_be_us
    assert resolver.asked == ["inner.test"]


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("198.51.100.1", Host("198.51.100.1", "198.51.100.1", 25)),
        ("198.51.100.1:26", Host("198.51.100.1", "198.51.100.1", 26)),
        ("[2001:db8::1]:26", Host("2001:db8::1", "2001:db8::1", 26)),
    ],
)
def test_a_route_to_an_address_needs_no_dns(target, host):
    resolver = DictionaryResolver()
    assert route("b.test", resolver=resolver, routes={"b.test": target}).hosts == (host,)
    assert resolver.asked == []


def test_smarthost():
    login = Credentials("us", "secret")
    settings = {"smarthost": "smart.test:587", "smarthost_credentials": login}
    for domain in ("b.test", "c.test", "[198.51.100.9]"):
        result = route(domain, None, {"smart.test": ["198.51.100.1"]}, **settings)
        assert result.hosts == (Host("smart.test", "198.51.100.1", 587),)
        assert result.credentials == login and result.destination == "smart.test:587"
    assert "secret" not in repr(result)


@pytest.mark.parametrize("hosts", [{}, {"smart.test": []}, {"smart.test": FAILURE}])
def test_a_smarthost_that_cannot_be_found_is_no_reason_to_bounce(hosts):
    assert refusal(route("b.test", None, hosts, smarthost="smart.test"))[0] == 4


HOPS = {
    name: [f"198.51.100.{n}"]
    for n, name in enumerate(("d", "below", "acct", "who", "whole", "smart", "b.test"))
}
OVERRIDES = {
    "routes": {"b.test": "d:1", "*.b.test": "below:2"},
    "accounts": {"alice@a.test": "acct:3"},
    "senders": {"bob@a.test": "who:4", "a.test": "whole:5"},
    "smarthost": "smart:6",
}
ALICE, BOB, CAROL, ELSEWHERE = (
    Address.parse(a) for a in ("Alice@a.test", "bob@a.test", "carol@a.test", "x@y.test")
)


@pytest.mark.parametrize(
    ("domain", "mail", "hop"),
    [
        ("b.test", {"sender": BOB, "account": "alice@a.test", "override": "b.test:9"}, "b.test:9"),
        ("b.test", {"sender": BOB, "account": "alice@a.test"}, "d:1"),
        ("x.y.b.test", {"sender": BOB}, "below:2"),
        ("c.test", {"sender": BOB, "account": "alice@a.test"}, "acct:3"),
        ("c.test", {"sender": BOB, "account": "carol@a.test"}, "who:4"),
        ("c.test", {"sender": CAROL}, "whole:5"),
        ("[192.0.2.9]", {"sender": CAROL}, "whole:5"),
        ("c.test", {"sender": ELSEWHERE}, "smart:6"),
        ("c.test", {}, "smart:6"),
    ],
)
def test_who_decides(domain, mail, hop):
    result = route(domain, None, HOPS, mail=mail, **OVERRIDES)
    assert result.destination == hop and not result.may_be_us and result.mx_secure and not result.domain


def test_a_domain_may_be_let_out_of_the_smarthost():
    exchanges = {"b.test": [(10, "one")], "other.test": [(10, "two")]}
    hosts = {"one": ["198.51.100.1"], "two": ["198.51.100.2"]}
    routes = {"b.test": "dns", "c.test": "mx:other.test", "d.test": "mx:other.test:26"}
    settings = {"routes": routes, "smarthost": "smart.test"}
    direct = route("b.test", exchanges, hosts, **settings)
    assert names(direct) == ["one"] and direct.destination == direct.domain == "b.test"
    lent = route("c.test", exchanges, hosts, **settings)
    assert names(lent) == ["two"] and lent.destination == "mx:other.test" and lent.domain == "other.test"
    assert lent.hosts[0].port == 25
    assert route("d.test", exchanges, hosts, **settings).hosts[0].port == 26


def test_a_smarthost_as_a_fallback():
    login = Credentials("us", "secret")
    settings = {"smarthost": "smart.test:587", "smarthost_credentials": login, "fallback": True}
    hosts = {"b.test": ["198.51.100.1"], "smart.test": ["198.51.100.2"]}
    result = route("b.test", None, hosts, **settings)
    assert names(result) == ["b.test"] and result.credentials is None and result.may_be_us
    assert names(result.fallback) == ["smart.test"] and result.fallback.credentials == login
    assert result.fallback.fallback is None
    overridden = route("b.test", None, hosts, routes={"b.test": "b.test"}, **settings)
    assert overridden.fallback is None
    without = route("b.test", None, {"b.test": ["198.51.100.1"]}, **settings)
    assert names(without) == ["b.test"] and without.fallback is None


def test_logins_are_those_of_the_next_hop():
    login = Credentials("us", token_file="/token")
    settings = {"accounts": {"alice@a.test": "acct:587", "bob@a.test": "acct"}, "logins": {"acct:587": login}}
    for account, credentials in (("alice@a.test", login), ("bob@a.test", None)):
        assert route("b.test", None, HOPS, mail={"account": account}, **settings).credentials == credentials


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("lmtp:198.51.100.1", Host("198.51.100.1", "198.51.100.1", 24, lmtp=True)),
        ("lmtp:198.51.100.1:2424", Host("198.51.100.1", "198.51.100.1", 2424, lmtp=True)),
        ("lmtp:/run/lmtp", Host("localhost", "", 0, lmtp=True, path="/run/lmtp")),
        ("smtps:198.51.100.1", Host("198.51.100.1", "198.51.100.1", 465, tls_first=True)),
        ("smtps:[2001:db8::1]:26", Host("2001:db8::1", "2001:db8::1", 26, tls_first=True)),
        ("198.51.100.1:465", Host("198.51.100.1", "198.51.100.1", 465, tls_first=True)),
    ],
)
def test_next_hops_of_every_kind(text, host):
    result = route("b.test", routes={"b.test": text})
    assert result.hosts == (host,)
    assert NextHop.parse(result.destination) == NextHop.parse(text)


@pytest.mark.parametrize("text", ["", "lmtp:", "smtps:", "mx:", "a:b:c", "x:port", "[::1", ":25"])
def test_what_is_no_next_hop(text):
    with pytest.raises(ValueError):
        NextHop.parse(text)


def test_an_override_that_cannot_be_read_is_no_reason_to_bounce():
    assert refusal(route("b.test", None, HOPS, mail={"override": ":25"})) == (4, "4.3.5")


def test_where_to_call_from():
    result = route(
        "b.test", None, {"b.test": ["198.51.100.1", "2001:db8::1"]}, sources=["192.0.2.1", "2001:db8::9"]
    )
    assert [result.source(host) for host in result.hosts] == ["192.0.2.1", "2001:db8::9"]
    proxy = Proxy("127.0.0.1", user="x", password="secret")
    result = route("b.test", None, HOPS, smarthost="smart", proxy=proxy, sources=["2001:db8::9"])
    assert result.proxy == proxy and result.source(result.hosts[0]) == "" and "secret" not in repr(result)


def test_what_dnssec_vouches_for():
    exchanges = {"b.test": Found(((10, "one"),), secure=True), "c.test": [(10, "one"), (20, "two")]}
    hosts = {"one": Found(("198.51.100.1",), secure=True, canonical="real.test"), "two": ["198.51.100.2"]}
    secure, insecure = (route(domain, exchanges, hosts) for domain in ("b.test", "c.test"))
    assert secure.mx_secure and not insecure.mx_secure
    assert [(host.secure, host.canonical, host.preference) for host in insecure.hosts] == [
        (True, "real.test", 10),
        (False, "", 20),
    ]
    assert route("one", {"one": []}, hosts).mx_secure and not route("two", {"two": []}, hosts).mx_secure


def test_internationalised_domains():
    resolver = DictionaryResolver({"xn--bcher-kva.test": [(10, "one")]}, {"one": ["198.51.100.1"]})
    for domain in ("bücher.test", "BÜCHER.test", "bücher。test", "xn--bcher-kva.test"):
        assert route(domain, resolver=resolver).domain == "xn--bcher-kva.test"
    assert ascii_domain("straße.test") == "xn--strae-oqa.test"  # IDNA2008: not "strasse"
    assert refusal(route("a\u0301\u200d.test", resolver=resolver)) == (5, "5.1.2")
    assert refusal(route("☃☃\ufffd.test", resolver=resolver)) == (5, "5.1.2")


def test_what_goes_to_one_next_hop_is_known_without_asking_the_dns():
    def hop(domain="b.test", sender=None, account="", override="", **settings):
        settings = {"hostname": "mx.a.test", **settings}
        routing = Routing(resolver=DictionaryResolver(), randomness=random.Random(1), **settings)
        return routing.next_hop(domain, sender, account, override)

    assert hop() == ""
    assert hop(smarthost="smart.test:587") == "smart.test:587"
    assert hop(smarthost="smart.test:587", fallback=True) == ""
    assert hop(override="192.0.2.7") == "192.0.2.7:25"
    assert hop(routes={"b.test": "lmtp:/run/b"}, smarthost="smart.test") == "lmtp:/run/b"
    assert hop(routes={"b.test": "dns"}, smarthost="smart.test") == ""
    assert hop(accounts={"ann@a.test": "x.test"}, account="ann@a.test") == "x.test:25"
    for sender in ("ann@a.test", Address("ann", "a.test")):
        assert hop(senders={"a.test": "x.test"}, sender=sender) == "x.test:25"
