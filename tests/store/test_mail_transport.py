"""Mail out of an account and into it: nothing is lost, nothing comes twice, nothing partial is seen."""

from __future__ import annotations

import errno
import mailbox
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from twisted_mta.store.errors import OverQuota, TooManyMailboxes
from twisted_mta.store.exchange import importing
from twisted_mta.store.exchange.exporting import export
from twisted_mta.store.exchange.importing import Imported, Importer
from twisted_mta.store.exchange.inventory import Inventory
from twisted_mta.store.exchange.mail_source import Format, Incoming, MaildirSource, NoMail, find_sources
from twisted_mta.store.maildir import Maildir, NameSource
from twisted_mta.store.names import directory_of
from twisted_mta.store.quota import EMPTY, UNLIMITED, Limits, Room

DATE = 1_700_000_000

# (mailbox, directory and letters, content): every mailbox is of another kind, and so is every message.
MAIL = [
    ("INBOX", "cur", "FS", b"Subject: seen\n\nFrom me\n>From you\n\n"),
    ("INBOX", "new", "", b"Return-Path: <a@b.test>\nStatus: RO\nX-Keywords: x\n\nsays a field of its own\n"),
    ("INBOX", "cur", "", b"Subject: old\n\n\xff\x00 octets\r\n\rand line ends\r\n"),
    ("INBOX", "cur", "DRSTab", b"Subject: all flags and keywords\n\n" + b"x" * 200_000 + b"\n"),
    ("INBOX", "cur", "PS", b"no header\n"),
    ("INBOX", "cur", "b", b"\nno header, and a line before\n"),
    ("Archive", "cur", "S", b"From: a\n\nFrom x@y.test Mon Jan  1 00:00:00 2024\nlike a separator\n"),
    ("Archive/2024", "cur", "S", b"a: b\n\nnested\n"),
    ("Größe/a.b", "cur", "S", b"a: b\n\na name with everything\n"),
    ("like.mbox", "cur", "S", b"a: b\n\nnamed like a file of ours\n"),
    ("like", "cur", "S", b"a: b\n\nbeside it\n"),
]


class Known(NamedTuple):
    """What must stay the same."""

    mailbox: str
    content: bytes
    new: bool
    flags: str
    keywords: frozenset[str]
    date: int


class House:
    """An account's directory, without a server and without an index."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.maildir = path / "Maildir"
        path.mkdir()
        Maildir(str(self.maildir)).make(folder=False)

    def bring(
        self,
        source: Path,
        wanted: Format | None = None,
        into: str = "",
        limits: Limits = UNLIMITED,
    ) -> dict[str, Imported]:
        names = NameSource("mx.a.test", os.urandom(6).hex(), time.time)
        importer = Importer(str(self.maildir), Room(limits, EMPTY), names)
        return {
            name: importer.bring(mail, name, lambda position: None)
            for name, mail in find_sources(str(source), wanted, into).items()
        }

    def export(self, to: Path, wanted: Format) -> None:
        to.mkdir()
        with Inventory(str(self.path)) as inventory:
            for name in inventory.directories:
                export(inventory, name, str(to), wanted, lambda count: None)

    def mail(self) -> list[Known]:
        with Inventory(str(self.path)) as inventory:
            return sorted(
                Known(
                    name,
                    (file := Path(inventory.maildir(name).file(item.name, item.place))).read_bytes(),
                    item.place.directory == "new",
                    "".join(filter(str.isupper, item.place.tail.partition(":2,")[2])),
                    item.keywords,
                    int(file.stat().st_mtime),
                )
                for name in inventory.directories
                for item in inventory.items(name)
            )

    def left(self) -> list[str]:
        """What is in the directories for the unfinished."""
        return [str(path) for path in self.maildir.glob("**/tmp/*")]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "house")


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    """A Maildir++ of another program with `MAIL` in it."""
    root = tmp_path / "source"
    Maildir(str(root)).make(folder=False)
    for number, (name, directory, letters, content) in enumerate(MAIL):
        path = root / directory_of(name)
        Maildir(str(path)).make(folder=name != "INBOX")
        info = f":2,{letters}" if directory == "cur" else ""
        file = path / directory / f"{DATE + number}.M{number}P7.elsewhere{info}"
        file.write_bytes(content)
        os.utime(file, (DATE + number, DATE + number))
    (root / "dovecot-keywords").write_text("0 $Forwarded\n1 NonJunk\n")
    return root


def known(flags_of_mbox: bool = False) -> list[Known]:
    """`MAIL` as it is to arrive. An mbox has no passed messages, P, as a Maildir has."""
    words = {"a": "$Forwarded", "b": "NonJunk"}
    return sorted(
        Known(
            name,
            content,
            directory == "new",
            "".join(c for c in letters if c.isupper() and not (flags_of_mbox and c == "P")),
            frozenset(words[letter] for letter in letters if letter in words),
            DATE + number,
        )
        for number, (name, directory, letters, content) in enumerate(MAIL)
    )


# There and back


def test_from_maildir_to_maildir(house: House, maildir: Path, tmp_path: Path) -> None:
    house.bring(maildir)
    assert house.mail() == known()
    house.export(tmp_path / "out", "maildir")
    other = House(tmp_path / "other")
    other.bring(tmp_path / "out", "maildir")
    assert other.mail() == known()
    assert not house.left()


def test_from_maildir_to_mbox_and_back(house: House, maildir: Path, tmp_path: Path) -> None:
    house.bring(maildir)
    house.export(tmp_path / "out", "mbox")
    assert (
        (tmp_path / "out/INBOX.mbox")
        .read_bytes()
        .startswith(b"From MAILER-DAEMON Tue Nov 14 22:13:20 2023\n")
    )
    assert b"From a@b.test Tue" in (tmp_path / "out/INBOX.mbox").read_bytes()
    other = House(tmp_path / "other")
    other.bring(tmp_path / "out")
    assert other.mail() == known(flags_of_mbox=True)


def test_what_other_programs_read(house: House, maildir: Path, tmp_path: Path) -> None:
    """The mailbox module of Python, which knows nothing of us."""
    house.bring(maildir)
    house.export(tmp_path / "mboxes", "mbox")
    house.export(tmp_path / "maildirs", "maildir")
    mbox = mailbox.mbox(tmp_path / "mboxes/Archive.mbox", create=False)
    assert [message.get_flags() for message in mbox] == ["RO"]
    assert next(iter(mbox)).get_payload().startswith(">From x@y.test")
    copy = mailbox.Maildir(tmp_path / "maildirs", create=False)
    assert sorted(message.get_flags() for message in copy) == ["", "", "DRSTab", "FS", "PS", "b"]
    assert copy.get_folder("Archive.2024").keys()


# Twice


@pytest.mark.parametrize("wanted", ["maildir", "mbox"])
def test_to_import_twice_does_no_harm(house: House, maildir: Path, tmp_path: Path, wanted: Format) -> None:
    source = House(tmp_path / "first")
    source.bring(maildir)
    source.export(tmp_path / "out", wanted)
    first = house.bring(tmp_path / "out")
    mail = house.mail()
    again = house.bring(tmp_path / "out")
    assert {name: each.new for name, each in first.items()} == {
        name: each.known for name, each in again.items()
    }
    assert sum(each.new for each in again.values()) == 0
    assert house.mail() == mail
    assert not house.left()


def test_what_has_been_renamed_meanwhile_is_recognised(house: House, maildir: Path, tmp_path: Path) -> None:
    house.bring(maildir)
    house.export(tmp_path / "out", "mbox")
    house.bring(tmp_path / "out", into="Copy")
    inbox = house.maildir / ".Copy"
    for file in [*inbox.glob("cur/*"), *inbox.glob("new/*")]:
        file.rename(inbox / "cur" / f"{file.name.partition(':')[0]}:2,FT")
    assert house.bring(tmp_path / "out", into="Copy")["Copy"] == Imported(0, 6, frozenset())


def test_two_that_are_the_same_stay_two(house: House, tmp_path: Path) -> None:
    mbox = tmp_path / "mbox"
    mbox.write_bytes(b"From x Mon Jan  1 00:00:00 2024\na: b\n\nthe same\n\n" * 3)
    for expected in (Imported(3, 0, frozenset()), Imported(0, 3, frozenset())):
        assert house.bring(mbox)["INBOX"] == expected
    assert len(house.mail()) == 3


def test_another_message_of_the_same_name_is_another_message(house: House, tmp_path: Path) -> None:
    name = "1700000000.M1P2.host"
    for number, content in enumerate((b"a: 1\n\n", b"a: 2\n\n")):
        source = tmp_path / str(number)
        Maildir(str(source)).make(folder=False)
        (source / "new" / name).write_bytes(content)
        assert house.bring(source)["INBOX"].new == 1
        assert house.bring(source)["INBOX"].new == 0
    assert [message.content for message in house.mail()] == [b"a: 1\n\n", b"a: 2\n\n"]


# Trouble


class Faulty:
    """A source that stops in the middle of a message, again and again, each time a message later."""

    def __init__(self, source: MaildirSource) -> None:
        self._source = source
        self.good = 0

    def __iter__(self) -> Iterator[Incoming]:
        for number, message in enumerate(self._source):
            if number == self.good:
                self.good += 1
                yield Incoming(message.marks, self._broken(message), 0, name=message.name)
            yield message

    @staticmethod
    def _broken(message: Incoming) -> Iterator[bytes]:
        yield next(message.content)[:3]
        raise OSError(errno.EIO, "the disk")


def test_interrupted_again_and_again(house: House, maildir: Path) -> None:
    source = Faulty(MaildirSource(str(maildir)))
    names = NameSource("mx.a.test", "t", time.time)
    for complete in range(6):
        importer = Importer(str(house.maildir), Room(UNLIMITED, EMPTY), names)
        with pytest.raises(OSError, match="the disk"):
            importer.bring(source, "INBOX", lambda position: None)  # type: ignore[arg-type]
        assert importer.new == (1 if complete else 0)
        assert len(house.mail()) == complete
        assert not house.left()
    house.bring(maildir)
    assert house.mail() == known()


def test_the_quota_is_not_exceeded(house: House, maildir: Path) -> None:
    with pytest.raises(OverQuota):
        house.bring(maildir, limits=Limits(messages=3))
    assert len(house.mail()) == 3
    with pytest.raises(OverQuota):
        house.bring(maildir, into="Other", limits=Limits(octets=150))
    assert sum(len(each.content) for each in house.mail() if each.mailbox == "Other") <= 150
    assert not house.left()


def test_nor_is_the_number_of_mailboxes(house: House) -> None:
    names = NameSource("mx.a.test", "t", time.time)
    importer = Importer(str(house.maildir), Room(UNLIMITED, EMPTY), names, most=2)
    importer.maildir("One")
    with pytest.raises(TooManyMailboxes, match="There are 2 mailboxes"):
        importer.maildir("Two")
    assert importer.maildir("One").path and importer.made == ["One"]


def test_a_full_disk_leaves_no_partial_message(
    house: House, maildir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = iter([True] * 7)

    def require_space(path: str, octets: int) -> None:
        if not next(room, False):
            raise OSError(errno.ENOSPC, "No space left on device", path)

    with monkeypatch.context() as patch:
        patch.setattr(importing, "require_space", require_space)
        with pytest.raises(OSError, match="No space"):
            house.bring(maildir)
    contents = {content for _, _, _, content in MAIL}
    assert house.mail() and {each.content for each in house.mail()} <= contents
    assert not house.left()
    house.bring(maildir)
    assert house.mail() == known()


# What is found


def test_trees_of_other_programs(house: House, tmp_path: Path) -> None:
    message = b"From - Mon Jan 01 00:00:00 2024\r\nX-Mozilla-Status: 0001\r\na: b\r\n\r\ntext\r\n\r\n"
    profile = tmp_path / "Local Folders"
    (profile / "Work.sbd").mkdir(parents=True)
    for name in ("Inbox", "Work", "Work.sbd/R&D", ".hidden", "Empty.mbox"):
        (profile / name).write_bytes(message if name != "Empty.mbox" else b"")
    (profile / "Inbox.msf").write_bytes(b"// <!-- <mdb:mork:z")
    (profile / "link").symlink_to(profile / "Work")
    (profile / "empty").touch()
    assert list(house.bring(profile)) == ["INBOX", "Empty", "Work", "Work/R&D"]
    assert house.mail()[0].content == b"X-Mozilla-Status: 0001\na: b\n\ntext\n"
    mbsync = tmp_path / "Mail"
    for name in ("Inbox", "Archive/2023", "Entw&APw-rfe"):
        path = mbsync / name
        path.mkdir(parents=True)
        Maildir(str(path)).make(folder=False)
        (path / "cur" / "1.2.host,U=5:2,S").write_bytes(b"a: b\n\n")
    found = find_sources(str(mbsync), None, "")
    assert list(found) == ["INBOX", "Archive/2023", "Entwürfe"]
    assert list(find_sources(str(mbsync), None, "Old")) == ["Old", "Old/Archive/2023", "Old/Entwürfe"]


def test_what_is_no_mail_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("Dear friend,\n\nFrom me\n")
    (tmp_path / "directory").mkdir()
    for path, wanted in (("text", None), ("text", "maildir"), ("directory", None), ("directory", "mbox")):
        with pytest.raises(NoMail):
            find_sources(str(tmp_path / path), wanted, "")  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        find_sources(str(tmp_path / "missing"), None, "")


def test_what_is_no_file_is_passed_over(house: House, maildir: Path) -> None:
    """A pipe would never end, a link may lead anywhere."""
    os.mkfifo(maildir / "new" / "1.pipe.host")
    (maildir / "new" / "1.link.host").symlink_to("/etc/passwd")
    (maildir / "new" / "1.directory.host").mkdir()
    house.bring(maildir)
    assert house.mail() == known()


# Keywords


def test_a_mailbox_has_letters_for_26_keywords(house: House, tmp_path: Path) -> None:
    mbox = tmp_path / "mbox"
    words = [f"word{number:02}" for number in range(27)]
    mbox.write_text(
        "".join(
            f"From x Mon Jan  1 00:00:00 2024\nX-Keywords: {word} no\\keyword\na: {word}\n\n"
            for word in words
        )
    )
    imported = house.bring(mbox)["INBOX"]
    assert imported == Imported(27, 0, frozenset({"word26", "no\\keyword"}))
    assert sorted(word for each in house.mail() for word in each.keywords) == words[:26]
