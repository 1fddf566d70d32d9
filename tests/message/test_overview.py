"""Overviews: what SORT, THREAD and header searches know of a message (RFC 5256, RFC 5957)."""

import datetime
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.mime import scan
from twisted_mta.message.overview import MAX_LIST, MAX_SUBJECT, Overview, read_overview


def overview(header: str) -> Overview:
    data = header.replace("\n", "\r\n").encode() + b"\r\n\r\nbody\r\n"
    return read_overview(data, scan(data))


def test_a_whole_one() -> None:
    found = overview(
        "Date: Sun, 31 Dec 2000 16:01:33 -0800\n"
        "Subject: =?utf-8?q?Re=3A?= [list]\n =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n"
        "From: =?utf-8?q?J=C3=BCrgen?= <j@a.test>, second@a.test\nSender: s@a.test\nReply-To: r@a.test\n"
        "To: b@a.test\nTo: c@a.test\nCc: d@a.test\nBcc: e@a.test\n"
        "Message-ID: <1@a>\nReferences: <0@a> <x@a>\nIn-Reply-To: <y@a>"
    )
    assert found == Overview(
        sent=datetime.datetime(2001, 1, 1, 0, 1, 33, tzinfo=datetime.UTC).timestamp(),
        sent_day=datetime.date(2000, 12, 31).toordinal(),
        subject="Re: [list] Grüße",
        base_subject="Grüße",
        is_reply=True,
        from_="Jürgen <j@a.test>, second@a.test",
        to="b@a.test, c@a.test",
        cc="d@a.test",
        bcc="e@a.test",
        reply_to="r@a.test",
        sender="s@a.test",
        from_mailbox="j",
        to_mailbox="b",
        cc_mailbox="d",
        from_display="Jürgen",
        to_display="b@a.test",
        message_id="1@a",
        references=("0@a", "x@a"),
    )


def test_nothing_at_all() -> None:
    assert overview("X-Other: x") == Overview(None, None, "", "", False, *([""] * 12), ())
    assert overview("Date:\nSubject:\nFrom:\nTo:\nMessage-ID:\nReferences:") == overview("X-Other: x")


@pytest.mark.parametrize(
    ("value", "mailbox", "display"),
    [
        ('"Joe Q. Public" <joe@a.test>', "joe", "Joe Q. Public"),
        ("joe@a.test", "joe", "joe@a.test"),
        ("<joe@a.test>", "joe", "joe@a.test"),
        ("joe@a.test (Joe)", "joe", "Joe"),
        ("joe", "joe", "joe@"),  # addr-host is not NIL, it is empty
        ("A Group: joe@a.test, ann@a.test;", "A Group", "A Group"),
        ('"=?utf-8?q?=C3=BC?=" <u@a.test>', "u", "ü"),
        ("ü@a.test", "ü", "ü@a.test"),
        (",", "", ""),
    ],
)
def test_first_addresses(value: str, mailbox: str, display: str) -> None:
    found = overview(f"From: {value}\nTo: {value}\nCc: {value}")
    assert (found.from_mailbox, found.to_mailbox, found.cc_mailbox) == (mailbox,) * 3
    assert (found.from_display, found.to_display) == (display,) * 2


@pytest.mark.parametrize(
    ("header", "references"),
    [
        ("References: <a@x>\n <b@x>\nIn-Reply-To: <c@x>", ("a@x", "b@x")),
        ("References: none here\nIn-Reply-To: <c@x> <d@x>", ("c@x",)),
        ("In-Reply-To: Your mail of today <c@x>", ("c@x",)),
        ("In-Reply-To: joe@a.test", ()),
        ('References: <"a"@x>', ("a@x",)),
    ],
)
def test_references(header: str, references: tuple[str, ...]) -> None:
    assert overview(header).references == references


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("1 Jan 1970 00:00:10 +0000", 10),
        ("1 Jan 1970 01:00:10 +0100", 10),
        ("1 Jan 1970 00:00:10 +9900", 10),  # an invalid zone counts as UTC
        ("1 Jan 1970 25:61:00 +0100", 0),  # an invalid time counts as midnight
        ("2 Jan 1970", 86400),
        ("yesterday", None),
    ],
)
def test_sent_date(value: str, sent: float | None) -> None:
    assert overview(f"Date: {value}").sent == sent


def test_long_fields_are_cut() -> None:
    found = overview(
        f"Subject: {'x' * 100_000}\nTo: {', '.join(f'user{n}@a.test' for n in range(10_000))}\n"
        f"From: {'n' * 100_000} <a@b>\nCc: {'ü' * 100_000}\n"
        f"References: {' '.join(f'<{n}@x>' for n in range(1000))}"
    )
    assert found.subject == found.base_subject == "x" * MAX_SUBJECT
    assert len(found.to) == len(found.cc) == MAX_LIST
    assert len(found.from_display) == MAX_SUBJECT
    assert found.references[-1] == "999@x" and len(found.references) == 100


LINES = """Subject: Re: =?utf-8?q?x?=|Subject:|Date: 1 Jan 2001|Date: x|From: a|From: b: c@d;|To: <
References: <a@b>|In-Reply-To: <|Message-ID: <x@y> <z@y>| folded\0|Cc: ü@x|To|\t|"""


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(re.split("[|\n]", LINES)), max_size=12).map("\n".join) | st.text(max_size=60))
def test_any_header_gives_texts_on_one_line(header: str) -> None:
    data = header.encode("utf-8", "replace")
    for value in read_overview(data, scan(data)):
        for text in value if isinstance(value, tuple) else [value]:
            if isinstance(text, str):
                assert not set(text) & {"\r", "\n", "\0"}
                text.encode("utf-8")
