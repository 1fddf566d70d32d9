"""The server engine of SMTP: octets in, events out, replies ready to send.

Implements RFC 5321 §3 and §4 as a server, with PIPELINING (RFC 2920), SIZE (RFC 1870), 8BITMIME (RFC 6152),
ENHANCEDSTATUSCODES (RFC 2034), STARTTLS (RFC 3207), AUTH (RFC 4954) with the mechanisms of `protocol/sasl`,
and those of `extensions.py` that the service offers; XCLIENT for trusted proxies; or LMTP (RFC 2033), which
differs in its greeting, LHLO, and a reply for each recipient at the end of content. The engine knows the
order of commands and the envelope so far, and answers alone what needs nobody's decision; an event is what
the session must decide. After an event that waits for a verdict nothing is read on until `accept` or `refuse`
has been called: a pipelined command never overtakes another.

A line ends at CRLF. A line that ends in a bare LF ends the connection, because what follows it may be part
of what somebody else takes for the same line; a bare CR spoils its line only. Old clients may be allowed to
end lines in LF.

Left out on purpose: ETRN (RFC 1985) and what RFC 5321 deprecates.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import NO_PARAMETERS, EnvelopeRecipient, MailParameters
from twisted_mta.message.status import MailError
from twisted_mta.protocol.framing import BareLineEnd, LineBuffer, LineTooLong
from twisted_mta.protocol.sasl.credentials import KeysWanted
from twisted_mta.protocol.sasl.offer import Offer
from twisted_mta.protocol.sasl.scram import Keys
from twisted_mta.protocol.smtp import commands, small_talk, xclient
from twisted_mta.protocol.smtp.authentication import AuthDialog, not_let_in
from twisted_mta.protocol.smtp.chunks import ChunkEnd
from twisted_mta.protocol.smtp.content import Content
from twisted_mta.protocol.smtp.events import (
    Answered,
    Authenticate,
    Burl,
    DataChunk,
    DataEnd,
    DataSpoiled,
    DataStart,
    Event,
    Hello,
    Mail,
    Recipient,
    StartTls,
    Xclient,
)
from twisted_mta.protocol.smtp.extensions import Circumstances, Extension, SmtpLimits, keywords
from twisted_mta.protocol.smtp.nuisance import Nuisance
from twisted_mta.protocol.smtp.replies import OK, multiline, refusal, reply
from twisted_mta.protocol.smtp.states import AFTER, OUT_OF_ORDER, State

_SENDER_OK = reply(250, "2.1.0", "Sender ok")
_RECIPIENT_OK = reply(250, "2.1.5", "Recipient ok")
_GO_AHEAD = reply(354, "", "Send the message, end with a dot on a line by itself")
_MORE = reply(250, "2.5.0", "Waiting for more BURL or BDAT")
_TOO_MANY_RECIPIENTS = reply(452, "4.5.3", "Too many recipients, send the others in another transaction")


class SmtpServer:
    """One session. `<postmaster>` alone is the postmaster of `postmaster_domain`, by default the host's.
    `secure`: the connection is inside TLS; `tls_available`: STARTTLS may be offered;
    `offer`: what a client may log in with now, None for a server without AUTH.
    `lmtp`: speaks LMTP. `seconds`: the wall clock, from which a sender's wishes in seconds are counted.
    `contact`: for HELP. `trusted`: this client may say XCLIENT. `normalise`: it may end lines in LF."""

    def __init__(
        self,
        *,
        hostname: str,
        postmaster_domain: str = "",
        secure: bool = False,
        tls_available: bool = False,
        offer: Callable[[], Offer] | None = None,
        lmtp: bool = False,
        extensions: Collection[Extension] = (),
        limits: SmtpLimits = SmtpLimits(),
        seconds: Callable[[], float] = lambda: 0.0,
        contact: str = "",
        trusted: bool = False,
        normalise: bool = False,
    ) -> None:
        self._hostname = hostname
        self._postmaster_domain = postmaster_domain or hostname
        self._lmtp = lmtp
        self._tls_available = tls_available
        self._offered = frozenset(extensions)
        self._limits = limits
        self._seconds = seconds
        self._contact = contact or f"postmaster@{self._postmaster_domain}"
        self._trusted = trusted
        self._normalise = normalise
        self._lines = LineBuffer(max(limits.auth_line if offer else 0, limits.command_line))
        self._output = bytearray()
        self._pending: Event | None = None  # waits for a verdict
        self._content = Content(self._lines, limits.message, normalise=normalise)
        self._auth = AuthDialog(offer)
        self._nuisance = Nuisance(limits)
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
            **{verb: partial(commands.hello, verb) for verb in (("LHLO",) if lmtp else ("HELO", "EHLO"))},
            "MAIL": self._mail,
            "RCPT": self._rcpt,
            "DATA": self._start_data,
            "RSET": self._rset,
            **{verb: partial(self._chat, verb) for verb in small_talk.VERBS},
            "QUIT": self._quit,
        }
        if tls_available:
            self._obey["STARTTLS"] = self._starttls
        if Extension.CHUNKING in self._offered:
            self._obey["BDAT"] = self._bdat
        if Extension.BURL in self._offered:
            self._obey["BURL"] = commands.url_chunk
        if trusted:
            self._obey["XCLIENT"] = self._xclient
        if offer:
            self._obey["AUTH"] = self._begin_auth

    # The engine as a connection sees it

    def receive(self, data: bytes) -> None:
        """Octets from the client."""
        if self.finished:
            return
        if self._content.reading:
            self._content.receive(data)
        else:
            self._lines.receive(data)

    def next_event(self) -> Event | None:
        """What the session must decide next, or None when more octets are needed."""
        assert self._pending is None or self.finished, "the last event has had no verdict"
        while not self.finished:
            if self._content.reading:
                return self._content_event()
            try:
                line = self._next_line()
                if line is None:
                    return None
                event = self._exchanged(line) if self._auth.active else self._command(line)
            except (MailError, LineTooLong, BareLineEnd) as error:
                self._complain(error)
                return Answered("")
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

    def include(self, octets: bytes) -> None:
        """Octets of the chunk that BURL names, to be counted and looked at: call this before they are taken
        over. Raises MailError when they cannot be."""
        self._content.include(octets, binary=self._binary)

    def complete(self) -> None:
        """All octets of the last BURL have been included: call this before the message is taken over. Raises
        MailError for half a line end at the end of the content."""
        self._content.complete(binary=self._binary)

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
                self._content.open_chunk()
                self.state = State.CHUNKS
                return
            case DataStart():
                self._output += _GO_AHEAD
                self._content.open_data()
            case Burl(last=False):
                self._output += _MORE
            case DataEnd() | Burl():
                self._output += (reply(250, "2.0.0", text) if text else OK) * self._verdicts
                self._reset()
                self._nuisance.forget()
                return
            case Hello():
                self._reset()
                self.hello = event
                self._output += multiline(250, self._hello_lines(event))
            case StartTls():
                self._accept_tls()
            case Xclient():
                self._begin_anew()
                self.greet()
                self.authenticated = bool(event.client.login)  # the proxy has seen to it
            case Authenticate():
                self._auth.leave()
                self.authenticated = True
                self._output += reply(235, "2.7.0", "Authentication succeeded")
            case _:
                raise AssertionError("no event waits for a verdict")
        self.state = AFTER[type(event)]

    def provide(self, keys: Sequence[Keys]) -> None:
        """The answer to KeysWanted; see `Exchange.provide`."""
        self._pending = None
        self._output += self._auth.provide(keys)

    def login_failed(self, *, last: bool) -> None:
        """No to Authenticate. `last`: there is no further attempt."""
        self._pending = None
        if not last and (why := self._auth.refused()):
            self._output += why  # the reply follows the client's answer
            return
        self._leave_exchange()
        self._output += refusal(not_let_in())
        if last:
            self.shut(MailError(421, "4.7.0", f"{self._hostname} Too many failed logins, closing"))

    def refuse(self, error: MailError) -> None:
        """No to the pending event, or to content while it comes in: the rest of it is skipped then, and
        the refusal is due at its end (`DataSpoiled`)."""
        event, self._pending = self._pending, None
        if event is None:
            self._content.spoil(error)
            return
        if isinstance(event, DataStart) and event.chunked:
            self._content.spoil(error)  # its octets come all the same
            self._content.open_chunk()
            return
        self._leave_exchange()
        if isinstance(event, DataEnd | DataSpoiled | Burl):
            self._output += refusal(error) * (self._verdicts - 1)
            self._reset()
        self._answer_error(error, self._nuisance.refusal())

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

    def _next_line(self) -> bytes | None:
        try:
            return self._lines.next_line()
        except BareLineEnd as error:
            if not (self._normalise and error.ends_line) or b"\r" in error.line:
                raise
            return error.line

    def _command(self, line: bytes) -> Event | None:
        try:
            verb, argument = commands.split_line(line, utf8=Extension.SMTPUTF8 in self._offered)
        except MailError as error:
            if line[:4].upper() == b"BDAT":  # see `_bdat`
                self.shut(error)
                return None
            raise
        if len(line) + 2 > self._limits.command_line and verb != "AUTH":
            raise LineTooLong
        obey = self._obey.get(verb)
        if obey is None:
            if verb in commands.NOT_IMPLEMENTED:
                raise MailError(502, "5.5.1", "Command not implemented")
            raise MailError(500, "5.5.2", "Command not recognized")
        out_of_order = OUT_OF_ORDER.get((verb, self.state))
        if out_of_order and verb != "BDAT":  # which brings octets along
            raise MailError(*out_of_order)
        if self._nuisance.idle(verb):
            self.shut(MailError(421, "4.7.0", f"{self._hostname} Too many idle commands, closing"))
            return None
        return obey(argument)

    def _complain(self, error: MailError | LineTooLong | BareLineEnd) -> None:
        """Answer a line that makes no sense."""
        if isinstance(error, LineTooLong):
            # The status for an over-long line of an exchange is its own (RFC 4954 §6).
            error = MailError(500, "5.5.6" if self._auth.active else "5.5.2", "Line too long")
        elif isinstance(error, BareLineEnd):
            if error.ends_line:
                self.shut(MailError(521, "5.5.2", "Lines must end in CR LF, got a bare LF; closing"))
                return
            error = MailError(500, "5.5.2", "Bare CR in a line")
        self._leave_exchange()
        self._answer_error(error, self._nuisance.error())

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
        self._content.reset()
        if self.state is not State.GREETED:
            self.state = State.READY

    def _begin_anew(self) -> None:
        """Forget the client."""
        self._reset()
        self.hello = None
        self.authenticated = False

    # Commands; each returns what the session must decide

    @property
    def _verdicts(self) -> int:
        """Replies at the end of content: in LMTP one for each RCPT that was accepted (RFC 2033 §4.2), but to
        a chunk that is not the last one there is one (§4.3)."""
        return self._accepted_recipients if self._lmtp and self._content.whole else 1

    def _hello_lines(self, hello: Hello) -> list[str]:
        lines = [self._hostname]
        if hello.extended:
            lines += ["PIPELINING", f"SIZE {self._limits.message}", "8BITMIME", "ENHANCEDSTATUSCODES"]
            lines += keywords(self._circumstances, authenticated=self.authenticated)
            if self._tls_available and not self.secure:
                lines.append("STARTTLS")
            if not self.authenticated and (offered := self._auth.offered()):
                lines.append("AUTH " + " ".join(offered))
            if self._trusted:
                lines.append("XCLIENT " + " ".join(xclient.attributes(login="AUTH" in self._obey)))
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
        return self._answered("RSET", OK)

    def _chat(self, verb: str, argument: str) -> Event:
        return self._answered(verb, small_talk.answer(verb, argument, self._obey, self._contact))

    def _quit(self, argument: str) -> Event | None:
        commands.no_argument("QUIT", argument)
        self._output += reply(221, "2.0.0", f"{self._hostname} closing connection")
        self.finished = True
        return None

    def _answered(self, verb: str, line: bytes) -> Event:
        self._output += line
        return Answered(verb)

    # Content

    @property
    def _binary(self) -> bool:
        return self.parameters.body == "BINARYMIME"

    def _start_data(self, argument: str) -> Event:
        commands.no_argument("DATA", argument)
        if self._binary:
            raise MailError(503, "5.5.1", "BINARYMIME content comes by BDAT")  # RFC 3030 §3
        return DataStart()

    def _bdat(self, argument: str) -> Event | None:
        """RFC 3030 §2: the octets of a chunk follow its line at once, welcome or not."""
        try:
            size, last = commands.chunk(argument)
        except MailError as error:  # nobody knows where commands begin again
            self.shut(error)
            return None
        self._content.announce_chunk(size, last=last, binary=self._binary)
        if self.state is State.RECIPIENT:  # the first one
            return DataStart(chunked=True)
        if (out_of_order := OUT_OF_ORDER.get(("BDAT", self.state))) is not None:
            self._content.spoil(MailError(*out_of_order))
        self._content.open_chunk()
        return None

    def _content_event(self) -> Event | None:
        if self._content.hopeless:
            self.shut(MailError(552, "5.3.4", f"Messages may have {self._limits.message} octets; closing"))
            return None
        event = self._content.next_event()
        if event is None or isinstance(event, DataChunk):
            return event
        if isinstance(event, ChunkEnd):
            return self._answered("BDAT", reply(250, "2.0.0", f"{event.size} octets received"))
        if isinstance(event, DataSpoiled) and not self._recipients:  # a chunk out of order
            self._content.reset()
            self._complain(event.error)
            return Answered("BDAT")
        self._pending = event
        return event

    # XCLIENT

    def _xclient(self, argument: str) -> Event:
        return Xclient(xclient.read(argument, login="AUTH" in self._obey))

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
        self._begin_anew()  # all that was learnt outside TLS is forgotten (RFC 3207 §4.2)
        self.secure = True
        self._output += reply(220, "2.0.0", "Ready to start TLS")

    def _refuse_injection(self) -> None:
        # A client must wait for 220. What stands behind STARTTLS may come from somebody else in the middle.
        self.shut(MailError(554, "5.5.1", "Nothing may follow STARTTLS; closing"))

    # AUTH

    def _begin_auth(self, argument: str) -> Event | None:
        if self.authenticated:
            raise MailError(503, "5.5.1", "Authenticated already")
        return self._challenged(self._auth.begin(argument))

    def _exchanged(self, line: bytes) -> Event | None:
        return self._challenged(self._auth.respond(line))

    def _challenged(self, answer: bytes | Authenticate | KeysWanted) -> Event | None:
        self.state = State.AUTH
        if isinstance(answer, bytes):
            self._output += answer
            return None
        return answer

    def _leave_exchange(self) -> None:
        self._auth.leave()
        if self.state is State.AUTH:
            self.state = State.READY
