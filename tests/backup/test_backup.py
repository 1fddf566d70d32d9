"""`mta backup`, `restore` and `verify` as an administrator types them, without a server; and what becomes of
a backup that is killed, or finds no room."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from office import PASSWORD
from process import ServerProcess, environment
from programs import program

from twisted_mta.backup.manifest import Entry, entry_of
from twisted_mta.queue.database import QueueDatabase
from twisted_mta.service.data_dir import require_restored
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.store import sharing

CONFIG = {
    "hostname": "mx.a.test",
    "data_dir": "data",
    "domains": ["a.test"],
    "listen": {"smtp": ["127.0.0.1:2525"]},
}
ALICE = "alice@a.test"
MESSAGES = 30


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory in which alice has some mail."""
    server = ServerProcess(CONFIG, tmp_path_factory.mktemp("used"))
    server.add_account(ALICE, PASSWORD)
    bring(server, range(MESSAGES))
    return server.directory / "data"


@pytest.fixture
def server(used: Path, tmp_path: Path) -> ServerProcess:
    """Not started, with such a data directory."""
    server = ServerProcess(CONFIG, tmp_path / "office")
    shutil.copytree(used, server.directory / "data")
    return server


def bring(server: ServerProcess, numbers: range, mailbox: str = "INBOX") -> None:
    mbox = server.directory / "mbox"
    mbox.write_bytes(
        b"".join(
            b"From x@y.test Mon Jan  1 00:00:01 2024\nSubject: %d\nMessage-ID: <%d@y.test>\n\nbody %d\n\n"
            % (n, n, n)
            for n in numbers
        )
    )
    said(server.mta("mailbox", "import", ALICE, "--from", str(mbox), "--into", mailbox))


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a refusal."""
    assert done.returncode == 1, done
    assert done.stderr.startswith("mta: ")
    assert done.stderr.count("\n") == 1
    return done.stderr


def files(root: Path) -> dict[str, bytes]:
    """All messages of alice below a data directory."""
    maildir = root / "mail/a.test/alice/Maildir"
    return {
        str(path.relative_to(maildir)): path.read_bytes()
        for path in maildir.rglob("*")
        if path.parent.name in ("cur", "new")
    }


def backup(server: ServerProcess, directory: Path, *more: str) -> dict[str, object]:
    told = json.loads(said(server.mta("backup", str(directory), "--json", *more)))
    assert isinstance(told, dict)
    return told


def test_the_second_copies_what_is_new(server: ServerProcess, tmp_path: Path) -> None:
    first = backup(server, tmp_path / "b")
    assert first["copied_files"] == first["files"]
    bring(server, range(100, 103))
    maildir = server.directory / "data/mail/a.test/alice/Maildir"
    moved = min((maildir / "new").iterdir())
    moved.rename(maildir / ".Archive/cur" / f"{moved.name}:2,S")
    second = backup(server, tmp_path / "b")
    assert second["copied_files"] == 3
    one, two = (tmp_path / "b" / str(told["snapshot"]) for told in (first, second))
    assert files(two / "data") == files(server.directory / "data")
    assert len(files(one / "data")) == MESSAGES
    third = backup(server, tmp_path / "b", "--keep", "1")
    assert third["copied_files"] == 0
    assert third["removed"] == [first["snapshot"], second["snapshot"]]
    assert files(tmp_path / "b" / str(third["snapshot"]) / "data") == files(server.directory / "data")
    said(server.mta("verify", str(tmp_path / "b"), "--all"))
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "b").rglob("*")} == {0}


def test_everything_comes_back(server: ServerProcess, tmp_path: Path) -> None:
    data = server.directory / "data"
    (data / "mail/a.test/alice/sieve").mkdir()
    (data / "mail/a.test/alice/sieve/one.sieve").write_text("keep;")
    (data / "mail/a.test/alice/sieve/active").symlink_to("one.sieve")
    memory = data / "mail/a.test/alice/sieve/memory.sqlite"
    with closing(sqlite3.connect(memory)) as database:
        database.executescript("CREATE TABLE seen (number); INSERT INTO seen VALUES (1);")
        database.execute("PRAGMA cache_size = 1")
        database.execute("BEGIN")
        database.executemany("INSERT INTO seen VALUES (?)", [(b"x" * 1000,)] * 100)  # not to be committed
        assert memory.with_name("memory.sqlite-journal").stat().st_size
        shutil.copy(memory.with_name("memory.sqlite-journal"), tmp_path)
    shutil.copy(tmp_path / "memory.sqlite-journal", memory.parent)  # as a process that was killed leaves it
    backup(server, tmp_path / "b")
    assert "is not empty" in refused(server.mta("restore", str(tmp_path / "b")))
    before = files(data)
    data.rename(tmp_path / "lost")
    said(server.mta("restore", str(tmp_path / "b")))
    assert files(data) == before
    assert os.readlink(data / "mail/a.test/alice/sieve/active") == "one.sieve"
    assert sorted(os.listdir(memory.parent)) == ["active", "memory.sqlite", "one.sieve"]
    with closing(sqlite3.connect(memory)) as database:
        assert database.execute("SELECT * FROM seen").fetchall() == [(1,)]
    assert ALICE in said(server.mta("account", "list"))
    said(server.mta("verify"))


def test_names_that_users_choose_come_back_whatever_their_ends(server: ServerProcess, tmp_path: Path) -> None:
    data = server.directory / "data"
    for number, name in enumerate(("new", "a/new", "tmp", "cur", "damaged", "sqlite", "a/sqlite-wal")):
        bring(server, range(300 + number, 301 + number), name)
    maildir = data / "mail/a.test/alice/Maildir"
    (maildir / "cur/1.host.sqlite").write_text("Subject: of a host with such a name\n\nx\n")
    (maildir / ".new/cur/2.host.new").write_text("Subject: of another one\n\nx\n")
    certificate = data / "tls/acme/mx.sqlite.test.pem"
    certificate.parent.mkdir(parents=True)
    certificate.write_text("x")
    before = files(data)
    backup(server, tmp_path / "b")
    data.rename(tmp_path / "lost")
    said(server.mta("restore", str(tmp_path / "b")))
    assert files(data) == before
    assert certificate.read_text() == "x"
    (data / "mail/a.test/alice").rename(tmp_path / "lost account")
    said(server.mta("restore", str(tmp_path / "b"), "--account", ALICE))
    assert files(data) == before


def test_one_account_one_mailbox_one_message(server: ServerProcess, tmp_path: Path) -> None:
    data = server.directory / "data"
    bring(server, range(200, 205), "Archive")
    backup(server, tmp_path / "b")
    everything = files(data)
    gone = [
        path for path in (data / "mail/a.test/alice/Maildir/new").iterdir() if b"<7@" in path.read_bytes()
    ]
    gone[0].unlink()

    def restore(*options: str) -> str:
        return said(server.mta("restore", str(tmp_path / "b"), "--account", ALICE, *options))

    assert "1 message " in restore("--message-id", "<7@y.test>")
    back = [path for path in files(data) if path.startswith(".Restored")]
    assert [everything["new/" + gone[0].name]] == [files(data)[path] for path in back]
    assert "INBOX: 1 message " in restore("--in-place", "--message-id", "7@y.test")
    assert everything.items() <= files(data).items()
    restore("--mailbox", "Archive")
    assert len([path for path in files(data) if path.startswith(".Restored") and "Archive" in path]) == 5
    no = server.mta("restore", str(tmp_path / "b"), "--account", ALICE, "--message-id", "nobody@y.test")
    assert "there is no message" in refused(no)
    assert "no account" in refused(server.mta("restore", str(tmp_path / "b"), "--account", "eve@a.test"))


def test_empty_mailboxes_come_back_only_where_they_were(server: ServerProcess, tmp_path: Path) -> None:
    maildir = server.directory / "data/mail/a.test/alice/Maildir"
    for name in ("cur", "new", "tmp"):
        (maildir / ".Empty" / name).mkdir(parents=True)
    backup(server, tmp_path / "b")
    shutil.rmtree(maildir / ".Empty")

    def restored(*options: str) -> set[str]:
        before = set(os.listdir(maildir))
        said(server.mta("restore", str(tmp_path / "b"), "--account", ALICE, *options))
        return {name for name in set(os.listdir(maildir)) - before if name.startswith(".")}

    (inbox,) = restored()
    assert inbox.startswith(".Restored ")
    named = server.mta("restore", str(tmp_path / "b"), "--account", ALICE, "--mailbox", "Empty")
    assert "there is no mail in Empty" in refused(named)
    assert not [name for name in os.listdir(maildir) if name.endswith(".Empty")]
    assert restored("--in-place") == {".Empty"}


def test_an_account_that_has_lost_everything(server: ServerProcess, tmp_path: Path) -> None:
    mail = server.directory / "data/mail"
    own = ("--storage", "2 MiB", "--messages", "none")
    said(server.mta("account", "quota", ALICE, *own))
    sharing.bring_back(mail, ALICE, [("INBOX", "bob@a.test", "lr"), ("Archive", "anyone", "l")])
    backup(server, tmp_path / "b")
    home = mail / "a.test/alice"
    before = files(server.directory / "data")
    home.rename(tmp_path / "lost")
    said(server.mta("account", "remove", ALICE))
    server.add_account(ALICE, PASSWORD)
    told = said(server.mta("restore", str(tmp_path / "b"), "--account", ALICE))
    assert "2 grants on its mailboxes and 2 limits of its own" in told and "app passwords" in told
    assert files(server.directory / "data") == before
    assert granted(mail) == {("Archive", "anyone"), ("INBOX", "bob@a.test")}
    assert "2,097,152 octets (its own)" in said(server.mta("account", "quota", ALICE))
    said(server.mta("mailbox", "verify", ALICE))


def test_what_an_account_has_granted_since_stays(server: ServerProcess, tmp_path: Path) -> None:
    mail = server.directory / "data/mail"
    sharing.bring_back(mail, ALICE, [("INBOX", "bob@a.test", "lr")])
    backup(server, tmp_path / "b")
    (mail / "a.test/alice").rename(tmp_path / "lost")
    sharing.forget_account(mail, ALICE)
    sharing.bring_back(mail, ALICE, [("INBOX", "eve@a.test", "lr")])
    said(server.mta("account", "quota", ALICE, "--messages", "7"))
    told = json.loads(said(server.mta("restore", str(tmp_path / "b"), "--account", ALICE, "--json")))
    assert (told["grants"], told["limits"]) == (0, 0)
    assert granted(mail) == {("INBOX", "eve@a.test")}


def granted(mail: Path) -> set[tuple[str, str]]:
    """Mailboxes, and to whom they are."""
    with closing(sqlite3.connect(mail / "sharing.sqlite")) as database:
        return set(database.execute("SELECT mailbox, identifier FROM grants"))


def test_damage_is_found_and_nothing_is_restored(server: ServerProcess, tmp_path: Path) -> None:
    told = backup(server, tmp_path / "b")
    snapshot = tmp_path / "b" / str(told["snapshot"])
    victim = min((snapshot / "data/mail/a.test/alice/Maildir/new").iterdir())
    octets = bytearray(victim.read_bytes())
    octets[-2] ^= 1
    victim.write_bytes(octets)
    checked = server.mta("verify", str(tmp_path / "b"))
    assert "other octets" in checked.stdout
    refused(checked)
    data = server.directory / "data"
    before = files(data)
    data.rename(tmp_path / "lost")
    assert "nothing has been restored" in refused(server.mta("restore", str(tmp_path / "b")))
    assert set(os.listdir(data)) <= {"lock"}
    assert "no sound copy" in refused(server.mta("restore", str(tmp_path / "b"), "--even-damaged"))
    assert files(data).keys() == before.keys()
    (snapshot / "sections/rest.jsonl").write_text("{}\n")
    assert "rest.jsonl is damaged" in server.mta("verify", str(tmp_path / "b")).stdout


KILLED = """
import os, signal, sys
from pathlib import Path
from twisted_mta.backup.snapshots import Snapshots
from twisted_mta.backup.taking import take
left = int(sys.argv[3])
def progress(what, count):
    global left
    left -= count
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
import twisted_mta.backup.copying as copying
copying.BATCH = 5
take(Path(sys.argv[1]), Snapshots(Path(sys.argv[2])), config=b"", hostname="", release="", progress=progress)
"""


def test_killed_in_the_middle(server: ServerProcess, tmp_path: Path) -> None:
    data, directory = server.directory / "data", tmp_path / "b"
    for number in (3, 20):
        arguments = [sys.executable, "-c", KILLED, str(data), str(directory), str(number)]
        done = subprocess.run(arguments, env=environment(), check=False)
        assert done.returncode == -signal.SIGKILL
    assert "there is no snapshot" in refused(server.mta("verify", str(directory)))
    assert "there is no snapshot" in refused(server.mta("restore", str(directory), "--account", ALICE))
    told = backup(server, directory)
    assert isinstance(told["copied_files"], int)
    assert isinstance(told["files"], int)
    assert told["copied_files"] < told["files"] - 10  # the rest is what was copied before
    assert sorted(os.listdir(directory)) == [told["snapshot"], "lock"]
    assert files(directory / str(told["snapshot"]) / "data") == files(data)
    said(server.mta("verify", str(directory)))


@contextmanager
def small_disk(path: Path) -> Iterator[None]:
    path.mkdir()
    mount = [program("mount"), "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"needs root and the right to mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run([program("umount"), "-l", str(path)], check=True)


def test_no_room_for_it(server: ServerProcess, tmp_path: Path) -> None:
    with small_disk(tmp_path / "b"):
        told = backup(server, tmp_path / "b")
        mbox = server.directory / "large"
        mbox.write_bytes(b"From x@y.test Mon Jan  1 00:00:01 2024\nSubject: l\n\n" + b"x" * 70 * 20_000)
        said(server.mta("mailbox", "import", ALICE, "--from", str(mbox)))
        assert "no space left" in refused(server.mta("backup", str(tmp_path / "b")))
        assert sorted(os.listdir(tmp_path / "b")) == [told["snapshot"], "lock"]
        said(server.mta("verify", str(tmp_path / "b")))


def test_what_is_wrong_with_what_the_server_keeps(server: ServerProcess) -> None:
    said(server.mta("mailbox", "reindex", ALICE))
    assert "all is well" in said(server.mta("verify"))
    data = server.directory / "data"
    maildir = data / "mail/a.test/alice/Maildir"
    victim = min((maildir / "new").iterdir())
    victim.unlink()
    (data / "broken.sqlite").write_bytes(b"not a database" * 1000)
    notes = backup(server, server.directory.parent / "b")["notes"]
    assert notes == [f"{data / 'broken.sqlite'} is damaged (file is not a database): copied as it is"]
    done = server.mta("verify", "--json")
    refused(done)
    faults = json.loads(done.stdout)["faults"]
    assert [each["where"].rpartition("/")[2] for each in faults] == ["broken.sqlite", f"{ALICE}: INBOX"]


def test_a_full_text_is_made_anew(server: ServerProcess) -> None:
    said(server.mta("mailbox", "reindex", ALICE))
    text = server.directory / "data/mail/a.test/alice/fulltext.sqlite"
    text.write_bytes(b"not a database" * 1000)
    assert "fulltext.sqlite is damaged" in server.mta("verify").stdout
    assert "mended" in said(server.mta("verify", "--fix"))
    assert [each.name for each in (server.directory / "data/reindex").iterdir()] == [ALICE]


@pytest.mark.parametrize("sound", [True, False])
def test_a_restore_that_is_cut_short(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sound: bool
) -> None:
    directory, data = tmp_path / "b", server.directory / "data"
    first, second = (str(backup(server, directory)["snapshot"]) for _ in range(2))
    before = files(data)
    data.rename(tmp_path / "lost")
    wishes = ["--snapshot", first, "--without-queue"]
    if not sound:
        victim = min((directory / first / "data/mail/a.test/alice/Maildir/new").iterdir())
        victim.write_bytes(before.pop(f"new/{victim.name}")[::-1])
        wishes.append("--even-damaged")
    moved: list[str] = []
    rename = os.rename

    def fail_later(source: str, target: str) -> None:
        if ".restoring" not in str(target):
            moved.append(target)
        if len(moved) == 2:
            raise OSError(5, "Input/output error")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("twisted_mta.backup.restoring.os.rename", fail_later)
        assert "Input/output error" in refused(server.mta("restore", str(directory), *wishes))
    with pytest.raises(ConfigError, match="was cut short; first do once more: mta restore DIR"):
        require_restored(data)
    for others in ((), ("--snapshot", first), ("--snapshot", second, *wishes[2:])):
        no = refused(server.mta("restore", str(directory), *others))
        assert "another restore was cut short" in no and f"with {' '.join(wishes)}, or" in no
    mark = data / ".restoring/complete"
    begun = mark.read_bytes()
    mark.write_bytes(b"")
    assert "an earlier release began it" in refused(server.mta("restore", str(directory), *wishes))
    mark.write_bytes(begun)
    done = server.mta("restore", str(directory), *wishes)
    if sound:
        assert f"as of {first}" in said(done) and "on its way" not in done.stdout
    else:
        assert "no sound copy" in refused(done) and victim.name in done.stderr
    require_restored(data)
    assert before.items() <= files(data).items()
    assert len(files(data)) == MESSAGES
    said(server.mta("verify"))


def test_a_backup_inside_of_what_it_is_of(server: ServerProcess) -> None:
    no = refused(server.mta("backup", str(server.directory / "data/backups")))
    assert "inside the data directory" in no


def test_a_body_that_is_gone_takes_its_message_out(server: ServerProcess, tmp_path: Path) -> None:
    """The message was delivered between the reading of the database and that of its body."""
    queue = server.directory / "data/queue"
    queue.mkdir()
    QueueDatabase(queue / "queue.sqlite").close()
    with closing(sqlite3.connect(queue / "queue.sqlite")) as database, database:
        for number in (1, 2):
            database.execute(
                "INSERT INTO message (number, body_type, arrived, size, checksum, head, body)"
                " VALUES (?, '7BIT', 0, 1, 0, x'', ?)",
                (number, None if number == 1 else b"x"),
            )
    told = backup(server, tmp_path / "b")
    copy = tmp_path / "b" / str(told["snapshot"]) / "data/queue/queue.sqlite"
    with closing(sqlite3.connect(copy)) as database:
        assert database.execute("SELECT number FROM message").fetchall() == [(2,)]
    said(server.mta("verify", str(tmp_path / "b")))


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../../x", "a//b", "", "a/./b", "a\0b", 7])
def test_no_manifest_leads_out_of_the_snapshot(path: object) -> None:
    with pytest.raises(ValueError, match="leads out" if isinstance(path, str) else "not a line"):
        entry_of(json.dumps({"path": path}))


def test_a_name_that_is_not_text_comes_through() -> None:
    entry = Entry("mail/\udcff/x", "database", 3, 4, 0o400, "ab", stamp=(1, 2, 3, 4))
    assert entry_of(entry.line()) == entry
