"""The main job over real sockets: two servers, a real DNS server, real clients of the standard library.

Server A (a.test, 127.0.0.2) and server B (b.test, 127.0.0.3) find one another through MX records. Mail
exchangers listen on port 25; here both use another port, told to the relay by `relay.port`.
"""

from __future__ import annotations

import email
import email.policy
import poplib
import re
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from mail_reader import MailReader, untrusting
from nameserver import Nameserver
from process import ServerProcess, free_port

from twisted_mta.service.commands.cli import main

PASSWORD = "correct horse battery"
HOSTS = {"a.test": "127.0.0.2", "b.test": "127.0.0.3"}
ZONE = """$ORIGIN {domain}.
$TTL 60
@  SOA mx.{domain}. hostmaster.{domain}. 1 60 60 600 60
@  NS  mx.{domain}.
@  MX  10 mx.{domain}.
mx A   {host}
"""
SERVICES = ("smtp", "submission", "submissions", "imap", "imaps", "pop3", "pop3s")


@dataclass
class Office:
    """One of the two servers and where it listens."""

    process: ServerProcess
    host: str
    ports: dict[str, int]

    def administer(self, *arguments: str) -> None:
        """`mta …`, without a process of its own."""
        assert main(["--config", str(self.process.config), *arguments]) == 0

    def reader(self, user: str, mailbox: str = "INBOX") -> MailReader:
        return MailReader(self.host, self.ports["imaps"], user, PASSWORD, mailbox)

    def submit(self, sender: str, recipients: list[str], message: bytes, *, tls: str = "starttls") -> None:
        if tls == "starttls":
            client = smtplib.SMTP(self.host, self.ports["submission"], timeout=60)
            client.starttls(context=untrusting())
        else:
            client = smtplib.SMTP_SSL(self.host, self.ports["submissions"], timeout=60, context=untrusting())
        with client:
            client.login(sender, PASSWORD)
            client.sendmail(sender, recipients, message, mail_options=["BODY=8BITMIME"])


def start(domain: str, nameserver: Nameserver, smtp_port: int, directory: Path) -> Office:
    host = HOSTS[domain]
    ports = {service: smtp_port if service == "smtp" else free_port(host) for service in SERVICES}
    config = {
        "hostname": f"mx.{domain}",
        "data_dir": "data",
        "domains": [domain],
        "listen": {service: [f"{host}:{port}"] for service, port in ports.items()},
        "tls": {"self_signed": True},
        "relay": {"port": smtp_port, "allow_networks": []},
        "dns": {"nameservers": [f"127.0.0.1:{nameserver.port}"]},
        "queue": {"retry": ["1s"], "lifetime": "10s"},
    }
    process = ServerProcess(config, directory)
    for user in ("alice", "bob"):
        process.add_account(f"{user}@{domain}", PASSWORD)
    process.start()
    return Office(process, host, ports)


@pytest.fixture(scope="module")
def offices(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Office]]:
    zones = {domain: ZONE.format(domain=domain, host=host) for domain, host in HOSTS.items()}
    nameserver = Nameserver(zones, tmp_path_factory.mktemp("dns"))
    smtp_port = free_port("127.0.0.2")
    offices: dict[str, Office] = {}
    try:
        for domain in HOSTS:
            offices[domain] = start(domain, nameserver, smtp_port, tmp_path_factory.mktemp(domain))
        yield offices
    finally:
        for office in offices.values():
            office.process.terminate()
        nameserver.stop()


def body_of(message: bytes) -> bytes:
    return message.partition(b"\r\n\r\n")[2]


def trace(message: bytes, field: bytes) -> list[bytes]:
    """The values of a header field, unfolded, top first."""
    header = message.partition(b"\r\n\r\n")[0] + b"\r\n"
    unfolded = re.sub(rb"\r\n[ \t]+", b" ", header)
    return re.findall(rb"(?mi)^" + field + rb":\s*(.*?)\r$", unfolded)


REAL_MAIL = {
    "plain": b"Hello Bob\r\n",
    "eight bit": "Grüße aus Köln, 你好\r\n".encode(),
    "dots": b".\r\n..\r\n...dots\r\n.leading\r\n\r\n.\r\n",
    "long lines": b"x" * 70_000 + b"\r\n" + b"y" * 998 + b"\r\n",
    "megabytes": b"".join(b"%08d 0123456789 abcdefghijklmnopqrstuvwxyz\r\n" % n for n in range(120_000)),
    "dots on every chunk border": b".\r\n" * 100_000,
}


@pytest.mark.parametrize("name", REAL_MAIL)
@pytest.mark.parametrize("tls", ["starttls", "implicit"])
def test_a_submitted_message_arrives_at_the_other_office_byte_for_byte(
    offices: dict[str, Office], name: str, tls: str
) -> None:
    content = f"From: alice@a.test\r\nTo: bob@b.test\r\nSubject: {name}\r\n\r\n".encode() + REAL_MAIL[name]
    with offices["b.test"].reader("bob@b.test") as reader:
        before = reader.count
        offices["a.test"].submit("alice@a.test", ["bob@b.test"], content, tls=tls)
        reader.wait_for(before + 1)
        received = reader.fetch(reader.count)

    assert received.endswith(content)
    assert trace(received, b"Return-Path") == [b"<alice@a.test>"]
    assert trace(received, b"Delivered-To") == [b"bob@b.test"]
    relayed, submitted = trace(received, b"Received")
    assert b"by mx.b.test" in relayed and b"from mx.a.test" in relayed and b"with ESMTPS " in relayed
    assert b"by mx.a.test" in submitted and b"with ESMTPSA " in submitted
    assert len(trace(received, b"Date")) == len(trace(received, b"Message-ID")) == 1

    office = offices["b.test"]
    pop3 = poplib.POP3_SSL(office.host, office.ports["pop3s"], context=untrusting(), timeout=60)
    pop3.user("bob@b.test")
    pop3.pass_(PASSWORD)
    last = pop3.stat()[0]
    poplib._MAXLINE = 100_000  # type: ignore[attr-defined]  # the client's own limit on a line
    _, lines, _ = pop3.retr(last)
    assert b"".join(line + b"\r\n" for line in lines) == received
    assert pop3.list(last).split()[2] == str(len(received)).encode()
    pop3.quit()


def test_a_message_without_a_final_newline_gets_one(offices: dict[str, Office]) -> None:
    content = b"From: alice@a.test\r\nTo: bob@b.test\r\nSubject: cut\r\n\r\nno newline at the end"
    with offices["b.test"].reader("bob@b.test") as reader:
        before = reader.count
        offices["a.test"].submit("alice@a.test", ["bob@b.test"], content)
        reader.wait_for(before + 1)
        assert reader.fetch(reader.count).endswith(content + b"\r\n")


def test_mail_to_an_unknown_user_comes_back_as_a_readable_report(offices: dict[str, Office]) -> None:
    with offices["a.test"].reader("alice@a.test") as reader:
        before = reader.count
        message = b"From: alice@a.test\r\nTo: nobody@b.test\r\nSubject: Lost\r\n\r\nWhere are you?\r\n"
        offices["a.test"].submit("alice@a.test", ["nobody@b.test", "bob@b.test"], message)
        reader.wait_for(before + 1)
        raw = reader.fetch(reader.count)
        count = reader.count

    assert trace(raw, b"Return-Path") == [b"<>"]
    report = email.message_from_bytes(raw, policy=email.policy.default)
    assert report.get_content_type() == "multipart/report"
    assert report.get_param("report-type") == "delivery-status"
    assert report["To"] == "alice@a.test"
    words, status, original = report.get_payload()
    assert "nobody@b.test" in words.get_content() and "bob@b.test" not in words.get_content()
    per_message, per_recipient = status.get_payload()
    assert per_message["Reporting-MTA"] == "dns; mx.a.test"
    assert per_recipient["Final-Recipient"] == "rfc822; nobody@b.test"
    assert per_recipient["Action"] == "failed"
    assert per_recipient["Status"] == "5.1.1"
    assert per_recipient["Remote-MTA"] == "dns; mx.b.test"
    assert per_recipient["Diagnostic-Code"].startswith("smtp; 550 5.1.1")
    assert "Subject: Lost" in original.as_string()
    with offices["a.test"].reader("alice@a.test") as reader:
        assert reader.count == count


def test_the_queue_is_empty_afterwards_and_the_log_follows_the_id(offices: dict[str, Office]) -> None:
    with offices["b.test"].reader("bob@b.test") as reader:
        before = reader.count
        offices["a.test"].submit("alice@a.test", ["bob@b.test"], b"From: alice@a.test\r\n\r\ntraced\r\n")
        reader.wait_for(before + 1)
        relayed, submitted = trace(reader.fetch(reader.count), b"Received")
    for office, field, last in (("a.test", submitted, "relayed"), ("b.test", relayed, "delivered")):
        found = re.search(rb"\bid ([^\s;]+)", field)
        assert found, field
        offices[office].process.wait_for(f"{found[1].decode()}: {last}")
        log = offices[office].process.log_text()
        stages = re.findall(rf"{found[1].decode()}: (\S+)", log)
        assert stages[0] == "accepted" and last in stages, stages
        assert PASSWORD not in log and "traced" not in log


def test_a_message_deleted_through_pop3_vanishes_from_an_open_imap_session(
    offices: dict[str, Office],
) -> None:
    office = offices["a.test"]
    with office.reader("bob@a.test") as reader:
        office.submit("alice@a.test", ["bob@a.test"], b"From: alice@a.test\r\nSubject: 1\r\n\r\none\r\n")
        office.submit("alice@a.test", ["bob@a.test"], b"From: alice@a.test\r\nSubject: 2\r\n\r\ntwo\r\n")
        reader.wait_for(2)
        reader.idle()
        pop3 = poplib.POP3_SSL(office.host, office.ports["pop3s"], context=untrusting(), timeout=60)
        pop3.user("bob@a.test")
        pop3.pass_(PASSWORD)
        pop3.dele(1)
        pop3.quit()
        assert reader.idle_line() == b"* 1 EXPUNGE\r\n"
        reader.done()
        assert reader.fetch(1).endswith(b"two\r\n")


def test_aliases_and_details_reach_the_mailbox_once(offices: dict[str, Office]) -> None:
    office = offices["a.test"]
    office.process.mta("alias", "add", "sales@a.test", "bob+sales@a.test", "bob@b.test")
    with office.reader("bob@a.test") as near, offices["b.test"].reader("bob@b.test") as far:
        before = near.count, far.count
        office.submit(
            "alice@a.test", ["sales@a.test"], b"From: alice@a.test\r\nSubject: to all\r\n\r\nhi\r\n"
        )
        near.wait_for(before[0] + 1)
        far.wait_for(before[1] + 1)
        assert trace(near.fetch(near.count), b"Delivered-To") == [b"bob+sales@a.test"]
        assert (near.count, far.count) == (before[0] + 1, before[1] + 1)


def test_aliases_of_two_offices_that_lead_to_one_another_send_each_copy_once(
    offices: dict[str, Office],
) -> None:
    """Acceptance 15."""
    near, far = offices["a.test"], offices["b.test"]
    near.process.mta("alias", "add", "hub@a.test", "spoke@b.test", "bob@b.test")
    far.process.mta("alias", "add", "spoke@b.test", "hub@a.test", "alice@b.test")
    with near.reader("alice@a.test") as sender, far.reader("bob@b.test") as bob:
        before = sender.count, bob.count
        near.submit("alice@a.test", ["hub@a.test"], b"From: alice@a.test\r\nSubject: round\r\n\r\nx\r\n")
        sender.wait_for(before[0] + 1)
        report = sender.fetch(sender.count)
        assert b"Status: 5.4.6\r\n" in report and b"Final-Recipient: rfc822; hub@a.test\r\n" in report
        bob.wait_for(before[1] + 1)
        assert trace(bob.fetch(bob.count), b"Delivered-To") == [b"bob@b.test", b"hub@a.test"]
    with far.reader("alice@b.test") as alice:
        alice.wait_for(1)
        assert trace(alice.fetch(1), b"Delivered-To") == [b"alice@b.test", b"hub@a.test"]
    with far.reader("bob@b.test") as bob, far.reader("alice@b.test") as alice:
        assert (bob.count, alice.count) == (before[1] + 1, 1)


def test_forwarded_mail_has_a_sender_of_ours_and_its_report_comes_back(offices: dict[str, Office]) -> None:
    near, far = offices["a.test"], offices["b.test"]
    near.administer("alias", "add", "forward@a.test", "bob@b.test")
    near.administer("alias", "add", "astray@a.test", "late@b.test")
    far.administer("alias", "add", "late@b.test", "nobody@b.test")  # is taken, and fails afterwards
    message = b"From: alice@b.test\r\nSubject: by way of a\r\n\r\nx\r\n"
    with far.reader("bob@b.test") as bob:
        before = bob.count
        far.submit("alice@b.test", ["forward@a.test"], message)
        bob.wait_for(before + 1)
        (path,) = trace(bob.fetch(bob.count), b"Return-Path")
    assert re.fullmatch(rb"<SRS0=[a-z2-7]{6}=[a-z2-7]{2}=b\.test=alice@a\.test>", path)
    with far.reader("alice@b.test") as alice:
        before = alice.count
        far.submit("alice@b.test", ["astray@a.test"], message)
        alice.wait_for(before + 1)
        report = alice.fetch(alice.count)
    assert trace(report, b"Return-Path") == [b"<>"]
    assert trace(report, b"Delivered-To") == [b"alice@b.test", path[1:-1]]
    assert b"Final-Recipient: rfc822; late@b.test\r\n" in report and b"Status: 5.1.1\r\n" in report
    by_hosts = [re.findall(rb"by (\S+)", field)[0] for field in trace(report, b"Received")]
    assert by_hosts[:2] == [b"mx.b.test", b"mx.a.test"]
    with smtplib.SMTP(near.host, near.ports["smtp"], timeout=60) as stranger:
        stranger.ehlo("c.test")
        stranger.mail("")
        assert stranger.rcpt(path[1:-1].decode())[0] == 250
        assert stranger.rcpt(path[1:-1].replace(b"alice", b"bob").decode())[0] == 550
        stranger.rset()
        stranger.mail("spammer@c.test")
        assert stranger.rcpt(path[1:-1].decode())[0] == 550


def test_a_list_with_members_in_both_offices(offices: dict[str, Office]) -> None:
    near, far = offices["a.test"], offices["b.test"]
    members = [f"--member={user}" for user in ("alice@a.test", "bob@b.test", "nobody@b.test")]
    near.administer("list", "add", "team@a.test", "--owner", "bob@a.test", *members)
    with near.reader("alice@a.test") as alice, far.reader("bob@b.test") as bob:
        before = alice.count, bob.count
        with near.reader("bob@a.test") as owner:
            had = owner.count
            far.submit("bob@b.test", ["team@a.test"], b"From: bob@b.test\r\nSubject: all\r\n\r\nx\r\n")
            alice.wait_for(before[0] + 1)
            bob.wait_for(before[1] + 1)
            owner.wait_for(had + 1)  # of the member who does not exist
            assert b"nobody@b.test" in owner.fetch(owner.count)
        for post in (alice.fetch(alice.count), bob.fetch(bob.count)):
            assert trace(post, b"Return-Path") == [b"<team-bounces@a.test>"]
            assert trace(post, b"List-Id") == [b"<team.a.test>"]
            assert trace(post, b"From") == [b"bob@b.test"]
        before = alice.count, bob.count
        far.submit("bob@b.test", ["team-leave@a.test"], b"From: bob@b.test\r\n\r\nlet me go\r\n")
        bob.wait_for(before[1] + 1)
        (confirm,) = re.findall(rb"team-leave=[a-z2-7]+@a\.test", trace(bob.fetch(bob.count), b"From")[0])
        answer = b"From: bob@b.test\r\nTo: " + confirm + b"\r\n\r\nyes\r\n"
        far.submit("bob@b.test", [confirm.decode()], answer)
        bob.wait_for(before[1] + 2)
        assert b"not a member of the mailing list" in bob.fetch(bob.count)
    assert "bob@b.test" not in near.process.mta("list", "show", "team@a.test").stdout
    with smtplib.SMTP(near.host, near.ports["smtp"], timeout=60) as stranger:
        stranger.ehlo("b.test")
        stranger.mail("bob@b.test")
        assert stranger.rcpt("team@a.test")[0] == 550
