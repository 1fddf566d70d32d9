"""POP3, ManageSieve and MTQP: server engines, each with a session that says yes."""

from __future__ import annotations

import re

from harness import harness, octets, same_however_cut

from twisted_mta.protocol.managesieve import events as sieve
from twisted_mta.protocol.managesieve.server import ManageSieveLimits, ManageSieveServer
from twisted_mta.protocol.mtqp.server import MtqpLimits, MtqpServer, Track
from twisted_mta.protocol.mtqp.server import StartTls as MtqpStartTls
from twisted_mta.protocol.pop3.events import Listing, Login, Retrieve, StartTls, UniqueIdsWanted, Update
from twisted_mta.protocol.pop3.maildrop import Maildrop
from twisted_mta.protocol.pop3.server import Pop3Limits, Pop3Server
from twisted_mta.protocol.sasl.bearer import TokenAdvice
from twisted_mta.protocol.sasl.credentials import KeysWanted
from twisted_mta.protocol.sasl.offer import Offer
from twisted_mta.protocol.sasl.scram import Keys

MESSAGE = b"Subject: x\r\n\r\n.dot\r\n..\r\nlast\r\n"
KEYS = [Keys(b"salt", 4096, b"s" * 32, b"k" * 32)]
HEAD, _, REST = MESSAGE.partition(b"\r\n\r\n")
HEAD, BODY = HEAD + b"\r\n\r\n", REST.splitlines(keepends=True)
POP3_REPLY = re.compile(rb"(?:\+OK|-ERR|\+ )[ -~]*|\.|[ -~]*")
SIEVE_SAID = re.compile(rb'(?:"(?:[^"\\\r\n\0]|\\.)*"|[A-Z]+|\(|\)|[ ]|[A-Z/-]+|\{[0-9]+\}|ACTIVE)*')


def offer():
    return Offer(private=True, tokens=TokenAdvice("", ""), nonce=lambda: "nonce")


def converse(engine, pieces, answer):
    """The events, all octets said, and whether it is over; `answer` tells the engine what the session
    decides, and returns what was said then if it has looked at that, or True where the dialog ends for the
    harness."""
    events, output = [], bytearray(engine.take_output())
    for piece in pieces:
        engine.receive(piece)
        while True:
            event = engine.next_event()
            output += engine.take_output()
            if event is None and not engine.behind:
                break
            if event is None:
                continue
            events.append(repr(event) if not isinstance(event, Listing) else "listing")
            decided = answer(engine, event)
            if decided is True:
                return events, bytes(output + engine.take_output()), True
            output += decided or b""
            output += engine.take_output()
    return events, bytes(output), engine.finished


def content_of(said):
    """What a client takes from an answer of several lines."""
    first, _, rest = said.partition(b"\r\n")
    assert first.startswith(b"+OK") and (b"\r\n" + rest).endswith(b"\r\n.\r\n")
    assert (b"\r\n" + rest).count(b"\r\n.\r\n") == 1
    return re.sub(rb"(?m)^\.", b"", rest[: -len(b".\r\n")])


def pop3(pieces):
    engine = Pop3Server(
        hostname="mx.a.test",
        secure=False,
        tls_available=True,
        offer=offer,
        limits=Pop3Limits(command_line=300, errors=8),
    )
    drops = []
    engine.greet()

    def answer(engine, event):
        match event:
            case KeysWanted():
                engine.provide(KEYS)
            case Login(credentials):
                if "no" in repr(credentials):
                    engine.login_failed(last=False)
                else:
                    drops.append(Maildrop(7, [1, 2, 3], [30, 30, 30]))
                    engine.logged_in(drops[-1])
            case StartTls():
                return True
            case Retrieve(number=number, lines=lines):
                assert 1 <= number <= 3
                list(engine.message(MESSAGE, lines))
                said = engine.take_output()
                assert content_of(said) == (MESSAGE if lines is None else HEAD + b"".join(BODY[:lines]))
                return said
            case UniqueIdsWanted():
                list(engine.identified(event, ["a", "b", "c"]))
            case Listing():
                list(engine.listing(event))
                said = engine.take_output()  # the first line was said when the command was read
                numbers = [int(line.split()[0]) for line in content_of(b"+OK\r\n" + said).splitlines()]
                assert numbers == [number for number in (1, 2, 3) if number in drops[-1]]
                return said
            case Update(deleted):
                assert set(deleted) == {number for number in (1, 2, 3) if number not in drops[-1]}
                engine.goodbye()
        return False

    return converse(engine, pieces, answer)


@harness(
    words=rb"""
        USER\_a PASS\_x AUTH\_PLAIN\_ AUTH\_SCRAM-SHA-256\_ AUTH\_XOAUTH2 STAT LIST UIDL RETR\_1
        TOP\_1\_5 DELE\_2 RSET NOOP QUIT CAPA STLS UTF8 LANG\_* LANG\_en APOP AHgAeQ== biwsbj1hLHI9Yg==
        4294967296 \r\n
    """
)
def pop3_server(data):
    """No exception; every reply is a line that begins with +OK, -ERR or + ; octet by octet gives the
    same events and replies; only messages that are there are asked for or removed; a message comes to the
    client as it is, and of TOP so many lines."""
    if b"STLS" in data.upper():  # behind it whole and by octet may differ: injection is refused
        for pieces in ([data], octets(data)):
            pop3(pieces)
        return
    events, output, _ = same_however_cut(pop3, data)
    assert output.endswith(b"\r\n") and b"\0" not in output
    for line in output.split(b"\r\n"):
        assert POP3_REPLY.fullmatch(line) and len(line) < 600
    assert len(output) <= 2000 * (len(events) + data.count(b"\n") + 10)


def managesieve(pieces):
    engine = ManageSieveServer(
        hostname="mx.a.test",
        secure=False,
        tls_available=True,
        offer=offer,
        extensions=("fileinto",),
        redirects=20,
        limits=ManageSieveLimits(script=1500, errors=8, before_login=300),
    )
    engine.greet()

    def answer(engine, event):
        match event:
            case KeysWanted():
                engine.provide(KEYS)
            case sieve.Login(credentials):
                if "no" in repr(credentials):
                    engine.login_failed(last=False)
                else:
                    engine.logged_in("alice@a.test")
            case sieve.StartTls():
                return True
            case sieve.Unauthenticate():
                engine.logged_out()
            case sieve.ListScripts():
                engine.scripts(['a"b', "c\\d"], "c\\d")
            case sieve.GetScript():
                engine.script(b"keep;\r\n")
            case sieve.PutScript(name=name, text=text):
                assert len(text) <= 16 * 1024
                engine.refuse(name, "QUOTA/MAXSIZE") if len(name) > 20 else engine.accept(name, "WARNINGS")
            case sieve.CheckScript(text):
                engine.refuse(text.decode("latin-1"))
            case _:
                engine.accept("")
        return False

    return converse(engine, pieces, answer)


def said_strings(output):
    """Lines with literals taken out."""
    lines = []
    while output:
        line, end, output = output.partition(b"\r\n")
        assert end
        if found := re.search(rb"\{(\d+)\}\Z", line):
            size = int(found[1])
            assert len(output) >= size
            output = output[size:]
            rest, _, output = output.partition(b"\r\n")
            line += rest
        lines.append(line)
    return lines


@harness(
    words=rb"""
        AUTHENTICATE\_"PLAIN"\_"AHgAeQ==" AUTHENTICATE\_"SCRAM-SHA-256" PUTSCRIPT\_"x"\_ CHECKSCRIPT
        GETSCRIPT LISTSCRIPTS SETACTIVE DELETESCRIPT RENAMESCRIPT HAVESPACE NOOP\_"x" CAPABILITY
        UNAUTHENTICATE LOGOUT STARTTLS {3+}\r\nabc {5}\r\nhello {9999999999+} \\" "" \r\n
    """
)
def managesieve_server(data):
    """No exception; what is said are strings, literals and words that a client can read; octet by octet
    gives the same events and replies; a script is never longer than the limit."""
    if b"STARTTLS" in data.upper():
        for pieces in ([data], octets(data)):
            managesieve(pieces)
        return
    _, output, _ = same_however_cut(managesieve, data)
    for line in said_strings(output):
        assert SIEVE_SAID.fullmatch(line), line


@harness(words=rb"TRACK\_x\_ c2VjcmV0 COMMENT QUIT STARTTLS \r\n", longest=2048)
def mtqp_server(data):
    """No exception; replies are lines; octet by octet gives the same events and replies; an identifier
    and a secret are bounded."""

    def run(pieces):
        engine = MtqpServer(
            hostname="mx.a.test", secure=False, tls_available=True, limits=MtqpLimits(line=400)
        )
        engine.greet()

        def answer(engine, event):
            match event:
                case Track(envid, secret):
                    assert envid.isascii() and len(envid) <= 255 and 0 < len(secret) <= 256
                    engine.found(MESSAGE) if envid == "x" else engine.not_found()
                case MtqpStartTls():
                    return True
            return False

        return converse(engine, pieces, answer)

    if b"STARTTLS" in data.upper():
        for pieces in ([data], octets(data)):
            run(pieces)
        return
    _, output, _ = same_however_cut(run, data)
    assert output.isascii() and not re.search(rb"\r(?!\n)|(?<!\r)\n", output)
