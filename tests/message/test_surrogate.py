"""Internationalised headers for readers of ASCII (RFC 6855 §7, RFC 6858)."""

from email import policy
from email.parser import BytesParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.surrogate import MAX_HEADER, surrogate

NOWHERE = "<invalid@internationalized-address.invalid>"


def parsed(message):
    written = surrogate(message.encode())
    assert written.partition(b"\r\n\r\n")[0].isascii()
    return BytesParser(policy=policy.default).parsebytes(written)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"Subject: plain\r\n\r\nbody\r\n",
        "Subject: plain\r\n\r\nbödy\r\n".encode(),
        b"Subject: \xfc\r\n\r\nwhoever wrote that\r\n",
        "X: ü\r\n".encode() + b"Y: " + b"y" * MAX_HEADER + b"\r\n\r\n",
    ],
)
def test_what_stays_as_it_is(octets):
    assert surrogate(octets) == octets


def test_text():
    message = parsed("Subject: grün und =?utf-8?q?gr=C3=BC=C3=9Fe?=\r\nX-Odd: ö\r\nX: y\r\n\r\nbödy\r\n")
    assert (message["Subject"], message["X-Odd"], message["X"]) == ("grün und grüße", "ö", "y")
    assert surrogate("Subject: ü\r\n\r\nö".encode()).endswith("\r\n\r\nö".encode())


def test_addresses():
    message = surrogate(
        (
            'From: "José P." <jose@a.test>\r\n'
            'To: René <rené@b.test>, plain@c.test,\r\n "A, B" <a@b.test>\r\n'
            "Cc: Grün: x@a.test, ü@b.test;\r\n\r\n"
        ).encode()
    )
    (sender, to, cc), _ = message.split(b"\r\n\r\n")[0].replace(b"\r\n ", b" ").split(b"\r\n"), None
    assert sender == b"From: =?utf-8?b?Sm9zw6kgUC4=?= <jose@a.test>"
    assert (
        to
        == b'To: =?utf-8?b?UmVuw6kgcmVuw6lAYi50ZXN0?= %b, plain@c.test, "A, B" <a@b.test>' % NOWHERE.encode()
    )
    assert cc.endswith(b": x@a.test, =?utf-8?b?w7xAYi50ZXN0?= %b;" % NOWHERE.encode())


def test_parameters():
    message = parsed('Content-Type: text/plain; charset=utf-8; name="für \\"x\\".txt"\r\n\r\n')
    assert message.get_content_charset() == "utf-8"
    assert message["Content-Type"].params["name"] == 'für "x".txt'


@settings(max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["From", "To", "Subject", "Content-Type", "Ünknown", "X"]),
            st.text('aü ,;:<>@"\\=()\t', max_size=30),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_whatever_the_header_holds(lines):
    message = "".join(f"{name}: {value}\r\n" for name, value in lines) + "\r\nbödy"
    written = surrogate(message.encode())
    assert written.endswith("\r\nbödy".encode())
    assert written.removesuffix("bödy".encode()).isascii()
