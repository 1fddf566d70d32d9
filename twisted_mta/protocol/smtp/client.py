"""The client's side of SMTP and LMTP, without I/O (RFC 5321 §3, §4.1, §4.3; RFC 2033; RFC 2920; RFC 3030;
RFC 3207; RFC 4954).

The session says what it wants (`hello`, `start_tls`, `authenticate`, `envelope`, `send_content`, `quit`);
the engine knows which command may be on its way while which reply is outstanding, and answers each wish
with exactly one event. Where the server offers PIPELINING an envelope leaves in one piece; where it does
not, one command at a time. Where it offers CHUNKING the content goes in BDAT, but only after somebody was
accepted, since what is on its way cannot be taken back.

A 421 to any command answers everything that was asked, and ends the conversation. A reply that cannot
be right at its place is `Broken`: client and server are out of step, and nothing more can be trusted.

Left out on purpose: what may be sent to whom (`transaction.py` and the relay), and the mechanisms of AUTH
(`protocol/sasl`).
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from twisted_mta.protocol.sasl.error import SaslError
from twisted_mta.protocol.sasl.lines import decode, encode
from twisted_mta.protocol.smtp.client_events import (
    Broken,
    Challenged,
    EnvelopeReplied,
    Event,
    RecipientsReplied,
    Replied,
    Stage,
)
from twisted_mta.protocol.smtp.offers import Limits, read_limits, read_number
from twisted_mta.protocol.smtp.reply_reader import BadReply, Reply, ReplyReader
from twisted_mta.protocol.smtp.transaction import Transaction

MAX_COMMAND = 512  # octets of a command line including CRLF, RFC 5321 §4.5.3.1.4
MAX_OFFERS = 100  # keywords of EHLO that are remembered


class _Command(NamedTuple):
    stage: Stage
    line: bytes
    chunk: bool = False  # BDAT with its octets


_BANNER = _Command(Stage.BANNER, b"")
_DATA = _Command(Stage.DATA, b"DATA\r\n")
_CONTENT = _Command(Stage.CONTENT, b"")
_FINAL = _Command(Stage.FINAL, b"")
# The end of data that nobody is to receive; its reply means nothing, and the session is not told.
_NO_CONTENT = _Command(Stage.FINAL, b".\r\n")
# A chunk behind one that was refused: the same.
_IN_VAIN = _Command(Stage.FINAL, b"", chunk=True)
_CANCEL = _Command(Stage.AUTH, b"*\r\n")
_RESET = _Command(Stage.RESET, b"RSET\r\n")

_ENVELOPE_STAGES = frozenset({Stage.RESET, Stage.MAIL, Stage.RECIPIENT, Stage.DATA})
# More may be sent while the reply to one of these is outstanding (RFC 2920 §3.1).
_PIPELINED = frozenset({Stage.RESET, Stage.MAIL, Stage.RECIPIENT, Stage.FINAL})


class ClientEngine:
    """One connection to a server. `hostname` is our name in EHLO: a domain or an address literal. `lmtp`: the
    server speaks LMTP.

    extensions: what the last EHLO offered, keyword (upper case) to parameters; empty after HELO.
    peer_name: the name the server gave itself in its reply to EHLO or HELO.
    replies: how many replies have been read; a measure of progress.
    mail_reply, recipient_replies, final_replies: what is known of the transaction so far, of use when the
    connection is lost.
    """

    def __init__(self, hostname: str, *, lmtp: bool = False) -> None:
        self._hostname = hostname.encode("ascii")
        self._lmtp = lmtp
        self._reader = ReplyReader()
        self._output = bytearray()
        self._unsent: deque[_Command] = deque()
        self._awaited: deque[_Command] = deque((_BANNER,))
        self._events: deque[Event] = deque()
        self._initial: bytes | None = None  # response, for which the server is to ask
        self._tls_expected = False
        self._chunked = False  # the transaction sends its content in BDAT
        self._open = False  # content may be sent
        self.extensions: dict[str, str] = {}
        self.peer_name = ""
        self.replies = 0
        self.finished = False
        self.mail_reply: Reply | None = None
        self.recipient_replies: list[Reply] = []
        self.final_replies: list[Reply] = []

    # What the session wants

    def hello(self) -> None:
        """Say EHLO; when that is refused for good, HELO (RFC 5321 §3.2). LHLO for LMTP. Replied(HELLO)."""
        self.extensions = {}
        verb = b"LHLO" if self._lmtp else b"EHLO"
        self._ask(_Command(Stage.HELLO, b"%b %b\r\n" % (verb, self._hostname)))

    def start_tls(self) -> None:
        """Ask for TLS. Replied(START_TLS); when positive, shake hands, then call `tls_started`."""
        self._ask(_Command(Stage.START_TLS, b"STARTTLS\r\n"))

    def tls_started(self) -> None:
        """The connection is inside TLS now: what was learned outside is forgotten (RFC 3207 §4.2)."""
        self._tls_expected = False
        self.extensions = {}

    @property
    def mechanisms(self) -> list[str]:
        """Those of SASL that the server offers, in upper case."""
        return self.extensions.get("AUTH", "").upper().split()

    @property
    def size_limit(self) -> int:
        """The largest content the server takes, in octets; 0 when it did not say (RFC 1870 §4)."""
        return read_number(self.extensions.get("SIZE", ""))

    @property
    def limits(self) -> Limits:
        """What the server says of its limits (RFC 9422)."""
        return read_limits(self.extensions.get("LIMITS", ""))

    def authenticate(self, mechanism: str, initial: bytes | None) -> None:
        """Log in (RFC 4954 §4). Replied(AUTH), or Challenged first, any number of times. An `initial`
        response that is too long for the command line is given when the server asks for it."""
        line = b"AUTH %b\r\n" % mechanism.encode("ascii")
        self._initial = None
        if initial is not None:
            longer = b"AUTH %b %b\r\n" % (mechanism.encode("ascii"), encode(initial) or b"=")
            if len(longer) <= MAX_COMMAND:
                line = longer
            else:
                self._initial = initial
        self._ask(_Command(Stage.AUTH, line))

    def respond(self, response: bytes) -> None:
        """The answer to Challenged."""
        self._ask(_Command(Stage.AUTH, encode(response) + b"\r\n"))

    def cancel(self) -> None:
        """Call the exchange off (RFC 4954 §4). Replied(AUTH), which is no success then."""
        self._ask(_CANCEL)

    def envelope(self, transaction: Transaction, *, now: float, reset: bool) -> None:
        """Begin a transaction: EnvelopeReplied, with as few round trips as the server allows.

        now: seconds since the epoch. reset: begin with RSET, as on a connection that has been idle. Raises
        ValueError as `Transaction.commands` does.
        """
        mail, recipients = transaction.commands(self.extensions, now)
        self.mail_reply = None
        self.recipient_replies = []
        self.final_replies = []
        self._chunked = "CHUNKING" in self.extensions
        commands = [_Command(Stage.MAIL, mail)]
        commands += [_Command(Stage.RECIPIENT, line) for line in recipients]
        if not self._chunked:
            commands.append(_DATA)
        self._ask(*((_RESET,) if reset else ()), *commands)

    def send_content(self, data: bytes, *, last: bool) -> None:
        """After a go-ahead: the next piece of what `outgoing` makes of the content, for BDAT where that is
        offered. Replied(FINAL), or for LMTP RecipientsReplied, after the last one, which for DATA holds the
        end; Replied(CONTENT) when the server cannot wait for it."""
        if not self._open:
            return
        self._open = not last
        if self._chunked:
            self._send_chunk(data, last=last)
            return
        self._output += data
        if last:
            self._awaited[0] = _FINAL
            self._await_finals()

    @property
    def holds_content(self) -> bool:
        """True while a chunk has to wait for the reply to the last one."""
        return bool(self._unsent)

    def quit(self) -> None:
        """Say goodbye. Replied(QUIT)."""
        self._ask(_Command(Stage.QUIT, b"QUIT\r\n"))

    # What the connection does

    @property
    def waiting_for(self) -> Stage:
        """What the next reply will be about; IDLE when nothing is asked. FINAL as soon as the last chunk is
        on its way: from then on the server may have the message."""
        if not self._awaited:
            return Stage.IDLE
        stage = self._awaited[0].stage
        return Stage.FINAL if stage is Stage.CONTENT and self._awaited[-1].stage is Stage.FINAL else stage

    def receive(self, data: bytes) -> None:
        """Octets from the server. Never raises. What comes behind the end is dropped."""
        if self.finished:
            return
        self._reader.receive(data)
        if self._tls_expected:
            self._break(Stage.START_TLS, "Plain text behind the go-ahead for TLS")

    def next_event(self) -> Event | None:
        """The next answer, or None when more octets are needed."""
        while not self._events and not self.finished:
            try:
                reply = self._reader.next_reply()
            except BadReply as error:
                self._break(self.waiting_for, str(error))
                break
            if reply is None:
                break
            self._take(reply)
        return self._events.popleft() if self._events else None

    def take_output(self) -> bytes:
        """Octets that are ready for the server."""
        output = bytes(self._output)
        self._output.clear()
        return output

    # How replies meet commands

    def _ask(self, *commands: _Command) -> None:
        if (
            not self._awaited and not self._reader.empty
        ):  # its replies would meet other commands than they belong to
            self._break(Stage.IDLE, "Reply without a command")
        if not self.finished:
            self._unsent.extend(commands)
            self._send()

    def _send(self) -> None:
        """Move to the wire what may go there now."""
        pipelining = "PIPELINING" in self.extensions
        while self._unsent:
            last = self._awaited[-1] if self._awaited else None
            if last is not None and not (pipelining and (last.chunk or last.stage in _PIPELINED)):
                break
            command = self._unsent.popleft()
            self._output += command.line
            self._awaited.append(command)
            if command.chunk and command.stage is Stage.FINAL:
                self._await_finals()

    def _send_chunk(self, data: bytes, *, last: bool) -> None:
        if data or last:
            line = b"BDAT %d%b\r\n%b" % (len(data), b" LAST" if last else b"", data)
            self._ask(_Command(Stage.FINAL if last else Stage.CONTENT, line, chunk=True))

    def _await_finals(self) -> None:
        """LMTP: there is one reply for each recipient, and the first one is awaited already."""
        if self._lmtp:
            accepted = sum(reply.positive for reply in self.recipient_replies)
            self._awaited.extend([_FINAL] * (accepted - 1))

    def _take(self, reply: Reply) -> None:
        self.replies += 1
        if not self._awaited:
            self._break(Stage.IDLE, str(reply) if reply.code == 421 else "Reply without a command")
            return
        command = self._awaited[0]
        stage = command.stage
        if not _possible(command, reply):
            self._break(self.waiting_for, f"Reply out of place: {reply}")
            return
        self._awaited.popleft()
        if stage in _ENVELOPE_STAGES:
            self._take_envelope(stage, reply)
        elif stage is Stage.HELLO:
            self._take_hello(command, reply)
        elif stage is Stage.AUTH and reply.code == 334:
            self._take_challenge(command, reply)
        elif command is _NO_CONTENT or command is _IN_VAIN:
            pass
        elif stage is Stage.CONTENT:
            self._take_verdict_on_piece(command, reply)
        elif stage is Stage.FINAL and self._lmtp:
            self._take_final(reply)
        else:
            self._answer(stage, reply)
        if reply.code == 421:
            self.finished = True
        self._send()

    def _answer(self, stage: Stage, reply: Reply) -> None:
        """Hand on a reply that stands for itself."""
        if stage is Stage.START_TLS and reply.positive:
            self._tls_expected = True
            if not self._reader.empty:  # an attacker's words, to be taken for the server's (RFC 3207 §6)
                self._break(stage, "Plain text behind the go-ahead for TLS")
                return
        if stage is Stage.QUIT:
            self.finished = True
        if stage is Stage.AUTH:
            self._initial = None
        self._events.append(Replied(stage, reply))

    def _take_challenge(self, command: _Command, reply: Reply) -> None:
        if command is _CANCEL:
            self._break(Stage.AUTH, "Challenge after the exchange was cancelled")
            return
        if self._initial is not None:
            initial, self._initial = self._initial, None
            self.respond(initial)
            return
        try:
            challenge = decode(reply.lines[0].encode("ascii"))
        except SaslError:
            # LOGIN's challenges mean nothing, and are not even base64 with some servers.
            challenge = b""
        self._events.append(Challenged(challenge))

    def _take_hello(self, command: _Command, reply: Reply) -> None:
        if reply.permanent and command.line.startswith(b"EHLO"):
            self._ask(_Command(Stage.HELLO, b"HELO %b\r\n" % self._hostname))
            return
        if reply.positive:
            self.peer_name = reply.lines[0].partition(" ")[0]
            for line in reply.lines[1:MAX_OFFERS]:
                keyword, _, parameters = line.partition(" ")
                self.extensions[keyword.upper()] = parameters.strip()
        self._events.append(Replied(Stage.HELLO, reply))

    def _take_envelope(self, stage: Stage, reply: Reply) -> None:
        """Collect the replies to an envelope; tell them when the last one is there."""
        data: Reply | None = None
        if stage is Stage.RESET:
            if not reply.positive:
                self._break(stage, str(reply))
                return
        elif stage is Stage.MAIL:
            self.mail_reply = reply
            if not reply.positive:
                self._unsent.clear()
        elif stage is Stage.RECIPIENT:
            self.recipient_replies.append(reply)
            if list(self._unsent) == [_DATA] and not any(r.positive for r in self.recipient_replies):
                self._unsent.clear()  # nobody to send it to
        else:
            data = reply
        if reply.code == 421:
            data = self._spread(stage, reply)
        if self.mail_reply is not None and not self._awaited and not self._unsent:
            self._conclude(self.mail_reply, data)

    def _spread(self, stage: Stage, reply: Reply) -> Reply:
        """A 421 answers all that is outstanding."""
        missing = sum(c.stage is Stage.RECIPIENT for c in (*self._awaited, *self._unsent))
        if stage is Stage.RECIPIENT:
            self.recipient_replies.extend([reply] * missing)
        self._awaited.clear()
        self._unsent.clear()
        return reply

    def _conclude(self, mail: Reply, data: Reply | None) -> None:
        recipients = tuple(self.recipient_replies) if mail.positive else ()
        event = EnvelopeReplied(mail, recipients, data, self._chunked)
        if event.go_ahead:
            self._open = True
            if not self._chunked:
                self._awaited.append(_CONTENT)
        elif data is not None and data.code == 354:
            # Nobody knows what such a server would do with an end of data; LMTP has no reply to it.
            if not mail.positive or self._lmtp:
                self._break(Stage.DATA, "Go-ahead for a refused transaction")
                return
            self._ask(_NO_CONTENT)  # RFC 2920 §3.1
        self._events.append(event)

    def _take_verdict_on_piece(self, command: _Command, reply: Reply) -> None:
        """Chunk by chunk acceptance is of no interest; a refusal is the end of the content."""
        if reply.positive:
            return
        self._open = False
        self._unsent.clear()
        # What was sent behind DATA cannot be taken back. Chunks can be told from commands, so that replies
        # and commands stay in step, unless there may be one or several for the last chunk.
        if not command.chunk or (self._lmtp and any(c.stage is Stage.FINAL for c in self._awaited)):
            self.finished = True
        self._awaited = deque([_IN_VAIN] * len(self._awaited))
        self._events.append(Replied(Stage.CONTENT, reply))

    def _take_final(self, reply: Reply) -> None:
        self.final_replies.append(reply)
        if reply.code == 421:
            self.final_replies += [reply] * len(self._awaited)
            self._awaited.clear()
        if not self._awaited:
            self._events.append(RecipientsReplied(tuple(self.final_replies)))

    def _break(self, stage: Stage, text: str) -> None:
        if not self.finished:
            self.finished = True
            self._events.append(Broken(stage, text))


def _possible(command: _Command, reply: Reply) -> bool:
    """Whether a reply can be one to this command (RFC 5321 §4.3.2)."""
    kind = reply.code // 100
    stage = command.stage
    if stage is Stage.DATA:
        return kind >= 4 or reply.code == 354
    if stage is Stage.AUTH:
        return kind >= 4 or (kind == 2 and command is not _CANCEL) or reply.code == 334
    if stage is Stage.CONTENT and not command.chunk:
        return kind >= 4  # acceptance of what has not been said yet
    return kind != 3
