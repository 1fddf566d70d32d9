"""`mta import imap://…` from a scripted server: everything comes, once, whatever goes wrong in between."""

from __future__ import annotations

import base64
import contextlib
import errno
import json
import os
import shutil
import sqlite3
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import authority
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from office import PASSWORD
from old_imap import OldImap, OldMailbox, OldMessage
from process import ServerProcess

from twisted_mta.service.commands import import_mail as import_command
from twisted_mta.service.importing import server as import_server
from twisted_mta.service.importing.imap import TRIES
from twisted_mta.store.exchange.inventory import Inventory

ALICE = "alice@a.test"
CONFIG = {
    "hostname": "mx.a.test",
    "data_dir": "data",
    "domains": ["a.test"],
    "listen": {"smtp": ["127.0.0.1:2525"]},
}


def content(number: int, size: int = 0) -> bytes:
    return (
        b"Message-ID: <%d@old.test>\r\nFrom: b@old.test\r\nSubject: number %d\r\n\r\nbody\r\n"
        % (number, number)
        + b"x" * size
    )


def some(count: int, first: int = 1) -> dict[int, OldMessage]:
    return {uid: OldMessage(content(uid)) for uid in range(first, first + count)}


class House:
    """Our side: alice's account, without a running server. pauses: seconds between attempts."""

    def __init__(self, directory: Path) -> None:
        self.server = ServerProcess(CONFIG, directory)
        self.secret = directory / "secret"
        self.secret.write_text("secret\n")
        self.path = directory / "data/mail/a.test/alice"
        self.pauses: list[float] = []

    def bring(self, old: OldImap, *more: str, scheme: str = "imap") -> subprocess.CompletedProcess[str]:
        arguments = [] if "--token-file" in more else ["--password-file", str(self.secret)]
        if old.context is None:
            arguments.append("--without-tls")
        return self.server.mta("import", f"{scheme}://bob@localhost:{old.port}", ALICE, *arguments, *more)

    def told(self, old: OldImap, *more: str) -> dict[str, dict[str, object]]:
        done = self.bring(old, "--json", *more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["mailboxes"]  # type: ignore[no-any-return]

    def mail(self, name: str = "INBOX") -> list[tuple[bytes, str, frozenset[str], int]]:
        """(Content, letters of flags, keywords, date) of each message, sorted."""
        with Inventory(str(self.path)) as inventory:
            return sorted(
                (
                    (file := Path(inventory.maildir(name).file(item.name, item.place))).read_bytes(),
                    "".join(filter(str.isupper, item.place.tail.partition(":2,")[2])),
                    item.keywords,
                    int(file.stat().st_mtime),
                )
                for item in inventory.items(name)
            )

    def numbers(self, name: str = "INBOX") -> list[int]:
        return sorted(int(each[0].split(b"@")[0].split(b"<")[1]) for each in self.mail(name))


@pytest.fixture(scope="module")
def with_alice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with an account in use; the hash of a password is dear, and so is a new index."""
    directory = tmp_path_factory.mktemp("alice")
    house = House(directory)
    house.server.add_account(ALICE, PASSWORD)
    with OldImap({}) as nothing:
        house.told(nothing)
    return directory / "data"


@pytest.fixture
def house(with_alice: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    made = House(tmp_path)
    shutil.copytree(with_alice, tmp_path / "data")
    monkeypatch.setattr(import_command, "pause", made.pauses.append)
    return made


@pytest.fixture
def old() -> Iterator[OldImap]:
    with OldImap({"INBOX": OldMailbox(some(120))}) as server:
        yield server


@pytest.fixture
def few() -> Iterator[OldImap]:
    """As `old`, where many messages would only take time."""
    with OldImap({"INBOX": OldMailbox(some(5))}) as server:
        yield server


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The sentence of a refusal, which is the last line."""
    assert done.returncode == 1, done
    last = done.stderr.splitlines()[-1]
    assert last.startswith("mta: ")
    assert "Traceback" not in done.stderr
    return last


def test_everything_comes_along(house: House) -> None:
    messages = {
        4: OldMessage(content(1), r"\Seen \Flagged $Forwarded", "17-Jul-2023 02:44:25 -0700"),
        9: OldMessage(b"no header at all\r\nbare \r and \n\r\n", r"\Deleted \Draft \Answered"),
        10: OldMessage(content(3, 600_000), r"\Recent"),
        11: OldMessage(b""),
    }
    mailboxes = {
        "INBOX": OldMailbox(messages),
        "Gesendet": OldMailbox(some(2), attributes="\\Sent"),
        'a "b" &AOQ-': OldMailbox(some(1), subscribed=False),
        "Only/Parent": OldMailbox(attributes="\\Noselect"),
        "Empty": OldMailbox(),
        "Important": OldMailbox(some(2), attributes="\\Important"),
    }
    with OldImap(mailboxes) as old:
        done = house.bring(old)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "INBOX: 4 messages imported\n" in done.stdout
    assert "Gesendet, into Sent: 2 messages imported\n" in done.stdout
    assert "Important: passed over, it only shows" in done.stdout
    assert house.mail() == sorted(
        [
            (content(1).replace(b"\r\n", b"\n"), "FS", frozenset({"$Forwarded"}), 1689587065),
            (b"no header at all\nbare \r and \n\n", "DRT", frozenset(), 1704067200),
            (content(3, 600_000).replace(b"\r\n", b"\n"), "", frozenset(), 1704067200),
            (b"", "", frozenset(), 1704067200),
        ]
    )
    assert len(list((house.path / "Maildir/new").iterdir())) == 1  # what was recent there
    assert house.numbers("Sent") == [1, 2]
    assert house.numbers('a "b" ä') == [1]
    with contextlib.closing(sqlite3.connect(house.path / "index.sqlite")) as index:
        subscribed = {name for (name,) in index.execute("SELECT name FROM subscriptions")}
    assert subscribed == {"INBOX", "Archive", "Drafts", "Junk", "Sent", "Trash", "Empty"}
    assert not any(command.startswith(("SELECT", "STORE", "UID STORE")) for command in old.commands)


def test_a_second_time_brings_the_difference(house: House, old: OldImap) -> None:
    mailbox = old.mailboxes["INBOX"]
    mailbox.messages[1].flags = "\\Seen one"
    assert house.told(old)["INBOX"]["imported"] == 120
    (moved,) = (path for path in (house.path / "Maildir/cur").iterdir() if ".R0000000005N" in path.name)
    moved.unlink()  # its owner has removed it here
    mailbox.messages[1].flags = "\\Flagged two"
    mailbox.messages[2].flags = "\\Answered"
    mailbox.messages[5].flags = "\\Answered"
    del mailbox.messages[7]
    mailbox.messages.update(some(3, 200))
    old.delivered = 0
    told = house.told(old)["INBOX"]
    assert (told["imported"], told["there"], told["flags_changed"]) == (3, 119, 2)
    assert old.delivered == 3
    assert house.numbers() == [*range(1, 5), *range(6, 121), 200, 201, 202]
    marks = {_number(each): each[1:3] for each in house.mail()}
    assert marks[1] == ("F", frozenset({"two"}))
    assert marks[2] == ("R", frozenset())
    assert house.told(old)["INBOX"]["flags_changed"] == 0


def _number(message: tuple[bytes, str, frozenset[str], int]) -> int:
    return int(message[0].split(b"@")[0].split(b"<")[1])


def test_what_its_owner_did_here_stays(house: House, few: OldImap) -> None:
    house.told(few)
    (file,) = (path for path in (house.path / "Maildir/cur").iterdir() if ".R0000000003N" in path.name)
    file.rename(f"{file}FS")
    few.mailboxes["INBOX"].messages[3].flags = "\\Answered"
    house.told(few)
    assert [each[1] for each in house.mail() if _number(each) == 3] == ["FRS"]


def test_a_server_that_drops(house: House, old: OldImap) -> None:
    old.hang_up_after = 25
    old.mailboxes["Other"] = OldMailbox(some(30))
    told = house.told(old)
    assert (told["INBOX"]["imported"], told["Other"]["imported"]) == (120, 30)
    assert house.numbers() == list(range(1, 121))
    assert old.delivered == 150  # nothing came twice
    assert set(house.pauses) == {1.0}


def test_a_server_that_stays_away(house: House, few: OldImap) -> None:
    few.fault = lambda number, command: b"* BYE too busy\r\n" if "EXAMINE" in command else None
    line = refused(house.bring(few))
    assert "too busy" in line and "goes on where it was" in line
    assert house.pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert len(house.pauses) == TRIES


def test_numbers_that_mean_something_else(house: House, old: OldImap) -> None:
    """UIDVALIDITY has changed: messages are found again by Message-ID and size, twins each for itself."""
    mailbox = old.mailboxes["INBOX"]
    mailbox.messages[500] = OldMessage(content(120))  # the twin of another one
    assert house.told(old)["INBOX"]["imported"] == 121
    mailbox.uid_validity = 8
    mailbox.messages = {uid + 1000: each for uid, each in mailbox.messages.items() if uid != 4}
    mailbox.messages[3000] = OldMessage(content(777), "\\Seen")
    mailbox.messages[1001].flags = "\\Flagged"
    old.delivered = 0
    told = house.told(old)["INBOX"]
    assert (told["imported"], told["there"], told["flags_changed"]) == (1, 120, 1)
    assert old.delivered == 1
    assert house.numbers() == sorted([*range(1, 121), 120, 777])
    assert house.told(old)["INBOX"]["imported"] == 0


def test_a_lost_state_is_no_loss(house: House, old: OldImap) -> None:
    old.mailboxes["INBOX"].messages[500] = OldMessage(content(120))
    house.told(old)
    for file in house.path.glob("imported.sqlite*"):
        file.unlink()
    told = house.told(old)["INBOX"]
    assert (told["imported"], told["there"]) == (0, 121)
    assert house.numbers() == sorted([*range(1, 121), 120])


def test_all_mail_holds_what_the_others_hold(house: House) -> None:
    rest = {uid + 50: each for uid, each in some(12).items()}
    mailboxes = {
        "[Gmail]/All Mail": OldMailbox(rest, attributes="\\All"),
        "INBOX": OldMailbox(some(6)),
        "Work": OldMailbox(some(4, 5)),
    }
    with OldImap(mailboxes) as old:
        old.capabilities = "IMAP4rev1 NAMESPACE"
        told = house.told(old)
        assert told["[Gmail]/All Mail"]["imported"] == 4
        assert house.numbers("Archive") == [9, 10, 11, 12]
        assert house.told(old)["[Gmail]/All Mail"]["imported"] == 0


def test_messages_that_are_not_handed_out(house: House, old: OldImap) -> None:
    old.refuse = {30, 80}
    done = house.bring(old)
    assert "0 mailboxes and 2 messages could not be fetched; everything else is in" in refused(done)
    assert "UID 30 is not handed out by the server: cannot read it" in done.stdout
    assert house.numbers() == [number for number in range(1, 121) if number not in (30, 80)]
    old.refuse = set()
    assert house.told(old)["INBOX"]["imported"] == 2


def test_a_mailbox_that_is_not_opened(house: House, few: OldImap) -> None:
    few.mailboxes["Last"] = OldMailbox(some(2))

    def fault(number: int, command: str) -> bytes | None:
        return b"TAG NO [NOPERM] not yours\r\n" if 'EXAMINE "INBOX"' in command else None

    few.fault = fault
    done = house.bring(few)
    assert "1 mailbox and 0 messages" in refused(done)
    assert "INBOX: not imported, the server does not open it: not yours" in done.stdout
    assert house.numbers("Last") == [1, 2]


# Full


def test_what_does_not_fit(house: House, old: OldImap) -> None:
    house.server.mta("account", "quota", ALICE, "--messages", "50")
    line = refused(house.bring(old))
    assert "INBOX: 50 messages are in" in line and "account quota" in line
    house.server.mta("account", "quota", ALICE, "--messages", "none")
    told = house.told(old)["INBOX"]
    assert (told["imported"], told["there"]) == (70, 50)


def test_a_full_disk(house: House, old: OldImap, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def full(path: str, octets: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 60:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    monkeypatch.setattr(import_server, "require_space", full)
    line = refused(house.bring(old))
    assert "60 messages are in, then: No space left on device" in line
    monkeypatch.undo()
    assert house.told(old)["INBOX"]["imported"] == 60
    assert not list(house.path.glob("Maildir/tmp/*"))


# Servers that are out of their mind, at each stage

HOSTILE: list[tuple[str, Callable[[str], bool], bytes, str]] = [
    ("an endless line", lambda c: c == "CAPABILITY", b"* OK " + b"x" * 2_000_000, "a line of more than"),
    (
        "a huge literal",
        lambda c: c.startswith("LIST"),
        b"* LIST () NIL {3000000000}\r\n",
        "a response of more",
    ),
    ("no such tag", lambda c: c.startswith("LOGIN"), b"x7 OK in\r\n", "no command of ours"),
    ("a huge message", lambda c: "PEEK[]" in c, b"* 1 FETCH (UID 1 BODY[] {99999999999}\r\n", "a message of"),
    (
        "out of range",
        lambda c: c.startswith("EXAMINE"),
        b"* 4000000000 EXISTS\r\nTAG OK x\r\n",
        "4,000,000,000",
    ),
    ("not IMAP", lambda c: c == "CAPABILITY", b"HTTP/1.1 400 no\r\n", "not IMAP as it should be"),
    ("says no", lambda c: c.startswith("LIST"), b"TAG NO no\r\n", "does not list"),
    ("continues", lambda c: c.startswith("LIST"), b"+ go on\r\n", "waits for more"),
]


@pytest.mark.parametrize(
    ("when", "said", "line"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE]
)
def test_hostile_servers(
    house: House, few: OldImap, when: Callable[[str], bool], said: bytes, line: str
) -> None:
    few.fault = lambda number, command: said if when(command) else None
    assert line in refused(house.bring(few))


STAGES = ("CAPABILITY", "LOGIN", "LIST", "LSUB", "EXAMINE", "UID FETCH 1:*", "PEEK[]")


@pytest.mark.parametrize("said", [b"* BYE bye now\r\n", b"", b"* 1 FETCH (UID 1 BODY[] {100}\r\nhalf"])
def test_the_end_at_each_stage(house: House, few: OldImap, said: bytes) -> None:
    """Once: before the first mailbox is open it is told, later another connection is made."""
    messages = few.mailboxes["INBOX"].messages
    for stage in STAGES:
        last = len(messages) + 1
        messages[last] = OldMessage(content(last))
        ended: list[str] = []

        def fault(number: int, command: str, stage: str = stage, ended: list[str] = ended) -> bytes | None:
            if stage in command and not ended:
                ended.append(command)
                return said
            return None

        few.fault = fault
        done = house.bring(few)
        assert ended
        if stage in STAGES[:4]:
            assert any(text in refused(done) for text in ("bye now", "hung up"))
            assert house.bring(few).returncode == 0
        else:
            assert done.returncode == 0, done.stderr
            assert "trying again in 1 s" in done.stderr
        assert house.numbers() == list(range(1, last + 1))


def test_messages_without_end(house: House, few: OldImap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_server, "_MOST_USELESS", 50)
    other = b"* 1 FETCH (UID 99999 BODY[] {3}\r\nabc)\r\n" * 60
    few.fault = lambda number, command: other if "PEEK[]" in command else None
    assert "anything but the messages" in refused(house.bring(few))


# Getting in


def certificate(directory: Path, name: str) -> tuple[ssl.SSLContext, str]:
    """A server's TLS of that name, and the file of the authority."""
    issued = authority().issue(name)
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in issued.chain)
    key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (directory / "server.pem").write_bytes(key + pem)
    (directory / "ca.pem").write_bytes(authority().own.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.pem")
    return context, str(directory / "ca.pem")


def test_tls_is_verified(house: House, tmp_path: Path) -> None:
    context, ca = certificate(tmp_path, "localhost")
    with OldImap({"INBOX": OldMailbox(some(2))}, context) as old:
        line = refused(house.bring(old, scheme="imaps"))
        assert "does not prove that it is localhost" in line and "--ca" in line
        assert house.bring(old, "--ca", ca, scheme="imaps").returncode == 0
    assert house.numbers() == [1, 2]
    context, ca = certificate(tmp_path, "other.test")
    with OldImap({"INBOX": OldMailbox()}, context) as old:
        assert "does not prove" in refused(house.bring(old, "--ca", ca, scheme="imaps"))
        assert not old.commands


def test_starttls(house: House, tmp_path: Path) -> None:
    context, ca = certificate(tmp_path, "localhost")
    with OldImap({"INBOX": OldMailbox(some(2))}, context) as old:
        old.implicit_tls = False
        assert "offers no TLS here" in refused(house.bring(old, "--ca", ca))
        assert not any("LOGIN" in command for command in old.commands)
        old.capabilities = "IMAP4rev1 STARTTLS"
        assert "does not prove that it is localhost" in refused(house.bring(old))
        assert house.bring(old, "--ca", ca).returncode == 0
        old.fault = lambda n, command: b"TAG OK\r\n* CAPABILITY X\r\n" if command == "STARTTLS" else None
        assert "in the clear behind STARTTLS" in refused(house.bring(old, "--ca", ca))
        old.fault = lambda n, command: b"TAG NO not now\r\n" if command == "STARTTLS" else None
        assert "not now" in refused(house.bring(old, "--ca", ca))
        old.greeting = b"* PREAUTH in already\r\n"  # somebody in between?
        assert "offers no TLS here" in refused(house.bring(old, "--ca", ca))
    assert house.numbers() == [1, 2]


def test_tokens(house: House, old: OldImap, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    assert "takes no tokens" in refused(house.bring(old, "--token-file", str(token)))
    old.capabilities = "IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2"
    old.hang_up_after = 100

    def renew(number: int, command: str) -> bytes | None:
        if "PEEK[]" in command:
            token.write_text("second\n")
        return None

    old.fault = renew
    assert house.told(old, "--token-file", str(token))["INBOX"]["imported"] == 120
    answers = [
        old.commands[number + 1]
        for number, command in enumerate(old.commands)
        if command == "AUTHENTICATE XOAUTH2"
    ]
    sent = [base64.b64decode(answer).split(b"\1")[1] for answer in answers]
    assert sent == [b"auth=Bearer first", b"auth=Bearer second"]


def test_sentences(house: House, old: OldImap, tmp_path: Path) -> None:
    house.secret.write_text("wrong\n")
    line = refused(house.bring(old))
    assert f"localhost:{old.port}: the server does not let bob in: wrong. Check the name" in line
    house.secret.write_text("\n")
    assert "is empty" in refused(house.bring(old))
    house.secret.write_text("secret\n")
    secret = ("--password-file", str(house.secret))
    for arguments, text in (
        (("imap://bob@localhost:1", ALICE, *secret), "localhost:1: Connection refused"),
        (("imap://bob@host.invalid", ALICE, *secret), "host.invalid: its name cannot be looked up"),
        (("imap://localhost", ALICE, *secret), "does not say who logs in"),
        (("imap://bob:x@localhost", ALICE), "a password in the URL"),
        (("imap://bob@localhost:99999", ALICE), "Port out of range"),
        (("imap://bob@localhost/INBOX", ALICE), "names more than a server"),
        (("pop3://bob@localhost", ALICE), "pop3:// is no server that mail can be fetched from"),
        (("imap://bob@localhost", "nobody@a.test", *secret), "there is no account nobody@a.test"),
        (("imap://bob@localhost", ALICE, "--map", "x"), "--map: write the name there"),
        (("imap://bob@localhost", ALICE, "--ca", str(house.secret)), "is not a file of certificates"),
        (("imap://bob@localhost", ALICE, "--into", "x"), "--into are for files"),
        (("imap://bob@localhost", ALICE, "--password-file", str(tmp_path / "no")), "cannot be read"),
        (("/nowhere", ALICE), "No such file or directory"),
        (("old.example.org", ALICE, *secret), "is taken for a path"),
    ):
        assert text in refused(house.server.mta("import", *arguments)), arguments
    old.capabilities = "IMAP4rev1 LOGINDISABLED"
    assert "no way to log in that is known" in refused(house.bring(old))


def test_files_too(house: House, tmp_path: Path) -> None:
    """One way to do it, two names for it."""
    mbox = tmp_path / "old.mbox"
    mbox.write_bytes(b"From x@y.test Mon Jan  1 00:00:01 2024\nSubject: one\n\nbody\n\n")
    done = house.server.mta("import", str(mbox), ALICE, "--into", "Old")
    assert done.stdout.startswith("Old: 1 message imported\n"), done.stderr
    out = tmp_path / "out"
    done = house.server.mta("export", ALICE, "Old", "--to", str(out), "--format", "mbox")
    assert done.stdout == f"Old: 1 message\n{ALICE}: 1 message written to {out}\n"
