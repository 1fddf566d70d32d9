"""Lookups: case, detail, aliases, postmaster, ownership, short logins."""

import pytest

from twisted_mta.directory.snapshot import Snapshot
from twisted_mta.interfaces import Resolution
from twisted_mta.message.address import Address

A = Address.parse
ACCOUNTS = [("alice@a.test", "h1"), ("bob@b.test", "h2"), ("carol@a.test", "h3"), ("carol@b.test", "h4")]
ALIASES = [
    ("sales@a.test", "alice@a.test"),
    ("sales@a.test", "Someone@elsewhere.test"),
    ("all@a.test", "sales@a.test"),
    ("loop@a.test", "pool@a.test"),
    ("pool@a.test", "loop@a.test"),
    ("alice+lists@a.test", "bob@b.test"),
    ("broken@a.test", "no address"),
    ("away@a.test", "postmaster@elsewhere.test"),
]


def snapshot(postmaster: str = "", accounts: list[tuple[str, str]] = ACCOUNTS) -> Snapshot:
    return Snapshot.of(accounts, ALIASES, A(postmaster) if postmaster else None)


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("alice@a.test", Resolution(account="alice@a.test")),
        ("ALICE@A.test", Resolution(account="alice@a.test")),
        ("Alice+News@a.test", Resolution(account="alice@a.test", detail="News")),
        ("alice+a+b@a.test", Resolution(account="alice@a.test", detail="a+b")),
        ("alice+@a.test", Resolution(account="alice@a.test")),
        ("alice+Lists@a.test", Resolution(aliases=(A("bob@b.test"),))),
        ("sales+x@a.test", Resolution(aliases=(A("alice@a.test"), A("Someone@elsewhere.test")), detail="x")),
        ("alice@b.test", None),
        ("+alice@a.test", None),
        ("broken@a.test", None),
        ('"a@b"@a.test', None),
    ],
)
def test_resolve(address: str, found: Resolution | None) -> None:
    assert snapshot().resolve(A(address)) == found


def test_postmaster_is_always_somebody() -> None:
    postmaster = A("PostMaster+x@b.test")
    assert snapshot().resolve(postmaster) == Resolution(account="bob@b.test")
    assert snapshot().resolve(A("postmaster@c.test")) == Resolution(account="alice@a.test")
    assert snapshot("carol@a.test").resolve(postmaster) == Resolution(aliases=(A("carol@a.test"),))
    own = [*ACCOUNTS, ("postmaster@b.test", "h5")]
    assert snapshot("carol@a.test", own).resolve(postmaster) == Resolution(
        account="postmaster@b.test", detail="x"
    )
    assert snapshot(accounts=[]).resolve(postmaster) is None


@pytest.mark.parametrize(
    ("account", "address", "owned"),
    [
        ("alice@a.test", "Alice@a.test", True),
        ("alice@a.test", "alice+x@a.test", True),
        ("alice@a.test", "sales@a.test", True),
        ("alice@a.test", "all@a.test", True),
        ("bob@b.test", "alice+lists@a.test", True),
        ("bob@b.test", "sales@a.test", False),
        ("alice@a.test", "bob@b.test", False),
        ("alice@a.test", "loop@a.test", False),
        ("alice@a.test", "nobody@a.test", False),
        ("alice@a.test", "postmaster@a.test", True),
        ("alice@a.test", "away@a.test", False),  # the postmaster of another host is nobody here
    ],
)
def test_owns(account: str, address: str, owned: bool) -> None:
    assert snapshot().owns(account, A(address), {"a.test", "b.test"}) is owned


@pytest.mark.parametrize(
    ("login", "account"),
    [
        ("alice@a.test", "alice@a.test"),
        ("ALICE@a.test", "alice@a.test"),
        ("alice", "alice@a.test"),
        ("Bob", "bob@b.test"),
        ("carol", None),
        ("sales@a.test", None),
        ("alice@b.test", None),
        ("", None),
        ("@a.test", None),
    ],
)
def test_login_names(login: str, account: str | None) -> None:
    assert snapshot().account_of_login(login) == account
