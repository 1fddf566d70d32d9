"""What the services offer, from outside: chunks, internationalised addresses, mail for later, reports."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Iterator

import pytest
from office import PASSWORD, Office, running_office


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with running_office(tmp_path_factory.mktemp("office")) as office:
        yield office


def say(client: smtplib.SMTP, line: str) -> tuple[int, bytes]:
    client.sock.sendall(line.encode() + b"\r\n")
    return client.getreply()


def test_what_is_offered_to_whom(office: Office) -> None:
    common = {"smtputf8", "chunking", "binarymime", "dsn"}
    with smtplib.SMTP("127.0.0.1", office.ports["smtp"]) as client:
        client.ehlo("client.test")
        assert common | {"deliverby", "limits"} <= set(client.esmtp_features)
        assert not {"futurerelease", "mt-priority", "requiretls"} & set(client.esmtp_features)
        client.starttls(context=ssl._create_unverified_context())
        client.ehlo("client.test")
        assert "requiretls" in client.esmtp_features
    with smtplib.SMTP("127.0.0.1", office.ports["submission"]) as client:
        client.ehlo("client.test")
        assert {"futurerelease", "mt-priority"} <= set(client.esmtp_features)
    with smtplib.LMTP("127.0.0.1", office.ports["lmtp"]) as client:
        client.ehlo("client.test")
        assert common <= set(client.esmtp_features) and "deliverby" not in client.esmtp_features


def test_chunks_and_an_internationalised_sender(office: Office) -> None:
    with office.reader("alice@a.test") as reader, smtplib.SMTP("127.0.0.1", office.ports["smtp"]) as client:
        before = reader.count
        assert say(client, "EHLO client.test")[0] == 250
        assert say(client, "MAIL FROM:<é@bücher.test> SMTPUTF8 BODY=8BITMIME")[0] == 250
        assert say(client, "RCPT TO:<alice@a.test>")[0] == 250
        first, second = "Subject: Grüße\r\n\r\nhal".encode(), b"lo\r\n.\r\nQUIT\r\n"
        client.sock.sendall(b"BDAT %d\r\n" % len(first) + first + b"BDAT %d LAST\r\n" % len(second) + second)
        assert client.getreply()[0] == 250 and client.getreply()[0] == 250
        reader.wait_for(before + 1)
        content = reader.fetch(before + 1)
        assert content.endswith(first + second)
        assert content.startswith("Return-Path: <é@xn--bcher-kva.test>".encode())


def test_mail_for_later_waits_and_a_success_is_reported(office: Office) -> None:
    with office.reader("bob@a.test") as bob, office.reader("alice@a.test") as alice:
        before, reports = bob.count, alice.count
        with smtplib.SMTP("127.0.0.1", office.ports["submission"]) as client:
            client.starttls(context=ssl._create_unverified_context())
            client.login("alice@a.test", PASSWORD)
            client.ehlo("client.test")
            for hold in ("HOLDFOR=1", "HOLDFOR=3600"):
                client.sendmail(
                    "alice@a.test",
                    ["bob@a.test"],
                    b"Subject: later\r\n\r\nx\r\n",
                    mail_options=[hold, "MT-PRIORITY=3", "RET=HDRS"],
                    rcpt_options=["NOTIFY=SUCCESS"],
                )
        bob.wait_for(before + 1)
        alice.wait_for(reports + 1)
        assert "to <bob@a.test>: waiting, 0 attempts" in office.process.mta("queue", "list").stdout
        assert b"Action: delivered" in alice.fetch(reports + 1)
