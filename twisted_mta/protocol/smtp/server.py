"""The server engine of SMTP: octets in, events out, replies ready to send.

Implements RFC 5321 §3 and §4 as a server, with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152),
ENHANCEDSTATUSCODES (RFC 2034), STARTTLS (RFC 3207), AUTH (RFC 4954) with the mechanisms of
`protocol/sasl`, and those of `extensions.py` that the service offers; or LMTP (RFC 2033), which differs in
its greeting, LHLO, and a reply for each recipient at the end of content. The engine knows the order of
commands and the envelope so far, and answers alone what needs nobody's decision; an event is what the session
must decide. After an event that waits for a verdict nothing is read on until `accept` or `refuse` has been
called: a pipelined command never overtakes another.

A line ends at CRLF. A line that ends in a bare LF ends the connection, because what follows it may be part
of what somebody else takes for the same line; a bare CR spoils its line only.

Left out on purpose: EXPN and what RFC 5321 deprecates.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import NO_PARAMETERS, EnvelopeRecipient, MailParameters
from twisted_mta.message.status import MailError
from twisted_mta.protocol.framing import BareLineEnd, LineBuffer, LineTooLong
from twisted_mta.protocol.sasl import exchange as sasl
from twisted_mta.protocol.sasl.credentials import PasswordCredentials, SaslError
from twisted_mta.protocol.smtp import commands
from twisted_mta.protocol.smtp.chunks import ChunkEnd, ChunkReader
from twisted_mta.protocol.smtp.data import DataReader
from twisted_mta.protocol.smtp.events import (
    Answered,
    Authenticate,
    DataChunk,
    DataEnd,
    DataSpoiled,
    DataStart,
    Event,
    Hello,
    Mail,
    Recipient,
    StartTls,
)
from twisted_mta.protocol.smtp.extensions import Extension, SmtpLimits, keywords
from twisted_mta.protocol.smtp.parameters import Circumstances
from twisted_mta.protocol.smtp.replies import multiline, refusal, reply
from twisted_mta.protocol.smtp.states import AFTER, OUT_OF_ORDER, State

# Known, but not here or not to this client.
_NOT_IMPLEMENTED = frozenset(
    ("AUTH", "BDAT", "BURL", "ETRN", "EXPN", "SAML", "SEND", "SOML", "STARTTLS", "TURN")
)

_SENDER_OK = reply(250, "2.1.0", "Sender ok")
_RECIPIENT_OK = reply(250, "2.1.5", "Recipient ok")
_GO_AHEAD = reply(354, "", "Send the message, end with a dot on a line by itself")
_OK = reply(250, "2.0.0", "Ok")
_TOO_MANY_RECIPIENTS = reply(452, "4.5.3", "Too many recipients, send the others in another transaction")


class SmtpServer:
    """One session. `<postmaster>` alone is the postmaster of `postmaster_domain`, by default the host's.
    `secure`: the connection is inside TLS; `tls_available`: STARTTLS may be offered;
    `mechanisms`: what AUTH may offer, nothing for a server without; `allow_cleartext`: also outside TLS.
    `lmtp`: speaks LMTP. `seconds`: the wall clock, from which a sender's wishes in seconds are counted."""

    def __init__(
        self,
        *,
        hostname: str,
        postmaster_domain: str = "",
        secure: bool = False,
        tls_available: bool = False,
        mechanisms: Sequence[str] = (),
        allow_cleartext: bool = False,
        lmtp: bool = False,
        extensions: Collection[Extension] = (),
        limits: SmtpLimits = SmtpLimits(),
        seconds: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._hostname = hostname
        self._postmaster_domain = postmaster_domain or hostname
        self._lmtp = lmtp
        self._tls_available = tls_available
        self._mechanisms = tuple(mechanisms)
        self._allow_cleartext = allow_cleartext
        self._offered = frozenset(extensions)
        self._limits = limits
        self._seconds = seconds
        self._lines = LineBuffer(max(limits.auth_line if mechanisms else 0, limits.command_line))
        self._output = bytearray()
        self._pending: Event | None = None  # waits for a verdict
        self._data: DataReader | ChunkReader | None = None  # while content is being read
        self._chunks: ChunkReader | None = None  # from the first BDAT of a content to its end
        self._exchange: sasl.Exchange | None = None
        self._errors = 0
        self._refusals = 0
        self.state = State.GREETED
        self.secure = secure
        self.authenticated = False
        self.hello: Hello | None = None
        self.reverse_path: Address | None = None
        self.parameters: MailParameters = NO_PARAMETERS
        self._recipients: dict[Address, EnvelopeRecipient] = {}  # in order, each once
        self._accepted_recipients = 0  # commands RCPT, of which some may have named the same address
        self.finished = False
        self._obey: dict[str, Callable[[str], Event | None]] = {
            **({"LHLO": self._lhlo} if lmtp else {"HELO": self._helo, "EHLO": self._ehlo}),
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._start_data,
            "RSET": self._rset,
            "NOOP": self._noop,
            "VRFY": self._vrfy,
            "HELP": self._help,
            "QUIT": self._quit,
        }
        if tls_available:
            self._obey["STARTTLS"] = self._starttls
        if Extension.CHUNKING in self._offered:
            self._obey["BDAT"] = self._bdat
        if mechanisms:
            self._obey["AUTH"] = self._auth

    # The engine as a connection sees it

    def receive(self, data: bytes) -> None:
        """Octets from the client."""
        if self.finished:
            return
        if self._data is None:
            self._lines.receive(data)
        else:
            self._receive_content(data)

    def next_event(self) -> Event | None:
        """What the session must decide next, or None when more octets are needed."""
        assert self._pending is None, "the last event has had no verdict"
        while not self.finished:
            if self._data is not None:
                return self._content_event(self._data)
            try:
                line = self._lines.next_line()
                if line is None:
                    return None
                event = self._exchanged(line) if self._exchange else self._command(line)
            except (MailError, LineTooLong, BareLineEnd) as error:
                self._complain(error)
                continue
            if event is not None:
                if type(event) is not Answered:
                    self._pending = event
                return event
        return None

    def take_output(self) -> bytes:
        """What is to be sent to the client."""
        output = bytes(self._output)
        self._output.clear()
        return output

    # Verdicts of the session

    def greet(self) -> None:
        """Say who we are; the first thing a session does (RFC 5321 §4.2)."""
        self._output += reply(220, "", f"{self._hostname} {'LMTP' if self._lmtp else 'ESMTP'}")

    def accept(self, text: str = "") -> None:
        """Yes to the pending event. `text` is the text of the reply that ends DATA."""
        event, self._pending = self._pending, None
        match event:
            case Recipient():
                self._recipients.setdefault(
                    event.forward_path, EnvelopeRecipient(event.forward_path, event.notify, event.orcpt)
                )
                self._accepted_recipients += 1
                self._output += _RECIPIENT_OK
            case Mail():
                self.reverse_path, self.parameters = event.reverse_path, event.parameters
                self._output += _SENDER_OK
            case DataStart(chunked=True):
                self._read_chunk()
                self.state = State.CHUNKS
                return
            case DataStart():
                self._accept_data()
            case DataEnd():
                self._output += (reply(250, "2.0.0", text) if text else _OK) * self._verdicts
                self._reset()
                self._errors = self._refusals = 0
            case Hello():
                self._reset()
                self.hello = event
                self._output += multiline(250, self._hello_lines(event))
            case StartTls():
                self._accept_tls()
            case Authenticate():
                self.authenticated = True
                self._output += reply(235, "2.7.0", "Authentication succeeded")
            case _:
                raise AssertionError("no event waits for a verdict")
        self.state = AFTER[type(event)]

    def refuse(self, error: MailError) -> None:
        """No to the pending event, or to content while it comes in: the rest of it is skipped then, and
        the refusal is due at its end (`DataSpoiled`)."""
        event, self._pending = self._pending, None
        if event is None:
            assert self._data is not None, "no event waits for a verdict"
            self._data.spoil(error)
            return
        if isinstance(event, DataStart) and event.chunked:
            assert self._chunks is not None
            self._chunks.spoil(error)  # its octets come all the same
            self._read_chunk()
            return
        self._refusals += 1
        if isinstance(event, DataEnd | DataSpoiled):
            self._output += refusal(error) * (self._verdicts - 1)
            self._reset()
        self._answer_error(error, self._refusals >= self._limits.refusals)

    def shut(self, error: MailError) -> None:
        """Say why and close: 421 for time-outs, shutdown, too many errors (RFC 5321 §3.8)."""
        if not self.finished:
            self._output += refusal(error)
            self.finished = True

    @property
    def forward_paths(self) -> tuple[Address, ...]:
        """The addresses of `recipients`."""
        return tuple(self._recipients)

    @property
    def recipients(self) -> tuple[EnvelopeRecipient, ...]:
        """The accepted recipients of this transaction, in order."""
        return tuple(self._recipients.values())

    # Lines

    def _command(self, line: bytes) -> Event | None:
        verb, argument = commands.split_line(line, utf8=Extension.SMTPUTF8 in self._offered)
        if len(line) + 2 > self._limits.command_line and verb != "AUTH":
            raise LineTooLong
        obey = self._obey.get(verb)
        if obey is None:
            if verb in _NOT_IMPLEMENTED:
                raise MailError(502, "5.5.1", "Command not implemented")
            raise MailError(500, "5.5.2", "Command not recognized")
        out_of_order = OUT_OF_ORDER.get((verb, self.state))
        if out_of_order and verb != "BDAT":  # which brings octets along
            raise MailError(*out_of_order)
        return obey(argument)

    def _complain(self, error: MailError | LineTooLong | BareLineEnd) -> None:
        """Answer a line that makes no sense."""
        if isinstance(error, LineTooLong):
            # The status for an over-long line of an exchange is its own (RFC 4954 §6).
            error = MailError(500, "5.5.6" if self._exchange else "5.5.2", "Line too long")
        elif isinstance(error, BareLineEnd):
            if error.ends_line:
                self.shut(MailError(521, "5.5.2", "Lines must end in CR LF, got a bare LF; closing"))
                return
            error = MailError(500, "5.5.2", "Bare CR in a line")
        self._leave_exchange()
        self._errors += 1
        self._answer_error(error, self._errors >= self._limits.errors)

    def _answer_error(self, error: MailError, last: bool) -> None:
        if last:
            self.shut(MailError(421, "4.7.0", f"{self._hostname} Too many errors, closing"))
        else:
            self._output += refusal(error)

    def _reset(self) -> None:
        """Forget the transaction (RFC 5321 §4.1.1.5)."""
        self.reverse_path = None
        self.parameters = NO_PARAMETERS
        self._recipients = {}
        self._accepted_recipients = 0
        self._chunks = None
        if self.state is not State.GREETED:
            self.state = State.READY

    # Commands; each returns what the session must decide

    @property
    def _verdicts(self) -> int:
        """Replies at the end of content: in LMTP one for each RCPT that was accepted (RFC 2033 §4.2), but to
        a chunk that is not the last one there is one (§4.3)."""
        whole = self._chunks is None or self._chunks.last
        return self._accepted_recipients if self._lmtp and whole else 1

    def _lhlo(self, argument: str) -> Event:
        return commands.hello("LHLO", argument)

    def _helo(self, argument: str) -> Event:
        return commands.hello("HELO", argument)

    def _ehlo(self, argument: str) -> Event:
        return commands.hello("EHLO", argument)

    def _hello_lines(self, hello: Hello) -> list[str]:
        lines = [self._hostname]
        if hello.extended:
            lines += ["PIPELINING", f"SIZE {self._limits.message}", "8BITMIME", "ENHANCEDSTATUSCODES"]
            lines += keywords(self._offered, self._limits, secure=self.secure, now=self._seconds())
            if self._tls_available and not self.secure:
                lines.append("STARTTLS")
            if self._mechanisms and self._may_authenticate and not self.authenticated:
                lines.append("AUTH " + " ".join(self._mechanisms))
        return lines

    def _mail(self, argument: str) -> Event:
        mail = commands.mail(argument, self._circumstances)
        if mail.size > self._limits.message:
            raise MailError(552, "5.3.4", f"Messages may have {self._limits.message} octets")
        return mail

    def _rcpt(self, argument: str) -> Event | None:
        if self._accepted_recipients >= self._limits.recipients:
            # No error of the client's: it may go on to DATA with those it has (RFC 5321 §4.5.3.1.10).
            self._output += _TOO_MANY_RECIPIENTS
            return Answered("RCPT")
        return commands.recipient(
            argument, self._postmaster_domain, self._circumstances, utf8=self.parameters.smtputf8
        )

    @property
    def _circumstances(self) -> Circumstances:
        return Circumstances(self._offered, self._limits, self.secure, self._seconds())

    def _rset(self, argument: str) -> Event:
        commands.no_argument("RSET", argument)
        self._reset()
        return self._answered("RSET", _OK)

    def _noop(self, argument: str) -> Event:
        return self._answered("NOOP", _OK)

    def _vrfy(self, argument: str) -> Event:
        if not argument:
            raise commands.syntax_error("VRFY address")
        return self._answered("VRFY", reply(252, "2.0.0", "Cannot verify, but will take a message and try"))

    def _help(self, argument: str) -> Event:
        return self._answered("HELP", reply(214, "2.0.0", "Commands: " + " ".join(self._obey)))

    def _quit(self, argument: str) -> Event | None:
        commands.no_argument("QUIT", argument)
        self._output += reply(221, "2.0.0", f"{self._hostname} closing connection")
        self.finished = True
        return None

    def _answered(self, verb: str, line: bytes) -> Event:
        self._output += line
        return Answered(verb)

    # Content

    def _start_data(self, argument: str) -> Event:
        commands.no_argument("DATA", argument)
        if self.parameters.body == "BINARYMIME":
            raise MailError(503, "5.5.1", "BINARYMIME content comes by BDAT")  # RFC 3030 §3
        return DataStart()

    def _bdat(self, argument: str) -> Event | None:
        """RFC 3030 §2: the octets of a chunk follow its line at once, welcome or not."""
        try:
            size, last = commands.chunk(argument)
        except MailError as error:  # nobody knows where commands begin again
            self.shut(error)
            return None
        first = self._chunks is None
        if self._chunks is None:
            binary = self.parameters.body == "BINARYMIME"
            self._chunks = ChunkReader(self._limits.message, binary=binary)
        self._chunks.begin(size, last=last)
        if first and self.state is State.RECIPIENT:
            return DataStart(chunked=True)
        if (out_of_order := OUT_OF_ORDER.get(("BDAT", self.state))) is not None:
            self._chunks.spoil(MailError(*out_of_order))
        self._read_chunk()
        return None

    def _read_chunk(self) -> None:
        self._data = self._chunks
        if self._lines:
            self._receive_content(self._lines.take_all())

    def _accept_data(self) -> None:
        self._output += _GO_AHEAD
        self._data = DataReader(self._limits.message)
        if self._lines:
            self._receive_content(self._lines.take_all())

    def _receive_content(self, octets: bytes) -> None:
        assert self._data is not None
        if self._data.finished:
            self._lines.receive(octets)
            return
        self._data.feed(octets)
        if self._data.hopeless:
            self.shut(MailError(552, "5.3.4", f"Messages may have {self._limits.message} octets; closing"))
            return
        if self._data.rest:
            self._lines.receive(self._data.rest)

    def _content_event(self, data: DataReader | ChunkReader) -> Event | None:
        event = data.next_event()
        if event is None or isinstance(event, DataChunk):
            return event
        self._data = None
        if isinstance(event, ChunkEnd):
            return self._answered("BDAT", reply(250, "2.0.0", f"{event.size} octets received"))
        if isinstance(event, DataSpoiled) and not self._recipients:  # a chunk out of order
            self._chunks = None
            self._complain(event.error)
            return Answered("BDAT")
        self._pending = event
        return event

    # STARTTLS

    def _starttls(self, argument: str) -> Event | None:
        commands.no_argument("STARTTLS", argument)
        if self.secure:
            raise MailError(503, "5.5.1", "TLS is active already")
        if self._lines:
            self._refuse_injection()
            return None
        return StartTls()

    def _accept_tls(self) -> None:
        if self._lines:
            self._refuse_injection()
            return
        self._reset()
        self.hello = None  # all that was learnt outside TLS is forgotten (RFC 3207 §4.2)
        self.authenticated = False
        self.secure = True
        self._output += reply(220, "2.0.0", "Ready to start TLS")

    def _refuse_injection(self) -> None:
        # A client must wait for 220. What stands behind STARTTLS may come from somebody else in the middle.
        self.shut(MailError(554, "5.5.1", "Nothing may follow STARTTLS; closing"))

    # AUTH

    @property
    def _may_authenticate(self) -> bool:
        return self.secure or self._allow_cleartext

    def _auth(self, argument: str) -> Event | None:
        if self.authenticated:
            raise MailError(503, "5.5.1", "Authenticated already")
        if not self._may_authenticate:
            raise MailError(538, "5.7.11", "Encryption required for authentication, use STARTTLS")
        if not argument.isascii():
            raise MailError(501, "5.5.2", "AUTH is ASCII")
        name, _, initial = argument.partition(" ")
        exchange = sasl.begin(name) if name.upper() in self._mechanisms else None
        if exchange is None:
            raise MailError(504, "5.5.4", "Authentication mechanism not known")
        self._exchange, self.state = exchange, State.AUTH
        try:
            return self._challenged(exchange.start(initial.encode("ascii") if initial else None))
        except SaslError as error:
            raise MailError(501, "5.5.2", str(error)) from None

    def _exchanged(self, line: bytes) -> Event | None:
        assert self._exchange is not None
        try:
            return self._challenged(self._exchange.respond(line))
        except sasl.SaslCancelled as error:
            raise MailError(501, "5.7.0", str(error)) from None
        except SaslError as error:
            raise MailError(501, "5.5.2", str(error)) from None

    def _challenged(self, result: bytes | PasswordCredentials) -> Event | None:
        if isinstance(result, PasswordCredentials):
            self._leave_exchange()
            return Authenticate(result)
        self._output += b"334 " + result + b"\r\n"
        return None

    def _leave_exchange(self) -> None:
        if self._exchange is not None:
            self._exchange, self.state = None, State.READY
