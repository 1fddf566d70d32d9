"""Alias expansion: complete, without loops, bounded."""

import pytest
from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_mta.interfaces import IDirectory, Resolution
from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.transfer.mda.aliases import AliasLimits, expand

LOCAL = ("a.test", "b.test")


@implementer(IDirectory)
class Aliases:
    """Accounts alice@ and bob@a.test, postmaster@ is alice; the aliases are given."""

    def __init__(self, aliases):
        self.aliases = {
            key: tuple(Address.parse(member) for member in members) for key, members in aliases.items()
        }
        self.lookups = 0

    def is_local(self, domain):
        return domain in LOCAL

    async def resolve(self, address):
        self.lookups += 1
        user, _, detail = address.local.lower().partition("+")
        key = f"{user}@{address.domain}"
        if key in self.aliases:
            return Resolution(aliases=self.aliases[key], detail=detail)
        account = {"postmaster@a.test": "alice@a.test"}.get(key, key)
        return (
            Resolution(account=account, detail=detail) if account in ("alice@a.test", "bob@a.test") else None
        )

    async def authenticate(self, login, password, peer="", service=""):
        return None

    async def owns(self, account, address):
        return False


def expanded(aliases, start="list@a.test", **limits):
    directory = Aliases(aliases)
    address = Address.parse(start)
    results = []
    deferred = Deferred.fromCoroutine(
        expand(directory, address, directory.aliases[address.key], AliasLimits(**limits))
    )
    deferred.addCallbacks(results.append, lambda failure: failure.raiseException())
    deferred.addErrback(results.append)
    (result,) = results
    if not isinstance(result, tuple):
        raise result.value
    return [str(address) for address in result]


def test_members_here_and_elsewhere_in_order():
    assert expanded({"list@a.test": ["bob@a.test", "eve@far.test", "alice@a.test"]}) == [
        "bob@a.test",
        "eve@far.test",
        "alice@a.test",
    ]


def test_aliases_of_aliases_are_followed_to_the_end():
    aliases = {
        "list@a.test": ["inner@b.test", "eve@far.test"],
        "inner@b.test": ["deep@a.test"],
        "deep@a.test": ["bob@a.test"],
    }
    assert expanded(aliases) == ["eve@far.test", "bob@a.test"]


def test_every_end_comes_once_however_it_is_spelt():
    aliases = {"list@a.test": ["alice@a.test", "Alice@A.TEST", "postmaster@a.test", "more@a.test"]}
    aliases["more@a.test"] = ["ALICE@a.test"]
    assert expanded(aliases) == ["alice@a.test"]


def test_the_local_part_of_others_keeps_its_case():
    assert expanded({"list@a.test": ["Eve@Far.test"]}) == ["Eve@far.test"]


def test_detail_is_kept():
    assert expanded({"list@a.test": ["Alice+Lists@a.test", "alice@a.test"]}) == [
        "alice+lists@a.test",
        "alice@a.test",
    ]


def test_unknown_members_are_left_to_fail_by_name():
    assert expanded({"list@a.test": ["nobody@a.test", "bob@a.test"]}) == ["nobody@a.test", "bob@a.test"]


def test_a_loop_beside_somebody_is_nothing():
    aliases = {"list@a.test": ["other@a.test", "bob@a.test"], "other@a.test": ["LIST@a.test"]}
    assert expanded(aliases) == ["bob@a.test"]


@pytest.mark.parametrize(
    "aliases",
    [
        {"list@a.test": ["list@a.test"]},
        {
            "list@a.test": ["one@a.test"],
            "one@a.test": ["two@b.test"],
            "two@b.test": ["List@a.test", "one@a.test"],
        },
    ],
)
def test_a_loop_and_nobody_else(aliases):
    with pytest.raises(MailError) as caught:
        expanded(aliases)
    assert (caught.value.code, caught.value.status) == (554, "5.4.6")


def test_too_many():
    members = [f"user{n}@far.test" for n in range(50)]
    assert len(expanded({"list@a.test": members}, addresses=51)) == 50
    with pytest.raises(MailError) as caught:
        expanded({"list@a.test": members}, addresses=50)
    assert caught.value.permanent and caught.value.status == "5.5.3"


def test_aliases_that_double_at_each_step_end_soon():
    aliases = {f"s{n}@a.test": [f"s{n + 1}@a.test", f"S{n + 1}@a.test"] for n in range(200)}
    aliases["list@a.test"] = ["s0@a.test"]
    aliases["s200@a.test"] = ["bob@a.test"]
    assert expanded(aliases) == ["bob@a.test"]


def test_aliases_that_are_nested_too_deeply():
    aliases = {f"s{n}@a.test": [f"s{n + 1}@a.test"] for n in range(9)}
    aliases["list@a.test"], aliases["s9@a.test"] = ["s0@a.test"], ["bob@a.test"]
    assert expanded(aliases, depth=10) == ["bob@a.test"]
    with pytest.raises(MailError) as caught:
        expanded(aliases, depth=9)
    assert (caught.value.code, caught.value.status) == (554, "5.4.6")
