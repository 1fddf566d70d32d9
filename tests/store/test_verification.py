"""`verify` finds what has been planted, and nothing where nothing is wrong."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path

import pytest
from store_case import ALICE, StoreCase
from twisted.trial.unittest import TestCase

from twisted_mta.message.content import Content
from twisted_mta.store.deposit import Deposit, deposit
from twisted_mta.store.exchange.verification import LOOKS, Finding, verify
from twisted_mta.store.home import Home
from twisted_mta.store.maildir import NameSource


class Account:
    """An account with five messages in INBOX, that a server has left in order."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.inbox = path / "Maildir"
        self.index = path / "index.sqlite"
        names = NameSource("mx.a.test", "t", time.time)
        self.home = Home(str(path), names, "boot", print)
        content = [Content(b"", b"Subject: %d\r\n\r\ntext\r\n" % number) for number in range(5)]
        deposit(self.home, [Deposit("INBOX", each, names.fresh()) for each in content])
        self.home.close()
        self.pauses = 0

    def files(self) -> list[Path]:
        return sorted(self.inbox.glob("new/*"))

    def change(self, *statements: str) -> None:
        """Change the index, as nobody should."""
        db = sqlite3.connect(self.index)
        for statement in statements:
            db.execute(statement)
        db.commit()
        db.close()

    def findings(self) -> list[Finding]:
        def pause() -> None:
            self.pauses += 1

        return list(verify(str(self.path), pause))

    def faults(self) -> list[str]:
        return [f"{found.mailbox}: {found.what}" for found in self.findings() if found.fault]

    def fault(self) -> Finding:
        """The only one; it says what to do."""
        (fault,) = [found for found in self.findings() if found.fault]
        assert fault.remedy
        return fault


@pytest.fixture
def account(tmp_path: Path) -> Account:
    return Account(tmp_path / "alice")


def test_nothing_is_wrong(account: Account) -> None:
    before = account.index.read_bytes()
    assert account.faults() == []
    assert account.pauses == 0
    assert account.index.read_bytes() == before
    assert {path.name for path in account.path.iterdir()} >= {"Maildir", "index.sqlite", "numbers"}


def test_an_account_without_mail(tmp_path: Path) -> None:
    assert list(verify(str(tmp_path / "nobody"), lambda: None)) == []


def test_a_file_is_gone(account: Account) -> None:
    account.files()[2].unlink()
    fault = account.fault()
    assert fault.mailbox == "INBOX" and fault.what.startswith("UID 3: its file ") and "is gone" in fault.what
    assert "restore the file from a backup" in fault.remedy
    assert account.pauses == LOOKS - 1


def test_what_is_gone_for_a_moment_is_no_fault(account: Account) -> None:
    """As when a server has removed a file and not yet its row."""
    file = account.files()[0]
    octets = file.read_bytes()
    file.unlink()
    findings = list(verify(str(account.path), lambda: None if file.exists() else file.write_bytes(octets)))
    assert not [found for found in findings if found.fault]


def test_a_file_of_another_size(account: Account) -> None:
    file = account.files()[1]
    file.write_bytes(file.read_bytes()[:-3])
    assert "octets (with CRLF), the index says" in account.fault().what


def test_a_file_that_nobody_may_read(account: Account) -> None:
    file = account.files()[1]
    file.unlink()
    file.symlink_to("/nonexistent")
    assert "UID 2" in account.fault().what


def test_a_file_that_nobody_has_noticed_yet(account: Account) -> None:
    (account.inbox / "new" / "1700000000.M1.other").write_bytes(b"a: b\n\n")
    (found,) = [found for found in account.findings() if found.mailbox == "INBOX"]
    assert not found.fault
    assert found.what == "1 file is not in the index, the first 1700000000.M1.other"


def test_a_file_that_hides(account: Account) -> None:
    """Directory and index agree on their times, and so the server would never look."""
    stray = account.inbox / "new" / "1700000000.M1.other"
    stray.write_bytes(b"a: b\n\n")
    for directory in ("new", "cur"):
        os.utime(account.inbox / directory, ns=(10**18, 10**18))
    account.change(f"UPDATE mailboxes SET new_stamp = {10**18}, cur_stamp = {10**18}, settled = 1")
    assert "touch" in account.fault().remedy


def test_two_files_of_one_message(account: Account) -> None:
    file = account.files()[0]
    (account.inbox / "cur" / f"{file.name}:2,S").write_bytes(file.read_bytes())
    (account.inbox / "cur" / f"{file.name}:2,FS").write_bytes(file.read_bytes())
    assert account.fault().what == f"3 files have the base name {file.name.partition(',')[0]}"


def test_a_name_that_is_not_utf_8(account: Account) -> None:
    Path(os.fsdecode(os.fsencode(account.inbox) + b"/new/1.\xff.host")).write_bytes(b"a: b\n\n")
    assert "not UTF-8" in account.fault().what


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("UPDATE mailboxes SET uid_next = 4 WHERE name = 'INBOX'", "INBOX: there is a UID 5, but the next"),
        (
            "UPDATE mailboxes SET uid_reserved = 2 WHERE name = 'INBOX'",
            "INBOX: the next UID, 6, is not reserved",
        ),
        ("UPDATE messages SET uid = -1 WHERE uid = 1", "INBOX: UID -1 follows UID 0"),
        ("UPDATE usage SET octets = 7", ": the quota counts 7 octets in 5 messages, but there are"),
        ("DELETE FROM messages WHERE uid = 2", ": the quota counts"),
    ],
)
def test_numbers_that_cannot_be(account: Account, statement: str, what: str) -> None:
    if statement.startswith("DELETE"):
        account.change("DROP TRIGGER message_removed")
    account.change(statement)
    assert any(fault.startswith(what) for fault in account.faults()), account.findings()


def test_an_index_that_is_damaged(account: Account) -> None:
    octets = bytearray(account.index.read_bytes())
    octets[8192:12288] = os.urandom(4096)
    account.index.write_bytes(octets)
    faults = [found for found in account.findings() if found.fault]
    assert faults and "index.sqlite" in faults[0].what
    assert "restore" in faults[0].remedy


@pytest.mark.parametrize("octets", [b"", b"not a database" * 1000])
def test_an_index_that_is_none(account: Account, octets: bytes) -> None:
    account.index.write_bytes(octets)
    fault = account.fault()
    assert fault.what.startswith("index.sqlite: ")
    assert "a new UIDVALIDITY" in fault.remedy


def test_no_index_is_no_fault(account: Account) -> None:
    account.index.unlink()
    assert account.faults() == []


def test_an_index_of_an_earlier_release(account: Account) -> None:
    account.change("PRAGMA user_version = 1")
    assert account.faults() == []
    assert "earlier release" in account.findings()[0].what


def test_directories_that_are_gone(account: Account) -> None:
    for path in sorted((account.inbox / ".Sent").glob("*")):
        path.rmdir() if path.is_dir() else path.unlink()
    assert account.fault().mailbox == "Sent"
    account.inbox.rename(account.path / "elsewhere")
    assert account.fault().what.endswith("Maildir is missing")


@pytest.mark.parametrize("name", [b".a..b", b".\xff", b".Sent\xc3\xa9", b"plain"])
def test_directories_of_no_mailbox(account: Account, name: bytes) -> None:
    """The third one is taken over, the last one is no folder of a Maildir++."""
    path = os.fsencode(account.inbox) + b"/" + name
    for each in (b"", b"/cur", b"/new", b"/tmp"):
        os.mkdir(path + each)
    strange = name in (b".a..b", b".\xff")
    assert len(account.faults()) == strange
    if strange:
        assert "is no mailbox" in account.fault().what


class KnowledgeTest(StoreCase, TestCase):
    """What is known of the mail, made by the indexer."""

    async def test_complete_or_to_be_made(self) -> None:
        await self.deliver(1, 2, 3)
        path = str(self.home)

        def said() -> list[str]:
            return [found.what for found in verify(path, lambda: None)]

        self.assertEqual(
            said(),
            ["3 messages have not been looked into yet", "3 messages are not in the full text yet"],
        )
        await self.store.reindex(ALICE, lambda done, total: None)
        self.assertEqual(said(), [])
        await self.deliver(4)
        self.assertEqual(said()[1:], ["1 messages are not in the full text yet"])
        text = self.home / "fulltext.sqlite"
        octets = bytearray(text.read_bytes())
        octets[4096:] = os.urandom(len(octets) - 4096)
        text.write_bytes(octets)
        (fault,) = [found for found in verify(path, lambda: None) if found.fault]
        self.assertIn("fulltext.sqlite is damaged", fault.what)
        self.assertIn("mta mailbox reindex", fault.remedy)

    async def test_a_server_at_work_is_not_disturbed(self) -> None:
        await self.deliver(*range(20))
        mailbox = await self.account.open("INBOX")
        for _ in verify(str(self.home), lambda: None):
            await mailbox.set_flags(mailbox.uids, "add", frozenset({"\\Seen"}))
            await self.deliver(30)
        await mailbox.expunge(list(mailbox.uids)[:5])
        self.assertEqual([found for found in verify(str(self.home), lambda: None) if found.fault], [])
        await mailbox.close()
