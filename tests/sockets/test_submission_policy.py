"""What accounts send, from outside: limits, copies in Sent, the Outbox, BURL; with real clients."""

from __future__ import annotations

import imaplib
import re
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from office import PASSWORD, Office, running_office

ALICE, BOB = "alice@a.test", "bob@a.test"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    submission = {"sent_copy": True, "outbox": "Outbox", "recipients": 100, "message_size": "1M"}
    with running_office(tmp_path_factory.mktemp("office"), submission=submission) as office:
        yield office


@contextmanager
def imap(office: Office, user: str = ALICE) -> Iterator[imaplib.IMAP4]:
    with imaplib.IMAP4("127.0.0.1", office.ports["imap"]) as client:
        client.starttls(ssl._create_unverified_context())
        client.login(user, PASSWORD)
        yield client


@contextmanager
def smtp(office: Office, user: str = ALICE) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("127.0.0.1", office.ports["submission"]) as client:
        client.starttls(context=ssl._create_unverified_context())
        client.login(user, PASSWORD)
        yield client


def message(name: str, more: str = "", to: str = BOB) -> bytes:
    lines = (
        f"From: {ALICE}\r\nTo: {to}\r\nMessage-ID: <{name}@a.test>\r\n{more}Subject: {name}\r\n\r\n{name}\r\n"
    )
    return lines.encode()


def found(client: imaplib.IMAP4, mailbox: str, name: str) -> list[bytes]:
    """Numbers of the messages with that Message-ID."""
    client.select(mailbox)
    return client.search(None, "HEADER", "Message-ID", f"<{name}@a.test>")[1][0].split()


def sent_and_arrived(office: Office, name: str, reader: imaplib.IMAP4) -> bytes:
    """Wait until Sent has it and nothing of it is queued; the flags of the one message in Sent."""
    office.process.wait_for(f"{name}@a.test")
    queue_id = re.search(r"(\S+): accepted .*" + name, office.process.log_text())[1]
    office.process.wait_for(f"{queue_id}: done")
    (number,) = found(reader, "Sent", name)
    return reader.fetch(number, "(FLAGS)")[1][0]


def test_a_copy_of_what_is_sent_is_kept_as_seen(office: Office) -> None:
    with smtp(office) as client, imap(office) as alice, imap(office, BOB) as bob:
        client.sendmail(ALICE, [BOB], message("kept", "Bcc: eve@far.test\r\n"))
        assert b"\\Seen" in sent_and_arrived(office, "kept", alice)
        (number,) = found(bob, "INBOX", "kept")
        assert b"eve@" not in bob.fetch(number, "(BODY[])")[1][0][1]


def test_the_copy_of_the_client_takes_the_place_of_ours(office: Office) -> None:
    with smtp(office) as client, imap(office) as alice:
        client.sendmail(ALICE, [BOB], message("twice"))
        sent_and_arrived(office, "twice", alice)
        alice.append("Sent", "(\\Seen $MDNSent)", None, message("twice", "Bcc: eve@far.test\r\n"))
        (number,) = found(alice, "Sent", "twice")
        assert b"eve@far.test" in alice.fetch(number, "(BODY[])")[1][0][1]
        alice.append("Sent", "(\\Seen)", None, message("before"))
        client.sendmail(ALICE, [BOB], message("before"))
        sent_and_arrived(office, "before", alice)


def test_what_is_appended_to_the_outbox_is_sent(office: Office) -> None:
    with imap(office) as alice, imap(office, BOB) as bob:
        alice.create("Outbox")
        content = message(
            "out", "Cc: alice@a.test\r\nBcc: Bob <bob+hidden@a.test>\r\n", to="Bob <BOB@a.test>"
        )
        status, said = alice.append("Outbox", "(\\Draft)", None, content)
        assert status == "OK" and b"APPENDUID" in said[0]
        flags = sent_and_arrived(office, "out", alice)
        assert b"\\Seen" in flags and b"$Submitted" in flags and b"\\Draft" not in flags
        (number,) = found(alice, "Sent", "out")
        assert alice.fetch(number, "(BODY[])")[1][0][1] == content  # what only its author may see is there
        assert not found(alice, "Outbox", "out")
        (own,) = found(alice, "INBOX", "out")
        arrived = alice.fetch(own, "(BODY[])")[1][0][1]
        assert b"hidden" not in arrived and b"Received: by mx.a.test (Outbox) id " in arrived
        assert len(found(bob, "INBOX", "out")) == 2  # as himself, and as bob+hidden


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (
            message("n1").replace(b"From: alice", b"From: ceo"),
            "<ceo@a.test> is not an address of alice@a.test",
        ),
        (message("n2", to="nobody@a.test"), "<nobody@a.test> No such mailbox here"),
        (
            message("n3", to="undisclosed-recipients:;"),
            "The message names nobody whom it is for (To, Cc, Bcc)",
        ),
        (message("n4", to='"a@far.test"@a.test'), "Routed addresses are refused"),
        (message("n5", "Resent-To: bob@a.test\r\n"), "with Resent- fields"),
        (message("n6", to="x" * 100 + "@a.test"), "To holds something that is not an address"),
        (message("n7", to=", ".join(f"u{n}@far.test" for n in range(101))), "for more than 100 addresses"),
        (message("n8") + b"x" * 2**20, "Messages may have 1048576 octets"),
    ],
)
def test_what_cannot_be_sent_is_refused_at_once_and_not_kept(
    office: Office, content: bytes, reason: str
) -> None:
    with imap(office) as alice:
        alice.create("Outbox")
        status, said = alice.append("Outbox", None, None, content)
        assert status == "NO" and b"Not sent: " in said[0] and reason in said[0].decode()
        alice.select("Outbox")
        assert alice.search(None, "ALL")[1] == [b""]


def test_what_was_moved_there_and_cannot_be_sent_stays_and_its_owner_is_told(office: Office) -> None:
    with imap(office) as alice:
        alice.create("Outbox")
        alice.append("Drafts", None, None, message("good"))
        alice.append("Drafts", None, None, message("bad", to="nobody@a.test"))
        alice.select("Drafts")
        assert alice._simple_command("MOVE", "1:2", "Outbox")[0] == "OK"
        sent_and_arrived(office, "good", alice)
        office.process.wait_for("-: unsent account=alice@a.test")
        alice.select("INBOX")
        (told,) = alice.search(None, "SUBJECT", '"Not sent: bad"')[1][0].split()
        text = alice.fetch(told, "(BODY[TEXT])")[1][0][1]
        assert b'Your message "bad" was not sent' in text and b"<nobody@a.test> No such mailbox here" in text
        (number,) = found(alice, "Outbox", "bad")
        assert b"$SubmitFailed" in alice.fetch(number, "(FLAGS)")[1][0]
        alice.store(number, "+FLAGS", "\\Deleted")
        alice.expunge()


def test_who_has_sent_enough_hears_it_in_plain_words(office: Office) -> None:
    said = office.process.mta("account", "limits", BOB, "--messages", "2", "--newcomers", "1").stdout
    assert "messages in 24 hours: 0, 2 at most (its own)" in said
    with smtp(office, BOB) as client:
        content = b"Subject: x\r\n\r\nx\r\n"
        refused = client.sendmail(BOB, [ALICE, "new@far.test"], content)
        assert refused["new@far.test"][0] == 450
        assert (
            b"4.7.1 You have sent messages to 1 people you never wrote to before"
            in refused["new@far.test"][1]
        )
        client.sendmail(BOB, [ALICE], content)
        with pytest.raises(smtplib.SMTPSenderRefused) as caught:
            client.sendmail(BOB, [ALICE], content)
        assert caught.value.smtp_code == 450
        assert b"You have sent 2 messages within 24 hours and may send 2" in caught.value.smtp_error
        back = ("--messages", "default", "--sent-copy", "off")
        said = office.process.mta("account", "limits", BOB, *back).stdout
        assert "messages in 24 hours: 2, 2,000 at most (as configured)" in said
        assert "copies in Sent: off (its own)" in said
        client.sendmail(BOB, [ALICE], content)


def test_burl_sends_what_lies_in_a_mailbox(office: Office) -> None:
    with imap(office) as alice, imap(office, BOB) as bob, smtp(office) as client:
        alice.append("Drafts", None, None, message("fetched", "Bcc: eve@far.test\r\n"))
        (number,) = found(alice, "Drafts", "fetched")
        uid = re.search(rb"UID (\d+)", alice.fetch(number, "(UID)")[1][0])[1].decode()

        def url(rights: str) -> str:
            rump = f'"imap://alice@a.test/Drafts/;uid={uid};urlauth={rights}"'
            alice.send(f"x GENURLAUTH {rump} INTERNAL\r\n".encode())
            made = re.search(rb'GENURLAUTH "(.*)"', alice.readline())[1].decode()
            alice.readline()
            return made

        def burl(url: str) -> tuple[int, bytes]:
            client.mail(ALICE)
            client.rcpt(BOB)
            return client.docmd(f"BURL {url} LAST")

        client.ehlo("client.test")
        assert client.esmtp_features["burl"] == "imap"
        assert burl(url("submit+bob"))[1].startswith(b"5.6.6 ")
        assert burl(url("user+alice"))[1].startswith(b"5.6.6 ")
        token = url("submit+alice")
        forged = token[:-1] + ("1" if token.endswith("0") else "0")
        assert burl(forged)[1].startswith(b"5.6.6 ")
        assert burl(f"imap://alice@a.test/Drafts/;uid={uid}")[1].startswith(b"5.7.14 ")
        assert burl(url("submit+alice"))[0] == 250
        sent_and_arrived(office, "fetched", alice)
        (number,) = found(bob, "INBOX", "fetched")
        assert b"eve@" not in bob.fetch(number, "(BODY[])")[1][0][1]


def test_swaks_and_curl(office: Office, tmp_path: Path) -> None:
    """Acceptance 30: somebody else's MAIL or From is answered 553."""
    for tool in ("swaks", "curl"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    port = str(office.ports["submission"])
    common = ["swaks", "-s", "127.0.0.1", "-p", port, "-tls", "-a", "PLAIN", "-au", ALICE, "-ap", PASSWORD]
    for sender, author in (("ceo@a.test", ALICE), (ALICE, "ceo@a.test")):
        ran = subprocess.run(
            [*common, "-f", sender, "-t", BOB, "--h-From", author], capture_output=True, text=True, timeout=60
        )
        assert "553 5.7.1 <ceo@a.test> is not an address of alice@a.test" in ran.stdout
    draft = tmp_path / "mail.eml"
    draft.write_bytes(message("curled"))
    with imap(office) as alice:
        alice.create("Outbox")
        ran = subprocess.run(
            [
                *("curl", "-sS", "-k", "--ssl-reqd", "-u", f"{ALICE}:{PASSWORD}", "-T", str(draft)),
                f"imap://127.0.0.1:{office.ports['imap']}/Outbox",
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ran.returncode == 0, ran.stderr
        sent_and_arrived(office, "curled", alice)
