"""Where mail goes, and where it does not."""

import random

import pytest
from dictionary_resolver import FAILURE, DictionaryResolver
from twisted.internet.defer import Deferred

from twisted_mta.message.status import MailError
from twisted_mta.transfer.mta.routing import Credentials, Host, Route, Routing


def route(domain, exchanges=None, hosts=None, *, seed=1, resolver=None, **settings):
    settings = {"hostname": "mx.a.test", "own_addresses": [("192.0.2.1", 25)], **settings}
    resolver = resolver or DictionaryResolver(exchanges, hosts)
    routing = Routing(resolver=resolver, randomness=random.Random(seed), **settings)
    results = []
    Deferred.fromCoroutine(routing.route(domain)).addBoth(results.append)
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
