"""`kill -9` amid MOVE, RENAME and EXPUNGE (acceptance 19): nothing lost or doubled, nothing that was told is
taken back.

Reduced in size, unless SOAK=1 asks for all of it. Three clients work on one account as fast as they can
while the server is killed and started again and again. Only one of them changes the flags of a message, and
a message is in one place at a time, so what each command must have done is known once it was answered.
"""

from __future__ import annotations

import os
import random
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from client_view import uids_in
from office import PASSWORD, Office, running_office
from raw_imap import RawImap

KILLS = 200 if os.environ.get("SOAK") else 6
USER = "alice@a.test"
FETCH = re.compile(rb"\* \d+ FETCH \(UID (\d+) FLAGS \(([^)]*)\) .*identity (\d+)\r\n", re.DOTALL)
Uid = tuple[int, int]  # with UIDVALIDITY


class Told:
    """All that the server has told, over all its lives."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.numbers = count(1)
        self.stored: set[int] = set()  # APPEND was answered
        self.doomed: set[int] = set()  # EXPUNGE may have been carried out
        self.gone: set[int] = set()  # … and was answered
        self.flagged: set[int] = set()
        self.names: dict[Uid, int] = {}
        self.validities: dict[str, int] = {}
        self.modseqs: dict[str, int] = {}
        self.place = {"Wander": ""}  # the mailbox that is renamed, and the name it is on its way to

    def called(self, uid: Uid, identity: int) -> None:
        with self.lock:
            assert self.names.setdefault(uid, identity) == identity, (uid, identity)


def message(identity: int) -> bytes:
    return b"Subject: identity %d\r\n\r\nidentity %d\r\n" % (identity, identity)


class Client:
    """One session, and what it does again and again until the server is gone."""

    def __init__(self, office: Office, told: Told, rng: random.Random) -> None:
        self.imap = RawImap(office.ports["imap"], USER, PASSWORD)
        self.told, self.rng = told, rng

    def append(self, mailbox: str) -> None:
        identity = next(self.told.numbers)
        octets = message(identity)
        tagged = self.imap.ok(b"APPEND %b {%d+}\r\n%b" % (mailbox.encode(), len(octets), octets))[-1]
        self.told.stored.add(identity)
        found = re.search(rb"\[APPENDUID (\d+) (\d+)\]", tagged)
        assert found
        self.told.called((int(found[1]), int(found[2])), identity)

    def select(self, mailbox: str) -> dict[int, int]:
        """The identities by UID."""
        for line in self.imap.ok(f"SELECT {mailbox}"):
            if found := re.search(rb"\[UIDVALIDITY (\d+)\]", line):
                self.validity = int(found[1])
        found_here = {}
        for response in self.imap.ok("UID FETCH 1:* (UID FLAGS BODY.PEEK[TEXT])"):
            if found := FETCH.match(response):
                found_here[int(found[1])] = int(found[3])
                self.told.called((self.validity, int(found[1])), int(found[3]))
        return found_here

    def move(self, here: dict[int, int], uids: list[int], target: str) -> bool:
        responses = self.imap.command(f"UID MOVE {','.join(map(str, uids))} {target}")
        for response in responses:
            if found := re.search(rb"\[COPYUID (\d+) ([\d:,]+) ([\d:,]+)\]", response):
                for uid, copy in zip(uids_in(found[2]), uids_in(found[3]), strict=True):
                    self.told.called((int(found[1]), copy), here[uid])
        return b" OK " in responses[-1]


def wander(client: Client) -> Iterator[None]:
    """Messages go from INBOX to mailboxes and back; each is flagged once."""
    told, rng = client.told, client.rng
    while True:
        for _ in range(rng.randrange(1, 6)):
            client.append("INBOX")
            yield
        source, target = rng.sample(["INBOX", "Archive", "Wander"], 2)
        try:
            here = client.select(source)
        except AssertionError:
            assert source == "Wander"  # it is on its way
            continue
        yield
        some = sorted(rng.sample(sorted(here), min(len(here), rng.randrange(1, 30))))
        if not some:
            continue
        plain = [uid for uid in some if here[uid] not in told.flagged]
        if plain:
            client.imap.ok(f"UID STORE {','.join(map(str, plain))} +FLAGS.SILENT (\\Flagged k{plain[0] % 7})")
            told.flagged.update(here[uid] for uid in plain)
            yield
        client.move(here, some, target)
        yield


def rename(client: Client) -> Iterator[None]:
    """A mailbox with messages, and one inside it, get another name and their old one back."""
    while True:
        for old, new in (("Wander", "Far/Away"), ("Far/Away", "Wander")):
            client.told.place = {old: new}
            client.imap.ok(f"RENAME {old} {new}")
            client.told.place = {new: ""}
            yield


def expunge(client: Client) -> Iterator[None]:
    """Messages are stored, marked and removed; some of them after a move."""
    told, rng = client.told, client.rng
    while True:
        for _ in range(rng.randrange(1, 8)):
            client.append("Drafts")
            yield
        here = client.select("Drafts")
        client.move(here, sorted(here)[: rng.randrange(1, 9)], "Trash")
        yield
        here = client.select("Trash")
        some = sorted(rng.sample(sorted(here), min(len(here), 6)))
        if some:
            told.doomed.update(here[uid] for uid in some)
            uids = ",".join(map(str, some))
            client.imap.ok(f"UID STORE {uids} +FLAGS.SILENT (\\Deleted)")
            yield
            client.imap.ok(f"UID EXPUNGE {uids}")
            told.gone.update(here[uid] for uid in some)
        yield


class Worker(threading.Thread):
    """Does what it does until the server is gone. What else goes wrong is raised by `ended`."""

    def __init__(self, work: Callable[[Client], Iterator[None]], client: Client, steps: threading.Semaphore):
        super().__init__(daemon=True)
        self.work, self.client, self.steps = work, client, steps
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with suppress(OSError), self.client.imap:
                for _ in self.work(self.client):
                    self.steps.release()
        except BaseException as error:
            self.error = error
            self.steps.release(1000)

    def ended(self) -> None:
        self.join()
        if self.error is not None:
            raise self.error


def check(office: Office, told: Told) -> None:
    """Everything is where it can be, once."""
    ((name, target),) = told.place.items()
    found: Counter[int] = Counter()
    flagged: set[int] = set()
    with RawImap(office.ports["imap"], USER, PASSWORD) as imap:
        listed = [line.rpartition(b" ")[2].decode() for line in imap.ok('LIST "" *')[:-1]]
        assert (name in listed) != (target in listed), (listed, told.place)
        if target in listed:
            told.place = {target: ""}
        for mailbox in listed:
            if mailbox == "Far":
                continue  # above the one that is renamed
            marks = b"\n".join(imap.ok(f"SELECT {mailbox} (CONDSTORE)"))
            validity, modseq = (
                int(number)
                for word in (b"UIDVALIDITY", b"HIGHESTMODSEQ")
                for number in re.findall(rb"\[%b (\d+)\]" % word, marks)
            )
            identity = re.findall(rb"\[MAILBOXID \((\S+)\)\]", marks)[0].decode()
            assert told.validities.setdefault(identity, validity) == validity, mailbox
            assert told.modseqs.get(identity, 0) <= modseq, (mailbox, told.modseqs, modseq)
            told.modseqs[identity] = modseq
            for response in imap.ok("UID FETCH 1:* (UID FLAGS BODY.PEEK[TEXT])"):
                if message := FETCH.match(response):
                    told.called((validity, int(message[1])), int(message[3]))
                    found[int(message[3])] += 1
                    if b"\\Flagged" in message[2] and re.search(rb"k\d", message[2]):
                        flagged.add(int(message[3]))
    assert max(found.values()) == 1, [identity for identity, times in found.items() if times > 1]
    assert told.stored - told.doomed <= found.keys(), told.stored - told.doomed - found.keys()
    assert not told.gone & found.keys(), told.gone & found.keys()
    assert told.flagged <= flagged, told.flagged - flagged


def make_wander(office: Office, told: Told) -> None:
    """The mailbox that is renamed is back at its name; and what is above the other one is gone."""
    with RawImap(office.ports["imap"], USER, PASSWORD) as imap:
        if "Far/Away" in told.place:
            imap.ok("RENAME Far/Away Wander")
            told.place = {"Wander": ""}


def test_nothing_is_lost(tmp_path: Path) -> None:
    told, rng = Told(), random.Random(19)
    with running_office(tmp_path, auth={"allow_cleartext": True}) as office:
        with RawImap(office.ports["imap"], USER, PASSWORD) as imap:
            imap.ok("CREATE Wander")
        for _ in range(KILLS):
            steps = threading.Semaphore(0)
            workers = [
                Worker(work, Client(office, told, random.Random(rng.random())), steps)
                for work in (wander, rename, expunge)
            ]
            for worker in workers:
                worker.start()
            for _ in range(rng.randrange(30, 150)):
                assert steps.acquire(timeout=60), "the server does nothing any more"
            office.process.kill9()
            for worker in workers:
                worker.ended()
            office.process.start()
            check(office, told)
            make_wander(office, told)
    assert len(told.stored) > 3 * KILLS and told.gone and told.flagged
