"""Mail that is read, stored, moved and removed: IMAP, IDLE, POP3; and the scripts that sort it: ManageSieve.

In each mailbox one client removes and moves, so what an answer means is certain; others look on.
"""

from __future__ import annotations

import base64
import itertools
import random
import re
import select
from collections.abc import Iterator, Sequence

from accounting import Found, Ledger, State, body, message
from gate import Gate, Load, Refused, Wrong
from line_client import LineClient
from office import PASSWORD
from raw_imap import RawImap
from transfer_loads import DOMAIN

MAILBOXES = ("INBOX", "Archive", "Work")
STEPS = 12  # commands of one IMAP session, at most
AT_ONCE = 50  # messages that are read or removed with one command
_NAME = re.compile(rb"^X-Soak: (\S+)", re.MULTILINE | re.IGNORECASE)
_FETCH = re.compile(rb"\* \d+ FETCH \(UID (\d+) BODY\[\] \{\d+\}\r\n")
_TEMPORARY = (
    b"[UNAVAILABLE]",
    b"[OVERQUOTA]",
    b"[INUSE]",
    b"[LIMIT]",
    b"[SYS/TEMP]",
    b"[IN-USE]",
    b"TRYLATER",
)
_numbers = itertools.count(1)


def refusal(answer: bytes) -> Exception:
    """What a NO or -ERR comes to."""
    words = answer.decode(errors="replace")
    return Refused(words.partition(" ")[2]) if any(code in answer for code in _TEMPORARY) else Wrong(words)


def recognised(content: bytes, mailbox: str, uid: tuple[int, int]) -> Found:
    """Which message that is."""
    header, _, text = content.partition(b"\r\n\r\n")
    report = b"multipart/report" in header.lower()
    name = _NAME.search(text if report else header + b"\r\n")
    if name is None or (report and b"\r\nAction: failed" not in text):
        return Found(f"something else: {content[:3000]!r}", report, mailbox, uid)
    known = name[1].decode()
    return Found(known, report, mailbox, uid, report or text == body(known))


class Imap(RawImap):
    """Whose answers are temporary, or wrong, or as they should be."""

    def __init__(self, port: int, account: str) -> None:
        self.mailbox, self.validity = "", 0
        super().__init__(port, f"{account}@{DOMAIN}", PASSWORD)

    def ok(self, text: str | bytes) -> list[bytes]:
        responses = self.command(text)
        tagged = responses[-1]
        if b" OK" not in tagged[:12]:
            raise refusal(tagged)
        return responses

    def select(self, mailbox: str) -> None:
        found = re.search(rb"\[UIDVALIDITY (\d+)\]", b"\n".join(self.ok(f'SELECT "{mailbox}"')))
        assert found
        self.mailbox, self.validity = mailbox, int(found[1])

    def mailboxes(self) -> list[str]:
        found = (re.match(rb'\* LIST \(([^)]*)\) "." "?([^"]*)"?$', line) for line in self.ok('LIST "" *'))
        return [each[2].decode() for each in found if each and b"\\Noselect" not in each[1]]

    def uids(self) -> list[int]:
        """Of the selected mailbox."""
        (line,) = (line for line in self.ok("UID SEARCH ALL") if line.startswith(b"* SEARCH"))
        return [int(uid) for uid in line.split()[2:]]

    def read(self, uids: Sequence[int]) -> Iterator[Found]:
        """Those that are there."""
        for start in range(0, len(uids), AT_ONCE):
            for response in self.ok(f"UID FETCH {listed(uids[start : start + AT_ONCE])} BODY.PEEK[]"):
                if found := _FETCH.match(response):
                    content = response[found.end() : -1]
                    yield recognised(content, self.mailbox, (self.validity, int(found[1])))


def listed(uids: Sequence[int]) -> str:
    return ",".join(map(str, uids))


def everything(port: int, account: str) -> Iterator[Found]:
    """All messages in all mailboxes."""
    with Imap(port, account) as imap:
        for mailbox in imap.mailboxes():
            imap.select(mailbox)
            yield from imap.read(imap.uids())


class Removing(Load):
    """Takes away what is too much: more than `most` messages."""

    def __init__(
        self, gate: Gate, ledger: Ledger, port: int, account: str, rng: random.Random, most: int
    ) -> None:
        super().__init__(gate)
        self.ledger, self.port, self.account, self.rng, self.most = ledger, port, account, rng, most


class Owner(Removing):
    """Of an account: stores, moves, marks and reads; when a mailbox has more than `most`, it removes some."""

    protocol = "imap"

    def session(self) -> None:
        with Imap(self.port, self.account) as imap:
            for mailbox in self.rng.sample(mailboxes := imap.mailboxes(), min(3, len(mailboxes))):
                imap.select(mailbox)
                for _ in range(self.rng.randrange(1, STEPS)):
                    if not self.gate.is_open:
                        break
                    self.act(imap)
                    self.did()
            imap.ok("LOGOUT")

    def act(self, imap: Imap) -> None:
        uids = imap.uids()
        if len(uids) > self.most:
            self.remove(imap, self.rng.sample(uids, min(len(uids) // 2, AT_ONCE)))
            return
        some = sorted(self.rng.sample(uids, min(len(uids), self.rng.randrange(1, 9))))
        match self.rng.randrange(7) if some else 0:
            case 0:
                self.append(imap)
            case 1:
                imap.ok(f'UID MOVE {listed(some)} "{self.rng.choice(MAILBOXES)}"')
            case 2:
                imap.ok(f"UID STORE {listed(some)} {self.rng.choice('+-')}FLAGS (\\Seen $k{some[0] % 5})")
            case 3:
                self.remove(imap, some[:2])
            case 4:
                for found in imap.read(some):
                    self.ledger.called(self.account, found)
            case 5:
                imap.ok(f"UID FETCH {listed(some)} (FLAGS ENVELOPE BODYSTRUCTURE INTERNALDATE)")
            case 6:
                imap.ok(f"UID SEARCH OR SUBJECT {some[0]} BODY {some[-1]}")

    def append(self, imap: Imap) -> None:
        name = f"append-{next(_numbers)}"
        octets = message(name)
        self.ledger.begin(name, [self.account])
        tagged = imap.command(
            b"APPEND %b {%d+}\r\n%b" % (self.rng.choice(MAILBOXES).encode(), len(octets), octets)
        )[-1]
        stored = b" OK " in tagged
        self.ledger.answered(name, [self.account], State.ACKNOWLEDGED if stored else State.REFUSED)
        if not stored:
            raise refusal(tagged)

    def remove(self, imap: Imap, uids: Sequence[int]) -> None:
        claimed = []
        for found in imap.read(uids):
            self.ledger.called(self.account, found)
            if self.ledger.claim(found.name, found.place(self.account)):
                claimed.append(found)
        if claimed:
            gone = listed([found.uid[1] for found in claimed])
            imap.ok(f"UID STORE {gone} +FLAGS.SILENT (\\Deleted)")
            imap.ok(f"UID EXPUNGE {gone}")
        for found in claimed:
            self.ledger.removed(found.name, found.place(self.account))


class Watcher(Load):
    """Looks on in IDLE, and is told what comes."""

    protocol = "imap idle"

    def __init__(self, gate: Gate, port: int, account: str) -> None:
        super().__init__(gate)
        self.port, self.account = port, account

    def session(self) -> None:
        with Imap(self.port, self.account) as imap:
            imap.select("INBOX")
            while self.gate.is_open:
                imap.socket.sendall(b"idle IDLE\r\n")
                while not (response := imap.response()).startswith(b"+ "):
                    if response.startswith(b"idle "):
                        raise refusal(response)
                for _ in range(20):
                    if not self.gate.is_open or select.select([imap.socket], [], [], 0.2)[0]:
                        break
                imap.socket.sendall(b"DONE\r\n")
                while not (response := imap.response()).startswith(b"idle "):
                    if response.endswith(b" EXISTS"):
                        self.did()
                if not response.startswith(b"idle OK"):
                    raise refusal(response)
                self.did()
            imap.ok("LOGOUT")


class Collector(Removing):
    """Fetches over POP3, and leaves at most `most` on the server."""

    protocol = "pop3"

    def session(self) -> None:
        with LineClient(self.port) as client:
            self.expect(client.line())
            self.say(client, f"USER {self.account}@{DOMAIN}")
            self.say(client, f"PASS {PASSWORD}")
            self.say(client, "UIDL")
            unique = [line.split()[1].decode() for line in client.until(b".\r\n")[:-1]]
            numbers = self.rng.sample(range(1, len(unique) + 1), min(len(unique), AT_ONCE))
            if len(unique) <= self.most:
                numbers = numbers[:3]
            claimed: list[Found] = []
            try:
                for number in numbers if self.gate.is_open else ():
                    self.collect(client, number, claimed)
            except BaseException:  # before QUIT nothing is removed (RFC 1939 §6)
                for found in claimed:
                    self.ledger.released(found.name, found.place(self.account))
                raise
            self.say(client, "QUIT")
            for found in claimed:
                self.ledger.removed(found.name, found.place(self.account))

    def collect(self, client: LineClient, number: int, claimed: list[Found]) -> None:
        self.say(client, f"RETR {number}")
        lines = client.until(b".\r\n")[:-1]
        content = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines)
        found = recognised(content, "INBOX", (0, 0))
        if not found.whole:
            raise Wrong(f"{found.name} is damaged")
        if self.ledger.claim(found.name, found.place(self.account)):
            claimed.append(found)
            self.say(client, f"DELE {number}")

    def say(self, client: LineClient, command: str) -> None:
        client.send(command.encode() + b"\r\n")
        self.expect(client.line())
        self.did()

    def expect(self, line: bytes) -> None:
        if not line:
            raise ConnectionError("the server is gone")
        if not line.startswith(b"+OK"):
            raise refusal(line)


class Writer(Load):
    """Puts a new version of the account's script, again and again; what was acknowledged is read back."""

    protocol = "managesieve"

    def __init__(self, gate: Gate, port: int, account: str) -> None:
        super().__init__(gate)
        self.port, self.account = port, account
        self.may_be: set[bytes] = set()
        self.version = 0

    def session(self) -> None:
        with LineClient(self.port) as client:
            self.answer(client)
            plain = base64.b64encode(f"\0{self.account}@{DOMAIN}\0{PASSWORD}".encode()).decode()
            self.say(client, f'AUTHENTICATE "PLAIN" "{plain}"')
            while self.gate.is_open:
                if self.may_be:
                    script = b"\r\n".join(self.say(client, 'GETSCRIPT "main"')[1:]) + b"\r\n"
                    if script not in self.may_be:
                        raise Wrong(f"{script!r} is none of {self.may_be}")
                    self.may_be = {script}
                self.put(client)
            self.say(client, "LOGOUT")

    def put(self, client: LineClient) -> None:
        self.version += 1
        script = (
            f'require ["fileinto", "mailbox"];\r\n# version {self.version}\r\n'
            'if header :contains "subject" "7" { fileinto :create "Sorted"; }\r\n'
        ).encode()
        before, self.may_be = self.may_be, self.may_be | {script}
        try:
            self.say(client, f'PUTSCRIPT "main" {{{len(script)}+}}\r\n{script.decode()}')
        except Refused:
            self.may_be = before
            raise
        self.may_be = {script}
        self.say(client, 'SETACTIVE "main"')
        self.say(client, "LISTSCRIPTS")

    def say(self, client: LineClient, command: str) -> list[bytes]:
        client.send(command.encode() + b"\r\n")
        lines = self.answer(client)
        self.did()
        return lines

    def answer(self, client: LineClient) -> list[bytes]:
        """The lines before the OK."""
        lines: list[bytes] = []
        while not (line := client.file.readline()).startswith((b"OK", b"NO", b"BYE")):
            if not line:
                raise ConnectionError("the server is gone")
            lines.append(line.removesuffix(b"\r\n"))
        if line.startswith(b"BYE"):
            raise ConnectionError("the server says goodbye")
        if line.startswith(b"NO"):
            raise refusal(line)
        return [each for each in lines if each]
