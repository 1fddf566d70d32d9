"""Search keys tried on a message's octets."""

import base64

import pytest

from twisted_mta.protocol.imap4.search_keys import AllText, And, BodyText, Header, Not, Or, SentDate
from twisted_mta.protocol.imap4.search_text import content_test

MESSAGE = (
    b"From: =?iso-8859-1?Q?Andr=E9?= <andre@a.test>\r\n"
    b"Subject: =?utf-8?B?R3LDvMOfZQ==?=\r\n to all\r\n"
    b"Date: Fri, 21 Nov 1997 23:30:00 -0600\r\n"
    b"X-Empty:\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"preamble\r\n--b\r\n"
    b"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    b"Caf=E9 au la=\r\nit\r\n--b\r\n"
    b"Content-Type: text/html; charset=utf-16le\r\nContent-Transfer-Encoding: base64\r\n\r\n"
    + base64.encodebytes("Straße".encode("utf-16-le")).replace(b"\n", b"\r\n")
    + b"--b\r\nContent-Type: application/octet-stream\r\n\r\nhidden\r\n--b\r\n"
    b"Content-Type: message/rfc822\r\n\r\nSubject: enclosed\r\n\r\ninner text\r\n--b--\r\n"
)


def matches(key, data=MESSAGE):
    return content_test(key)(data)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        (Header("subject", "grüsse"), True),  # case folding: ß is ss
        (Header("subject", "GRÜSSE TO"), True),
        (Header("subject", "utf-8"), False),
        (Header("from", "andré"), True),
        (Header("from", "ANDRE@A"), True),
        (Header("x-empty", ""), True),
        (Header("x-absent", ""), False),
        (BodyText("café au lait"), True),
        (BodyText("STRASSE"), True),
        (BodyText("hidden"), False),
        (BodyText("preamble"), False),
        (BodyText("inner TEXT"), True),
        (BodyText("subject: enclosed"), True),
        (BodyText("Grüße"), False),
        (AllText("Grüße"), True),
        (AllText("subject: gr"), True),
        (AllText("café"), True),
        (AllText("absent"), False),
        (SentDate(729349, 729350), True),  # 21 November 1997, whatever the zone
        (SentDate(729350, 729351), False),
        (Not(BodyText("café")), False),
        (And((BodyText("café"), Header("from", "andre"))), True),
        (Or(BodyText("absent"), Header("from", "andre")), True),
    ],
)
def test_keys(key, expected):
    assert matches(key) is expected


def test_messages_that_are_hardly_any():
    for data in (
        b"",
        b"\r\n",
        b"\0",
        b"Date: never\r\n",
        b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n=A",
    ):
        assert not matches(BodyText("x"), data) and not matches(SentDate(0, 10**6), data)
        assert matches(AllText(""), data) is matches(Or(AllText(""), BodyText("")), data)
