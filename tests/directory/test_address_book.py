"""What an address means: details, domains that stand for others, roles, catch-alls, lists; and circles."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.directory.address_book import ROLES, AddressBook
from twisted_mta.interfaces import Resolution
from twisted_mta.message.address import Address
from twisted_mta.message.mailing_list import MailingList

A = Address.parse
DOMAINS = ("a.test", "b.test", "other.test")
TEAM = MailingList(A("team@a.test"), A("alice@a.test"), (A("bob@a.test"), A("eve@far.test")))


def book(aliases=None, *, separators="+", postmaster=None, lists=(TEAM,), domain_aliases=None):
    return AddressBook(
        ["alice@a.test", "bob@a.test", "mary-ann@a.test", "mary@a.test"],
        {alias: tuple(map(A, targets)) for alias, targets in (aliases or {}).items()},
        A(postmaster) if postmaster else None,
        domain_aliases={"other.test": "a.test"} if domain_aliases is None else domain_aliases,
        lists={each.address.key: each for each in lists},
        separators=separators,
    )


@pytest.mark.parametrize(
    ("separators", "address", "account", "detail"),
    [
        ("+", "alice+x@a.test", "alice@a.test", "x"),
        ("+", "mary-x@a.test", None, ""),
        ("-", "mary-x@a.test", "mary@a.test", "x"),
        ("-", "mary-ann-x@a.test", "mary-ann@a.test", "x"),  # the longest name that exists
        ("+-", "mary-ann+x-y@a.test", "mary-ann@a.test", "x-y"),
        ("+-", "mary-ann@a.test", "mary-ann@a.test", ""),
        ("+-", "mary-andrew+x@a.test", "mary@a.test", "andrew+x"),
        ("", "alice+x@a.test", None, ""),
        ("+", "Mary-Ann+X@Other.test", "mary-ann@a.test", "X"),
    ],
)
def test_details(separators, address, account, detail):
    found = book(separators=separators).resolve(A(address))
    assert found == (None if account is None else Resolution(account=account, detail=detail))


def test_a_domain_that_stands_for_another_has_its_addresses():
    aliases = {"sales@a.test": ["bob@a.test"], "only@other.test": ["eve@far.test"]}
    here = book(aliases)
    assert here.resolve(A("Bob@other.test")) == Resolution(account="bob@a.test")
    assert here.resolve(A("sales@other.test")) == Resolution(aliases=(A("bob@a.test"),))
    assert here.resolve(A("team@other.test")) == Resolution(mailing_list=TEAM)
    assert here.resolve(A("nobody@other.test")) is None
    # What the domain has of its own comes first.
    assert here.resolve(A("only@other.test")) == Resolution(aliases=(A("eve@far.test"),))
    assert here.resolve(A("only@a.test")) is None
    assert here.owns("bob@a.test", A("bob+x@other.test"), DOMAINS)
    assert not here.owns("alice@a.test", A("bob@other.test"), DOMAINS)


def test_the_catch_all_gets_what_nobody_else_has():
    here = book({"@a.test": ["alice@a.test", "eve@far.test"], "known@a.test": ["bob@a.test"]})
    caught = Resolution(aliases=(A("alice@a.test"), A("eve@far.test")))
    assert here.resolve(A("anything@a.test")) == caught
    assert here.resolve(A("no.body+x@other.test")) == caught
    assert here.resolve(A("bob+x@a.test")) == Resolution(account="bob@a.test", detail="x")
    assert here.resolve(A("known@a.test")) == Resolution(aliases=(A("bob@a.test"),))
    assert here.resolve(A("anything@b.test")) is None


@pytest.mark.parametrize("role", sorted(ROLES))
@pytest.mark.parametrize("domain", ["a.test", "other.test", "b.test"])
def test_the_names_of_rfc_2142_reach_somebody(role, domain):
    oldest = Resolution(account="alice@a.test")
    catch_all = {"@a.test": ["bob@a.test"], "@b.test": ["bob@a.test"]}
    address = A(f"{role.title()}@{domain}")
    assert book().resolve(address) == oldest
    assert book(catch_all).resolve(address) == oldest
    assert book(postmaster="bob@a.test").resolve(address) == Resolution(aliases=(A("bob@a.test"),))
    own = {f"{role}@{domain}": ["eve@far.test"]}
    assert book(own).resolve(address) == Resolution(aliases=(A("eve@far.test"),))
    there = "a.test" if domain == "other.test" else domain
    postmaster = {f"postmaster@{there}": ["bob@a.test"]}
    assert book(postmaster).resolve(address) == Resolution(aliases=(A("bob@a.test"),))
    # Whoever is called like that in the configuration and has no mailbox is nobody.
    assert book(postmaster=str(address)).resolve(address) == oldest


@pytest.mark.parametrize(
    "aliases",
    [
        {"admin@a.test": ["postmaster@a.test"]},
        {"admin@a.test": ["Abuse+x@other.test"]},
        {"admin@a.test": ["one@a.test"], "one@a.test": ["two@a.test", "postmaster@a.test"],
         "two@a.test": ["one@other.test"]},
        {"@a.test": ["postmaster@a.test"]},
    ],
)  # fmt: skip
def test_whoever_is_postmaster_by_way_of_postmaster_is_nobody(aliases):
    assert book(aliases, postmaster="admin@a.test").resolve(A("postmaster@a.test")).account == "alice@a.test"
    # Beside somebody else, or at another host, the name is good.
    for target in ("bob@a.test", "postmaster@far.test", "team@a.test"):
        there = {alias: [*targets, target] for alias, targets in aliases.items()}
        chosen = Resolution(aliases=(A("admin@a.test"),))
        assert book(there, postmaster="admin@a.test").resolve(A("postmaster@a.test")) == chosen


def test_a_list_and_its_own_addresses():
    here = book()
    assert here.resolve(A("Team@a.test")) == Resolution(mailing_list=TEAM)
    assert here.resolve(A("team+x@a.test")) == Resolution(mailing_list=TEAM, detail="x")
    to_owner = Resolution(aliases=(A("alice@a.test"),))
    for role in ("bounces", "owner", "request"):
        assert here.resolve(A(f"team-{role}@a.test")) == to_owner
    assert here.resolve(A("team-leave@a.test")) == Resolution(mailing_list=TEAM, leaving=True)
    for separators in ("+", "", "="):
        confirmed = book(separators=separators).resolve(A("team-leave=abc@a.test"))
        assert confirmed == Resolution(mailing_list=TEAM, leaving=True, detail="abc")
    assert here.resolve(A("team-owner=abc@a.test")) is None
    assert here.resolve(A("team-other@a.test")) is None
    assert here.resolve(A("team@b.test")) is None
    assert not here.owns("bob@a.test", A("team@a.test"), DOMAINS)  # a member is not the list


@pytest.mark.parametrize(
    ("aliases", "start", "circle"),
    [
        ({"x@a.test": ["bob@a.test", "eve@far.test"]}, "x@a.test", []),
        ({"x@a.test": ["y@a.test"], "y@a.test": ["X@a.test"]}, "x@a.test", ["y@a.test", "x@a.test"]),
        ({"x@a.test": ["x+1@a.test"]}, "x@a.test", ["x@a.test", "x+1@a.test", "x+1@a.test"]),
        ({"x@a.test": ["x@other.test"]}, "x@a.test", ["x@other.test", "x@other.test"]),
        ({"@a.test": ["ghost@a.test"]}, "@a.test", ["ghost@a.test", "ghost@a.test"]),
        ({"@a.test": ["bob@a.test"]}, "@a.test", []),
        ({"x@a.test": ["y@far.test"], "y@far.test": ["x@a.test"]}, "x@a.test", []),  # not ours to know
        ({"x@a.test": ["y@a.test", "z@a.test"], "y@a.test": ["z@a.test"]}, "x@a.test", []),
    ],
)  # fmt: skip
def test_circles(aliases, start, circle):
    start = start if start.startswith("@") else A(start)
    found = book(aliases).circle(start, DOMAINS)
    assert found[-len(circle) :] == circle if circle else found == []


def test_a_list_in_a_circle():
    around = MailingList(A("team@a.test"), A("alice@a.test"), (A("all@a.test"),))
    here = book({"all@a.test": ["bob@a.test", "team@a.test"]}, lists=[around])
    assert here.circle(A("all@a.test"), DOMAINS) == ["all@a.test", "team@a.test", "all@a.test"]
    assert here.reaches(A("all@other.test"), A("team@a.test"), DOMAINS)
    assert not here.reaches(A("team-owner@a.test"), A("team@a.test"), DOMAINS)


def test_a_long_way_without_a_circle():
    chain = {f"s{n}@a.test": [f"s{n + 1}@a.test", f"S{n + 1}@a.test"] for n in range(5000)}
    chain["s5000@a.test"] = ["bob@a.test"]
    assert book(chain).circle(A("s0@a.test"), DOMAINS) == []


_NAMES = [f"{name}@{domain}" for name in "xyz" for domain in ("a.test", "other.test")]


@settings(max_examples=50, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from([*_NAMES, "@a.test"]),
        st.lists(st.sampled_from([*_NAMES, "ghost@a.test", "bob@a.test", "eve@far.test"]), min_size=1),
    )
)
def test_a_circle_is_found_exactly_when_there_is_one(aliases):
    here = book(aliases)
    for alias in aliases:
        start = alias if alias.startswith("@") else A(alias)
        # Another way to see it: drop whoever leads only to dropped ones, until nothing changes.
        step = {
            alias: [
                str(t) for t in (aliases[alias] if alias.startswith("@") else here.resolve(A(alias)).aliases)
            ]
        }
        ahead = list(step[alias])
        while ahead:
            name = ahead.pop()
            if name not in step:
                found = here.resolve(A(name)) if A(name).domain in DOMAINS else None
                step[name] = [str(t) for t in found.aliases] if found else []
                ahead += step[name]
        ends = set()
        while more := {
            name for name, targets in step.items() if name not in ends and ends.issuperset(targets)
        }:
            ends |= more
        assert bool(here.circle(start, DOMAINS)) == (alias not in ends)
