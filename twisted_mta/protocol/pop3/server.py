"""The server engine of POP3: octets in, events out, replies ready to send.

Implements RFC 1939 with TOP, UIDL and USER/PASS; CAPA, PIPELINING, LOGIN-DELAY and response codes (RFC 2449);
STLS (RFC 2595 §4); AUTH (RFC 5034) with the mechanisms of `protocol/sasl`; [AUTH] and [SYS/…] (RFC 3206);
UTF8 and LANG (RFC 6856).
The engine knows the state, the numbers and the deletion marks of its session, so that most commands are
answered here; an event is only what needs the world outside.

Without UTF8 a message with an internationalised header is answered by its surrogate (`message/surrogate.py`).
LIST tells the size of the message itself: what a surrogate has is known only once the message has been read.

Left out on purpose: APOP (see `commands.py`); [IN-USE], as nobody locks a maildrop here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from twisted_mta.protocol.framing import AT_A_TIME, BareLineEnd, LineBuffer, LineTooLong, dot_stuff
from twisted_mta.protocol.pop3.commands import BadCommand, State, number, parse
from twisted_mta.protocol.pop3.events import (
    Event,
    Listing,
    Login,
    Retrieve,
    StartTls,
    UniqueIdsWanted,
    Update,
)
from twisted_mta.protocol.pop3.languages import LANGUAGES, choose
from twisted_mta.protocol.pop3.maildrop import Maildrop, NoSuchMessage
from twisted_mta.protocol.pop3.multiline import END, PIECE, LongMessage, top
from twisted_mta.protocol.sasl.credentials import KeysWanted, PasswordCredentials
from twisted_mta.protocol.sasl.error import SaslError
from twisted_mta.protocol.sasl.exchange import Exchange, SaslRefused, Step
from twisted_mta.protocol.sasl.lines import MAX_LINE
from twisted_mta.protocol.sasl.offer import Offer
from twisted_mta.protocol.sasl.scram import Keys


@dataclass(frozen=True, slots=True)
class Pop3Limits:
    """`command_line` counts octets with CRLF; RFC 2449 §4 asks for 255, some clients put a longer initial
    response behind AUTH. After `errors` malformed or misplaced commands the connection closes."""

    command_line: int = 1024
    errors: int = 10


class Pop3Server:
    """One session. `secure`: the connection is inside TLS; `tls_available`: STLS may be offered;
    `offer`: what a client may log in with now; `login_delay`: seconds between two logins of a user
    that the server insists on (RFC 2449 §6.5). `commands` counts those that have come."""

    def __init__(
        self,
        *,
        hostname: str,
        secure: bool,
        tls_available: bool,
        offer: Callable[[], Offer],
        login_delay: int = 0,
        limits: Pop3Limits = Pop3Limits(),
    ) -> None:
        self._hostname = hostname
        self._secure = secure
        self._tls_available = tls_available
        self._offer = offer
        self._login_delay = login_delay
        self._limits = limits
        self._lines = LineBuffer(MAX_LINE)
        self._output = bytearray()
        self._state = State.AUTHORIZATION
        self._login = ""  # the name that USER gave, for PASS right behind it
        self._exchange: Exchange | None = None
        self._maildrop = Maildrop(0, (), ())
        self._utf8 = False
        self._errors = 0
        self.commands = 0
        self.behind = False  # there is more to do without more octets
        self.finished = False

    # The engine as a connection sees it

    def receive(self, data: bytes) -> None:
        """Octets from the peer."""
        if not self.finished:
            self._lines.receive(data)

    def next_event(self) -> Event | None:
        """What the session must do next; None when more octets are needed, or it is `behind`."""
        self.behind = False
        for _ in range(AT_A_TIME):
            if self.finished:
                return None
            try:
                line = self._lines.next_line()
                if line is None:
                    return None
                self.commands += 1
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
        self.behind = True
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
        self._end_exchange()
        self._lines.max_line = self._limits.command_line
        self._maildrop = maildrop
        self._state = State.TRANSACTION
        self._accept(f"{maildrop.count} messages ({maildrop.octets} octets)")

    def login_failed(self, *, last: bool) -> None:
        """The answer to Login: no (RFC 3206 §4). `last`: there is no further attempt."""
        why = self._exchange.refused() if self._exchange and not last else b""
        if why:
            self._challenge(why)  # the answer follows the client's
        else:
            self._not_let_in()
            self.finished = last

    def provide(self, keys: Sequence[Keys]) -> None:
        """The answer to KeysWanted; see `Exchange.provide`."""
        assert self._exchange is not None
        self._challenge(self._exchange.provide(keys))

    def login_too_soon(self) -> None:
        """The answer to Login: yes, but not yet (RFC 2449 §8.1.1)."""
        self._end_exchange()
        self._refuse(f"[LOGIN-DELAY] {self._login_delay} seconds must lie between two logins")

    def message(self, content: bytes, lines: int | None) -> Iterator[None]:
        """The answer to Retrieve: the octets of a message, with CRLF line ends. At each step of the iteration
        there is much to send: wait until the peer has taken it."""
        if lines is None:
            self._accept(f"{len(content)} octets")
        else:
            self._accept("Top of message follows")
        return self._multiline(dot_stuff(top(content, lines)))

    def long_message(self, first: bytes, octets: int, lines: int | None) -> LongMessage:
        """The answer to Retrieve when the message comes in pieces: `first` is the first of them, `octets`
        what all of them have. The others are to be added to what is returned, which then is to be ended."""
        self._accept(f"{octets} octets" if lines is None else "Top of message follows")
        answer = LongMessage(self._output.extend, lines)
        answer.add(first)
        return answer

    def listing(self, event: Listing) -> Iterator[None]:
        """The answer to Listing, as `message`."""
        return self._multiline(event.pieces)

    def identified(self, event: UniqueIdsWanted, unique_ids: Sequence[str]) -> Iterator[None]:
        """The answer to UniqueIdsWanted, as `message`: the unique ids of all messages, gone or not."""
        self._maildrop.identify(unique_ids)
        listing = self._unique_ids(event.number)
        return iter(()) if listing is None else self.listing(listing)

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
        self._end_exchange()
        self._refuse(f"[SYS/{'PERM' if permanent else 'TEMP'}] {text}")
        self.finished = finish

    # Replies

    def _accept(self, text: str) -> None:
        self._output += f"+OK {text}\r\n".encode("ascii", "replace")

    def _refuse(self, text: str) -> None:
        self._output += f"-ERR {text}\r\n".encode("ascii", "replace")

    def _not_let_in(self) -> None:
        self._end_exchange()
        self._refuse("[AUTH] Authentication failed")

    def _challenge(self, line: bytes) -> None:
        self._output += b"+ " + line + b"\r\n"

    def _complain(self, text: str) -> None:
        """Refuse what no working client would send."""
        self._end_exchange()
        self._errors += 1
        self.finished = self._errors >= self._limits.errors
        self._refuse(f"{text}; too many errors, bye" if self.finished else text)

    # Commands

    def _obey(self, line: bytes) -> Event | None:
        if len(line) + 2 > self._limits.command_line and line[:5].upper() != b"AUTH ":
            raise LineTooLong
        login, self._login = self._login, ""
        command = parse(line, self._state)
        if command.keyword == "PASS":
            return self._pass(login, command.arguments[0])
        return _COMMANDS[command.keyword](self, *command.arguments)

    def _user(self, name: bytes) -> None:
        self._private_offer()
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
            self._output += "\r\n".join(["+OK", *self._offer().names, ".", ""]).encode()
            return None
        begun = self._private_offer().begin(mechanism.decode("ascii", "replace"))
        if begun is None:
            raise BadCommand("Unknown authentication mechanism")
        self._exchange = begun
        return self._exchanged(lambda: begun.start(initial))

    def _respond(self, line: bytes) -> Event | None:
        begun = self._exchange
        assert begun is not None
        return self._exchanged(lambda: begun.respond(line))

    def _exchanged(self, take_step: Callable[[], Step]) -> Event | None:
        try:
            result = take_step()
        except SaslRefused:
            self._not_let_in()
            return None
        except SaslError as error:
            raise BadCommand(str(error)) from None
        if isinstance(result, bytes):
            self._challenge(result)
            return None
        return result if isinstance(result, KeysWanted) else Login(result)

    def _end_exchange(self) -> None:
        self._exchange = None

    def _utf8_mode(self) -> None:
        self._utf8 = True
        self._accept("Messages are sent as they are, in UTF-8")

    def _lang(self, wanted: bytes = b"") -> None:
        if not wanted:
            self._accept("Languages follow")
            lines = [f"{tag} {name}" for tag, name in LANGUAGES.items()]
            self._output += "\r\n".join([*lines, ".", ""]).encode()
            return
        chosen = choose(wanted.decode("ascii", "replace"))
        if chosen is None:
            self._refuse("No such language here")
        else:
            self._accept(f"{chosen} Language is English")

    def _stls(self) -> Event | None:
        if self._secure or not self._tls_available:
            raise BadCommand("TLS is active already" if self._secure else "TLS is not available")
        if self._utf8:
            raise BadCommand("STLS comes before UTF8")
        if len(self._lines):
            # Sent in the clear, by whomever, to be read as if it had come through TLS.
            self._refuse("Nothing may follow STLS before the handshake")
            self.finished = True
            return None
        self._accept("Begin TLS")
        return StartTls()

    def _capa(self) -> None:
        lines = ["TOP", "UIDL", "RESP-CODES", "AUTH-RESP-CODE", "PIPELINING", "EXPIRE NEVER", "LANG"]
        lines.append("UTF8 USER")
        if self._login_delay:
            lines.append(f"LOGIN-DELAY {self._login_delay}")
        if names := self._offer().names:
            lines += ["USER", "SASL " + " ".join(names)]
        if self._tls_available and not self._secure and self._state is State.AUTHORIZATION:
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
        which = self._which(argument) if argument else None
        return self._unique_ids(which) if self._maildrop.is_identified else UniqueIdsWanted(which)

    def _unique_ids(self, which: int | None) -> Listing | None:
        if which is None:
            self._accept("Unique ids follow")
            return self._listing(self._maildrop.unique_id_listing())
        self._accept(f"{which} {self._maildrop.unique_id(which)}")
        return None

    @staticmethod
    def _listing(lines: Iterator[bytes]) -> Listing:
        return Listing(chain(lines, (END,)))

    def _retr(self, argument: bytes) -> Event:
        return Retrieve(self._which(argument), None, self._utf8)

    def _top(self, argument: bytes, lines: bytes) -> Event:
        return Retrieve(self._which(argument), number(lines), self._utf8)

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

    def _private_offer(self) -> Offer:
        """For those at whom nobody listens."""
        offer = self._offer()
        if not offer.private:
            raise BadCommand("Passwords are taken inside TLS only")
        return offer


_COMMANDS: dict[str, Callable[..., Event | None]] = {
    "USER": Pop3Server._user,
    "AUTH": Pop3Server._auth,
    "STLS": Pop3Server._stls,
    "UTF8": Pop3Server._utf8_mode,
    "LANG": Pop3Server._lang,
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
