"""`kill -9` in the middle of incoming mail: what got a 250 is in its mailbox, exactly once (acceptance 1).

Reduced in size, unless SOAK=1 asks for all of it (`make soak`). Clients send as fast as they can while the
server is killed and started again and again; a message whose 250 was never seen is sent anew, as any
sending server would.
"""

from __future__ import annotations

import itertools
import os
import re
import smtplib
import threading
from collections import Counter
from pathlib import Path

from mail_reader import MailReader
from office import running_office

CLIENTS, MESSAGES_EACH, KILLS = (20, 500, 50) if os.environ.get("SOAK") else (8, 60, 8)


class Sender(threading.Thread):
    """Sends its messages one after the other, each until it has been acknowledged; `up` is set while the
    server runs."""

    def __init__(self, number: int, port: int, up: threading.Event) -> None:
        super().__init__(daemon=True)
        self.number, self.port, self.up = number, port, up
        self.progress = threading.Semaphore(0)
        self.acknowledged: list[str] = []
        self.unknown: set[str] = set()  # sent, but the answer was lost in a crash

    def run(self) -> None:
        for number in range(MESSAGES_EACH):
            for attempt in itertools.count():
                assert self.up.wait(60), "the server is gone"
                name = f"{self.number}-{number}-{attempt}"
                if self.send(name):
                    self.acknowledged.append(name)
                    self.progress.release()
                    break

    def send(self, name: str) -> bool:
        message = f"Subject: {name}\r\n\r\n".encode() + b"x" * 70 + b"\r\n"
        try:
            with smtplib.SMTP("127.0.0.1", self.port, timeout=60) as client:
                client.sendmail("sender@elsewhere.test", ["alice@a.test"], message * 20)
        except (OSError, smtplib.SMTPException):
            self.unknown.add(name)
            return False
        return True


def subjects(reader: MailReader) -> Counter[str]:
    status, data = reader.imap.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    assert status == "OK"
    return Counter(
        re.findall(r"Subject: (\S+)", b"".join(p[1] for p in data if isinstance(p, tuple)).decode())
    )


def test_every_acknowledged_message_is_in_its_mailbox_exactly_once(tmp_path: Path) -> None:
    up = threading.Event()
    with running_office(tmp_path) as office:
        up.set()
        senders = [Sender(number, office.ports["smtp"], up) for number in range(CLIENTS)]
        for sender in senders:
            sender.start()
        for _ in range(KILLS):
            for sender in senders:
                for _ in range(MESSAGES_EACH // (KILLS + 1)):
                    assert sender.progress.acquire(timeout=60), "the server takes no mail any more"
            up.clear()
            office.process.kill9()
            office.process.start()
            up.set()
        for sender in senders:
            sender.join()

        acknowledged = [name for sender in senders for name in sender.acknowledged]
        with office.reader("alice@a.test") as reader:
            found = subjects(reader)
            while not set(acknowledged) <= set(found):  # what the last crash left is being delivered
                reader.wait_for(reader.count + 1)
                found = subjects(reader)

    assert len(acknowledged) == CLIENTS * MESSAGES_EACH
    unknown = set().union(*(sender.unknown for sender in senders))
    assert set(found) <= set(acknowledged) | unknown
    assert {name: times for name, times in found.items() if times != 1} == {}
