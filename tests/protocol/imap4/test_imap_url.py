"""IMAP URLs of messages and their parts (RFC 5092), with the examples of RFC 4467 and RFC 4469."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_mta.protocol.imap4.fetch_items import Section, Text
from twisted_mta.protocol.imap4.imap_url import (
    BadUrl,
    MessageUrl,
    UrlAuth,
    in_response_code,
    parse_authorized,
    parse_relative,
)


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("/Drafts;UIDVALIDITY=385759045/;UID=20", ("Drafts", 20, 385759045)),
        ("/Drafts/;UID=3002", ("Drafts", 3002, None)),
        ("/drafts;uidvalidity=1/;uid=1", ("drafts", 1, 1)),
        ("/inbox/sub/;UID=1", ("INBOX/sub", 1, None)),
        ("/a%2Fb%3B%20/%C3%A9/;UID=4294967295", ("a/b; /é", 4294967295, None)),
        (";UID=5", ("x/y", 5, None)),
        ("z/;UID=5", ("x/z", 5, None)),
    ],
)
def test_mailboxes_and_uids(url, found):
    assert parse_relative(url.encode(), "x/y") == MessageUrl(*found)


def test_sections_and_partial_ranges():
    def parsed(rest):
        url = parse_relative(b"/a/;UID=1" + rest, None)
        return url.section.part, url.section.text, url.partial

    assert parsed(b"/;section=1.MIME") == ((1,), Text.MIME, None)
    assert parsed(b"/;SECTION=1.5.9/;PARTIAL=0.1024") == ((1, 5, 9), Text.ALL, (0, 1024))
    assert parsed(b"/;SECTION=TEXT;PARTIAL=7") == ((), Text.TEXT, (7, None))
    assert parsed(b"/;PARTIAL=1.2") == ((), Text.ALL, (1, 2))
    url = parse_relative(b"/a/;UID=1/;SECTION=HEADER.FIELDS%20(To%20%22Cc%22)", None)
    assert url.section.fields == {b"to", b"cc"}
    assert [MessageUrl("a", 1, partial=p).cut(b"0123") for p in (None, (1, None), (1, 2), (9, 1))] == [
        *(b"0123", b"123", b"12", b"")
    ]


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "/",
            "/a",
            "/a/",
            "/a;UID=1",
            "/a/;UID=0",
            "/a/;UID=",
            "/a/;UID=4294967296",
            "/a/;UID=1/",
            ";UID=1",
        ),
        *("/a/;UID=1?x", "/a/;UID=1#x", "/a?ALL", "/a;UIDVALIDITY=0/;UID=1", "/a/;UID=1/;SECTION="),
        *("/a/;UID=1/;SECTION=NONSENSE", "/a/;UID=1/;SECTION=MIME", "/a/;UID=1/;SECTION=1]%20BODY[2"),
        *(
            "/a/;UID=1/;SECTION=1]<0.1>",
            "/a/;UID=1/;PARTIAL=1.0",
            "/a/;UID=1/;PARTIAL=x",
            "/a/;UID=1;URLAUTH=x",
        ),
        *(
            "//a/b/;UID=1",
            "imap://u@h/a/;UID=1",
            "/./;UID=1",
            "/a/../b/;UID=1",
            "/a/%2e%2e/b/;UID=1",
            "//;UID=1",
        ),
        *("/a%/;UID=1", "/a%zz/;UID=1", "/%ff/;UID=1", "/%00/;UID=1", "/a b/;UID=1", "/é/;UID=1"),
        "/" + "a" * 5000 + "/;UID=1",
    ],
)
def test_what_names_no_message_here(url):
    with pytest.raises(BadUrl):
        parse_relative(url.encode(), None)


def test_authorized_urls():
    rump = b"imap://joe@example.com/INBOX/;uid=20/;section=1.2;urlauth=submit+fred"
    url = parse_authorized(rump + b":internal:91354A473744909de610943775f92038")
    assert (url.owner, url.host) == ("joe", "example.com")
    assert (url.message.mailbox, url.message.uid, url.message.section.part) == ("INBOX", 20, (1, 2))
    token = "91354a473744909de610943775f92038"
    assert url.auth == UrlAuth("submit", "fred", None, rump, "INTERNAL", token)
    url = parse_authorized(
        b"imap://j%40e.com;AUTH=*@[::1]:143/a/;uid=1;expire=2002-10-31T23:59:60Z;urlauth=authuser".replace(
            b":60Z", b":59.5-01:00"
        )
    )
    assert url.owner == "j@e.com" and url.message == MessageUrl("a", 1, section=Section())
    assert url.auth.expire == datetime(2002, 11, 1, 0, 59, 59, 500_000, tzinfo=UTC)
    assert (url.auth.access, url.auth.token) == ("authuser", "")


@pytest.mark.parametrize(
    "url",
    [
        "imap://example.com/INBOX/;uid=20;urlauth=anonymous",
        "imap://joe@example.com/INBOX/;uid=20",
        "imap://joe@example.com/;uid=20;urlauth=anonymous",
        "imap://joe@example.com/INBOX;urlauth=anonymous",
        "imap://joe@example.com/INBOX/;uid=20;urlauth=somebody",
        "imap://joe@example.com/INBOX/;uid=20;urlauth=submit+",
        "imap://joe@example.com/INBOX/;uid=20;urlauth=anonymous:internal",
        "imap://joe@example.com/INBOX/;uid=20;urlauth=anonymous:internal:abc",
        "imap://joe@example.com/INBOX/;uid=20;urlauth=anonymous;expire=2002-10-31T23:59:59Z",
        "imap://joe@example.com/INBOX/;uid=20;expire=2002-10-31;urlauth=anonymous",
        "imap://joe@example.com/INBOX/;uid=20;expire=0001-01-01T00:00:00+23:00;urlauth=anonymous",
        "imap://joe@example.com",
        "pop://joe@example.com/INBOX/;uid=20;urlauth=anonymous",
        "/INBOX/;uid=20;urlauth=anonymous",
    ],
)
def test_what_is_not_authorized(url):
    with pytest.raises(BadUrl):
        parse_authorized(url.encode())


@given(st.binary(max_size=60))
def test_any_url_can_be_told_in_a_response_code(url):
    shown = in_response_code(url)
    assert shown.isascii() and shown.isprintable() and not set(shown) & set(']" ')


@given(
    st.lists(
        st.sampled_from(
            ["/", ";", "UID=", "1", "imap://", "a@b", ";SECTION=", "%41", "%", ".", ";URLAUTH=authuser"]
        )
    )
)
def test_no_octets_are_too_strange(pieces):
    url = "".join(pieces).encode()
    for parse in (parse_authorized, lambda url: parse_relative(url, "a")):
        try:
            parse(url)
        except BadUrl:
            pass
