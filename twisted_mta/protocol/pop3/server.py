"""The server engine of POP3: octets in, events out, replies ready to send.

Implements RFC 1939 with TOP, UIDL and USER/PASS; CAPA, PIPELINING and response codes (RFC 2449); STLS
(RFC 2595 §4); AUTH (RFC 5034) with the mechanisms of `protocol/sasl`; [AUTH] and [SYS/…] (RFC 3206).
The engine knows the state, the numbers and the deletion marks of its session, so that most commands are
answered here; an event is only what needs the world outside.

Left out on purpose: APOP (needs the password in the clear on the server), LOGIN-DELAY (phones poll), and
every command of RFC 6856 until mail here may be internationalised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain

from twisted_mta.protocol.framing import BareLineEnd, LineBuffer, LineTooLong, dot_stuff
from twisted_mta.protocol.pop3.commands import BadCommand, State, number, parse
from twisted_mta.protocol.pop3.events import Event, Listing, Login, Retrieve, StartTls, Update
from twisted_mta.protocol.pop3.maildrop import Maildrop, NoSuchMessage
from twisted_mta.protocol.pop3.multiline import END, PIECE, pieces, top_end
from twisted_mta.protocol.sasl import exchange as sasl
from twisted_mta.protocol.sasl.credentials import PasswordCredentials, SaslError
from twisted_mta.protocol.sasl.mechanism import MECHANISMS


@dataclass(frozen=True, slots=True)
class Pop3Limits:
    """`command_line` counts octets with CRLF; RFC 2449 §4 asks for 255, some clients put a longer initial
    response behind AUTH. After `errors` malformed or misplaced commands the connection closes."""

    command_line: int = 1024
    errors: int = 10


class Pop3Server:
    """One session. `secure`: the connection is inside TLS; `tls_available`: STLS may be offered;
    `allow_cleartext`: passwords may travel outside TLS."""

    def __init__(
        self,
        *,
        hostname: str,
        secure: bool,
        tls_available: bool,
        allow_cleartext: bool,
        limits: Pop3Limits = Pop3Limits(),
    ) -> None:
        self._hostname = hostname
        self._secure = secure
        self._tls_available = tls_available
        self._allow_cleartext = allow_cleartext
        self._limits = limits
        self._lines = LineBuffer(limits.command_line)
        self._output = bytearray()
        self._state = State.AUTHORIZATION
        self._login = ""  # the name that USER gave, for PASS right behind it
        self._exchange: sasl.Exchange | None = None
        self._maildrop = Maildrop(0, (), ())
        self._errors = 0
        self.finished = False

    # The engine as a connection sees it

    def receive(self, data: bytes) -> None:
        """Octets from the peer."""
        if not self.finished:
            self._lines.receive(data)

    def next_event(self) -> Event | None:
        """What the session must do next; None when more octets are needed."""
        while not self.finished:
            try:
                line = self._lines.next_line()
                if line is None:
                    return None
                event = self._respond(line) if self._exchange else self._obey(line)
            except LineTooLong:
                self._complain("Line too long")
            except BareLineEnd:
                self._complain("Lines end in CRLF")
            except BadCommand as error:
                self._complain(str(error))
            except NoSuchMessage:
                self._refuse("No such message")
            else:
                if event is not None:
                    return event
        return None

    def take_output(self) -> bytes:
        """Octets for the peer."""
        output = bytes(self._output)
        self._output.clear()
        return output

    # Answers of the session

    def greet(self) -> None:
        """Open the conversation (RFC 1939 §4). No timestamp: there is no APOP."""
        self._accept(f"{self._hostname} POP3 server ready")

    def secured(self) -> None:
        """TLS has begun; what was learnt before it is forgotten (RFC 2595 §4)."""
        self._secure = True
        self._login = ""

    def logged_in(self, maildrop: Maildrop) -> None:
        """The answer to Login: welcome, this is what you have."""
        self._maildrop = maildrop
        self._state = State.TRANSACTION
        self._accept(f"{maildrop.count} messages ({maildrop.octets} octets)")

    def login_failed(self, *, last: bool) -> None:
        """The answer to Login: no (RFC 3206 §4). `last`: there is no further attempt."""
        self._refuse("[AUTH] Authentication failed")
        self.finished = last

    def message(self, content: bytes, lines: int | None) -> Iterator[None]:
        """The answer to Retrieve: the octets of a message, with CRLF line ends. At each step of the iteration
        there is much to send: wait until the peer has taken it."""
        if lines is None:
            self._accept(f"{len(content)} octets")
            end = len(content)
        else:
            self._accept("Top of message follows")
            end = top_end(content, lines)
        return self._multiline(dot_stuff(pieces(content, end)))

    def listing(self, event: Listing) -> Iterator[None]:
        """The answer to Listing, as `message`."""
        return self._multiline(event.pieces)

    def _multiline(self, pieces: Iterator[bytes]) -> Iterator[None]:
        for piece in pieces:
            self._output += piece
            if len(self._output) >= PIECE:
                yield

    def message_gone(self) -> None:
        """The answer to Retrieve: somebody else has removed it."""
        self._refuse("Message has been removed meanwhile")

    def goodbye(self) -> None:
        """The answer to Update: done."""
        self._accept("Bye")
        self.finished = True

    def fail(self, text: str, *, permanent: bool = False, finish: bool = False) -> None:
        """The answer to any event, or said between commands: it is our fault (RFC 3206 §3)."""
        self._refuse(f"[SYS/{'PERM' if permanent else 'TEMP'}] {text}")
        self.finished = finish

    # Replies

    def _accept(self, text: str) -> None:
        self._output += f"+OK {text}\r\n".encode("ascii", "replace")

    def _refuse(self, text: str) -> None:
        self._output += f"-ERR {text}\r\n".encode("ascii", "replace")

    def _complain(self, text: str) -> None:
        """Refuse what no working client would send."""
        self._end_exchange()
        self._errors += 1
        self.finished = self._errors >= self._limits.errors
        self._refuse(f"{text}; too many errors, bye" if self.finished else text)

    # Commands

    def _obey(self, line: bytes) -> Event | None:
        login, self._login = self._login, ""
        command = parse(line, self._state)
        if command.keyword == "PASS":
            return self._pass(login, command.arguments[0])
        return _COMMANDS[command.keyword](self, *command.arguments)

    def _user(self, name: bytes) -> None:
        self._require_password_allowed()
        try:
            self._login = name.decode()
        except UnicodeDecodeError:
            raise BadCommand("The name is not UTF-8") from None
        self._accept("Send PASS")  # whoever it is: names are not to be probed

    def _pass(self, login: str, password: bytes) -> Event:
        if not login:
            raise BadCommand("PASS must follow USER")
        try:
            return Login(PasswordCredentials(login, password.decode()))
        except UnicodeDecodeError:
            raise BadCommand("The password is not UTF-8") from None

    def _auth(self, mechanism: bytes = b"", initial: bytes | None = None) -> Event | None:
        if not mechanism:
            # Older than RFC 1734 and still sent by Outlook: which mechanisms are there?
            names = MECHANISMS if self._password_allowed else ()
            self._output += "\r\n".join(["+OK", *names, ".", ""]).encode()
            return None
        self._require_password_allowed()
        begun = sasl.begin(mechanism.decode("ascii", "replace"))
        if begun is None:
            raise BadCommand("Unknown authentication mechanism")
        self._exchange = begun
        self._lines.max_line = sasl.MAX_LINE
        return self._exchanged(lambda: begun.start(initial))

    def _respond(self, line: bytes) -> Event | None:
        begun = self._exchange
        assert begun is not None
        return self._exchanged(lambda: begun.respond(line))

    def _exchanged(self, take_step: Callable[[], bytes | PasswordCredentials]) -> Event | None:
        try:
            result = take_step()
        except SaslError as error:
            raise BadCommand(str(error)) from None
        if isinstance(result, PasswordCredentials):
            self._end_exchange()
            return Login(result)
        self._output += b"+ " + result + b"\r\n"
        return None

    def _end_exchange(self) -> None:
        self._exchange = None
        self._lines.max_line = self._limits.command_line

    def _stls(self) -> Event | None:
        if self._secure or not self._tls_available:
            raise BadCommand("TLS is active already" if self._secure else "TLS is not available")
        if len(self._lines):
            # Sent in the clear, by whomever, to be read as if it had come through TLS.
            self._refuse("Nothing may follow STLS before the handshake")
            self.finished = True
            return None
        self._accept("Begin TLS")
        return StartTls()

    def _capa(self) -> None:
        lines = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER"]
        if self._password_allowed:
            lines += ["USER", "SASL " + " ".join(MECHANISMS)]
        if self._tls_available and not self._secure:
            lines.append("STLS")
        lines.append("IMPLEMENTATION twisted_mta")
        self._accept("Capabilities follow")
        self._output += "\r\n".join([*lines, ".", ""]).encode()

    def _quit(self) -> Event | None:
        if self._state is State.TRANSACTION:
            return Update(tuple(self._maildrop.deleted))
        self.goodbye()
        return None

    def _stat(self) -> None:
        self._accept(f"{self._maildrop.count} {self._maildrop.octets}")

    def _list(self, argument: bytes = b"") -> Event | None:
        if not argument:
            self._accept(f"{self._maildrop.count} messages")
            return self._listing(self._maildrop.scan_listing())
        which = self._which(argument)
        self._accept(f"{which} {self._maildrop.size(which)}")
        return None

    def _uidl(self, argument: bytes = b"") -> Event | None:
        if not argument:
            self._accept("Unique ids follow")
            return self._listing(self._maildrop.unique_id_listing())
        which = self._which(argument)
        self._accept(f"{which} {self._maildrop.unique_id(which)}")
        return None

    @staticmethod
    def _listing(lines: Iterator[bytes]) -> Listing:
        return Listing(chain(lines, (END,)))

    def _retr(self, argument: bytes) -> Event:
        return Retrieve(self._which(argument))

    def _top(self, argument: bytes, lines: bytes) -> Event:
        return Retrieve(self._which(argument), number(lines))

    def _dele(self, argument: bytes) -> None:
        which = self._which(argument)
        self._maildrop.delete(which)
        self._accept(f"Message {which} marked as deleted")

    def _rset(self) -> None:
        self._maildrop.reset()
        self._accept("No message is marked as deleted")

    def _noop(self) -> None:
        self._accept("Nothing done")

    def _which(self, argument: bytes) -> int:
        which = number(argument)
        self._maildrop.require(which)
        return which

    @property
    def _password_allowed(self) -> bool:
        return self._secure or self._allow_cleartext

    def _require_password_allowed(self) -> None:
        if not self._password_allowed:
            raise BadCommand("Passwords are taken inside TLS only")


_COMMANDS: dict[str, Callable[..., Event | None]] = {
    "USER": Pop3Server._user,
    "AUTH": Pop3Server._auth,
    "STLS": Pop3Server._stls,
    "CAPA": Pop3Server._capa,
    "QUIT": Pop3Server._quit,
    "STAT": Pop3Server._stat,
    "LIST": Pop3Server._list,
    "UIDL": Pop3Server._uidl,
    "RETR": Pop3Server._retr,
    "TOP": Pop3Server._top,
    "DELE": Pop3Server._dele,
    "RSET": Pop3Server._rset,
    "NOOP": Pop3Server._noop,
}
