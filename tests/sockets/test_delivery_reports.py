"""Reports that were asked for over real SMTP, read by their receiver over real IMAP."""

from __future__ import annotations

import email
import email.policy
import smtplib
from collections.abc import Iterator
from email.message import EmailMessage, Message

import pytest
from mail_reader import untrusting
from office import PASSWORD, Office, running_office

BODY = b"From: alice@a.test\r\nMessage-ID: <asked@a.test>\r\nSubject: report, please\r\n\r\nhello\r\n"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    with running_office(tmp_path_factory.mktemp("office")) as office:
        assert office.process.mta("alias", "add", "team@a.test", "alice@a.test", "bob@a.test").returncode == 0
        yield office


def submit(office: Office, to: str, *rcpt: str, mail: tuple[str, ...] = ()) -> str:
    """From alice, with these parameters; the queue id."""
    with smtplib.SMTP("127.0.0.1", office.ports["submission"], timeout=60) as client:
        client.starttls(context=untrusting())
        client.ehlo("laptop")
        assert client.has_extn("dsn")
        client.login("alice@a.test", PASSWORD)
        assert client.mail("alice@a.test", mail)[0] == 250
        assert client.rcpt(to, rcpt)[0] == 250
        code, said = client.data(BODY)
        assert code == 250
    return said.decode().rpartition(" ")[2]


def report(office: Office, queue_id: str) -> tuple[EmailMessage, list[Message]]:
    """The report about a message, as it lies in alice's INBOX: the whole, and its blocks for programs."""
    made = office.process.wait_for(f" about={queue_id}").split(" ")
    number = next(word for word in made if word.endswith(":") and len(word) == 14)
    office.process.wait_for(f"{number} done")
    with office.reader("alice") as reader:
        _, (found,) = reader.imap.search(None, "HEADER", "Message-ID", f"<{number[:-1]}@mx.a.test>")
        octets = reader.fetch(int(found))
    whole = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(whole, EmailMessage)
    assert whole["Return-Path"] == "<>"
    blocks = email.message_from_bytes(octets).get_payload(1).get_payload()  # type: ignore[union-attr]
    return whole, blocks  # type: ignore[return-value]


def test_a_delivery_is_confirmed(office: Office) -> None:
    queue_id = submit(
        office,
        "bob@a.test",
        "NOTIFY=SUCCESS,FAILURE",
        "ORCPT=rfc822;Bob+2Bx@Elsewhere.test",
        mail=("RET=HDRS", "ENVID=QQ+2B1"),
    )
    whole, (message, recipient) = report(office, queue_id)
    assert whole["Subject"] == "Your message was delivered"
    assert whole["References"] == "<asked@a.test>"
    assert message["Original-Envelope-Id"] == "QQ+1"
    assert recipient["Original-Recipient"] == "rfc822; Bob+x@Elsewhere.test"
    assert recipient["Final-Recipient"] == "rfc822; bob@a.test"
    assert recipient["Action"] == "delivered"
    human, _, original = whole.iter_parts()
    words = " ".join(human.get_content().split())  # type: ignore[attr-defined]
    assert "was delivered to the mailbox of: <bob@a.test>" in words
    assert original.get_content_type() == "text/rfc822-headers"
    assert "Subject: report, please" in original.get_content()  # type: ignore[attr-defined]


def test_an_expansion_is_confirmed(office: Office) -> None:
    _, (_, recipient) = report(office, submit(office, "team@a.test", "NOTIFY=SUCCESS"))
    assert (recipient["Final-Recipient"], recipient["Action"]) == ("rfc822; team@a.test", "expanded")


def test_what_waits_and_is_given_back_by_hand(office: Office) -> None:
    queue_id = submit(office, "cy@far.test", mail=("RET=FULL",))
    office.process.wait_for(f"{queue_id}: deferred")
    assert office.process.mta("queue", "bounce", queue_id).returncode == 0
    whole, (_, recipient) = report(office, queue_id)
    assert (recipient["Action"], recipient["Status"]) == ("failed", "5.0.0")
    *_, original = whole.iter_parts()
    assert original.get_content_type() == "message/rfc822"
    assert original.get_payload(0)["Subject"] == "report, please"  # type: ignore[attr-defined]


def test_who_wants_no_report_gets_none(office: Office) -> None:
    queue_id = submit(office, "dee@far.test", "NOTIFY=NEVER")
    office.process.wait_for(f"{queue_id}: deferred")
    assert office.process.mta("queue", "bounce", queue_id).returncode == 0
    assert "status=5.0.0" in office.process.wait_for(f"{queue_id}: failed")
    office.process.wait_for(f"{queue_id}: done")
    assert f"about={queue_id}" not in office.process.log_text()
