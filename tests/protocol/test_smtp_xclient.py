"""The argument of XCLIENT (Postfix's XCLIENT_README)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message.status import MailError
from twisted_mta.protocol.smtp.xclient import Client, read


@pytest.mark.parametrize(
    ("argument", "client"),
    [
        ("ADDR=192.0.2.7", Client(address="192.0.2.7")),
        ("addr=IPV6:2001:DB8:0:0::7", Client(address="2001:db8::7")),
        ("ADDR=ipv6:::ffff:192.0.2.7", Client(address="192.0.2.7")),
        ("ADDR=2001:db8::7", Client(address="2001:db8::7")),
        ("ADDR=[UNAVAILABLE]", Client(address="")),
        ("NAME=mail.b.test HELO=b.test", Client(name="mail.b.test", helo="b.test")),
        ("NAME=[unavailable]", Client(name="")),
        ("NAME=[TempUnavail]", Client(name="", undecided=True)),
        ("LOGIN=alice+40a.test", Client(login="alice@a.test")),
        ("LOGIN=[UNAVAILABLE]", Client(login="")),
        ("HELO=[192.0.2.7] PROTO=esmtp", Client(helo="[192.0.2.7]")),
        # What nginx and swaks send.
        (
            "ADDR=192.0.2.7 LOGIN=alice@a.test NAME=[UNAVAILABLE]",
            Client("192.0.2.7", "", None, "alice@a.test"),
        ),
        ("PORT=40000 DESTADDR=198.51.100.1 DESTPORT=25 PROTO=SMTP", Client()),
    ],
)
def test_what_is_said(argument, client):
    assert read(argument, login=True) == client


@pytest.mark.parametrize(
    "argument",
    [
        "",
        "ADDR",
        "ADDR=",
        "ADDR=999.0.0.1",
        "ADDR=IPV6:192.0.2.7",
        "ADDR=fe80::1%25eth0",
        "ADDR=fe80::1+25eth0",
        "ADDR=192.0.2.7 ADDR=192.0.2.8",
        "PORT=65536",
        "PORT=+31x",
        "PROTO=UUCP",
        "NAME=a b",
        "NAME=a+0D+0Ab",
        "NAME=-a.test-",
        "HELO=a+00",
        "HELO=" + "x" * 256,
        "LOGIN=a+0Ab",
        "LOGIN=b\u00fccher",
        "WHO=me",
        "ADDR=+3",
    ],
)
def test_what_is_refused(argument):
    with pytest.raises(MailError) as error:
        read(argument, login=True)
    assert (error.value.code, error.value.status) == (501, "5.5.4")


def test_login_is_for_servers_with_accounts():
    with pytest.raises(MailError):
        read("LOGIN=alice", login=False)


@settings(max_examples=300)
@given(st.text(alphabet="ADRNMEHLOGI=+0A4[]UV6:. 1b\u00e9", max_size=40))
def test_any_argument_is_read_or_refused(argument):
    try:
        client = read(argument, login=True)
    except MailError as error:
        assert error.code == 501
    else:
        for value in (client.address, client.name, client.helo, client.login):
            assert value is None or (value.isascii() and value.isprintable() and len(value) <= 255)
