"""IMAP and POP3 clients and deliveries on one mailbox, over real sockets (acceptance 18): no disagreement on
what a UID is, and the count is conserved.

Reduced in size, unless SOAK=1 asks for all of it. Every third message may be removed by anybody; all others
are moved about, and have to be there in the end, once.
"""

from __future__ import annotations

import os
import poplib
import random
import re
import smtplib
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path

from client_view import ClientView, as_set, uids_in
from office import PASSWORD, Office, running_office
from raw_imap import RawImap

IMAP, POP3, DELIVERIES, SECONDS = (20, 5, 2000, 600) if os.environ.get("SOAK") else (6, 2, 60, 0)
SENDERS = 4
USER = "alice@a.test"
KINDS = ((), ("CONDSTORE",), ("QRESYNC",), ("UIDONLY",), ("IMAP4REV2",), ("UIDONLY", "QRESYNC"))
FLAGS = ("\\Seen", "\\Answered", "\\Flagged", "$Work", "later")


def removable(identity: int) -> bool:
    return identity % 3 == 0


class Names:
    """Which message each UID, and each unique id of POP3, names, for all clients and all times."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.identities: dict[tuple[int, int], int] = {}
        self.unique_ids: dict[str, int] = {}

    def called(self, validity: int, uid: int, identity: int) -> None:
        with self.lock:
            assert self.identities.setdefault((validity, uid), identity) == identity, (
                validity,
                uid,
                identity,
            )

    def identified(self, unique_id: str, identity: int) -> None:
        with self.lock:
            assert self.unique_ids.setdefault(unique_id, identity) == identity, (unique_id, identity)

    def identity(self, validity: int, uid: int | None) -> int:
        return self.identities[validity, uid or 0]


class Worker(threading.Thread):
    """A thread whose trouble is raised by `ended`."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self.error = error

    def work(self) -> None:
        raise NotImplementedError

    def ended(self) -> None:
        self.join()
        if self.error is not None:
            raise self.error


class Sender(Worker):
    """Its deliveries are spread over all the time."""

    def __init__(self, port: int, numbers: range, finish: threading.Event) -> None:
        super().__init__()
        self.port, self.numbers, self.finish = port, numbers, finish

    def work(self) -> None:
        with smtplib.SMTP("127.0.0.1", self.port, timeout=60) as client:
            for identity in self.numbers:
                self.finish.wait(SECONDS / len(self.numbers))
                text = f"Subject: identity {identity}\r\n\r\nidentity {identity}\r\n"
                client.sendmail("sender@elsewhere.test", [USER], text)


class ImapClient(Worker):
    """Moves, marks, removes and looks, until there is an end of deliveries; then settles."""

    def __init__(self, office: Office, names: Names, number: int, finish: threading.Event) -> None:
        super().__init__()
        self.rng, self.names, self.finish = random.Random(number), names, finish
        self.mailbox = "Archive" if number % 4 == 3 else "INBOX"
        enabled = KINDS[number % len(KINDS)]
        self.view = ClientView(enabled)
        self.by_uid = "UIDONLY" in enabled
        self.items = (
            "(UID FLAGS MODSEQ BODY.PEEK[TEXT])"
            if enabled and self.view.keeps_modseqs
            else ("(UID FLAGS BODY.PEEK[TEXT])")
        )
        self.imap = RawImap(office.ports["imap"], USER, PASSWORD)
        if enabled:
            self.imap.ok(f"ENABLE {' '.join(enabled)}")
        self.hear(self.imap.ok(f"SELECT {self.mailbox}"))

    def hear(self, responses: list[bytes]) -> bytes:
        for response in responses:
            self.view.hear(response)
            if found := re.search(rb"\[COPYUID (\d+) ([\d:,]+) ([\d:,]+)\]", response):
                for uid, copy in zip(uids_in(found[2]), uids_in(found[3]), strict=True):
                    identity = self.names.identity(self.view.validity, uid)
                    self.names.called(int(found[1]), copy, identity)
        for uid, identity in self.view.identities.items():
            self.names.called(self.view.validity, uid, identity)
        self.view.identities.clear()
        return responses[-1]

    def command(self, text: str) -> None:
        tagged = self.hear(self.imap.command(text))
        assert b" OK " in tagged or b"NO [EXPUNGEISSUED]" in tagged, (text, tagged)

    def work(self) -> None:
        while not self.finish.is_set():
            self.act()

    def act(self) -> None:
        self.look()
        known = [(n, slot) for n, slot in enumerate(self.view.slots, 1) if slot.uid is not None]
        some = sorted(self.rng.sample(known, min(len(known), 4)), key=lambda pair: pair[0])
        if not some:
            return
        by_uid = self.by_uid or self.rng.random() < 0.5
        names = as_set((slot.uid or 0) if by_uid else number for number, slot in some)
        uid = "UID " if by_uid else ""
        match self.rng.randrange(4):
            case 0:
                self.command(f"{uid}MOVE {names} {'INBOX' if self.mailbox == 'Archive' else 'Archive'}")
            case 1:
                self.command(f"{uid}STORE {names} {self.rng.choice('+-')}FLAGS ({self.rng.choice(FLAGS)})")
            case 2:
                may_go = [
                    slot.uid or 0
                    for _, slot in some
                    if removable(self.names.identity(self.view.validity, slot.uid))
                ]
                if may_go:
                    self.command(f"UID STORE {as_set(may_go)} +FLAGS (\\Deleted)")
                    self.command(f"UID EXPUNGE {as_set(may_go)}")
            case 3:
                self.command(f"{uid}FETCH {names} {self.items}")

    def look(self) -> None:
        """What is new is fetched; nothing is known twice."""
        self.command("NOOP")
        first = self.view.first_unknown()
        if first is not None:
            below = 0 if self.by_uid else max((s.uid or 0 for s in self.view.slots[: first - 1]), default=0)
            self.command(f"UID FETCH {below + 1}:* {self.items}")

    def settle(self, truth: list[tuple[int | None, frozenset[str] | None, int]]) -> None:
        """It is quiet: this client comes to see what a new one sees."""
        self.look()
        keeps = self.view.keeps_modseqs
        assert self.view.state() == [(uid, flags, modseq if keeps else 0) for uid, flags, modseq in truth]
        self.imap.close()


class Pop3Client(Worker):
    """Comes again and again, fetches a few messages, and removes some of those that may be removed."""

    def __init__(self, office: Office, names: Names, number: int, finish: threading.Event) -> None:
        super().__init__()
        self.port, self.names, self.finish = office.ports["pop3"], names, finish
        self.rng = random.Random(-number)

    def work(self) -> None:
        while not self.finish.is_set():
            self.visit()

    def visit(self) -> None:
        pop3 = poplib.POP3("127.0.0.1", self.port, timeout=60)
        pop3.user(USER)
        pop3.pass_(PASSWORD)
        listing = pop3.uidl()[1]
        for line in self.rng.sample(listing, min(5, len(listing))):
            number, _, unique = line.decode().partition(" ")
            with suppress(poplib.error_proto):  # it is gone
                octets = b"\r\n".join(pop3.retr(int(number))[1])
                (identity,) = set(map(int, re.findall(rb"identity (\d+)", octets)))
                self.names.identified(unique, identity)
                if removable(identity):
                    pop3.dele(int(number))
        pop3.quit()


def test_no_disagreement_and_nothing_lost(tmp_path: Path) -> None:
    names, finish = Names(), threading.Event()
    with running_office(tmp_path, auth={"allow_cleartext": True}) as office:
        readers = [ImapClient(office, names, number, finish) for number in range(IMAP)]
        others = [Pop3Client(office, names, number, finish) for number in range(POP3)]
        numbers = range(1, DELIVERIES + 1)
        senders = [Sender(office.ports["smtp"], numbers[start::SENDERS], finish) for start in range(SENDERS)]
        for worker in (*readers, *others, *senders):
            worker.start()
        for sender in senders:
            sender.ended()
        delivered_to_the_end(office)
        finish.set()
        for worker in (*readers, *others):
            worker.ended()
        found: Counter[int] = Counter()
        for mailbox in ("INBOX", "Archive"):
            here = [reader for reader in readers if reader.mailbox == mailbox]
            fresh = ImapClient(office, names, KINDS.index(("CONDSTORE",)), finish)
            fresh.mailbox, fresh.view = mailbox, ClientView(("CONDSTORE",))
            fresh.hear(fresh.imap.ok(f"SELECT {mailbox}"))
            fresh.look()
            truth = fresh.view.state()
            found.update(names.identity(fresh.view.validity, uid) for uid, _, _ in truth)
            for reader in here:
                reader.settle(truth)
            fresh.imap.close()
    assert all(found[identity] == 1 for identity in numbers if not removable(identity)), found
    assert all(found[identity] <= 1 for identity in numbers) and found.keys() <= set(numbers)
    assert any(not found[identity] for identity in numbers)


def delivered_to_the_end(office: Office) -> None:
    """Return when the queue has been emptied into the mailbox: a last message has come."""
    process = office.process
    tries = (process.eventually(lambda: "empty" in process.mta("queue", "list").stdout) for _ in range(10))
    assert any(tries)
