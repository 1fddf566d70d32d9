"""The Received field (RFC 5321 §4.4)."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.address import Address
from twisted_mta.message.headers import fields
from twisted_mta.message.received import MAX_COLUMNS, count_received, protocol_keyword, received_field


def make(**changes: Any) -> bytes:
    given_values: dict[str, Any] = {
        "helo": "mail.a.test",
        "client_host": "mail.a.test",
        "client_address": "192.0.2.1",
        "by": "mx.b.test",
        "protocol": "ESMTPS",
        "queue_id": "4F2A",
        "for_path": Address("bob", "b.test"),
        "date": 880127706.0,
        "tls": "TLSv1.3 TLS_AES_256_GCM_SHA384",
    }
    return received_field(**(given_values | changes))


def test_the_whole_field() -> None:
    assert make() == (
        b"Received: from mail.a.test (mail.a.test [192.0.2.1])\r\n"
        b"\t(using TLSv1.3 TLS_AES_256_GCM_SHA384) by mx.b.test with ESMTPS\r\n"
        b"\tid 4F2A for <bob@b.test>; Fri, 21 Nov 1997 15:55:06 +0000\r\n"
    )


def test_a_client_whose_address_nobody_knows() -> None:
    start = b"Received: from mail.a.test (using TLSv1.3 TLS_AES_256_GCM_SHA384) by mx.b.test\r\n"
    assert make(client_host="", client_address="").startswith(start)
    assert b" (mail.a.test)\r\n" in make(client_address="")


def test_the_shortest_field() -> None:
    field = make(
        helo="", client_host="", client_address="2001:db8::1", protocol="SMTP", for_path=None, tls=""
    )
    assert field == (
        b"Received: from unknown ([IPv6:2001:db8::1]) by mx.b.test with SMTP id 4F2A;\r\n"
        b"\tFri, 21 Nov 1997 15:55:06 +0000\r\n"
    )


@pytest.mark.parametrize(
    "helo",
    [
        "a\r\nX-Evil: yes",
        "a\nb",
        "a\rb",
        "a\0b",
        "a (by evil",
        "a) by evil",
        "a; b",
        "x" * 2000,
        "jürgen",
        "a\\",
    ],
)
def test_a_helo_cannot_change_the_field(helo: str) -> None:
    field = make(helo=helo, client_host=helo)
    assert len(list(fields(field))) == 1
    assert re.fullmatch(
        rb"Received: from\s+[A-Za-z0-9.?:-]+\s+\([A-Za-z0-9.?:-]+ \[192\.0\.2\.1\]\)(?s:.)*", field
    )


def test_literal_in_helo_is_kept() -> None:
    assert b"from [192.0.2.9] (" in make(helo="[192.0.2.9]")


def test_protocol_keywords() -> None:
    assert protocol_keyword(extended=False, tls=False, authenticated=False) == "SMTP"
    assert protocol_keyword(extended=True, tls=False, authenticated=False) == "ESMTP"
    assert protocol_keyword(extended=True, tls=True, authenticated=False) == "ESMTPS"
    assert protocol_keyword(extended=True, tls=False, authenticated=True) == "ESMTPA"
    assert protocol_keyword(extended=True, tls=True, authenticated=True) == "ESMTPSA"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60), st.text(min_size=1, max_size=64))
def test_lines_are_short_and_clean(helo: str, host: str, local: str) -> None:
    field = make(helo=helo, client_host=host, for_path=Address(local, "b.test"))
    assert field.endswith(b"\r\n")
    lines = field[:-2].split(b"\r\n")
    assert all(line.startswith(b"\t") for line in lines[1:])
    assert not re.search(rb"[^\x20-\x7e]", b"".join(line.lstrip(b"\t") for line in lines))
    for line in lines:
        assert len(line.expandtabs(8)) <= MAX_COLUMNS or line.count(b" <") + line.count(b" (") <= 1


def test_count() -> None:
    block = (
        make() + b"X-Received: x\r\nreceived : y\r\nSubject: a\r\n Received: folded\r\n" + make() + b"\r\n"
    )
    assert count_received(block) == 3
    assert count_received(b"") == 0
    assert count_received(b"Received: x\r\n" * 101) == 101
