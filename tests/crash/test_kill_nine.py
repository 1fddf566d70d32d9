"""`kill -9` at random moments with mail coming in and going out: what got a 250 is where it belongs
(acceptance 1 and 2). What stays here is in its mailbox exactly once; what goes on arrives at the next host at
least once, and twice only what was on its way there when the server was killed (RFC 1047).

Reduced in size, unless SOAK=1 asks for all of it (`make soak`). Clients send as fast as they can while the
server is killed and started again and again; a message whose 250 was never seen is sent anew, as any
sending server would.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import smtplib
import socketserver
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mail_reader import MailReader
from office import running_office

CLIENTS, MESSAGES_EACH, KILLS = (20, 5000, 200) if os.environ.get("SOAK") else (8, 60, 8)
PEOPLE = ("alice@a.test", "bob@a.test")
AT_ONCE = 20  # deliveries to one domain
PATIENCE = 120.0  # seconds without progress
_SUBJECT = re.compile(rb"^Subject: (\S+)", re.MULTILINE)


class Sender(threading.Thread):
    """Sends its messages one after the other, each until it has been acknowledged, in turn to people here and
    to `far.test`; `up` is set while the server runs."""

    def __init__(self, number: int, port: int, up: threading.Event, progress: threading.Semaphore) -> None:
        super().__init__(daemon=True)
        self.number, self.port, self.up, self.progress = number, port, up, progress
        self.acknowledged: list[str] = []
        self.unknown: set[str] = set()  # sent, but the answer was lost in a crash

    def run(self) -> None:
        for number in range(MESSAGES_EACH):
            for attempt in itertools.count():
                assert self.up.wait(PATIENCE), "the server is gone"
                kind = "out" if number % 2 else "in"
                name = f"{kind}-{self.number}-{number}-{attempt}"
                to = "far@far.test" if number % 2 else PEOPLE[self.number % len(PEOPLE)]
                if self.send(name, to):
                    self.acknowledged.append(name)
                    self.progress.release()
                    break

    def send(self, name: str, to: str) -> bool:
        message = f"Subject: {name}\r\n\r\n".encode() + b"x" * 70 + b"\r\n"
        try:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=60) as client:
                client.sendmail("sender@elsewhere.test", [to], message * 20)
        except (OSError, smtplib.SMTPException):
            self.unknown.add(name)
            return False
        return True


class NextHost(socketserver.ThreadingTCPServer):
    """Takes everything, and keeps count of it by subject. A message counts when its whole content has come,
    whatever becomes of the answer. `kills`: how often the server had been killed when each one came."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Incoming)
        self.news = threading.Condition()
        self.kills = 0
        self.talking = 0
        self.received: dict[str, list[int]] = {}

    def take(self, content: bytes) -> None:
        subject = _SUBJECT.search(content)
        assert subject is not None
        with self.news:
            self.received.setdefault(subject[1].decode(), []).append(self.kills)
            self.news.notify_all()

    def tell_kill(self) -> None:
        """The server has been killed; returns when all that it had sent before has been counted."""
        with self.news:
            assert self.news.wait_for(lambda: not self.talking, PATIENCE)
            self.kills += 1

    def wait_for(self, names: set[str]) -> None:
        """Until all of these have come. Fails when nothing comes any more."""
        with self.news:
            while missing := names - set(self.received):
                assert self.news.wait(PATIENCE), f"{len(missing)} never came, such as {min(missing)}"


class _Incoming(socketserver.StreamRequestHandler):
    server: NextHost

    def handle(self) -> None:
        with self.server.news:
            self.server.talking += 1
        with suppress(ConnectionError):  # the server was killed
            self.converse()
        with self.server.news:
            self.server.talking -= 1
            self.server.news.notify_all()

    def converse(self) -> None:
        self.say("220 next.host.test")
        while line := self.rfile.readline():
            verb = line[:4].upper()
            if verb == b"EHLO":
                self.say("250-next.host.test\r\n250 PIPELINING")
            elif verb == b"DATA":
                self.say("354 go on")
                content = bytearray()
                while (line := self.rfile.readline()) != b".\r\n":
                    if not line:
                        return
                    content += line
                self.server.take(bytes(content))
                self.say("250 taken")
            elif verb == b"QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 ok")

    def say(self, reply: str) -> None:
        self.wfile.write(reply.encode() + b"\r\n")


@contextmanager
def next_host() -> Iterator[NextHost]:
    with NextHost() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def subjects(reader: MailReader) -> Counter[str]:
    if not reader.count:
        return Counter()
    status, data = reader.imap.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    assert status == "OK"
    return Counter(
        re.findall(r"Subject: (\S+)", b"".join(p[1] for p in data if isinstance(p, tuple)).decode())
    )


def test_every_acknowledged_message_arrives(tmp_path: Path) -> None:
    chance = random.Random(KILLS)
    up, progress = threading.Event(), threading.Semaphore(0)
    with (
        next_host() as host,
        running_office(
            tmp_path,
            relay={
                "smarthost": f"127.0.0.1:{host.server_address[1]}",
                "allow_networks": ["127.0.0.0/8"],
            },
        ) as office,
    ):
        up.set()
        senders = [Sender(number, office.ports["smtp"], up, progress) for number in range(CLIENTS)]
        for sender in senders:
            sender.start()
        spacing = CLIENTS * MESSAGES_EACH // (KILLS + 1)
        for _ in range(KILLS):
            for _ in range(chance.randrange(spacing // 2, spacing)):
                assert progress.acquire(timeout=PATIENCE), "the server takes no mail any more"
            up.clear()
            office.process.kill9()
            host.tell_kill()
            office.process.start()
            up.set()
        for sender in senders:
            sender.join()
        acknowledged = {name for sender in senders for name in sender.acknowledged}
        inward = {name for name in acknowledged if name.startswith("in")}
        host.wait_for(acknowledged - inward)
        found: Counter[str] = Counter()
        for person in PEOPLE:
            with office.reader(person) as reader:
                here = {n for n in inward if PEOPLE[int(n.split("-")[1]) % len(PEOPLE)] == person}
                mine = subjects(reader)
                while not here <= set(mine):  # what the last crash left is being delivered
                    reader.wait_for(reader.count + 1)
                    mine = subjects(reader)
                found += mine

    assert len(acknowledged) == CLIENTS * MESSAGES_EACH
    unknown = set().union(*(sender.unknown for sender in senders))
    assert set(found) | set(host.received) <= acknowledged | unknown
    assert {name: times for name, times in found.items() if times != 1} == {}
    again = {name: kills for name, kills in host.received.items() if len(kills) > 1}
    assert all(len(set(kills)) == len(kills) for kills in again.values()), "sent twice without a crash"
    assert len(again) <= KILLS * AT_ONCE
    print(
        f"\n{len(acknowledged)} acknowledged, {KILLS} kills, {len(unknown)} without an answer, of which "
        f"{len(unknown & (set(found) | set(host.received)))} arrived; {len(again)} relayed twice"
    )
