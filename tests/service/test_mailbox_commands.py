"""`mta mailbox …` as an administrator types it, without a server and beside one."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from office import PASSWORD, running_office
from process import ServerProcess, environment

from twisted_mta.service import reindex_request
from twisted_mta.service.commands.progress import ProgressBar
from twisted_mta.service.importing import request as import_request
from twisted_mta.service.reindex_request import Failed, Request
from twisted_mta.store.exchange.hierarchy_marks import HierarchyMarks

CONFIG = {
    "hostname": "mx.a.test",
    "data_dir": "data",
    "domains": ["a.test"],
    "listen": {"smtp": ["127.0.0.1:2525"]},
}
ALICE = "alice@a.test"


@pytest.fixture
def server(tmp_path: Path) -> ServerProcess:
    """Not started; with alice."""
    server = ServerProcess(CONFIG, tmp_path)
    server.add_account(ALICE, PASSWORD)
    return server


@pytest.fixture
def mbox(tmp_path: Path) -> Path:
    """Three messages, the second of which has been read and flagged."""
    path = tmp_path / "old.mbox"
    path.write_bytes(
        b"From x@y.test Mon Jan  1 00:00:01 2024\nSubject: one\n\nbody\n\n"
        b"From x@y.test Mon Jan  1 00:00:02 2024\nSubject: two\nStatus: RO\nX-Status: F\n"
        b"X-Keywords: NonJunk\n\nbody\n>From me\n\n"
        b"From x@y.test Mon Jan  1 00:00:03 2024\nSubject: three\nContent-Length: 9999\n\nbody\n\n"
    )
    return path


def maildir(server: ServerProcess, user: str = "alice") -> Path:
    return server.directory / "data/mail/a.test" / user / "Maildir"


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal."""
    assert done.returncode == 1, done
    assert done.stderr.startswith("mta: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


# Without a server


def test_in_looked_at_and_out(server: ServerProcess, mbox: Path, tmp_path: Path) -> None:
    assert said(server.mta("mailbox", "list", ALICE)) == "no mail yet\n"
    assert said(server.mta("mailbox", "verify", ALICE)) == f"{ALICE}: all is well\n"
    assert said(server.mta("mailbox", "import", ALICE, "--from", str(mbox))) == (
        f"INBOX: 3 messages imported\n{ALICE}: 3 messages imported into 1 mailbox\n"
    )
    again = said(server.mta("mailbox", "import", "Alice@A.test", "--from", str(mbox)))
    there = "3 were there already\n"
    assert again == (
        f"INBOX: 0 messages imported, {there}{ALICE}: 0 messages imported into 1 mailbox, {there}"
    )
    into = said(server.mta("mailbox", "import", ALICE, "--from", str(mbox), "--into", "Old/2024"))
    assert into.startswith("Old/2024: 3 messages imported\nnew mailboxes: Old/2024;")
    listed = json.loads(said(server.mta("mailbox", "list", ALICE, "--json")))
    assert listed[0] == {"mailbox": "INBOX", "messages": 3, "unseen": 2, "deleted": 0, "octets": 77}
    assert [each["mailbox"] for each in listed if each["messages"]] == ["INBOX", "Old/2024"]
    assert "Old/2024          3 messages" in said(server.mta("mailbox", "list", ALICE))
    assert said(server.mta("mailbox", "reindex", ALICE)) == f"{ALICE}: reindexed\n"
    assert said(server.mta("mailbox", "verify", "--all")) == f"{ALICE}: all is well\n"
    out = tmp_path / "out"
    done = said(server.mta("mailbox", "export", ALICE, "inbox", "--to", str(out), "--format", "mbox"))
    assert done == f"INBOX: 3 messages\n{ALICE}: 3 messages written to {out}\n"
    assert (out / "INBOX.mbox").read_bytes().count(b"\n>From me\n") == 1
    assert "is not empty" in refused(
        server.mta("mailbox", "export", ALICE, "--to", str(out), "--format", "maildir")
    )
    maildirs = tmp_path / "maildirs"
    counts = json.loads(
        said(server.mta("mailbox", "export", ALICE, "--to", str(maildirs), "--format", "maildir", "--json"))
    )
    assert counts["Old/2024"] == 3
    assert len(os.listdir(maildirs / ".Old.2024/cur")) == 1
    told = said(server.mta("mailbox", "import", ALICE, "--from", str(maildirs))).splitlines()
    assert told[-1].endswith(f" imported into {len(told) - 1} mailboxes, 6 were there already")
    json_again = server.mta("mailbox", "import", ALICE, "--from", str(maildirs), "--json")
    assert json.loads(said(json_again))["Old/2024"] == {"imported": 0, "there": 3, "lost_keywords": []}


def test_verify_finds_what_is_wrong(server: ServerProcess, mbox: Path) -> None:
    said(server.mta("mailbox", "import", ALICE, "--from", str(mbox)))
    said(server.mta("mailbox", "reindex", ALICE))
    next(maildir(server).glob("new/*")).unlink()
    done = server.mta("mailbox", "verify", ALICE)
    assert "1 fault found" in refused(done)
    assert done.stdout.startswith(f"{ALICE}: 1 wrong\n  WRONG INBOX: UID ")
    assert "restore the file from a backup" in done.stdout
    (account,) = json.loads(server.mta("mailbox", "verify", "--all", "--json").stdout)
    (finding,) = account["findings"]
    assert (account["account"], finding["mailbox"], finding["fault"]) == (ALICE, "INBOX", True)


def test_many_faults_are_summed_up(server: ServerProcess, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.write_bytes(b"".join(b"From x Mon Jan  1 00:00:00 2024\na: %d\n\n" % number for number in range(30)))
    said(server.mta("mailbox", "import", ALICE, "--from", str(many)))
    said(server.mta("mailbox", "reindex", "--all"))
    for file in maildir(server).glob("new/*"):
        file.unlink()
    done = server.mta("mailbox", "verify", ALICE)
    assert "30 faults found" in refused(done)
    assert "  INBOX: and 20 more; --json shows all\n" in done.stdout


def test_what_does_not_fit_is_told(server: ServerProcess, mbox: Path) -> None:
    server.mta("account", "quota", ALICE, "--messages", "2")
    line = refused(server.mta("mailbox", "import", ALICE, "--from", str(mbox)))
    assert "INBOX: 2 messages are in" in line and "account quota" in line
    server.mta("account", "quota", ALICE, "--messages", "none")
    done = said(server.mta("mailbox", "import", ALICE, "--from", str(mbox)))
    assert done.startswith("INBOX: 1 message imported, 2 were there already\n")


def test_one_message_is_not_many(server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"From x@y.test Mon Jan  1 00:00:01 2024\nSubject: one\n\nbody\n")
    said(server.mta("mailbox", "import", ALICE, "--from", str(tmp_path / "one")))
    listed = said(server.mta("mailbox", "list", ALICE)).splitlines()
    assert "        1 message                " in listed[0] and "        0 messages  " in listed[1]
    assert len({line.index(" octets") for line in listed}) == 1


def test_refusals(server: ServerProcess, mbox: Path, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for arguments, line in (
        (("list", "nobody@a.test"), "there is no account nobody@a.test; see: account list"),
        (("verify", "nobody"), "is not an address such as"),
        (("export", ALICE, "Missing", "--to", str(tmp_path / "x"), "--format", "mbox"), "no mailbox Missing"),
        (("export", ALICE, "a//b", "--to", str(tmp_path / "x"), "--format", "mbox"), "empty level"),
        (("export", ALICE, "--to", str(mbox), "--format", "mbox"), "File exists"),
        (("import", ALICE, "--from", str(tmp_path / "missing")), "No such file or directory"),
        (("import", ALICE, "--from", str(tmp_path / "text")), "is not an mbox"),
        (("import", ALICE, "--from", str(mbox), "--format", "maildir"), "is a file, not a Maildir"),
        (("import", ALICE, "--from", str(mbox), "--into", "a/../b"), "Bad mailbox name"),
    ):
        assert line in refused(server.mta("mailbox", *arguments)), arguments
    for usage in (("verify",), ("verify", ALICE, "--all"), ("export", ALICE, "--to", "x"), ("import", ALICE)):
        assert server.mta("mailbox", *usage).returncode == 2


def test_mail_of_a_removed_account_can_still_be_had(
    server: ServerProcess, mbox: Path, tmp_path: Path
) -> None:
    said(server.mta("mailbox", "import", ALICE, "--from", str(mbox)))
    said(server.mta("account", "remove", ALICE))
    done = said(server.mta("mailbox", "export", ALICE, "--to", str(tmp_path / "out"), "--format", "mbox"))
    assert done.endswith(f"3 messages written to {tmp_path / 'out'}\n")


def test_a_mailbox_of_a_gigabyte_streams(server: ServerProcess, tmp_path: Path) -> None:
    """In small: what is in memory does not grow with the file."""
    big = tmp_path / "big.mbox"
    with big.open("wb") as file:
        file.write(b"From x Mon Jan  1 00:00:00 2024\na: b\n\n")
        for _ in range(2000):
            file.write((b"x" * 63 + b"\n") * 1024)
    script = (
        "import sys; from twisted_mta.service.commands.cli import main; code = main(sys.argv[1:]); "
        # Not ru_maxrss: that begins with what the parent had when it forked.
        "status = open('/proc/self/status').read(); "
        "print(int(status.partition('VmHWM:')[2].split()[0]) // 1024); sys.exit(code)"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            script,
            "-c",
            str(server.config),
            "mailbox",
            "import",
            ALICE,
            "--from",
            str(big),
        ],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    assert "1 message imported" in done.stdout
    assert int(done.stdout.split()[-1]) < 120  # MiB; the file has 125, Python and Twisted take 60


def test_kill_nine_in_the_middle(server: ServerProcess, tmp_path: Path) -> None:
    """Whatever it had done, doing it once more brings the rest, and only that."""
    many = tmp_path / "many"
    with many.open("wb") as file:
        for number in range(3000):
            file.write(b"From x Mon Jan  1 00:00:00 2024\nStatus: RO\na: %d\n\n" % (number // 2))
    command = [sys.executable, "-m", "twisted_mta.service.commands.cli", "--config", str(server.config)]
    there = 0
    for _ in range(3):
        command_at_work = subprocess.Popen(
            [*command, "mailbox", "import", ALICE, "--from", str(many)], env=environment()
        )
        while command_at_work.poll() is None:
            done = len(list(maildir(server).glob("cur/*")))
            if done > there:
                there = done
                break
        command_at_work.kill()
        command_at_work.wait()
    assert there > 0
    imported = json.loads(said(server.mta("mailbox", "import", ALICE, "--from", str(many), "--json")))[
        "INBOX"
    ]
    assert imported["imported"] + imported["there"] == 3000
    files = list(maildir(server).glob("cur/*"))
    assert sorted(file.read_bytes() for file in files) == sorted(b"a: %d\n" % (n // 2) for n in range(3000))


# Beside a running server


def test_a_running_server_sees_it_all(mbox: Path, tmp_path: Path) -> None:
    with running_office(tmp_path / "office") as office, office.reader("alice") as reader:
        server = office.process
        reader.idle()
        said(server.mta("mailbox", "import", ALICE, "--from", str(mbox)))
        while reader.count < 3:
            reader.idle_line()
        reader.done()
        _, found = reader.imap.fetch("1:3", "(FLAGS INTERNALDATE BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        texts = [part[0] + part[1] for part in found if isinstance(part, tuple)]
        assert [text.count(b"\\Seen") for text in texts] == [0, 1, 0]
        assert [text.count(b"\\Flagged") for text in texts] == [0, 1, 0]
        assert [text.count(b"NonJunk") for text in texts] == [0, 1, 0]
        assert all(b'" 1-Jan-2024 00:00:0%d +0000"' % number in text for number, text in enumerate(texts, 1))
        said(server.mta("mailbox", "import", ALICE, "--from", str(mbox), "--into", "Old"))
        assert reader.imap.select("Old")[1] == [b"3"]
        reader.imap.store("1:3", "+FLAGS", "($Label1)")
        assert said(server.mta("mailbox", "reindex", "--all")).count("reindexed") == 2
        assert (
            said(server.mta("mailbox", "verify", "--all"))
            == "alice@a.test: all is well\nbob@a.test: all is well\n"
        )
        assert reader.imap.search(None, "BODY", '"From me"')[1] == [b"2"]
        said(server.mta("mailbox", "export", ALICE, "--to", str(tmp_path / "out"), "--format", "mbox"))
        old = (tmp_path / "out/Old.mbox").read_bytes()
        assert old.count(b"\nX-Keywords: $Label1\n") == 2
        assert old.count(b"\nX-Keywords: $Label1 NonJunk\n") == 1
        said(server.mta("mailbox", "import", "bob@a.test", "--from", str(tmp_path / "out")))
        with office.reader("bob", "Old") as bob:
            assert bob.count == 3


def test_a_request_outlives_who_made_it(mbox: Path, tmp_path: Path) -> None:
    """The command was ended; the server sees to it at its next start."""
    with running_office(tmp_path / "office") as office:
        server = office.process
        said(server.mta("mailbox", "import", ALICE, "--from", str(mbox)))
        server.terminate()
        request = Request(server.directory / "data", ALICE)
        request.make()
        server.start()
        server.wait_for(f"{ALICE} has been reindexed")
        assert request.progress() is None
        assert said(server.mta("mailbox", "verify", ALICE)) == f"{ALICE}: all is well\n"


def test_what_a_request_says(tmp_path: Path) -> None:
    request = Request(tmp_path, ALICE)
    assert request.progress() is None
    request.make()
    assert request.progress() == (0, 0)
    file = tmp_path / "reindex" / ALICE
    file.write_text("7 20")
    request.make()
    assert request.progress() == (7, 20)
    file.write_text("failed the disk is full")
    with pytest.raises(Failed, match="the disk is full"):
        request.progress()
    request.make()
    assert request.progress() == (0, 0)
    request.withdraw()
    assert request.progress() is None


# Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_only() -> None:
    terminal, now = Terminal(), 0.0
    with ProgressBar("INBOX", 400, "messages", stream=terminal, clock=lambda: now) as bar:
        for number in (0, 100, 100):
            now += 5
            bar.advance(number)
        bar.advance(1)  # so soon that nobody could see it
    shown = terminal.getvalue().split("\r")
    assert shown[1] == "INBOX [..............................]   0% 0/400 messages\x1b[K"
    assert shown[2] == "INBOX [#######.......................]  25% 100/400 messages, 0:30 left\x1b[K"
    assert shown[3] == "INBOX [###############...............]  50% 200/400 messages, 0:15 left\x1b[K"
    assert shown[4:] == ["\x1b[K"]
    silent = io.StringIO()
    with ProgressBar("INBOX", 1, "messages", stream=silent) as bar:
        bar.advance(1)
    assert silent.getvalue() == ""


def test_requests_are_seen_whatever_the_account_is_called(tmp_path: Path) -> None:
    accounts = ["bob@a.new", "bob@a.unfinished", "bob@a.test"]
    for account in accounts:
        Request(tmp_path, account).make()
        reindex_request.tell(tmp_path, account, 1, 2)
        import_request.ask(tmp_path, account, HierarchyMarks([], {}))
    assert reindex_request.requested(tmp_path) == sorted(accounts)
    assert import_request.requested(tmp_path) == sorted(accounts)
