"""Automatic answers: nothing that their owner writes gets out of its place. Acceptance 28."""

from __future__ import annotations

import re

import pytest

from twisted_mta.message.address import Address
from twisted_mta.message.automatic import Answer

ANN = Address.parse("ann@a.test")


def answer(text: str, *, mime: bool) -> bytes:
    return Answer("bob@b.test", ANN, text, b"Subject: x\r\n\r\n", "1@b.test", 0.0, mime=mime).render()


@pytest.mark.parametrize("mime", [False, True])
def test_no_line_ends_but_with_cr_lf(mime: bool) -> None:
    octets = answer("\r\none\r.\rtwo\r\r\n.\nthree\n\r.\r", mime=mime)
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", octets)


def test_an_entity_says_only_what_it_is() -> None:
    entity = "Content-Type: text/html;\n charset=x\nFrom: eve@b.test\nBcc: c@c.test\nMIME-Version: 1\n\n\0<p>"
    header, _, body = answer(entity, mime=True).partition(b"\r\n\r\n")
    assert header.endswith(b"MIME-Version: 1.0\r\nContent-Type: text/html;\r\n charset=x")
    assert header.count(b"From: ") == header.count(b"MIME-Version") == 1
    assert b"Bcc" not in header
    assert body == b"<p>"


@pytest.mark.parametrize("entity", ["gone until Monday", "\ngone until Monday"])
def test_an_entity_without_a_header_is_all_body(entity: str) -> None:
    assert answer(entity, mime=True).endswith(b"MIME-Version: 1.0\r\n\r\ngone until Monday")
