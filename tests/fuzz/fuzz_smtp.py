"""SMTP and LMTP: the server engine, what the client engine makes of replies, parameters, XCLIENT, content."""

from __future__ import annotations

import re

from harness import cut, harness, octets, same_however_cut

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import EnvelopeRecipient, MailParameters
from twisted_mta.message.status import MailError
from twisted_mta.protocol.framing import BareLineEnd, DataDecoder, LineBuffer, LineTooLong, dot_stuff
from twisted_mta.protocol.sasl.bearer import TokenAdvice
from twisted_mta.protocol.sasl.credentials import KeysWanted
from twisted_mta.protocol.sasl.offer import Offer
from twisted_mta.protocol.sasl.scram import Keys
from twisted_mta.protocol.smtp import commands, outgoing, xclient
from twisted_mta.protocol.smtp.client import ClientEngine
from twisted_mta.protocol.smtp.client_events import (
    Broken,
    Challenged,
    EnvelopeReplied,
    RecipientsReplied,
    Replied,
    Stage,
)
from twisted_mta.protocol.smtp.events import (
    Answered,
    Authenticate,
    Burl,
    DataChunk,
    DataSpoiled,
    Hello,
    Mail,
    Recipient,
    StartTls,
)
from twisted_mta.protocol.smtp.extensions import Circumstances, Extension, SmtpLimits
from twisted_mta.protocol.smtp.server import SmtpServer
from twisted_mta.protocol.smtp.transaction import Transaction

REPLY = re.compile(rb"(?:[2-5][0-9][0-9][ -][ -~]{0,506}\r\n|[2-5][0-9][0-9]\r\n)*")
LIMITS = SmtpLimits(
    command_line=600, auth_line=1000, message=3000, recipients=5, errors=8, refusals=8, idle=20
)
NOW = 1_700_000_000.0
KEYS = [Keys(b"salt", 4096, b"s" * 32, b"k" * 32)]
WORDS = rb"""
        EHLO\_x HELO\_x LHLO\_x MAIL\_FROM:< RCPT\_TO:< DATA BDAT\_ \_LAST RSET NOOP QUIT STARTTLS
        AUTH\_PLAIN\_ AUTH\_LOGIN XCLIENT\_ ADDR= NAME= IPV6: LOGIN= HELO= [UNAVAILABLE] BURL\_imap:
        VRFY HELP BODY=8BITMIME BODY=BINARYMIME SIZE= SMTPUTF8 RET=HDRS ENVID= NOTIFY=SUCCESS,DELAY
        NOTIFY=NEVER ORCPT=rfc822; ORCPT=utf-8; \\x{ BY=100;R HOLDFOR= HOLDUNTIL= MT-PRIORITY= MTRK=
        REQUIRETLS SOLICIT= AUTH=<> +2B postmaster @[127.0.0.1] @[IPv6: AAAA
    """


def session(pieces, *, lmtp, trusted, normalise, tls):
    """A session that takes what it is asked for, but who is called "no"; its events (content in one
    piece) and its output."""
    engine = SmtpServer(
        hostname="mx.a.test",
        lmtp=lmtp,
        trusted=trusted,
        normalise=normalise,
        tls_available=tls,
        offer=lambda: Offer(private=True, tokens=TokenAdvice("", ""), nonce=lambda: "nonce"),
        extensions=tuple(Extension),
        limits=LIMITS,
        seconds=lambda: NOW,
    )
    engine.greet()
    events, output, content = [], bytearray(engine.take_output()), bytearray()
    for piece in pieces:
        engine.receive(piece)
        while (event := engine.next_event()) is not None:
            if isinstance(event, DataChunk):
                content += event.content
                continue
            told = (
                str(event.error) if isinstance(event, DataSpoiled) else event
            )  # errors are compared by their words
            events.append((told, bytes(content)) if content else told)
            content.clear()
            decide(engine, event)
            output += engine.take_output()
            if isinstance(event, StartTls):
                return events, bytes(output)
        output += engine.take_output()
        assert len(output) <= 2000 * (len(events) + 20), "a little input makes much output"
    return events, bytes(output)


def decide(engine, event):
    match event:
        case Answered():
            pass
        case DataSpoiled():
            engine.refuse(event.error)
        case KeysWanted():
            engine.provide(KEYS)
        case Authenticate():
            engine.login_failed(last=False) if "no" in repr(event) else engine.accept()
        case Mail(reverse_path=Address(local="no")) | Recipient(forward_path=Address(local="no")):
            engine.refuse(MailError(550, "5.1.1", "Nobody"))
        case Burl():
            try:
                engine.include(b"fetched\r\n")
                if event.last:
                    engine.complete()
            except MailError as error:
                engine.refuse(error)
            else:
                engine.accept()
        case _:
            engine.accept()


def sound(event):
    event = event[0] if isinstance(event, tuple) else event
    match event:
        case Hello():
            assert event.name.isascii() and event.name.isprintable()
        case Mail() | Recipient():
            path = event.reverse_path if isinstance(event, Mail) else event.forward_path
            assert outgoing.path(path, utf8=True)[1:-1].decode() == ("" if path is None else str(path))


@harness(words=WORDS)
def smtp_server(data):
    """No exception; replies are lines of printable ASCII of at most 512 octets; an accepted path can be
    said to another server; octet by octet gives the same events, content and replies. The first
    octet chooses LMTP, XCLIENT, lines that end in LF, STARTTLS."""
    choice = data[0] if data else 0
    options = {
        name: bool(choice >> bit & 1) for bit, name in enumerate(("lmtp", "trusted", "normalise", "tls"))
    }
    data = data[1:]
    if (
        options["tls"] and b"STARTTLS" in data.upper()
    ):  # behind it whole and by octet may differ: injection is refused
        for pieces in ([data], octets(data)):
            events, output = session(pieces, **options)
            assert REPLY.fullmatch(output)
        return
    events, output = same_however_cut(lambda pieces: session(pieces, **options), data)
    assert REPLY.fullmatch(output), "a reply is no line, or too long"
    for event in events:
        sound(event)


@harness(words=WORDS)
def smtp_parameters(data):
    """The arguments of MAIL and RCPT give an envelope or a MailError of class 4 or 5; what was read is
    said to the next server in such words that it is read as the same."""
    here = Circumstances(frozenset(Extension), LIMITS, secure=True, now=NOW)
    try:
        verb, argument = commands.split_line(data, utf8=True)
        if verb == "RCPT":
            recipient = commands.recipient(argument, "a.test", here, utf8=True)
        else:
            mail = commands.mail(argument, here)
    except MailError as error:
        assert 400 <= error.code < 600 and error.text.isprintable()
        return
    offered = {extension.value for extension in Extension} | {"SIZE", "8BITMIME"}
    if verb == "RCPT":
        told = EnvelopeRecipient(recipient.forward_path, recipient.notify, recipient.orcpt)
        _, (line,) = Transaction(None, [told], 0, utf8=True).commands(offered, NOW)
        again = commands.recipient(line.decode()[5:-2], "a.test", here, utf8=True)
        assert again == recipient or not again.orcpt, "another recipient behind us"
        return
    parameters = mail.parameters
    eight_bit, utf8 = parameters.body == "8BITMIME", parameters.smtputf8
    said = Transaction(mail.reverse_path, [], mail.size, parameters, eight_bit=eight_bit, utf8=utf8)
    line, _ = said.commands(offered, NOW)
    again = commands.mail(line.decode()[5:-2], here)
    assert (again.reverse_path, again.size) == (mail.reverse_path, mail.size)
    for name in ("ret", "envid", "require_tls", "priority", "tracking", "deliver_by"):
        assert getattr(again.parameters, name) == getattr(parameters, name), name


@harness(
    words=rb"""
        ADDR= NAME= PORT= PROTO= HELO= LOGIN= DESTADDR= DESTPORT= IPV6: [UNAVAILABLE] [TEMPUNAVAIL] +2B
        ::1
    """
)
def xclient_argument(data):
    """MailError 501 or a client whose values are printable ASCII without spaces."""
    try:
        client = xclient.read(data.decode("latin-1"), login=True)
    except MailError as error:
        assert error.code == 501
        return
    for value in (client.address, client.name, client.helo, client.login):
        assert value is None or re.fullmatch(r"[!-~]*", value)


def relaying(pieces, *, lmtp):
    """What the client engine makes of a server that says these octets whatever it is asked."""
    engine = ClientEngine("me.test", lmtp=lmtp)
    message = Transaction(
        Address("x", "me.test"),
        [EnvelopeRecipient(Address(name, "b.test")) for name in ("bob", "carol")],
        9,
        MailParameters(body="8BITMIME", envid="x+y"),
        eight_bit=True,
    )
    events, output = [], bytearray()
    steps = iter(range(40))  # of the session
    for piece in pieces:
        engine.receive(piece)
        while (event := engine.next_event()) is not None:
            events.append(event)
            step = next(steps, None)
            match event:
                case _ if step is None or engine.finished:
                    pass
                case Replied(stage=Stage.BANNER):
                    engine.hello()
                case Replied(stage=Stage.HELLO, reply=reply) if (
                    reply.positive and "PLAIN" in engine.mechanisms
                ):
                    engine.authenticate("PLAIN", None)
                case Replied(stage=Stage.HELLO | Stage.AUTH | Stage.FINAL) | RecipientsReplied():
                    engine.envelope(message, now=NOW, reset=step % 2 == 0)
                case Challenged():
                    engine.respond(b"\0x\0y") if step % 3 else engine.cancel()
                case EnvelopeReplied() if event.go_ahead:
                    encoding = outgoing.lines if event.chunked else outgoing.data
                    *some, last = encoding([b"x\r\n", b".y\r\n"])
                    for one in some:
                        engine.send_content(one, last=False)
                    engine.send_content(last, last=True)
                case _:
                    engine.quit()
        output += engine.take_output()
    return events, bytes(output), engine.finished


@harness(
    words=rb"""
        220 250- 250\_ 334\_ 354\_ 421 450 550 503 235 PIPELINING SIZE CHUNKING AUTH\_PLAIN
        LIMITS\_RCPTMAX=1 8BITMIME DSN SMTPUTF8 5.1.1 4.0.0 2.0.0 ENHANCEDSTATUSCODES LIMITS\_MAILMAX=
        RCPTDOMAINMAX=
    """
)
def smtp_client_replies(data):
    """No exception, whatever a server says; however its lines are cut, what comes of them and the
    commands that follow are the same; a reply as told is one printable line of at most 1,000
    characters; what is sent are lines. The first octet chooses LMTP."""
    lmtp = bool(data[:1] and data[0] & 1)
    relaying(
        [data[1:]], lmtp=lmtp
    )  # replies to what was not asked yet break off at a moment that depends on their coming
    said = data[1:].splitlines(keepends=True)
    events, output, finished = relaying(said, lmtp=lmtp)
    for way in (octets, cut):
        again = relaying((piece for line in said for piece in way(line)), lmtp=lmtp)
        assert again == (events, output, finished), "cut in another way it gives something else"
    assert not output or output.endswith(b"\r\n")
    for event in events:
        if isinstance(event, Broken):
            assert finished and event.text.isprintable() and event.text.isascii()
        for reply in replies_of(event):
            text = str(reply)
            assert len(text) <= 1000 and text.isascii() and (text.isprintable() or not text)
            assert (
                re.fullmatch(r"[2-5](\.\d{1,3}){2}", reply.status) and reply.status[0] == str(reply.code)[0]
            )


def replies_of(event):
    match event:
        case Replied():
            return [event.reply]
        case EnvelopeReplied():
            return [event.mail, *event.recipients, *([event.data] if event.data else [])]
        case RecipientsReplied():
            return event.replies
    return []


@harness(words=rb"\r\n.\r\n \n.\n \r.\r . .. \r\n. \n")
def dot_stuffing(data):
    """Any content, sent as DATA in any pieces, is read as the same content with CRLF line ends; nothing
    in it ends it, neither here nor where LF or CR alone count as line ends; what is read is the same
    however it is cut."""
    content = b"".join(outgoing.lines([data]))
    for chunks in ([data], list(octets(data)), list(cut(data))):
        sent = b"".join(outgoing.data(chunks))
        decoder = DataDecoder()
        assert (
            decoder.feed(sent + b"QUIT\r\n") == content and decoder.finished and decoder.rest == b"QUIT\r\n"
        )
        assert not decoder.bare_cr and not decoder.bare_lf
        assert re.split(rb"\r\n|\r|\n", sent).count(b".") == 1
    assert b"".join(dot_stuff([content])) == sent

    def read(pieces):
        decoder, found, rest = DataDecoder(), bytearray(), bytearray()
        for piece in pieces:
            if decoder.finished:
                rest += piece
            else:
                found += decoder.feed(piece)
                rest += decoder.rest
        return (
            bytes(found),
            bytes(rest),
            decoder.finished,
            decoder.finished and (decoder.bare_cr, decoder.bare_lf),
        )

    same_however_cut(read, data)


@harness(words=rb"\r\n \n \r xxxxxxxxxxxxxxxx", longest=2048)
def lines(data):
    """Lines of at most 60 octets, however they are cut: none holds a CR or LF, and together with the
    faults they are the lines of the input."""

    def read(pieces):
        buffer, found = LineBuffer(60), []
        for piece in pieces:
            buffer.receive(piece)
            while True:
                try:
                    line = buffer.next_line()
                except LineTooLong:
                    found.append("long")
                except BareLineEnd as error:
                    found.append((error.line, error.ends_line))
                else:
                    if line is None:
                        break
                    found.append(line)
            assert len(buffer) < 60
        return found

    found = same_however_cut(read, data)
    assert not any(isinstance(line, bytes) and (b"\n" in line or b"\r" in line) for line in found)
    ends = data.split(b"\n")
    # Of a line that is too long, the end is not waited for.
    assert len(found) == len(ends) - 1 + (len(ends[-1]) >= 60)
