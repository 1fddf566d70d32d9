"""Mail that comes in: from other servers, from our own users with a login, and over LMTP."""

from __future__ import annotations

import base64
import itertools
import random
from collections.abc import Sequence

from accounting import FAR, Ledger, State, message, report_to
from gate import Gate, Load, Refused, Wrong
from line_client import LineClient
from office import PASSWORD

PER_SESSION = 12  # messages, at most
DOMAIN = "a.test"
FAR_DOMAINS = tuple(f"d{number}.far.test" for number in range(4))
UNKNOWN_THERE = "nobody"  # whom the next host refuses
_numbers = itertools.count(1)


class Sender(Load):
    """Sends messages to people. `protocol` is the service it speaks to."""

    def __init__(
        self, gate: Gate, ledger: Ledger, port: int, people: Sequence[str], rng: random.Random
    ) -> None:
        super().__init__(gate)
        self.ledger, self.port, self.people, self.rng = ledger, port, people, rng

    def session(self) -> None:
        with LineClient(self.port) as client:
            self.expect(client.reply(), b"220")
            self.greet(client)
            for _ in range(self.rng.randrange(1, PER_SESSION)):
                if not self.gate.is_open:
                    break
                self.send_one(client)
            self.expect(client.say(b"QUIT"), b"221")

    def greet(self, client: LineClient) -> None:
        self.expect(client.say(b"EHLO client.test"), b"250")

    def expect(self, reply: bytes, *codes: bytes) -> bytes:
        if not reply:
            raise ConnectionError("the server is gone")
        if reply[:3] in codes:
            return reply
        if reply.startswith(b"4"):
            raise Refused(reply.decode(errors="replace"))
        raise Wrong(reply.decode(errors="replace"))

    def name(self) -> str:
        return f"{self.protocol}-{next(_numbers)}"

    def send_one(self, client: LineClient) -> None:
        people = self.rng.sample(self.people, self.rng.choice([1, 1, 1, 2]))
        self.transmit(client, self.name(), "sender@elsewhere.test", [f"{p}@{DOMAIN}" for p in people], people)

    def transmit(
        self, client: LineClient, name: str, sender: str, recipients: Sequence[str], places: Sequence[str]
    ) -> None:
        """One transaction. places: of all copies that come of it."""
        content = message(name, sender)
        self.expect(client.say(f"MAIL FROM:<{sender}>".encode()), b"250")
        try:
            for recipient in recipients:
                self.expect(client.say(f"RCPT TO:<{recipient}>".encode()), b"250")
            in_chunks = self.rng.random() < 0.5
            if not in_chunks:
                self.expect(client.say(b"DATA"), b"354")
        except Refused:
            self.expect(client.say(b"RSET"), b"250")
            raise
        self.ledger.begin(name, places)
        if in_chunks:
            cut = self.rng.randrange(len(content))
            client.send(b"BDAT %d\r\n%b" % (cut, content[:cut]))
            client.send(b"BDAT %d LAST\r\n%b" % (len(content) - cut, content[cut:]))
            first = client.reply()
            if first[:3] != b"250":
                self.ledger.answered(name, places, State.REFUSED if first else State.SENT)
                client.reply()
                self.expect(first, b"250")
        else:
            client.send(content + b".\r\n")
        self.conclude(client, name, places)

    def conclude(self, client: LineClient, name: str, places: Sequence[str]) -> None:
        self.settle(client.reply(), name, places)

    def settle(self, reply: bytes, name: str, places: Sequence[str]) -> None:
        if reply:
            self.ledger.answered(name, places, State.ACKNOWLEDGED if reply[:1] == b"2" else State.REFUSED)
        self.expect(reply, b"250")
        self.did()


class Stranger(Sender):
    """Another mail server; sometimes it writes to the alias `both`."""

    protocol = "smtp"

    def send_one(self, client: LineClient) -> None:
        if self.rng.random() < 0.15:
            self.transmit(client, self.name(), "", [f"both@{DOMAIN}"], self.people[:2])
        else:
            super().send_one(client)


class Agent(Sender):
    """A mail transfer agent that delivers over LMTP: an answer for each recipient."""

    protocol = "lmtp"

    def greet(self, client: LineClient) -> None:
        self.expect(client.say(b"LHLO client.test"), b"250")

    def conclude(self, client: LineClient, name: str, places: Sequence[str]) -> None:
        replies = [client.reply() for _ in places]
        for reply, place in zip(replies, places, strict=True):
            self.settle(reply, name, [place])


class Submitter(Sender):
    """One of our users, over TLS: writes to others here and elsewhere, and keeps a copy in Sent."""

    protocol = "submission"

    def __init__(
        self, gate: Gate, ledger: Ledger, port: int, people: Sequence[str], rng: random.Random, user: str
    ) -> None:
        super().__init__(gate, ledger, port, [one for one in people if one != user], rng)
        self.user = user

    def greet(self, client: LineClient) -> None:
        super().greet(client)
        self.expect(client.say(b"STARTTLS"), b"220")
        client.start_tls()
        super().greet(client)
        plain = base64.b64encode(f"\0{self.user}@{DOMAIN}\0{PASSWORD}".encode())
        self.expect(client.say(b"AUTH PLAIN " + plain), b"235")

    def send_one(self, client: LineClient) -> None:
        domain, friend = self.rng.choice(FAR_DOMAINS), self.rng.choice(self.people)
        match self.rng.randrange(8):
            case 0:
                to, places = [f"{UNKNOWN_THERE}@{domain}"], [report_to(self.user)]
            case 1 | 2:
                to, places = [f"{friend}@{DOMAIN}"], [friend]
            case 3:
                to, places = [f"someone@{domain}", f"{friend}@{DOMAIN}"], [FAR, friend]
            case _:
                to, places = [f"someone@{domain}"], [FAR]
        self.transmit(client, self.name(), f"{self.user}@{DOMAIN}", to, [*places, self.user])
