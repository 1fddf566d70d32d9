"""A server of two processes over one data directory: mail in and out, whichever of them ends meanwhile."""

from __future__ import annotations

import json
import re
import smtplib
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from urllib.request import urlopen

import pytest
from failing_dns import failing_dns
from mail_reader import MailReader
from process import NotReady, ServerProcess, free_port

PASSWORD = "correct horse battery"
SERVICES = ("smtp", "submission", "imap", "imaps", "metrics")
LARGE = 30 * 2**20  # octets
SCRIPT = """require ["vacation", "copy", "editheader"];
if header :is "Subject" "away" { vacation "Back on Monday."; }
if header :is "Subject" "onward" { addheader "X-Onward" "yes"; redirect "bob@a.test"; }
"""


class Pair:
    """Domain a.test with alice, bob and carol; the process for transfer and that for access."""

    def __init__(self, directory: Path) -> None:
        self.ports = {service: free_port() for service in (*SERVICES, "access_metrics")}
        listen = {service: [f"127.0.0.1:{self.ports[service]}"] for service in SERVICES}
        self.config = {
            "hostname": "mx.a.test",
            "data_dir": str(directory / "data"),
            "domains": ["a.test"],
            "listen": listen,
            "metrics": {"access": [f"127.0.0.1:{self.ports['access_metrics']}"]},
            "tls": {"self_signed": True},
            "auth": {"allow_cleartext": True},
            "submission": {"sent_copy": True, "outbox": "Outbox"},
            "dns": {"nameservers": [failing_dns()]},
        }
        self.transfer = ServerProcess(self.config, directory, role="transfer")
        self.access = ServerProcess(self.config, directory, role="access")
        for user in ("alice", "bob", "carol"):
            self.transfer.add_account(f"{user}@a.test", PASSWORD)

    def send(self, *subjects: str, to: str = "alice@a.test", sender: str = "bob@a.test") -> None:
        with smtplib.SMTP("127.0.0.1", self.ports["smtp"], timeout=60) as client:
            for subject in subjects:
                client.sendmail(sender, [to], message(subject).as_bytes(policy=SMTP))

    def reader(self, user: str, mailbox: str = "INBOX") -> MailReader:
        return MailReader("127.0.0.1", self.ports["imaps"], user, PASSWORD, mailbox)

    def subjects(self, user: str) -> Counter[str]:
        """What is in the INBOX now."""
        with self.reader(user) as reader:
            return Counter(subject(reader.fetch(number)) for number in range(1, reader.count + 1))

    def arrived(self, user: str, wanted: set[str]) -> Counter[str]:
        """What is in the INBOX, once all that is wanted is."""
        with self.reader(user) as reader:
            found = Counter(subject(reader.fetch(number)) for number in range(1, reader.count + 1))
            while not wanted <= found.keys():
                reader.wait_for(reader.count + 1)
                found = Counter(subject(reader.fetch(number)) for number in range(1, reader.count + 1))
        return found


def message(title: str, to: str = "alice@a.test", sender: str = "bob@a.test") -> EmailMessage:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = sender, to, title
    made["Message-ID"] = f"<{title}@b.test>"
    made.set_content("hello")
    return made


def subject(content: bytes) -> str:
    found = re.search(rb"^Subject: (.*?)\r\n", content, re.MULTILINE)
    assert found is not None, content
    return found[1].decode()


def most_memory(process: ServerProcess) -> int:
    """KiB that were resident at the same time since `forget_most_memory`."""
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
    assert found is not None
    return int(found[1])


def forget_most_memory(process: ServerProcess) -> int:
    Path(f"/proc/{process.pid}/clear_refs").write_text("5")
    return most_memory(process)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Started in the order in which there is more to wait for."""
    made = Pair(tmp_path_factory.mktemp("roles"))
    with ExitStack() as running:
        for process in (made.access, made.transfer):
            running.callback(process.terminate)
        made.transfer.start()
        made.send("before the mailboxes were there")
        made.access.start()
        yield made
    for process in (made.transfer, made.access):
        assert "Traceback" not in process.log_text()


@contextmanager
def ended(process: ServerProcess, *, killed: bool = False) -> Iterator[None]:
    """While it is away; it ends in order, unless it is killed. Whatever comes of that, the tests behind this
    one find it running."""
    try:
        if killed:
            process.kill9()
        else:
            process.terminate()
        yield
    finally:
        process.start()


def test_either_may_start_first(pair: Pair) -> None:
    assert pair.arrived("alice", {"before the mailboxes were there"})
    with pair.reader("carol") as reader, ended(pair.transfer):
        assert pair.subjects("alice")["before the mailboxes were there"] == 1
        assert reader.imap.create("Outbox")[0] == "OK"
        made = message("not sent", sender="carol@a.test").as_bytes(policy=SMTP)
        kind, said = reader.imap.append("Outbox", "", "", made)
        assert kind == "NO" and b"does not run at the moment" in said[0], said
    pair.send("the queue came last")
    assert pair.arrived("alice", {"the queue came last"})["the queue came last"] == 1


def test_who_waits_hears_of_mail_at_once(pair: Pair) -> None:
    with pair.reader("alice") as reader:
        count = reader.count
        reader.idle()
        pair.send("news")
        while reader.count == count:
            reader.idle_line()
        reader.done()
        assert subject(reader.fetch(reader.count)) == "news"


def test_scripts_send_through_the_other_process(pair: Pair) -> None:
    script = pair.access.directory / "script.sieve"
    script.write_text(SCRIPT)
    done = pair.access.mta("sieve", "put", "alice@a.test", "script", str(script), "--activate")
    assert done.returncode == 0, done.stderr
    pair.send("away", "onward")
    with pair.reader("bob") as reader:
        reader.wait_for(2)
        got = sorted((reader.fetch(number) for number in (1, 2)), key=subject)
    assert [subject(each) for each in got] == ["Auto: away", "onward"]
    assert b"\r\nX-Onward: yes\r\n" in got[1]
    assert b"\r\nDelivered-To: alice@a.test\r\n" in got[1]


def test_what_is_submitted_is_in_sent(pair: Pair) -> None:
    with pair.reader("carol", "Sent") as reader:
        count = reader.count
        with smtplib.SMTP("127.0.0.1", pair.ports["submission"], timeout=60) as client:
            assert "BURL" not in client.ehlo()[1].decode()
            client.login("carol", PASSWORD)
            client.send_message(message("submitted", sender="carol@a.test"))
        reader.wait_for(count + 1)
        assert subject(reader.fetch(count + 1)) == "submitted"


def test_what_is_put_into_the_outbox_is_sent(pair: Pair) -> None:
    made = message("by outbox", to="bob@a.test", sender="carol@a.test")
    with pair.reader("carol", "Sent") as reader:
        count = reader.count
        assert reader.imap.append("Outbox", "", "", made.as_bytes(policy=SMTP))[0] == "OK"
        reader.wait_for(count + 1)
        assert subject(reader.fetch(count + 1)) == "by outbox"
    assert pair.arrived("bob", {"by outbox"})["by outbox"] == 1


def test_mail_waits_for_mailboxes_and_goes_on_as_soon_as_they_are_back(pair: Pair) -> None:
    pair.access.mta("account", "quota", "carol@a.test", "--storage", "1M")
    pair.arrived("alice", {"before the mailboxes were there"})  # also when this test is run alone
    with ended(pair.access):
        for user in ("alice", "carol"):
            pair.send(f"waited for {user}", to=f"{user}@a.test")
        assert pair.transfer.eventually(
            lambda: (
                pair.transfer.mta("queue", "list").stdout.count("process with the mailboxes does not") == 2
            )
        )
        done = pair.transfer.mta("reload")
        assert done.returncode == 0, done.stderr
        assert (
            "the process with the role access does not run; it reads all this when it starts" in done.stdout
        )
        assert json.loads(pair.transfer.mta("reload", "--json").stdout)["not_running"] == ["access"]
    for user in ("alice", "carol"):
        assert pair.arrived(user, {f"waited for {user}"})[f"waited for {user}"] == 1


def test_nothing_is_lost_when_the_mailboxes_are_killed(pair: Pair) -> None:
    wanted = [f"access-{number}" for number in range(60)]
    pair.send(*wanted[:30])
    with ended(pair.access, killed=True):
        pair.send(*wanted[30:40])
    pair.send(*wanted[40:])
    found = pair.arrived("alice", set(wanted))
    assert {found[each] for each in wanted} == {1}


def test_nothing_is_lost_when_the_queue_is_killed(pair: Pair) -> None:
    wanted = [f"transfer-{number}" for number in range(60)]
    pair.send(*wanted[:40])
    with ended(pair.transfer, killed=True):
        pass
    pair.send(*wanted[40:])
    found = pair.arrived("alice", set(wanted))
    assert {found[each] for each in wanted} == {1}


def test_a_large_message_is_handed_over_as_a_file(pair: Pair) -> None:
    line = b"x" * 76 + b"\r\n"
    before = [forget_most_memory(process) for process in (pair.transfer, pair.access)]
    with pair.reader("bob") as reader, smtplib.SMTP("127.0.0.1", pair.ports["smtp"], timeout=60) as client:
        count = reader.count
        client.sendmail("x@b.test", ["bob@a.test"], b"Subject: large\r\n\r\n" + line * (LARGE // len(line)))
        reader.wait_for(count + 1)
        data = reader.imap.fetch(str(count + 1), "RFC822.SIZE")[1]
        assert int(re.findall(rb"SIZE (\d+)", data[0])[0]) > LARGE - 100
        after = [most_memory(process) for process in (pair.transfer, pair.access)]
    grown = [now - then for now, then in zip(after, before, strict=True)]
    assert grown[0] < LARGE // 1024 // 2
    assert grown[1] < LARGE // 1024 * 3  # it is looked into, once it is there, as in one process


def test_both_follow_another_configuration(pair: Pair) -> None:
    pair.transfer.config.write_text(
        pair.transfer.config.read_text() + "\n[pop3]\nlogin_delay = 5\n\n[queue]\nlifetime = 400000\n"
    )
    done = pair.transfer.mta("reload")
    assert done.returncode == 0, done.stderr
    assert "taken over: pop3.login_delay" in done.stdout
    assert "does not run" not in done.stdout
    assert "restart: queue.lifetime" in done.stdout
    for process in (pair.transfer, pair.access):
        process.wait_for("reload: taken over: pop3.login_delay")


def test_each_role_is_taken_once(pair: Pair, tmp_path: Path) -> None:
    config = {**pair.config, "listen": {"smtp": [f"127.0.0.1:{free_port()}"]}, "metrics": {}}
    said = rf"another server \(process {pair.access.pid}\) is using .* in the role access;"
    with pytest.raises(NotReady, match=said):
        ServerProcess(config, tmp_path, role="access").start()


def test_each_has_figures_of_its_own(pair: Pair) -> None:
    pages = [
        urlopen(f"http://127.0.0.1:{pair.ports[name]}/metrics", timeout=60).read().decode()
        for name in ("metrics", "access_metrics")
    ]
    assert ["mta_queue_writable 1" in page for page in pages] == [True, False]
    assert ["mta_store_waiting" in page for page in pages] == [False, True]
