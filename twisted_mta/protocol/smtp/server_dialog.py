"""The server engine of SMTP without its mail: lines become commands, faults get their answers, and the
session itself is negotiated (RFC 5321 §3.1, §3.2, §4.1.1; STARTTLS, RFC 3207; AUTH, RFC 4954; XCLIENT).

A line ends at CRLF. A line that ends in a bare LF ends the connection, because what follows it may be part
of what somebody else takes for the same line; a bare CR spoils its line only. Old clients may be allowed to
end lines in LF.

Mail transactions are `server.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

from twisted_mta.message.status import MailError
from twisted_mta.protocol.framing import BareLineEnd, LineBuffer, LineTooLong
from twisted_mta.protocol.sasl.credentials import KeysWanted
from twisted_mta.protocol.sasl.offer import Offer
from twisted_mta.protocol.sasl.scram import Keys
from twisted_mta.protocol.smtp import commands, small_talk, xclient
from twisted_mta.protocol.smtp.authentication import AuthDialog, not_let_in
from twisted_mta.protocol.smtp.content import Content
from twisted_mta.protocol.smtp.events import Answered, Authenticate, Event, Hello, StartTls, Xclient
from twisted_mta.protocol.smtp.extensions import Circumstances, Extension, SmtpLimits, keywords
from twisted_mta.protocol.smtp.nuisance import Nuisance
from twisted_mta.protocol.smtp.replies import OK, multiline, refusal, reply
from twisted_mta.protocol.smtp.states import AFTER, OUT_OF_ORDER, State

Command = Callable[[str], Event | None]  # the argument in, what the session must decide out


class ServerDialog:
    """The base of SmtpServer, which says what its arguments are."""

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
        self._lines = LineBuffer(max(limits.auth_line if offer else 0, limits.command_line))
        self._next_line = self._normalised_line if normalise else self._lines.next_line
        self._output = bytearray()
        self._pending: Event | None = None  # waits for a verdict
        self._content = Content(self._lines, limits.message, normalise=normalise)
        self._auth = AuthDialog(offer)
        self._nuisance = Nuisance(limits)
        self.state = State.GREETED
        self.secure = secure
        self.authenticated = False
        self.hello: Hello | None = None
        self.finished = False
        self._obey: dict[str, Command] = {
            **{verb: partial(commands.hello, verb) for verb in (("LHLO",) if lmtp else ("HELO", "EHLO"))},
            **self._mail_commands(),
            "RSET": self._rset,
            **{verb: partial(self._chat, verb) for verb in small_talk.VERBS},
            "QUIT": self._quit,
        }
        if tls_available:
            self._obey["STARTTLS"] = self._starttls
        if trusted:
            self._obey["XCLIENT"] = self._xclient
        if offer:
            self._obey["AUTH"] = self._begin_auth
        self._reset()

    # What mail adds

    def _mail_commands(self) -> dict[str, Command]:
        """The commands of mail transactions."""
        raise NotImplementedError

    def _content_event(self) -> Event | None:
        """The next event while content comes in."""
        raise NotImplementedError

    # The engine as a connection sees it

    def receive(self, data: bytes) -> None:
        """Octets from the client."""
        if self.finished:
            return
        if self._content.reader is not None:
            self._content.receive(data)
        else:
            self._lines.receive(data)

    def next_event(self) -> Event | None:
        """What the session must decide next, or None when more octets are needed."""
        assert self._pending is None or self.finished, "the last event has had no verdict"
        while not self.finished:
            if self._content.reader is not None:
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

    def accept(self, text: str = "") -> None:
        """Yes to the pending event. `text` is the text of the reply that ends DATA."""
        event, self._pending = self._pending, None
        match event:
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
        """No to the pending event."""
        self._pending = None
        self._leave_exchange()
        self._answer_error(error, self._nuisance.refusal())

    def shut(self, error: MailError) -> None:
        """Say why and close: 421 for time-outs, shutdown, too many errors (RFC 5321 §3.8)."""
        if not self.finished:
            self._output += refusal(error)
            self.finished = True

    # Lines

    def _normalised_line(self) -> bytes | None:
        """As `LineBuffer.next_line`, of a client that may end lines in LF."""
        try:
            return self._lines.next_line()
        except BareLineEnd as error:
            if not error.ends_line or b"\r" in error.line:
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
        if self.state is not State.GREETED:
            self.state = State.READY

    def _begin_anew(self) -> None:
        """Forget the client."""
        self._reset()
        self.hello = None
        self.authenticated = False

    # Commands; each returns what the session must decide

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
