"""The client's side of SMTP, without I/O (RFC 5321 §3, §4.1, §4.3; RFC 1870; RFC 2920; RFC 3207; RFC 4954).

The session says what it wants (`hello`, `start_tls`, `authenticate`, `envelope`, `send_content`, `quit`);
the engine knows which command may be on its way while which reply is outstanding, and answers each wish
with exactly one event. Where the server offers PIPELINING an envelope leaves in one piece; where it does
not, one command at a time.

A 421 to any command answers everything that was asked, and ends the conversation. A reply that cannot
be right at its place is `Broken`: client and server are out of step, and nothing more can be trusted.

Left out on purpose: CHUNKING, DSN and SMTPUTF8, which come with the server's side of them, and the conversion
of 8-bit content for servers without 8BITMIME (RFC 6152 §3): it is sent as it is, as qmail and Exim do.
"""

from __future__ import annotations

import base64
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from twisted_mta.message.address import Address
from twisted_mta.protocol.smtp.client_events import Broken, EnvelopeReplied, Event, Replied, Stage
from twisted_mta.protocol.smtp.outgoing import path
from twisted_mta.protocol.smtp.reply_reader import BadReply, Reply, ReplyReader

MAX_COMMAND = 512  # octets of a command line including CRLF, RFC 5321 §4.5.3.1.4


class _Command(NamedTuple):
    stage: Stage
    line: bytes


_BANNER = _Command(Stage.BANNER, b"")
_DATA = _Command(Stage.DATA, b"DATA\r\n")
_CONTENT = _Command(Stage.CONTENT, b"")
_FINAL = _Command(Stage.FINAL, b"")
# The end of data that nobody is to receive; its reply means nothing, and the session is not told.
_NO_CONTENT = _Command(Stage.FINAL, b".\r\n")
_CANCEL = _Command(Stage.AUTH, b"*\r\n")
_RESET = _Command(Stage.RESET, b"RSET\r\n")

_ENVELOPE_STAGES = frozenset({Stage.RESET, Stage.MAIL, Stage.RECIPIENT, Stage.DATA})
# More may be sent while the reply to one of these is outstanding (RFC 2920 §3.1).
_PIPELINED = frozenset({Stage.RESET, Stage.MAIL, Stage.RECIPIENT, Stage.FINAL})


class ClientEngine:
    """One connection to a server. `hostname` is our name in EHLO: a domain or an address literal.

    extensions: what the last EHLO offered, keyword (upper case) to parameters; empty after HELO.
    peer_name: the name the server gave itself in its reply to EHLO or HELO.
    replies: how many replies have been read; a measure of progress.
    mail_reply, recipient_replies: what is known of the envelope so far, of use when the connection is lost.
    """

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname.encode("ascii")
        self._reader = ReplyReader()
        self._output = bytearray()
        self._unsent: deque[_Command] = deque()
        self._awaited: deque[_Command] = deque((_BANNER,))
        self._events: deque[Event] = deque()
        self._secrets: deque[bytes] = deque()
        self._tls_expected = False
        self.extensions: dict[str, str] = {}
        self.peer_name = ""
        self.replies = 0
        self.finished = False
        self.mail_reply: Reply | None = None
        self.recipient_replies: list[Reply] = []

    # What the session wants

    def hello(self) -> None:
        """Say EHLO; when that is refused for good, HELO (RFC 5321 §3.2). Replied(HELLO)."""
        self.extensions = {}
        self._ask(_Command(Stage.HELLO, b"EHLO %b\r\n" % self._hostname))

    def start_tls(self) -> None:
        """Ask for TLS. Replied(START_TLS); when positive, shake hands, then call `tls_started`."""
        self._ask(_Command(Stage.START_TLS, b"STARTTLS\r\n"))

    def tls_started(self) -> None:
        """The connection is inside TLS now: what was learned outside is forgotten (RFC 3207 §4.2)."""
        self._tls_expected = False
        self.extensions = {}

    @property
    def auth_mechanism(self) -> str:
        """The mechanism `authenticate` would use, or "" when the server offers none that we know."""
        offered = self.extensions.get("AUTH", "").upper().split()
        return next((name for name in ("PLAIN", "LOGIN") if name in offered), "")

    @property
    def size_limit(self) -> int:
        """The largest content the server takes, in octets; 0 when it did not say (RFC 1870 §4)."""
        limit = self.extensions.get("SIZE", "")
        return int(limit) if limit.isdigit() and len(limit) <= 20 else 0

    def authenticate(self, user: str, password: str) -> None:
        """Log in (RFC 4954, RFC 4616). To be called inside TLS only. Replied(AUTH)."""
        login, secret = user.encode(), password.encode()
        if self.auth_mechanism == "PLAIN":
            response = base64.b64encode(b"\0%b\0%b" % (login, secret))
            line = b"AUTH PLAIN %b\r\n" % response
            if len(line) > MAX_COMMAND:
                self._secrets, line = deque((response,)), b"AUTH PLAIN\r\n"
        else:
            self._secrets = deque((base64.b64encode(login), base64.b64encode(secret)))
            line = b"AUTH LOGIN\r\n"
        self._ask(_Command(Stage.AUTH, line))

    def envelope(
        self,
        reverse_path: Address | None,
        forward_paths: Sequence[Address],
        *,
        size: int,
        eight_bit: bool,
        reset: bool,
    ) -> None:
        """Begin a transaction: EnvelopeReplied, with as few round trips as the server allows.

        size: octets of the content, told where SIZE is offered. eight_bit: the content may not be pure ASCII.
        reset: begin with RSET, as on a connection that has been idle. Raises ValueError as `path` does.
        """
        mail = b"MAIL FROM:%b" % path(reverse_path)
        recipients = [_Command(Stage.RECIPIENT, b"RCPT TO:%b\r\n" % path(to)) for to in forward_paths]
        if "SIZE" in self.extensions:
            mail += b" SIZE=%d" % size
        if eight_bit and "8BITMIME" in self.extensions:
            mail += b" BODY=8BITMIME"
        self.mail_reply = None
        self.recipient_replies = []
        start = (_RESET,) if reset else ()
        self._ask(*start, _Command(Stage.MAIL, mail + b"\r\n"), *recipients, _DATA)

    def send_content(self, data: bytes, *, last: bool) -> None:
        """After a go-ahead: the next piece of what `outgoing.data` makes of the content. Replied(FINAL) after
        the last one, which holds the end of data; Replied(CONTENT) when the server cannot wait for it."""
        self._output += data
        if last and self._awaited:
            self._awaited[0] = _FINAL

    def quit(self) -> None:
        """Say goodbye. Replied(QUIT)."""
        self._ask(_Command(Stage.QUIT, b"QUIT\r\n"))

    # What the connection does

    @property
    def waiting_for(self) -> Stage:
        """What the next reply will be about; IDLE when nothing is asked."""
        return self._awaited[0].stage if self._awaited else Stage.IDLE

    def receive(self, data: bytes) -> None:
        """Octets from the server. Never raises."""
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
        if not self.finished:
            self._unsent.extend(commands)
            self._send()

    def _send(self) -> None:
        """Move to the wire what may go there now."""
        pipelining = "PIPELINING" in self.extensions
        while self._unsent:
            if self._awaited and not (pipelining and self._awaited[-1].stage in _PIPELINED):
                break
            command = self._unsent.popleft()
            self._output += command.line
            self._awaited.append(command)

    def _take(self, reply: Reply) -> None:
        self.replies += 1
        if not self._awaited:
            self._break(Stage.IDLE, str(reply) if reply.code == 421 else "Reply without a command")
            return
        command = self._awaited.popleft()
        stage = command.stage
        if not _possible(stage, reply):
            self._break(stage, f"Reply out of place: {reply}")
        elif stage in _ENVELOPE_STAGES:
            self._take_envelope(stage, reply)
        elif stage is Stage.HELLO:
            self._take_hello(command, reply)
        elif stage is Stage.AUTH and reply.code == 334:
            self._take_challenge(command)
        elif command is not _NO_CONTENT:
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
        if stage is Stage.AUTH:
            self._secrets.clear()
        # A verdict in the middle of the content is valid, but the rest cannot be taken back.
        if stage in (Stage.CONTENT, Stage.QUIT):
            self.finished = True
        self._events.append(Replied(stage, reply))

    def _take_challenge(self, command: _Command) -> None:
        if self._secrets:
            self._ask(_Command(Stage.AUTH, self._secrets.popleft() + b"\r\n"))
        elif command is not _CANCEL:
            self._ask(_CANCEL)
        else:
            self._break(Stage.AUTH, "Challenge after the exchange was cancelled")

    def _take_hello(self, command: _Command, reply: Reply) -> None:
        if reply.permanent and command.line.startswith(b"EHLO"):
            self._ask(_Command(Stage.HELLO, b"HELO %b\r\n" % self._hostname))
            return
        if reply.positive:
            self.peer_name = reply.lines[0].partition(" ")[0]
            for line in reply.lines[1:]:
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
            if len(self._unsent) == 1 and not any(r.positive for r in self.recipient_replies):
                self._unsent.clear()  # only DATA is left, and nobody to send it to
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
        event = EnvelopeReplied(mail, recipients, data)
        if event.go_ahead:
            self._awaited.append(_CONTENT)
        elif data is not None and data.code == 354:
            if not mail.positive:  # nobody knows what such a server would do with an end of data
                self._break(Stage.DATA, "Go-ahead for a refused transaction")
                return
            self._ask(_NO_CONTENT)  # RFC 2920 §3.1
        self._events.append(event)

    def _break(self, stage: Stage, text: str) -> None:
        if not self.finished:
            self.finished = True
            self._events.append(Broken(stage, text))


def _possible(stage: Stage, reply: Reply) -> bool:
    """Whether a reply can be one to a command of this stage (RFC 5321 §4.3.2)."""
    kind = reply.code // 100
    if stage is Stage.DATA:
        return kind >= 4 or reply.code == 354
    if stage is Stage.AUTH:
        return kind >= 4 or kind == 2 or reply.code == 334
    if stage is Stage.CONTENT:
        return kind >= 4  # acceptance of what has not been said yet
    return kind != 3
