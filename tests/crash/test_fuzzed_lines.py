"""Fuzzed command lines for IMAP, POP3, SMTP and ManageSieve (acceptance 32): no traceback, and the memory
does not grow.

Reduced in size, unless SOAK=1 asks for the million lines. Commands of all kinds, spoilt at random, come in
bursts on connections that are, or are not, logged in; a connection that the server has enough of is followed
by the next one. Only what was answered counts.
"""

from __future__ import annotations

import base64
import os
import random
import re
import select
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from office import PASSWORD, Office, running_office

LINES = 1_000_000 if os.environ.get("SOAK") else 20_000
WARM = LINES // 5  # lines after which the memory is looked at for the first time
MOST_GROWTH = 10 * 2**20
BURST = 100  # lines on one connection
PATIENCE = 1.0  # seconds without another answer: the end of the burst is lost in a literal, or in IDLE
MOST_PATIENCE = 60  # the same for the first answer
USER = "alice@a.test"
Burst = Callable[[random.Random, list[bytes]], Iterator[bytes]]

IMAP = rb"""NOOP|CAPABILITY|LIST (SUBSCRIBED) "" (% INBOX) RETURN (STATUS (MESSAGES UIDNEXT))|LSUB "" %
SELECT INBOX|SELECT INBOX (QRESYNC (1 2 1:5 (1,2 3,4)))|EXAMINE Trash|STATUS INBOX (MESSAGES UNSEEN SIZE)
FETCH 1:* (FLAGS ENVELOPE BODYSTRUCTURE)|FETCH 1 BODY[HEADER.FIELDS (SUBJECT)]<0.10>|UID FETCH 1:* (FLAGS)
FETCH 1 (BINARY.PEEK[1] PREVIEW (LAZY) RFC822)|SEARCH RETURN (MIN MAX SAVE) OR SUBJECT x NOT BODY "y"
UID SEARCH CHARSET UTF-8 SINCE 1-Jan-2020 LARGER 5 UID $|SORT (REVERSE DATE SUBJECT) UTF-8 ALL
THREAD REFERENCES UTF-8 ALL|STORE 1 +FLAGS.SILENT (\Seen key)|UID STORE 1:2 (UNCHANGEDSINCE 5) FLAGS ()
COPY 1 Trash|MOVE 1 Trash|EXPUNGE|UID EXPUNGE 1:*|CLOSE|UNSELECT|CHECK|CREATE a/b|DELETE a/b|RENAME a/b a/c
SUBSCRIBE INBOX|UNSUBSCRIBE x|ENABLE CONDSTORE QRESYNC UTF8=ACCEPT|ENABLE UIDONLY|ID ("name" NIL)|NAMESPACE
LIST "" *|GETQUOTAROOT INBOX|SETQUOTA "" (STORAGE 5)|GETACL INBOX|SETACL INBOX bob@a.test lrs|MYRIGHTS INBOX
GETMETADATA (DEPTH infinity) INBOX /private/comment|SETMETADATA INBOX (/private/comment "x")
NOTIFY SET (SELECTED (MessageNew (UID) MessageExpunge)) (PERSONAL (MailboxName))|NOTIFY NONE
APPEND INBOX (\Seen) "01-Jan-2020 00:00:00 +0000" {3+}|abc|APPEND INBOX CATENATE (URL "/INBOX;UID=1" TEXT {1+}
GENURLAUTH "imap://alice@a.test/INBOX/;uid=1;urlauth=anonymous" INTERNAL|URLFETCH "imap://x/"|RESETKEY
ESEARCH IN (personal) RETURN (COUNT) ALL|CANCELUPDATE "x"|IDLE|DONE|AUTHENTICATE PLAIN =|UNAUTHENTICATE
COMPRESS DEFLATE|STARTTLS|LOGOUT|UID REPLACE 1 INBOX {2+}|LIST {1}|{99999999999}|{4294967296+}|(((((((|"""
POP3 = rb"""NOOP|CAPA|STAT|LIST|LIST 1|UIDL|UIDL 1|RETR 1|TOP 1 5|DELE 1|RSET|USER alice|QUIT|STLS|UTF8|LANG *
AUTH PLAIN =|AUTH|APOP a b|RETR 4294967296|TOP 1 -1|DELE 0|LIST 1 2|UTF8 x|"""

SMTP = rb"""EHLO c.test|HELO c.test|EHLO [127.0.0.1]|MAIL FROM:<x@c.test>
MAIL FROM:<> BODY=8BITMIME SIZE=100 SMTPUTF8|MAIL FROM:<"a b"@c.test> RET=HDRS ENVID=x+2B BY=100;R
RCPT TO:<alice@a.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;x@y|RCPT TO:<bob@a.test>|RCPT TO:<@a.test:x@c.test>
RCPT TO:<x%c.test@a.test>|RCPT TO:<postmaster>|DATA|BDAT 0 LAST|BDAT 3 LAST|BDAT -1|RSET|NOOP x|VRFY alice
EXPN all|HELP DATA|AUTH PLAIN =|AUTH SCRAM-SHA-256 biwsbj1hLHI9Yg==|STARTTLS x|BURL imap://a.test/ LAST
XCLIENT ADDR=1.2.3.4|ETRN x|LHLO x|SEND FROM:<x@y>|TURN|From: x@c.test|Subject: =?utf-8?q?x?=|."""
SIEVE = rb"""NOOP|NOOP "x"|CAPABILITY|LISTSCRIPTS|PUTSCRIPT "x" "keep;"|CHECKSCRIPT "if true { stop; }"
SETACTIVE "x"|SETACTIVE ""|GETSCRIPT "x"|DELETESCRIPT "x"|RENAMESCRIPT "x" "y"|HAVESPACE "x" 100
AUTHENTICATE "PLAIN" ""|UNAUTHENTICATE|PUTSCRIPT "x" {3+}|CHECKSCRIPT {0+}|HAVESPACE "x" 99999999999
STARTTLS x"""


def vocabulary(commands: bytes) -> list[bytes]:
    return [command for line in commands.split(b"\n") for command in line.split(b"|")]


def spoilt(command: bytes, rng: random.Random) -> bytes:
    """The command with up to three octets, words or pieces of it changed."""
    for _ in range(rng.randrange(4)):
        at = rng.randrange(len(command) + 1)
        to = rng.randrange(at, min(len(command), at + 20) + 1)
        match rng.randrange(6):
            case 0:
                command = command[:at] + command[to:]
            case 1:
                command = command[:at] + rng.randbytes(rng.randrange(5)) + command[at:]
            case 2:
                command = command[:at] + command[at:to] * rng.randrange(2, 50) + command[to:]
            case 3:
                words = command.split(b" ")
                rng.shuffle(words)
                command = b" ".join(words)
            case 4:
                command = command[:at] + rng.choice([b'"', b"(", b")", b"{5}", b"\0", b"*", b"4294967296"])
            case 5:
                command = command[:at] + str(rng.randrange(-5, 2**65)).encode() + command[to:]
    return command.replace(b"\n", b"")


def imap_burst(rng: random.Random, commands: list[bytes]) -> Iterator[bytes]:
    if rng.random() < 0.8:
        yield f'l LOGIN {USER} "{PASSWORD}"'.encode()
        yield b"s SELECT INBOX"
    for number in range(BURST):
        # A good one now and then: too many bad ones in a row end the connection.
        yield b"a NOOP" if number % 20 == 0 else b"a " + spoilt(rng.choice(commands), rng)


def pop3_burst(rng: random.Random, commands: list[bytes]) -> Iterator[bytes]:
    if rng.random() < 0.8:
        yield f"USER {USER}".encode()
        yield f"PASS {PASSWORD}".encode()
    for number in range(BURST):
        yield b"NOOP" if number % 3 == 0 else spoilt(rng.choice(commands), rng)


def smtp_burst(rng: random.Random, commands: list[bytes]) -> Iterator[bytes]:
    yield b"EHLO c.test"
    for number in range(BURST):
        # A message that is taken now and then forgives the errors, as ten in a row end the connection.
        if number % 8 == 0:
            yield b".\r\nRSET\r\nMAIL FROM:<x@c.test>\r\nRCPT TO:<alice@a.test>\r\nBDAT 2 LAST\r\n\r\n"
        else:
            yield spoilt(rng.choice(commands), rng)
    yield b"\r\n."


def sieve_burst(rng: random.Random, commands: list[bytes]) -> Iterator[bytes]:
    if rng.random() < 0.8:
        plain = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode())
        yield b'AUTHENTICATE "PLAIN" "%b"' % plain
    for number in range(BURST):
        yield b"NOOP" if number % 3 == 0 else spoilt(rng.choice(commands), rng)


def converse(port: int, burst: bytes, answer: bytes) -> list[bytes]:
    """Say all of it at once; the answers until the server closes, or says nothing any more."""
    heard, silent = b"", 0.0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.setblocking(False)
        while silent < (PATIENCE if re.search(answer, heard) else MOST_PATIENCE):
            readable, writable, _ = select.select([client], [client] if burst else [], [], PATIENCE)
            silent = 0.0 if readable or writable else silent + PATIENCE
            if writable:
                try:
                    burst = burst[client.send(burst[:65536]) :]
                except OSError:
                    burst = b""  # it has closed; what it had said before is still to be read
            if readable:
                try:
                    piece = client.recv(65536)
                except OSError:
                    break
                if not piece:
                    break
                heard += piece
    return re.findall(answer, heard)


def resident_set(office: Office) -> int:
    status = Path(f"/proc/{office.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


@pytest.mark.parametrize(
    ("service", "commands", "burst_of", "last", "answer"),
    [
        ("imap", IMAP, imap_burst, b"zz LOGOUT", rb"(?m)^(?:\* BAD|[^\s*]+ (?:OK|NO|BAD)) "),
        ("pop3", POP3, pop3_burst, b"QUIT", rb"(?m)^(?:\+OK|-ERR)"),
        ("smtp", SMTP, smtp_burst, b"QUIT", rb"(?m)^[2-5]\d\d "),
        ("managesieve", SIEVE, sieve_burst, b"LOGOUT", rb"(?m)^(?:OK|NO|BYE)\b"),
    ],
    ids=["imap", "pop3", "smtp", "managesieve"],
)
def test_no_traceback_and_no_growth(
    tmp_path: Path, service: str, commands: bytes, burst_of: Burst, last: bytes, answer: bytes
) -> None:
    rng = random.Random(32)
    words = vocabulary(commands)
    answered = before = 0
    with running_office(tmp_path, auth={"allow_cleartext": True}) as office:
        while answered < LINES:
            burst = b"\r\n".join([*burst_of(rng, words), b"", last, b""])
            found = converse(office.ports[service], burst, answer)
            assert found, "the server answers no more"
            answered += len(found)
            if not before and answered > WARM:
                before = resident_set(office)
        growth = resident_set(office) - before
    assert growth < MOST_GROWTH
