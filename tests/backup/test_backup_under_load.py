"""A backup taken while mail comes, is moved, flagged and expunged: restored, it is a store that has all
that was acknowledged, once; and taken at rest, it shows exactly what the server showed."""

from __future__ import annotations

import itertools
import random
import re
import smtplib
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from office import PASSWORD, Office, running_office
from raw_imap import RawImap

ALICE, BOB = "alice@a.test", "bob@a.test"
KEPT = 25  # messages of each before the backup begins
_IDENTITY = re.compile(rb"identity-(\w+-\d+)\r\n")


class Load(threading.Thread):
    """A client that goes on until it is told to stop. `done`: its steps."""

    def __init__(self, office: Office) -> None:
        super().__init__(daemon=True)
        self.office = office
        self.stopped = threading.Event()
        self.begun = threading.Semaphore(0)
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            for number in itertools.count():
                if self.stopped.is_set():
                    return
                self.step(number)
                self.begun.release()
        except BaseException as error:
            self.failure = error
            self.begun.release()

    def step(self, number: int) -> None:
        raise NotImplementedError


class Appending(Load):
    """Stores messages of which every third is expunged again, which happens all the time."""

    def __init__(self, office: Office) -> None:
        super().__init__(office)
        self.imap = RawImap(office.ports["imap"], ALICE, PASSWORD)
        self.imap.ok("SELECT INBOX")
        self.stored: list[str] = []
        self.passing: list[str] = []

    def step(self, number: int) -> None:
        octets = b"Subject: x\r\n\r\nidentity-a-%d\r\n" % number
        passing = number % 3 == 2
        flags = rb"(\Deleted)" if passing else b"(keyword)"
        self.imap.ok(b"APPEND INBOX %b {%d+}\r\n%b" % (flags, len(octets), octets))
        (self.passing if passing else self.stored).append(f"a-{number}")
        if number % 9 == 8:
            self.imap.ok("EXPUNGE")


class Moving(Load):
    """Moves messages to and fro between three mailboxes, and flags them."""

    PLACES = ("INBOX", "Archive", "Sent")

    def __init__(self, office: Office) -> None:
        super().__init__(office)
        self.imap = RawImap(office.ports["imap"], ALICE, PASSWORD)
        self.random = random.Random(8)

    def step(self, number: int) -> None:
        source, target = self.random.sample(self.PLACES, 2)
        self.imap.ok(f"SELECT {source}")
        uids = re.findall(rb"\d+", self.imap.ok("UID SEARCH UNDELETED")[0])
        if uids:
            some = b",".join(self.random.sample(uids, min(len(uids), 5)))
            self.imap.ok(b"UID STORE " + some + rb" +FLAGS (\Flagged)")
            self.imap.ok(b"UID MOVE " + some + b" " + target.encode())


class Delivering(Load):
    """Sends mail to bob."""

    def __init__(self, office: Office) -> None:
        super().__init__(office)
        self.smtp = smtplib.SMTP("127.0.0.1", office.ports["smtp"], timeout=60)
        self.stored: list[str] = []

    def step(self, number: int) -> None:
        body = f"Subject: x\r\n\r\nidentity-b-{number}\r\n"
        self.smtp.sendmail("x@elsewhere.test", [BOB], body)
        self.stored.append(f"b-{number}")


def loads(office: Office) -> list[Load]:
    return [Appending(office), Moving(office), Delivering(office)]


def identities(office: Office, user: str) -> Counter[str]:
    """Every message of the account, in whichever mailbox."""
    found: Counter[str] = Counter()
    for _, octets in shown(office, user).values():
        match = _IDENTITY.search(octets)
        assert match, octets
        found[match[1].decode()] += 1
    return found


def shown(office: Office, user: str) -> dict[tuple[str, int], tuple[bytes, bytes]]:
    """All that a mail program is shown of the messages, by mailbox and UID: (flags and dates, octets)."""
    found: dict[tuple[str, int], tuple[bytes, bytes]] = {}
    with RawImap(office.ports["imap"], user, PASSWORD) as imap:
        for line in imap.ok('LIST "" "*"')[:-1]:
            name = line.rpartition(b" ")[2].decode()
            told = b" ".join(imap.ok(f"EXAMINE {name}"))
            validity = re.search(rb"UIDVALIDITY \d+", told)
            assert validity
            for each in imap.ok("UID FETCH 1:* (UID FLAGS INTERNALDATE EMAILID RFC822.SIZE BODY.PEEK[])")[
                :-1
            ]:
                uid = re.search(rb"UID (\d+)", each)
                if uid is not None:
                    head, _, octets = each.partition(b"BODY[]")
                    marks = head.partition(b"FETCH ")[2].replace(rb"\Recent ", b"").replace(rb" \Recent", b"")
                    found[name, int(uid[1])] = (validity[0] + marks.replace(rb"\Recent", b""), octets)
    return found


def marks(office: Office, mailbox: str) -> list[list[bytes]]:
    """The flags, dates and octets of alice's messages in a mailbox, whatever their UIDs."""
    found = []
    for (name, _), (told, octets) in shown(office, ALICE).items():
        if name == mailbox:
            flags = re.search(rb"FLAGS \((.*?)\)", told)
            date = re.search(rb'INTERNALDATE ".*?"', told)
            assert flags
            assert date
            found.append([*sorted(flags[1].split()), date[0], octets])
    return sorted(found)


@contextmanager
def restored(office: Office, backups: Path) -> Iterator[None]:
    """The office goes on with what was restored, for a while."""
    data = office.process.directory / "data"
    aside = data.with_name("aside")
    data.rename(aside)
    done = office.process.mta("restore", str(backups))
    assert done.returncode == 0, done.stderr
    office.process.start()
    try:
        yield
    finally:
        office.process.terminate()
        data.rename(data.with_name(f"restored-{len(list(data.parent.iterdir()))}"))
        aside.rename(data)


def test_restored_it_is_whole(tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    with running_office(tmp_path / "office", auth={"allow_cleartext": True}) as office:
        working = loads(office)
        appending, _, delivering = working
        assert isinstance(appending, Appending)
        assert isinstance(delivering, Delivering)
        for load in working:
            load.start()
        for load in (appending, delivering):
            for _ in range(KEPT):
                assert load.begun.acquire(timeout=60)
        before = {ALICE: list(appending.stored), BOB: list(delivering.stored)}
        done = office.process.mta("backup", str(backups))
        assert done.returncode == 0, done.stderr
        went_on = [load.is_alive() for load in working]
        for load in working:
            load.stopped.set()
            load.join(60)
            assert load.failure is None, load.failure
        assert all(went_on)
        after = {ALICE: set(appending.stored + appending.passing), BOB: set(delivering.stored)}
        office.process.mta("verify", str(backups))

        # At rest now: what is shown has to come back exactly.
        with RawImap(office.ports["imap"], ALICE, PASSWORD) as imap:
            for mailbox in (b"INBOX", b"Archive"):  # the moves may have left one of them empty
                imap.ok(b"APPEND " + mailbox + rb" (\Seen) {4+}" + b"\r\nA: b")
        at_rest = tmp_path / "at rest"
        seen = {user: shown(office, user) for user in (ALICE, BOB)}
        archive = marks(office, "Archive")
        assert archive
        done = office.process.mta("backup", str(at_rest))
        assert done.returncode == 0, done.stderr
        assert {user: shown(office, user) for user in (ALICE, BOB)} == seen
        office.process.terminate()

        with restored(office, backups):
            for user in (ALICE, BOB):
                assert office.process.eventually(
                    lambda user=user: not set(before[user]) - set(identities(office, user))
                )
                there = identities(office, user)
                assert not [each for each, count in there.items() if count != 1]
                assert set(there) <= after[user]
            checked = office.process.mta("verify")
            assert checked.returncode == 0, checked.stdout
        with restored(office, at_rest):
            assert {user: shown(office, user) for user in (ALICE, BOB)} == seen
            with RawImap(office.ports["imap"], ALICE, PASSWORD) as imap:
                last = max(uid for name, uid in seen[ALICE] if name == "INBOX")
                added = imap.ok(b"APPEND INBOX {3+}\r\nA:b")[-1]
                number = re.search(rb"APPENDUID \d+ (\d+)", added)
                assert number
                assert int(number[1]) > last + 100_000  # nobody knows what was given after the backup
                imap.ok("SELECT Archive")
                imap.ok(r"STORE 1:* +FLAGS.SILENT (\Deleted)")
                imap.ok("EXPUNGE")
                assert not marks(office, "Archive")
                one = ("--account", ALICE, "--mailbox", "Archive", "--in-place")
                done = office.process.mta("restore", str(at_rest), *one)
                assert done.returncode == 0, done.stderr
                assert marks(office, "Archive") == archive
