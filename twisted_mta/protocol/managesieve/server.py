"""The server engine of ManageSieve: octets in, events out, replies ready to send (RFC 5804).

STARTTLS, AUTHENTICATE with the mechanisms of `protocol/sasl`, UNAUTHENTICATE, and all commands about scripts.
What a script may say is the session's; the engine keeps the order and the syntax.

Left out on purpose: LANGUAGE (replies are English), referrals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted_mta.protocol.framing import AT_A_TIME
from twisted_mta.protocol.managesieve.events import (
    CheckScript,
    DeleteScript,
    Event,
    GetScript,
    HaveSpace,
    ListScripts,
    Login,
    PutScript,
    RenameScript,
    SetActive,
    StartTls,
    Unauthenticate,
)
from twisted_mta.protocol.managesieve.reader import Argument, BadLine, CommandReader
from twisted_mta.protocol.sasl.credentials import KeysWanted, ProvenCredentials
from twisted_mta.protocol.sasl.error import SaslError
from twisted_mta.protocol.sasl.exchange import Exchange, SaslRefused, Step
from twisted_mta.protocol.sasl.lines import MAX_LINE, encode
from twisted_mta.protocol.sasl.offer import Offer
from twisted_mta.protocol.sasl.scram import Keys


@dataclass(frozen=True, slots=True)
class ManageSieveLimits:
    """`script`: octets. `errors`: commands that could not be read, until the connection ends. `before_login`:
    octets of a literal while nobody is logged in."""

    script: int = 1024 * 1024
    errors: int = 10
    before_login: int = MAX_LINE


class ManageSieveServer:
    """One session. `secure`: inside TLS; `tls_available`: STARTTLS may be offered; `offer`: what a
    client may log in with now; `extensions`: what scripts may require; `redirects`: how many they may
    have."""

    def __init__(
        self,
        *,
        hostname: str,
        secure: bool,
        tls_available: bool,
        offer: Callable[[], Offer],
        extensions: Sequence[str],
        redirects: int,
        limits: ManageSieveLimits = ManageSieveLimits(),
    ) -> None:
        self._hostname = hostname
        self._secure = secure
        self._tls_available = tls_available
        self._offer = offer
        self._extensions = extensions
        self._redirects = redirects
        self._limits = limits
        self._reader = CommandReader(limits.before_login)
        self._output = bytearray()
        self._exchange: Exchange | None = None
        self._final = b""  # what the mechanism says with success
        self._owner = ""  # the account, after the login
        self._errors = 0
        self.commands = 0  # that have come
        self.behind = False  # there is more to do without more octets
        self.finished = False

    # The engine as a connection sees it

    def receive(self, data: bytes) -> None:
        """Octets from the peer."""
        if not self.finished:
            self._reader.receive(data)

    def next_event(self) -> Event | None:
        """What the session must do next; None when more octets are needed, or it is `behind`."""
        self.behind = False
        for _ in range(AT_A_TIME):
            if self.finished:
                return None
            try:
                if self._exchange is not None:
                    line = self._reader.next_string()
                    if line is None:
                        return None
                    self.commands += 1
                    event = self._respond(line)
                else:
                    command = self._reader.next_command()
                    if command is None:
                        return None
                    self.commands += 1
                    event = self._obey(*command)
            except BadLine as error:
                self._complain(error)
                continue
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
        """The capabilities, as the first thing and whenever they have changed (RFC 5804 §1.7)."""
        self._capabilities()
        self.accept(f"{self._hostname} ManageSieve ready")

    def secured(self) -> None:
        """TLS has begun; what was learnt before it is forgotten (RFC 5804 §2.2)."""
        self._secure = True
        self.greet()

    def logged_in(self, account: str) -> None:
        """The answer to Login."""
        self._exchange = None
        self._owner = account
        self._reader.max_literal = self._limits.script
        final = _string(encode(self._final)).decode("ascii")  # RFC 5804 §1.3
        self.accept("Welcome", f"SASL {final}" if self._final else "")

    def login_failed(self, *, last: bool) -> None:
        """The answer to Login: no. `last`: there is no further attempt."""
        why = self._exchange.refused() if self._exchange and not last else b""
        if why:
            self._challenge(why)  # the answer follows the client's
            return
        self._not_let_in()
        if last:
            self.shut("Too many failed logins")

    def provide(self, keys: Sequence[Keys]) -> None:
        """The answer to KeysWanted; see `Exchange.provide`."""
        assert self._exchange is not None
        self._challenge(self._exchange.provide(keys))

    def logged_out(self) -> None:
        """The answer to Unauthenticate."""
        self._nobody()
        self.accept("")

    def scripts(self, names: Sequence[str], active: str) -> None:
        """The answer to ListScripts."""
        for name in names:
            self._output += _string(name.encode()) + (b" ACTIVE" if name == active else b"") + b"\r\n"
        self.accept("")

    def script(self, text: bytes) -> None:
        """The answer to GetScript."""
        self._output += b"{%d}\r\n%b\r\n" % (len(text), text)
        self.accept("")

    def accept(self, text: str, code: str = "") -> None:
        """OK, the answer to any other event. `code`: such as WARNINGS."""
        self._reply("OK", text, code)

    def refuse(self, text: str, code: str = "") -> None:
        """NO. `code`: such as NONEXISTENT, QUOTA/MAXSIZE (RFC 5804 §1.3)."""
        self._exchange = None
        self._reply("NO", text, code)

    def shut(self, text: str, code: str = "") -> None:
        """BYE: nothing more is read."""
        if not self.finished:
            self._reply("BYE", text, code)
            self.finished = True

    def _nobody(self) -> None:
        """Nobody is logged in any more, and what comes is bounded as a stranger's is."""
        self._owner = ""
        self._reader.max_literal = self._limits.before_login

    def _reply(self, word: str, text: str, code: str) -> None:
        line = word.encode()
        if code:
            line += b" (" + code.encode() + b")"
        if text:
            line += b" " + _string(text.encode("utf-8", "replace"))
        self._output += line + b"\r\n"

    def _challenge(self, line: bytes) -> None:
        self._output += _string(line) + b"\r\n"

    def _not_let_in(self) -> None:
        self.refuse("Authentication failed")

    def _complain(self, error: BadLine) -> None:
        self._exchange = None
        self._errors += 1
        if error.fatal or self._errors >= self._limits.errors:
            self.shut(str(error))
        else:
            self.refuse(str(error), error.code if self._owner else "")

    # Commands

    def _obey(self, verb: bytes, arguments: list[Argument]) -> Event | None:
        if verb in _ANY_TIME:
            return _ANY_TIME[verb](self, arguments)
        if verb in _WITH_LOGIN:
            if not self._owner:
                raise BadLine("AUTHENTICATE first")
            return _WITH_LOGIN[verb](arguments)
        raise BadLine("There is no such command")

    def _capability(self, arguments: list[Argument]) -> None:
        _count(arguments, 0)
        self._capabilities()
        self.accept("")

    def _capabilities(self) -> None:
        mechanisms = "" if self._owner else " ".join(self._offer().names)
        lines = [
            ("IMPLEMENTATION", "twisted_mta"),
            ("SASL", mechanisms),
            ("SIEVE", " ".join(self._extensions)),
            ("NOTIFY", "mailto"),
            ("MAXREDIRECTS", str(self._redirects)),
            ("UNAUTHENTICATE", None),
            ("VERSION", "1.0"),
        ]
        if self._tls_available and not self._secure:
            lines.append(("STARTTLS", None))
        if self._owner:
            lines.append(("OWNER", self._owner))
        for name, value in lines:
            tail = b"" if value is None else b" " + _string(value.encode())
            self._output += _string(name.encode()) + tail + b"\r\n"

    def _noop(self, arguments: list[Argument]) -> None:
        if not arguments:
            self.accept("Done")
        else:
            _count(arguments, 1)
            self.accept("Done", f"TAG {_string(_name(arguments[0]).encode()).decode()}")

    def _logout(self, arguments: list[Argument]) -> None:
        _count(arguments, 0)
        self.accept("Bye")
        self.finished = True

    def _start_tls(self, arguments: list[Argument]) -> Event | None:
        _count(arguments, 0)
        if self._secure or not self._tls_available:
            raise BadLine("TLS is active already" if self._secure else "TLS is not available")
        if self._reader.pending:
            # Sent in the clear, by whomever, to be read as if it had come through TLS.
            self.shut("Nothing may follow STARTTLS before the handshake")
            return None
        self._nobody()
        self.accept("Begin TLS")
        return StartTls()

    def _authenticate(self, arguments: list[Argument]) -> Event | None:
        if not 1 <= len(arguments) <= 2:
            raise BadLine("AUTHENTICATE takes a mechanism and perhaps an initial response")
        if self._owner:
            raise BadLine("Authenticated already")
        offer = self._offer()
        if not offer.private:
            self.refuse("Passwords are taken inside TLS only", "ENCRYPT-NEEDED")
            return None
        begun = offer.begin(_name(arguments[0]), final_apart=False)
        if begun is None:
            raise BadLine("Unknown authentication mechanism")
        self._exchange = begun
        initial = _name(arguments[1]).encode() if len(arguments) == 2 else None
        return self._exchanged(lambda: begun.start(initial))

    def _respond(self, line: str) -> Event | None:
        begun = self._exchange
        assert begun is not None
        return self._exchanged(lambda: begun.respond(line.encode()))

    def _exchanged(self, take_step: Callable[[], Step]) -> Event | None:
        try:
            result = take_step()
        except SaslRefused:
            self._not_let_in()
            return None
        except SaslError as error:
            raise BadLine(str(error)) from None
        if isinstance(result, bytes):
            self._challenge(result)
            return None
        self._final = result.final if isinstance(result, ProvenCredentials) else b""
        return result if isinstance(result, KeysWanted) else Login(result)

    def _unauthenticate(self, arguments: list[Argument]) -> Event:
        _count(arguments, 0)
        if not self._owner:
            raise BadLine("Nobody is logged in")
        return Unauthenticate()


def _string(octets: bytes) -> bytes:
    """In quotes where that is possible (RFC 5804 §4)."""
    if len(octets) <= 1024 and not any(octet in octets for octet in (b"\r", b"\n", b"\0")):
        return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"{%d}\r\n%b" % (len(octets), octets)


def _count(arguments: list[Argument], wanted: int) -> None:
    if len(arguments) != wanted:
        raise BadLine(f"Expected {wanted} arguments")


def _name(argument: Argument) -> str:
    if isinstance(argument, bytes):
        try:
            return argument.decode("utf-8")
        except UnicodeDecodeError:
            raise BadLine("A name is not UTF-8") from None
    if isinstance(argument, int):
        raise BadLine("Expected a string")
    return argument


def _script(argument: Argument) -> bytes:
    if isinstance(argument, int):
        raise BadLine("Expected a script")
    return argument.encode() if isinstance(argument, str) else argument


def _names(build: Callable[..., Event], count: int) -> Callable[[list[Argument]], Event]:
    def read(arguments: list[Argument]) -> Event:
        _count(arguments, count)
        return build(*map(_name, arguments))

    return read


def _have_space(arguments: list[Argument]) -> Event:
    _count(arguments, 2)
    if not isinstance(arguments[1], int):
        raise BadLine("Expected a number of octets")
    return HaveSpace(_name(arguments[0]), arguments[1])


def _put_script(arguments: list[Argument]) -> Event:
    _count(arguments, 2)
    return PutScript(_name(arguments[0]), _script(arguments[1]))


def _check_script(arguments: list[Argument]) -> Event:
    _count(arguments, 1)
    return CheckScript(_script(arguments[0]))


_ANY_TIME: dict[bytes, Callable[[ManageSieveServer, list[Argument]], Event | None]] = {
    b"AUTHENTICATE": ManageSieveServer._authenticate,
    b"CAPABILITY": ManageSieveServer._capability,
    b"LOGOUT": ManageSieveServer._logout,
    b"NOOP": ManageSieveServer._noop,
    b"STARTTLS": ManageSieveServer._start_tls,
    b"UNAUTHENTICATE": ManageSieveServer._unauthenticate,
}
_WITH_LOGIN: dict[bytes, Callable[[list[Argument]], Event]] = {
    b"CHECKSCRIPT": _check_script,
    b"DELETESCRIPT": _names(DeleteScript, 1),
    b"GETSCRIPT": _names(GetScript, 1),
    b"HAVESPACE": _have_space,
    b"LISTSCRIPTS": _names(ListScripts, 0),
    b"PUTSCRIPT": _put_script,
    b"RENAMESCRIPT": _names(RenameScript, 2),
    b"SETACTIVE": _names(SetActive, 1),
}
