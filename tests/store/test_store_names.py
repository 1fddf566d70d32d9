"""Names of mailboxes and accounts, and where they lead on disk."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.store.errors import BadMailboxName
from twisted_mta.store.names import (
    account_directory,
    canonical_name,
    decode_utf7,
    directory_of,
    encode_utf7,
    name_of,
    parents,
)


@pytest.mark.parametrize(
    ("name", "directory"),
    [
        ("INBOX", ""),
        ("Sent", ".Sent"),
        ("a/b/c", ".a.b.c"),
        ("a.b/c", ".a\\2eb.c"),
        ("a\\b", ".a\\5cb"),
        ("R&D", ".R&-D"),
        ("Entwürfe", ".Entw&APw-rfe"),
        ("日本語", ".&ZeVnLIqe-"),
        ("~peter/mail/台北/日本語", ".~peter.mail.&U,BTFw-.&ZeVnLIqe-"),  # RFC 3501 §5.1.3
        ("INBOX/old", ".INBOX.old"),
        ("cur", ".cur"),
        ("a b*%", ".a b*%"),
        ("...", ".\\2e\\2e\\2e"),
    ],
)
def test_a_name_has_one_directory_and_the_directory_that_name(name, directory):
    assert canonical_name(name) == name
    assert directory_of(name) == directory
    if name != "INBOX":
        assert name_of(directory) == name


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "/etc", "a//b", "a/", "../x", "..", ".", "a/../b", "a/.", "a\0b", "a\nb", "a\r"),
        *("a\x7f", "a\x85", "a\u2028b", "\ud800", "x" * 4000),
    ],
)
def test_bad_names_are_refused(name):
    with pytest.raises(BadMailboxName):
        canonical_name(name)


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 100, "/".join("a" * 130)])
def test_names_too_long_for_the_disk_are_refused(name):
    with pytest.raises(BadMailboxName):
        directory_of(canonical_name(name))


def test_inbox_in_any_case_also_as_the_first_level():
    assert canonical_name("inBox") == "INBOX"
    assert canonical_name("inbox/x") == "INBOX/x"
    assert canonical_name("x/inbox") == "x/inbox"


def test_names_are_normalised():
    assert canonical_name("u\u0308") == "ü"


@pytest.mark.parametrize("directory", [".", "..", ".a..b", ".INBOX", ".inbox", ".a\\2fb", ".&AAA-"])
def test_directories_that_are_no_mailbox(directory):
    assert name_of(directory) is None


@pytest.mark.parametrize(("directory", "name"), [(".Entwürfe", "Entwürfe"), (".R&D", "R&D"), (".&xx", "&xx")])
def test_directories_of_others_that_are_not_in_modified_utf7(directory, name):
    assert name_of(directory) == name


def test_parents():
    assert parents("a/b/c") == ["a", "a/b"]
    assert parents("a") == []


@pytest.mark.parametrize(
    ("account", "directories"),
    [
        ("alice@a.test", ("a.test", "alice")),
        ("a/b@c.test", ("c.test", "a%2Fb")),
        ("../x@..", ("%2E.", "%2E.%2Fx")),
        ("a%2Fb@c.test", ("c.test", "a%252Fb")),
        ("..@[192.0.2.1]", ("%5B192.0.2.1%5D", "%2E.")),
        ("a\0@c", ("c", "a%00")),
    ],
)
def test_account_directories_stay_inside(account, directories):
    assert account_directory(account) == directories
    path = os.path.normpath(os.path.join("/root", *directories))
    assert path == os.path.join("/root", *directories)


@pytest.mark.parametrize("account", ["", "alice", "@a.test", "alice@", "ü" * 60 + "@a.test"])
def test_what_is_no_account_name(account):
    with pytest.raises(BadMailboxName):
        account_directory(account)


@given(st.text())
@settings(max_examples=200, deadline=None)
def test_every_name_is_refused_or_leads_to_one_directory_inside(text):
    try:
        name = canonical_name(text)
        directory = directory_of(name)
    except BadMailboxName:
        return
    assert "/" not in directory and "\0" not in directory and directory not in (".", "..")
    assert directory.isascii()
    if name != "INBOX":
        assert directory.startswith(".") and name_of(directory) == name


@given(st.text(st.characters(exclude_categories=["Cs"])))
@settings(max_examples=200, deadline=None)
def test_modified_utf7_round_trip(text):
    assert decode_utf7(encode_utf7(text)) == text


@given(st.text("&-,+abAZ09/="))
@settings(max_examples=200, deadline=None)
def test_broken_modified_utf7_is_a_value_error_at_most(text):
    try:
        decode_utf7(text)
    except ValueError:
        pass


@given(st.text(min_size=1), st.text(min_size=1))
@settings(max_examples=200, deadline=None)
def test_two_accounts_never_share_a_directory(local, domain):
    try:
        one = account_directory(f"{local}@{domain}")
    except BadMailboxName:
        return
    assert all("/" not in part and "\0" not in part and not part.startswith(".") for part in one)
    assert one != account_directory("alice@a.test") or f"{local}@{domain}" == "alice@a.test"
