"""Domains that stand for others, and lists: what is accepted, what is refused and in which words."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from twisted_mta.directory.address_administration import MOST_MEMBERS, AddressAdministration, book_of
from twisted_mta.directory.administration import Administration
from twisted_mta.directory.database import MIGRATIONS, DirectoryDatabase
from twisted_mta.directory.error import DirectoryError
from twisted_mta.message.address import Address

DOMAINS = ["a.test", "b.test", "c.test"]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[DirectoryDatabase]:
    opened = DirectoryDatabase(tmp_path / "directory.sqlite")
    for name in ("alice@a.test", "bob@a.test", "carol@b.test"):
        opened.add_account(name, "no hash")
    yield opened
    opened.close()


@pytest.fixture
def aliases(database: DirectoryDatabase) -> Administration:
    return Administration(database, DOMAINS)


@pytest.fixture
def here(database: DirectoryDatabase) -> AddressAdministration:
    return AddressAdministration(database, DOMAINS)


def refused(words):
    return pytest.raises(DirectoryError, match=words)


def test_the_fourth_version_of_the_tables() -> None:
    assert len(MIGRATIONS) >= 4 and "domain_alias" in MIGRATIONS[3][0]


def test_domain_aliases_come_and_go(here: AddressAdministration, database: DirectoryDatabase) -> None:
    assert here.add_domain_alias("B.test.", "A.test") == ("b.test", "a.test")
    assert here.domain_aliases() == {"b.test": "a.test"}
    found = book_of(database).resolve(Address.parse("bob@b.test"))
    assert found is not None and found.account == "bob@a.test"
    assert here.remove_domain_alias("B.test") == "b.test"
    assert here.domain_aliases() == {}
    with refused("stands for no other domain"):
        here.remove_domain_alias("b.test")


def test_domain_aliases_that_lead_nowhere(here: AddressAdministration, aliases: Administration) -> None:
    with refused("not a domain of this server: add it to `domains`"):
        here.add_domain_alias("d.test", "a.test")
    with refused("stands for itself already"):
        here.add_domain_alias("a.test", "a.test")
    here.add_domain_alias("b.test", "a.test")
    with refused("go round: a.test → b.test → a.test"):
        here.add_domain_alias("a.test", "b.test")
    with refused("name a.test instead"):
        here.add_domain_alias("c.test", "b.test")
    with refused("b.test stands for a.test; remove that first"):
        here.add_domain_alias("a.test", "c.test")
    with refused("b.test stands for another domain"):
        aliases.add_alias("@b.test", ["alice@a.test"])
    aliases.add_alias("@c.test", ["alice@a.test"])
    with refused("c.test has a catch-all; remove it first: alias remove @c.test"):
        here.add_domain_alias("c.test", "a.test")
    aliases.remove_alias("@c.test")
    aliases.add_alias("x@a.test", ["x@c.test"])
    with refused("mail would go round: x@a.test → x@c.test → x@c.test"):
        here.add_domain_alias("c.test", "a.test")
    assert here.domain_aliases() == {"b.test": "a.test"}


def test_aliases_that_go_round_are_refused_and_not_kept(aliases: Administration) -> None:
    aliases.add_alias("x@a.test", ["y@a.test"])
    aliases.add_alias("y@a.test", ["z@b.test", "alice@a.test"])
    with refused("mail would go round: z@b.test → x@a.test → y@a.test → z@b.test"):
        aliases.add_alias("z@b.test", ["bob@a.test", "x@a.test"])
    assert set(aliases.aliases()) == {"x@a.test", "y@a.test"}
    with refused("mail would go round: @a.test → ghost@a.test → ghost@a.test"):
        aliases.add_alias("@a.test", ["ghost@a.test"])
    assert aliases.add_alias("@A.test", ["alice@a.test"]) == "@a.test"
    with refused("not a domain of this server"):
        aliases.add_alias("@d.test", ["alice@a.test"])
    # What nobody had until now would be caught and come back.
    with refused("mail would go round: w@a.test → v@a.test → w@a.test"):
        aliases.add_alias("v@a.test", ["w@a.test"])
        aliases.add_alias("w@a.test", ["v@a.test"])


def test_lists_come_and_go(here: AddressAdministration) -> None:
    made = here.add_list("Team@A.test", "alice@a.test", ["Bob@a.test", "Eve@Far.test"], title="The team")
    assert (str(made.address), str(made.owner), made.title) == ("team@a.test", "alice@a.test", "The team")
    assert list(map(str, made.members)) == ["bob@a.test", "Eve@far.test"]
    assert (made.posting, made.replies, made.rewrite_from) == ("members", "author", False)
    assert here.lists() == [made] == [here.list_of("TEAM@a.test")]
    changed = here.change_list("team@a.test", owner="carol@b.test", posting="owner", rewrite_from=True)
    assert here.list_of("team@a.test") == changed
    assert (str(changed.owner), changed.posting, changed.rewrite_from) == ("carol@b.test", "owner", True)
    assert changed.members == made.members and changed.title == "The team"
    assert len(here.add_members("team@a.test", ["EVE@far.test", "carol@b.test"]).members) == 3
    left = here.remove_members("team@a.test", ["eve@FAR.test", "bob@a.test"])
    assert list(map(str, left.members)) == ["carol@b.test"]
    with refused("bob@a.test is not a member of team@a.test"):
        here.remove_members("team@a.test", ["carol@b.test", "bob@a.test"])
    assert here.list_of("team@a.test") == left
    here.remove_list("team@a.test")
    assert here.lists() == []
    assert here.add_list("team@a.test", "alice@a.test").members == ()


def test_who_goes_is_in_no_list(here: AddressAdministration, aliases: Administration) -> None:
    here.add_list("team@a.test", "alice@a.test", ["alice@a.test", "bob@a.test"])
    aliases.remove_account("bob@a.test")
    assert list(map(str, here.list_of("team@a.test").members)) == ["alice@a.test"]
    with refused("alice@a.test owns the list team@a.test; first: list change team@a.test --owner"):
        aliases.remove_account("alice@a.test")
    here.change_list("team@a.test", owner="carol@b.test")
    aliases.remove_account("alice@a.test")
    assert here.list_of("team@a.test").members == ()


def test_lists_that_cannot_be(here: AddressAdministration, aliases: Administration) -> None:
    aliases.add_alias("staff-owner@a.test", ["alice@a.test"])
    aliases.add_alias("all@a.test", ["bob@a.test"])
    with refused("the account bob@a.test exists already"):
        here.add_list("bob@a.test", "alice@a.test")
    with refused("the alias staff-owner@a.test exists already; a list needs staff-owner@a.test for itself"):
        here.add_list("staff@a.test", "alice@a.test")
    with refused("letters, digits"):
        here.add_list("a+b@a.test", "alice@a.test")
    with refused("letters, digits"):
        here.add_list("x" * 33 + "@a.test", "alice@a.test")
    with refused("nobody here has the address ghost@a.test"):
        here.add_list("team@a.test", "ghost@a.test")
    with refused("nobody here has the address ghost@b.test"):
        here.add_list("team@a.test", "alice@a.test", ["ghost@b.test"])
    with refused("in one line"):
        here.add_list("team@a.test", "alice@a.test", title="a\r\nb")
    assert here.lists() == []
    here.add_list("team@a.test", "alice@a.test", ["all@a.test"])
    with refused("the list team@a.test exists already"):
        here.add_list("team@a.test", "alice@a.test")
    with refused("mail would go round: team@a.test → team@a.test"):
        here.add_members("team@a.test", ["team@a.test"])
    with refused("mail would go round: all@a.test → team@a.test → all@a.test"):
        aliases.add_alias("all@a.test", ["team@a.test"])
    with refused("must not lead back to it"):
        here.change_list("team@a.test", owner="team-bounces@a.test")
    with refused("must not lead back to it"):
        here.change_list("team@a.test", owner="team@a.test")
    for taken in ("team@a.test", "team-leave@a.test"):
        with refused(f"{taken} belongs to the list team@a.test"):
            aliases.add_alias(taken, ["alice@a.test"])
        with refused(f"{taken} belongs to the list team@a.test"):
            aliases.add_account(taken, "secret")
    assert str(here.list_of("team@a.test").owner) == "alice@a.test"


def test_a_list_is_small(here: AddressAdministration) -> None:
    here.add_list("team@a.test", "alice@a.test", [f"m{n}@far.test" for n in range(MOST_MEMBERS)])
    with refused("at most 1000 members"):
        here.add_members("team@a.test", ["one-more@far.test"])
    assert len(here.list_of("team@a.test").members) == MOST_MEMBERS
