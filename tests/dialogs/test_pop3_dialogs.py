"""The dialogs in tests/dialogs/pop3, spoken with the engine line by line, octet by octet and all at once.

`C:` is what the client sends, `S:` what the server answers, line for line; `%` sets up the server
(`secure`, `tls`, `cleartext`; `delay`: alice may not log in again yet; `international`: message 1 is;
`two`: there are two messages; `nonce=`: for SCRAM), `!closed` says that the server has ended the session,
`!handshake` is TLS. The maildrop behind it is alice's, password "secret", with the three messages below; 3
is gone meanwhile.
"""

from base64 import b64decode
from pathlib import Path

import pytest

from twisted_mta.message.surrogate import surrogate
from twisted_mta.protocol.pop3.events import (
    Listing,
    Login,
    Retrieve,
    StartTls,
    UniqueIdsWanted,
    Update,
)
from twisted_mta.protocol.pop3.maildrop import Maildrop
from twisted_mta.protocol.pop3.server import Pop3Server
from twisted_mta.protocol.pop3.unique_ids import from_names
from twisted_mta.protocol.sasl.credentials import KeysWanted, PasswordCredentials, ProvenCredentials
from twisted_mta.protocol.sasl.offer import Offer
from twisted_mta.protocol.sasl.scram import Keys

SALT = b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")  # RFC 7677 §3
DIALOGS = sorted((Path(__file__).parent / "pop3").glob("*.txt"))

MESSAGES = {
    1: b"Subject: one\r\n\r\nfirst\r\nsecond\r\nthird\r\n",
    2: b"Subject: two\r\n\r\n.\r\n..dots\r\n.\r\n",
}
INTERNATIONAL = "From: ü@a.test\r\nSubject: grün\r\n\r\nö\r\n".encode()
GONE = b"x" * 99
NAMES = ["1700000000.Q1-1.mx.a.test", "an odd name", None]


class Session:
    """Answers the engine's events as a session would; remembers what was removed."""

    def __init__(self, options):
        self.secure = "secure" in options
        nonce = next((word[6:] for word in options if word.startswith("nonce=")), "")
        self.engine = Pop3Server(
            hostname="mx.a.test",
            secure="secure" in options,
            tls_available="tls" in options,
            offer=lambda: Offer(private=self.secure or "cleartext" in options, nonce=lambda: nonce),
            login_delay=900 if "delay" in options else 0,
        )
        self.messages = {**MESSAGES, 1: INTERNATIONAL} if "international" in options else MESSAGES
        self.count = 2 if "two" in options else 3
        self.too_soon = "delay" in options
        self.in_pieces = False
        self.failures = 0
        self.removed = ()
        self.engine.greet()

    def send(self, data):
        self.engine.receive(data)
        output = b""
        while (event := self.engine.next_event()) is not None:
            output += self.engine.take_output()
            self.answer(event)
        return output + self.engine.take_output()

    def answer(self, event):
        match event:
            case Login(credentials=who):
                proven = isinstance(who, ProvenCredentials) and who.login == "user"
                if not proven and who != PasswordCredentials("alice", "secret"):
                    self.failures += 1
                    self.engine.login_failed(last=self.failures == 3)
                elif self.too_soon:
                    self.engine.login_too_soon()
                else:
                    sizes = [len(self.messages.get(number, GONE)) for number in (1, 2, 3)][: self.count]
                    self.engine.logged_in(Maildrop(17, [4, 9, 12][: self.count], sizes))
            case KeysWanted(mechanism=name):
                self.engine.provide([Keys.derive(name, "pencil", SALT, 4096)])
            case StartTls():
                self.secure = True
                self.engine.secured()
            case Retrieve(number=number, lines=lines, utf8=utf8):
                if number in self.messages:
                    message = self.messages[number]
                    self.send_message(message if utf8 else surrogate(message), lines)
                else:
                    self.engine.message_gone()
            case UniqueIdsWanted():
                list(self.engine.identified(event, from_names(NAMES, 17, [4, 9, 12])))
            case Listing():
                list(self.engine.listing(event))
            case Update(deleted=deleted):
                self.removed = deleted
                self.engine.goodbye()

    def send_message(self, message, lines):
        """Whole, or as a large message would be."""
        if not self.in_pieces:
            list(self.engine.message(message, lines))
            return
        answer = self.engine.long_message(message[:1], len(message), lines)
        for start in range(1, len(message)):
            if not answer.finished:
                answer.add(message[start : start + 1])
        answer.end()


def read(path):
    """(options, [(kind, line)]) of a dialog file."""
    options, turns = [], []
    for line in path.read_text().splitlines():
        if line.startswith("%"):
            options += line[1:].split()
        elif line.startswith("!"):
            turns.append(("!", line[1:]))
        elif line.startswith(("C:", "S:")):
            text = line[3:].encode().decode("unicode_escape").encode("latin-1")
            turns.append((line[0], text + b"\r\n"))
        else:
            assert not line or line.startswith("#"), line
    return options, turns


def spoken(turns, who):
    return b"".join(text for speaker, text in turns if speaker == who)


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_line_by_line(path):
    options, turns = read(path)
    session = Session(options)
    output = session.engine.take_output()
    for speaker, text in turns:
        if speaker == "C":
            assert output == b"", "the server said more than expected"
            output = session.send(text)
        elif speaker == "S":
            line, end, output = output.partition(b"\r\n")
            assert line + end == text
        elif text == "closed":
            assert output == b"" and session.engine.finished
        else:
            assert text == "handshake" and output == b""
    assert output == b""


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_octet_by_octet(path):
    options, turns = read(path)
    session = Session(options)
    output = session.engine.take_output()
    for octet in spoken(turns, "C"):
        output += session.send(bytes([octet]))
    assert output == spoken(turns, "S")


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_all_at_once(path):
    options, turns = read(path)
    if ("!", "handshake") in turns:
        return  # nothing may be sent ahead of the handshake; that is another dialog
    session = Session(options)
    output = session.engine.take_output()
    output += session.send(spoken(turns, "C"))
    assert output == spoken(turns, "S")


def test_messages_in_pieces():
    options, turns = read(Path(__file__).parent / "pop3" / "dots-and-top.txt")
    session = Session(options)
    session.in_pieces = True
    output = session.engine.take_output()
    output += session.send(spoken(turns, "C"))
    assert output == spoken(turns, "S")
