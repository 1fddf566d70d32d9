"""The dialogs in tests/dialogs/mtqp, spoken with the engine line by line, octet by octet and all at once.

`C:` is what the client sends, `S:` what the server answers, line for line; `%` sets up the server
(`secure`, `tls`), `!closed` says that the server has ended the session, `!handshake` is TLS. One message is
known, by the secret "secret"; of two recipients one is local.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from twisted_mta.message.tracking_status import TrackedRecipient, TrackingStatus, tracking_report
from twisted_mta.protocol.mtqp.server import MtqpServer, StartTls, Track

DIALOGS = sorted((Path(__file__).parent / "mtqp").glob("*.txt"))
NOON = 1_800_000_000.0
RECIPIENTS = (
    TrackedRecipient("bob@a.test", "delivered", "2.0.0", NOON + 5),
    TrackedRecipient("cy@b.test", "relayed", "2.1.9", NOON + 5, "mx.b.test"),
)
KNOWN = Track("1-20270115@a.test", b"secret")
Turn = tuple[str, bytes]


class Session:
    """Answers the engine's events as a session would."""

    def __init__(self, options: list[str]) -> None:
        self.engine = MtqpServer(
            hostname="mx.a.test", secure="secure" in options, tls_available="tls" in options
        )
        self.engine.greet()

    def send(self, data: bytes) -> bytes:
        self.engine.receive(data)
        output = b""
        while (event := self.engine.next_event()) is not None:
            output += self.engine.take_output()
            if isinstance(event, StartTls):
                self.engine.secured()
            elif event == KNOWN:
                status = TrackingStatus(event.envid, "mx.a.test", NOON, RECIPIENTS)
                self.engine.found(tracking_report([status]))
            else:
                self.engine.not_found()
        return output + self.engine.take_output()


def read(path: Path) -> tuple[list[str], list[Turn]]:
    """(options, [(kind, line)]) of a dialog file."""
    options: list[str] = []
    turns: list[Turn] = []
    for line in path.read_text().splitlines():
        if line.startswith("%"):
            options += line[1:].split()
        elif line.startswith("!"):
            turns.append(("!", line[1:].encode()))
        elif line.startswith(("C:", "S:")):
            turns.append((line[0], line[3:].encode().decode("unicode_escape").encode("latin-1") + b"\r\n"))
        else:
            assert not line or line.startswith("#"), line
    return options, turns


def spoken(turns: list[Turn], who: str) -> bytes:
    return b"".join(text for speaker, text in turns if speaker == who)


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_line_by_line(path: Path) -> None:
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
        elif text == b"closed":
            assert output == b""
            assert session.engine.finished
        else:
            assert text == b"handshake"
            assert output == b""
    assert output == b""


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_octet_by_octet(path: Path) -> None:
    options, turns = read(path)
    session = Session(options)
    output = session.engine.take_output()
    for octet in spoken(turns, "C"):
        output += session.send(bytes([octet]))
    assert output == spoken(turns, "S")


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_all_at_once(path: Path) -> None:
    options, turns = read(path)
    if ("!", b"handshake") in turns:
        return  # nothing may be sent ahead of the handshake; that is another dialog
    session = Session(options)
    output = session.engine.take_output()
    output += session.send(spoken(turns, "C"))
    assert output == spoken(turns, "S")
