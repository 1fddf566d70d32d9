"""`mta import imap://…` from whole servers: Dovecot, with a command that is killed, and our own.

Reduced in size, unless SOAK=1 asks for all of it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from dovecot_imap import DovecotImap
from office import PASSWORD, running_office
from process import ServerProcess, environment

from twisted_mta.store.exchange.inventory import Inventory
from twisted_mta.store.keyword_file import write_keywords
from twisted_mta.store.maildir import Maildir

MESSAGES = 5000 if os.environ.get("SOAK") else 400
CLI = "twisted_mta.service.commands.cli"
ALICE = "alice@a.test"
CONFIG = {
    "hostname": "mx.a.test",
    "data_dir": "data",
    "domains": ["a.test"],
    "listen": {"smtp": ["127.0.0.1:2525"]},
}
FLAGS = ("", "S", "FS", "RSa", "Tb", "Dab")
Known = tuple[str, bytes, str, frozenset[str], int]


def fill(maildir: Path) -> Counter[Known]:
    """A Maildir++ for Dovecot, and what is to arrive from it."""
    expected: Counter[Known] = Counter()
    words = {"a": "$Forwarded", "b": "NonJunk"}
    places = (("", "INBOX"), (".Sent Items", "Sent"), (".Archive.2024", "Archive/2024"), (".&AOQ-", "ä"))
    for directory, _ in places:
        Maildir(f"{maildir}/{directory}" if directory else str(maildir)).make(folder=bool(directory))
        write_keywords(f"{maildir}/{directory}" if directory else str(maildir), words.values())
    for number in range(MESSAGES):
        directory, name = places[number % 7 if number % 7 < 4 else 0]
        letters = FLAGS[number % len(FLAGS)]
        # Every third is the twin of one before.
        text = b"Message-ID: <%d@old.test>\nSubject: x\n\nbody\n" % (number - (number % 3 == 2))
        file = maildir / directory / "cur" / f"{1_600_000_000 + number}.M{number}P1.old:2,{letters}"
        file.write_bytes(text + b"x" * (number % 50) * 100)
        os.utime(file, (1_600_000_000 + number,) * 2)
        flags = "".join(filter(str.isupper, letters))
        keywords = frozenset(words[each] for each in letters if each in words)
        expected[name, file.read_bytes(), flags, keywords, 1_600_000_000 + number] += 1
    (maildir / "subscriptions").write_text("Archive.2024\nSent Items\n")
    return expected


def arrived(path: Path) -> Counter[Known]:
    with Inventory(str(path)) as inventory:
        return Counter(
            (
                name,
                (file := Path(inventory.maildir(name).file(item.name, item.place))).read_bytes(),
                "".join(filter(str.isupper, item.place.tail.partition(":2,")[2])),
                item.keywords,
                int(file.stat().st_mtime),
            )
            for name in inventory.directories
            for item in inventory.items(name)
        )


def test_dovecot_and_a_kill_in_the_middle(tmp_path: Path) -> None:
    dovecot = DovecotImap(separator=".", prefix="INBOX.")
    expected = fill(dovecot.maildir)
    server = ServerProcess(CONFIG, tmp_path)
    server.add_account(ALICE, PASSWORD)
    (tmp_path / "secret").write_text("secret\n")
    path = tmp_path / "data/mail/a.test/alice"
    with dovecot:
        arguments = [
            *("import", f"imaps://bob@localhost:{dovecot.imaps}", ALICE),
            *("--password-file", str(tmp_path / "secret"), "--ca", str(dovecot.ca), "--json"),
        ]
        command = subprocess.Popen(
            [sys.executable, "-m", CLI, "--config", str(server.config), *arguments],
            env=environment(),
            stdout=subprocess.DEVNULL,
        )
        there = 0
        while command.poll() is None and there < MESSAGES // 4:
            there = sum(1 for _ in path.glob("Maildir/**/cur/*"))
        command.kill()
        command.wait()
        assert 0 < there < MESSAGES
        resumed = server.mta(*arguments)
        assert resumed.returncode == 0, resumed.stderr
        told = json.loads(resumed.stdout)["mailboxes"].values()
        assert sum(each["imported"] + each["there"] for each in told) == MESSAGES
        assert arrived(path) == expected
        again = json.loads(server.mta(*arguments).stdout)["mailboxes"].values()
        assert [(each["imported"], each["flags_changed"]) for each in again] == [(0, 0)] * 4
        starttls = [f"imap://bob@localhost:{dovecot.imap}" if "://" in each else each for each in arguments]
        assert server.mta(*starttls).returncode == 0
    assert arrived(path) == expected


def test_our_own_with_a_running_server(tmp_path: Path) -> None:
    """From bob to alice. What a Maildir cannot hold comes along, too: what is subscribed, and what for."""
    with running_office(tmp_path / "office") as office, office.reader("bob") as reader:
        bob = reader.imap
        for name in ("Old", "Old/a.b", "Unsubscribed"):
            assert bob.create(f'"{name}"')[0] == "OK"
        assert bob.subscribe('"Old/a.b"')[0] == "OK"
        text = b"Subject: x\r\n\r\n.\r\nbody\r\n"
        for name in ("INBOX", "Old/a.b", "Sent"):
            flags = "(\\Seen $Label1)" if name != "INBOX" else "()"
            assert bob.append(f'"{name}"', flags, '"17-Jul-2023 02:44:25 -0700"', text)[0] == "OK"
        with office.reader("alice") as alice:
            assert alice.imap.delete("Junk")[0] == "OK"
            secret = tmp_path / "secret"
            secret.write_text(PASSWORD)
            ca = office.process.directory / "data/tls/certificate.pem"
            for service, scheme in (("imaps", "imaps"), ("imap", "imap")):
                done = office.process.mta(
                    *("import", f"{scheme}://bob%40a.test@localhost:{office.ports[service]}", ALICE),
                    *("--password-file", str(secret), "--ca", str(ca)),
                )
                assert (done.returncode, done.stderr) == (0, "")
            assert "Old/a.b: 0 messages imported, 1 were there already" in done.stdout
            alice.wait_for(1)
            _, told = alice.imap.list()
            junk = next(line for line in told if isinstance(line, bytes) and line.endswith(b"Junk"))
            assert b"\\Junk" in junk
            _, subscribed = alice.imap.lsub()
            names = {line.split(b' "/" ')[1] for line in subscribed if isinstance(line, bytes)}
            assert b"Old/a.b" in names and b"Old" not in names and b"Unsubscribed" not in names
            for name, flags in (("Old/a.b", b"\\Seen"), ("Sent", b"$Label1"), ("INBOX", b"")):
                assert alice.imap.select(f'"{name}"')[1] == [b"1"]
                _, (fetched, *_) = alice.imap.fetch("1", "(FLAGS INTERNALDATE BODY.PEEK[])")
                assert isinstance(fetched, tuple)
                assert flags in fetched[0] and fetched[1] == text
                assert b"17-Jul-2023 09:44:25 +0000" in fetched[0]
        _, data = bob.select("INBOX")
        assert data == [b"1"]
