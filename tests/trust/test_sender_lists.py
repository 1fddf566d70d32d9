"""Senders allowed and denied by hand, spam traps, and the file they are remembered in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from asked_check import judge
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.message.address import Address
from twisted_mta.trust.abuse.checks import SenderListCheck, TrapCheck, authors, sender_of
from twisted_mta.trust.abuse.ledger import SenderDatabase
from twisted_mta.trust.abuse.memory import Remembered
from twisted_mta.trust.abuse.senders import Sender, SenderEntry, SenderLists, read_subject
from twisted_mta.trust.abuse.traps import Traps
from twisted_mta.trust.check import Incoming, Verdict
from twisted_mta.trust.dkim.verify import DkimResult
from twisted_mta.trust.dmarc.evaluate import DmarcResult
from twisted_mta.trust.spf.check import SpfResult

ANN = Address("ann", "mail.far.test")


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("Ann@Far.Test", ("address", "ann@far.test")),
        ("far.test", ("domain", "far.test")),
        ("@far.test", ("domain", "far.test")),
        ("*.Far.test.", ("domain", "far.test")),
        ("münchen.example", ("domain", "xn--mnchen-3ya.example")),
        ("192.0.2.7", ("network", "192.0.2.7/32")),
        ("192.0.2.0/24", ("network", "192.0.2.0/24")),
        ("2001:db8::/32", ("network", "2001:db8::/32")),
    ],
)
def test_subjects(text, subject):
    assert read_subject(text) == subject
    assert read_subject(subject[1]) == subject


@pytest.mark.parametrize("text", ["", "com", "a b@c", "192.0.2.1/24", "x..y", "@", "a@b@"])
def test_what_is_no_subject(text):
    with pytest.raises(ValueError, match=r"neither|too much"):
        read_subject(text)


def lists(**words: Any) -> SenderLists:
    return SenderLists(SenderEntry("", subject, word) for subject, word in words["entries"].items())


@pytest.mark.parametrize(
    ("entries", "verified", "word"),
    [
        ({"ann@mail.far.test": "allow", "far.test": "deny"}, True, "allow"),
        ({"ann@mail.far.test": "deny", "far.test": "allow"}, True, "deny"),
        ({"mail.far.test": "allow", "far.test": "deny"}, True, "allow"),
        ({"far.test": "allow", "192.0.2.0/24": "deny"}, True, "allow"),
        ({"192.0.2.0/24": "allow", "192.0.0.0/16": "deny"}, False, "allow"),
        ({"192.0.2.0/24": "deny", "192.0.2.7/32": "allow"}, False, "allow"),
        ({"far.test": "allow"}, False, None),  # a name alone proves nothing
        ({"ann@mail.far.test": "allow", "far.test": "deny"}, False, "deny"),
        ({"far.test": "deny"}, False, "deny"),
        ({"ar.test": "deny", "other.test": "deny"}, False, None),
    ],
)
def test_the_most_exact_entry_counts_and_to_be_allowed_takes_proof(entries, verified, word):
    sender = Sender((ANN,), frozenset({"mail.far.test"} if verified else ()), "192.0.2.7")
    assert lists(entries=entries).word("", sender)[0] == word


def test_accounts_have_lists_of_their_own():
    both = SenderLists([SenderEntry("bob@here.test", "far.test", "deny")])
    assert both.word("bob@here.test", Sender((ANN,))) == ("deny", "far.test")
    assert both.word("", Sender((ANN,))) == (None, "") and not both.names("")


def test_the_check_by_what_is_proven():
    allowed = lists(entries={"far.test": "allow"})
    header = b"From: Ann <ann@mail.far.test>\r\n\r\n"
    check = SenderListCheck(allowed, "content")
    assert judge(check, header=header, reverse_path=ANN) == Verdict()
    by_spf = judge(check, header=header, reverse_path=ANN, spf=SpfResult("pass", "mail.far.test"))
    by_dkim = judge(check, header=header, dkim=[DkimResult("pass", domain="mail.far.test")])
    by_dmarc = judge(check, header=header, dmarc=DmarcResult("pass", author="mail.far.test"))
    assert {v.action for v in (by_spf, by_dkim, by_dmarc)} == {"allow"}
    assert "far.test is on the list of allowed senders" in by_spf.why
    other = judge(check, header=header, dkim=[DkimResult("pass", domain="evil.test")])
    broken = judge(check, header=header, dkim=[DkimResult("fail", domain="mail.far.test")])
    assert other == broken == Verdict()


def test_the_check_at_rcpt_and_its_words():
    denied = lists(entries={"192.0.2.0/24": "deny", "far.test": "deny"})
    verdict = judge(SenderListCheck(denied, "recipient"))
    assert str(verdict.error) == "550 5.7.1 Mail from 192.0.2.0/24 is not wanted here"
    assert judge(SenderListCheck(denied, "recipient"), address="198.51.100.1") == Verdict()
    header = b"From: <eve@far.test>\r\n\r\n"
    assert judge(SenderListCheck(denied, "content"), address="198.51.100.1", header=header).action == "reject"


def test_what_a_message_proves():
    message = Incoming(
        "192.0.2.7", header=b"From: a <a@x.test>, group: b@y.test;, bad\r\n\r\n", reverse_path=ANN
    )
    assert [str(address) for address in sender_of(message).addresses] == [str(ANN), "a@x.test", "b@y.test"]
    assert sender_of(message).verified == frozenset()


@given(st.binary(max_size=200))
def test_any_header_has_authors_or_none(data):
    assert len(authors(data)) <= 10


# Traps


def test_who_writes_to_a_trap_waits_with_his_whole_network():
    now = [1000.0]
    lists = SenderLists([SenderEntry("", "192.0.2.64/26", "allow")])
    check = TrapCheck(Traps(["old@here.test"], disgrace=3600, seconds=lambda: now[0]), lists)
    assert judge(check) == Verdict()
    bounced = judge(check, forward_paths=(Address("Old", "here.test"),))  # somebody used it as his own
    assert bounced.action == "reject" and judge(check) == Verdict()
    caught = judge(check, forward_paths=(Address("Old", "here.test"),), reverse_path=ANN)
    assert caught.action == "reject" and str(caught.error).startswith("550 5.7.1 Nobody has this address")
    assert judge(check, address="192.0.2.99") == Verdict()  # allowed by hand
    again = judge(check, address="192.0.2.33")
    assert again.action == "defer" and "try again in 60 minutes" in str(again.error)
    assert judge(check, address="198.51.100.1") == Verdict()
    now[0] += 3600
    assert judge(check) == Verdict()


def test_a_domain_that_answers_for_its_clients_is_in_disgrace_instead_of_their_network():
    async def known(address: Address) -> bool:
        return address == Address("friend", "spam.test")

    traps = Traps(["old@here.test"], disgrace=3600, seconds=lambda: 1000.0)
    check = TrapCheck(traps, SenderLists(), known)

    def said(local: str, domain: str, result: str = "pass", to: str = "bob") -> Verdict:
        path, found = Address(local, domain), SpfResult(result, domain, "mx")
        return judge(check, reverse_path=path, spf=found, forward_paths=(Address(to, "here.test"),))

    assert said("x", "mail.spam.test", to="old").action == "reject"
    assert said("y", "spam.test").error.text.startswith("spam.test has written to an address")
    assert said("ann", "far.test") == said("ann", "far.test", "none") == Verdict()  # the same network
    assert said("y", "spam.test", "fail") == Verdict()  # only says so: it is not spam.test's
    assert said("friend", "spam.test") == Verdict()  # accounts have written to him
    assert said("friend", "spam.test", to="old").action == "reject"
    assert said("x", "none.test", "none", to="old").action == "reject"
    assert said("z", "none.test", "none").error.text.startswith("192.0.2.0/24 has written")
    assert said("ann", "far.test") == Verdict()


def test_an_allowed_sender_may_write_in_its_own_name_alone():
    """In the name of a domain that disowns the mail (DMARC) only an allowed network may bring it."""
    entries = lists(entries={"lists.test": "allow", "192.0.2.0/24": "allow"})
    path = Address("list-bounces", "lists.test")
    for disowned, client, word in (
        (False, "198.51.100.1", "allow"),
        (True, "198.51.100.1", None),
        (True, "192.0.2.7", "allow"),
    ):
        assert entries.word("", Sender((path,), frozenset({"lists.test"}), client, disowned))[0] == word
    denied = lists(entries={"lists.test": "deny"})
    assert denied.word("", Sender((path,), disowned=True))[0] == "deny"


# The file


def test_entries_and_memories_in_the_file(tmp_path: Path):
    database = SenderDatabase(tmp_path / "senders.sqlite")
    version = database.data_version()
    other = SenderDatabase(tmp_path / "senders.sqlite")
    entry = SenderEntry("", "far.test", "deny", 5.0, "by hand")
    assert other.put(entry) and other.put(entry._replace(word="allow"))
    assert database.entries() == [entry._replace(word="allow")]
    assert database.data_version() != version
    assert database.entries("bob@here.test") == []
    assert other.remove("", "far.test") and not other.remove("", "far.test")
    database.write({"a": [Remembered("x", 1, 10), Remembered("y", 2, 20)], "b": [Remembered("x", 3, 30)]})
    database.write({"a": [Remembered("x", 0, 0)]})
    assert database.remembered("a", 5) == [Remembered("y", 2, 20)]
    database.forget_old(25)
    assert database.remembered("a", 0) == [] and len(database.remembered("b", 0)) == 1
    database.close()
    other.close()
