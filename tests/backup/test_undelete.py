"""What was expunged can be brought back for a while, as it was."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from office import PASSWORD
from process import ServerProcess

from twisted_mta.message.content import Content
from twisted_mta.store import hierarchy
from twisted_mta.store.deposit import Deposit, deposit
from twisted_mta.store.flags import ANSWERED, DELETED, FLAGGED, SEEN
from twisted_mta.store.home import Home
from twisted_mta.store.maildir import NameSource

ALICE = "alice@a.test"
CONFIG = {
    "hostname": "mx.a.test",
    "data_dir": "data",
    "domains": ["a.test"],
    "listen": {"smtp": ["127.0.0.1:2525"]},
}
DATE = 1_577_836_800.0

Seen = dict[str, tuple[int, str, float]]  # by base name: flags, keywords, internal date


@pytest.fixture
def server(tmp_path: Path) -> ServerProcess:
    """Not started; with alice."""
    server = ServerProcess(CONFIG, tmp_path)
    server.add_account(ALICE, PASSWORD)
    return server


@contextmanager
def home_of(server: ServerProcess, clock: Callable[[], float] = time.time) -> Iterator[Home]:
    """Alice's account, as the server has it open."""
    names = NameSource("mx.a.test", "token", clock)
    home = Home(str(server.directory / "data/mail/a.test/alice"), names, "boot", print)
    home.deleted.keep = 3600.0
    try:
        yield home
    finally:
        home.shut()


def put(home: Home, number: int, mailbox: str, bits: int = 0, keywords: frozenset[str] = frozenset()) -> None:
    octets = f"Subject: =?utf-8?q?n=C3=BAmber?= {number}\r\nMessage-ID: <{number}@x.test>\r\n\r\nbody\r\n"
    name = f"{int(DATE)}.m{number}.mx.a.test"
    deposit(home, [Deposit(mailbox, Content(b"", octets.encode()), name, bits, keywords, DATE)])


def seen(home: Home, mailbox: str) -> Seen:
    folder = home.folder(mailbox)
    folder.refresh()
    rows = home.index.messages(folder.id)
    return {row.name: (row.flags, row.keywords, row.internal_date) for row in rows}


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_brought_back_as_it_was(server: ServerProcess) -> None:
    with home_of(server) as home:
        hierarchy.create(home, "Old")
        put(home, 7, "Old", ANSWERED | DELETED, frozenset({"old"}))
        for number in range(6):
            put(home, number, "INBOX", *((SEEN | FLAGGED, frozenset({"later"})) if number % 2 else ()))
        inbox, old = seen(home, "INBOX"), seen(home, "Old")
        assert said(server.mta("undelete", ALICE, "--list")) == "nothing that was deleted is still there\n"
        folder = home.folder("INBOX")
        some = [row for row in home.index.messages(folder.id) if row.uid in range(2, 6)]
        with home.index.transaction():
            home.index.update(folder.id, [row._replace(flags=row.flags | DELETED) for row in some])
        assert folder.expunge([row.uid for row in some]) == [2, 3, 4, 5]
        hierarchy.delete(home, "Old")
        assert "deleted" not in said(server.mta("mailbox", "list", ALICE))

        rows = json.loads(said(server.mta("undelete", ALICE, "--list", "--json")))
        assert sorted((row["mailbox"], row["subject"]) for row in rows) == [
            *(("INBOX", f"númber {number}") for number in range(1, 5)),
            ("Old", "númber 7"),
        ]
        back = server.mta("undelete", ALICE, "--message-id", "3@x.test")
        assert said(back) == "INBOX: 1 message brought back\n"
        assert sorted(seen(home, "INBOX")) == [
            name for name in sorted(inbox) if name.split(".")[1] in ("m0", "m3", "m5")
        ]
        assert "new mailboxes: Old" in said(server.mta("undelete", ALICE, "--mailbox", "Old"))
        assert "INBOX: 3 messages" in said(server.mta("undelete", ALICE, "--since", "1h"))
        home.notice()
        assert seen(home, "INBOX") == inbox
        ((name, (_, keywords, date)),) = old.items()
        assert seen(home, "Old") == {name: (ANSWERED, keywords, date)}
    nothing = server.mta("undelete", ALICE, "--all")
    assert nothing.returncode == 1
    assert "nothing like that" in nothing.stderr
    assert "say what" in server.mta("undelete", ALICE).stderr
    assert list((server.directory / "data/mail/a.test/alice/deleted").iterdir()) == []
    said(server.mta("mailbox", "verify", ALICE))


def test_messages_of_a_deleted_mailbox_went_with_it(server: ServerProcess) -> None:
    deleted = time.time() - 3 * 3600
    with home_of(server, lambda: deleted) as home:
        hierarchy.create(home, "Old")
        put(home, 1, "Old")  # its file is of now
        hierarchy.delete(home, "Old")
        hierarchy.create(home, "Old")
        put(home, 2, "Old")
        assert home.folder("Old").expunge([1]) == [1]  # and was renamed now, whatever its directory is called
    rows = json.loads(said(server.mta("undelete", ALICE, "--list", "--json")))
    times = {row["message_id"]: row["deleted"] for row in rows}
    assert times["<1@x.test>"] == time.strftime("%Y-%m-%d %H:%M", time.localtime(deleted))
    assert times["<2@x.test>"] != times["<1@x.test>"]
    assert said(server.mta("undelete", ALICE, "--list", "--since", "1h")) == (
        "nothing that was deleted is still there\n"
    )
    assert said(server.mta("undelete", ALICE, "--since", "4h")) == "Old: 2 messages brought back\n"
    assert not list((server.directory / "data/mail/a.test/alice/deleted").iterdir())
