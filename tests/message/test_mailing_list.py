"""What a post to a mailing list looks like, and which mail is none."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.address import Address
from twisted_mta.message.headers import header_end, values
from twisted_mta.message.mailing_list import MailingList, is_answer, loops

A = Address.parse
HEADER = b"From: Alice <alice@a.test>\r\nTo: team@a.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n"


def team(**how):
    return MailingList(A("team@a.test"), A("alice@a.test"), (A("bob@a.test"),), **how)


def test_the_fields_of_rfc_2369_and_2919():
    assert team(title="The team, of us").fields() == (
        b'List-Id: "The team, of us" <team.a.test>\r\n'
        b"List-Post: <mailto:team@a.test>\r\n"
        b"List-Help: <mailto:team-request@a.test>\r\n"
        b"List-Unsubscribe: <mailto:team-leave@a.test>\r\n"
        b"List-Owner: <mailto:team-owner@a.test>\r\n"
        b"Precedence: list\r\n"
    )
    assert b"List-Id: <team.a.test>\r\n" in team().fields()
    assert b"List-Post: NO\r\n" in team(posting="owner").fields()
    assert b"List-Id: =?utf-8?" in team(title="Grüße").fields()


def test_a_post_is_what_its_author_wrote():
    post = team().post(HEADER)
    assert post == b"Delivered-To: team@a.test\r\n" + team().fields() + HEADER


def test_fields_of_other_lists_go():
    others = b"List-Id: <other.b.test>\r\nLIST-POST:\r\n <mailto:x@b.test>\r\nPrecedence: bulk\r\n"
    assert team().post(others + HEADER) == team().post(HEADER)
    folded = b"Subject: one\r\n two\r\nlist-unsubscribe: <x:y>,\r\n <z:w>\r\nX-Last: 1\r\n\r\n"
    assert team().post(folded).endswith(b"list\r\nSubject: one\r\n two\r\nX-Last: 1\r\n\r\n")


@pytest.mark.parametrize(
    "header", [b"", b"\r\n", b"no header\r\n\r\n", b"Subject: cut", b"Subject: no body\r\n"]
)
def test_odd_headers(header):
    post = team().post(header)
    assert post.startswith(b"Delivered-To: ")
    assert (header_end(post) >= 0) is (header_end(header) >= 0)
    assert post.endswith(b"\r\n")


def test_answers_to_the_list():
    post = team(replies="list").post(b"Reply-To: me@far.test\r\n" + HEADER)
    assert values(post, b"Reply-To") == [b"<team@a.test>"]
    assert values(post, b"From") == [b"Alice <alice@a.test>"]


@pytest.mark.parametrize(
    ("author", "shown"),
    [
        (b"Alice <alice@a.test>", b"Alice via team"),
        (b"alice@a.test", b"alice via team"),
        (b'"A. Person" <alice@a.test>', b'"A. Person via team"'),
        (b'"boss@bank.test" <alice@a.test>', b'"boss bank.test via team"'),
        (b'"a\\\\\\"b" <alice@a.test>', b"a b via team"),
        (b"", b"somebody via team"),
        (b"=?utf-8?q?J=C3=B6rg?= <j@a.test>", b"=?utf-8?q?J=C3=B6rg_via_team?="),
    ],
)
def test_a_list_that_is_the_author(author, shown):
    post = team(rewrite_from=True).post(b"From: " + author + b"\r\nSubject: x\r\n\r\n")
    assert values(post, b"From") == [shown + b" <team@a.test>"]
    assert values(post, b"Reply-To") == ([author] if author else [])


def test_a_list_that_is_the_author_and_gets_the_answers():
    both = team(rewrite_from=True, replies="list")
    assert values(both.post(HEADER), b"Reply-To") == [b"<team@a.test>, Alice <alice@a.test>"]
    asked = both.post(b"Reply-To: office@a.test\r\n" + HEADER)
    assert values(asked, b"Reply-To") == [b"<team@a.test>, office@a.test"]


@pytest.mark.parametrize(
    ("value", "loop"),
    [
        (b"<team.a.test>", True),
        (b'"any name" <TEAM.A.TEST>', True),
        (b"team.a.test", True),
        (b"<other.a.test>", False),
        (b"team.a.test <other.a.test>", False),
    ],
)
def test_what_was_posted_here_before(value, loop):
    assert loops(b"List-Id: <x.b.test>\r\nList-Id:\r\n " + value + b"\r\n\r\n", team()) is loop


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (b"auto-replied", True),
        (b"Auto-Replied (vacation); x=y", True),
        (b"AUTO-REPLIED; x=y", True),
        (b'auto-notified; owner-email="a@b"', True),
        (b"auto-generated", False),  # a report of a machine may be for all
        (b"no", False),
    ],
)
def test_answers_of_programs(value, answer):
    assert is_answer(b"Auto-Submitted: " + value + b"\r\n\r\n") is answer
    assert not is_answer(HEADER)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.booleans(), st.sampled_from(["author", "list"]))
def test_whatever_the_header_is(header, rewrite_from, replies):
    mailing_list = team(rewrite_from=rewrite_from, replies=replies)
    post = mailing_list.post(header)
    assert loops(post, mailing_list)
    assert values(post, b"Delivered-To")[0] == b"team@a.test"
