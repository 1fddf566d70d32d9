"""The first words with a listener, as a client from outside has them: greeting, STARTTLS, handshake, whose
certificate. Blocks; one connection for each look.

Protocols: SMTP and LMTP (RFC 3207), IMAP (RFC 9051 §6.2.1), POP3 (RFC 2595), ManageSieve (RFC 5804 §2.2),
MTQP (RFC 3887), HTTP. Left out on purpose: logging in, and what comes after it.
"""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass
from typing import Self

from cryptography import x509

from twisted_mta.message.networks import Network, within

PATIENCE = 10.0  # seconds for each step
_LONGEST_REPLY = 64 * 1024  # octets
_WORDS = 120  # characters of what somebody else says


class NoAnswer(Exception):
    """The port does not answer as it should; a sentence that says how. `connected`: somebody listens."""

    def __init__(self, text: str, *, connected: bool = True) -> None:
        super().__init__(text)
        self.connected = connected


@dataclass(frozen=True, slots=True)
class Language:
    """`end`: how the last line of a reply begins; `good`: how it does when all is well. `hello` is said first
    ("": nothing), `starttls` begins TLS ("": there is no such word). `greets`: the server speaks first."""

    end: str
    good: str
    hello: str = ""
    starttls: str = ""
    greets: bool = True


_SMTP = r"\d{3}(?: |$)"
_POP = r"[+-]"
LANGUAGES = {
    "smtp": Language(_SMTP, "2", "EHLO {name}", "STARTTLS"),
    "lmtp": Language(_SMTP, "2", "LHLO {name}", "STARTTLS"),
    "imap": Language(r"\* (?:OK|PREAUTH|BYE)|a ", r"\* OK|a OK", "", "a STARTTLS"),
    "pop3": Language(_POP, r"\+OK", "", "STLS"),
    "managesieve": Language("OK|NO|BYE", "OK", "", "STARTTLS"),
    "mtqp": Language(_POP, r"\+OK"),
    "http": Language("HTTP/", "HTTP/", "GET / HTTP/1.0\r\nHost: {name}\r\n", greets=False),
}


@dataclass(frozen=True, slots=True)
class Place:
    """`language`: of LANGUAGES. `tls`: it comes first ("implicit"), after a word ("starttls"), or not ("").
    `name`: what the certificate must be for. `source`: the address to call from, "" for any. `proxies`: a
    connection from one of these begins with the header of the PROXY protocol."""

    language: str
    address: str
    port: int
    tls: str
    name: str
    source: str = ""
    proxies: tuple[Network, ...] = ()

    def __str__(self) -> str:
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Answer:
    """`greeting`: its last line. `version` and `cipher` of TLS, "" without. `doubt`: why a client would not
    believe the `certificate`, "" for no reason."""

    greeting: str
    version: str = ""
    cipher: str = ""
    certificate: x509.Certificate | None = None
    doubt: str = ""


class Talk:
    """A connection to a place, open once constructed. Raises NoAnswer."""

    def __init__(self, place: Place, patience: float = PATIENCE) -> None:
        self._place, self._language = place, LANGUAGES[place.language]
        self._octets = b""
        source = (place.source, 0) if place.source else None
        try:
            self._socket = socket.create_connection((place.address, place.port), patience, source)
        except TimeoutError as error:
            raise NoAnswer(f"no connection in {patience:g} seconds", connected=False) from error
        except OSError as error:
            raise NoAnswer(f"no connection: {error.strerror or error}", connected=False) from error
        if within(self._socket.getsockname()[0], place.proxies):
            self.send("PROXY UNKNOWN")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, line: str) -> None:
        """Raises NoAnswer."""
        try:
            self._socket.sendall(f"{line}\r\n".encode())
        except OSError as error:
            raise NoAnswer(f"the connection was lost: {error.strerror or error}") from error

    def reply(self) -> list[str]:
        """The lines of the next one, without their ends. Raises NoAnswer."""
        lines: list[str] = []
        room = _LONGEST_REPLY
        while not (lines and re.match(self._language.end, lines[-1])):
            while b"\n" not in self._octets and len(self._octets) < room:
                self._octets += self._more()
            line, end, self._octets = self._octets.partition(b"\n")
            room -= len(line) + 1
            if not end or room < 0:
                raise NoAnswer("the answer has no end")
            lines.append(line.rstrip(b"\r").decode("ascii", "replace"))
        return lines

    def good_reply(self) -> list[str]:
        """The next one. Raises NoAnswer also when it is a refusal."""
        lines = self.reply()
        if not re.match(self._language.good, lines[-1]):
            raise NoAnswer(f'it says "{_printable(lines[-1])}"')
        return lines

    def begin(self) -> str:
        """Greeting and hello; the greeting. Raises NoAnswer."""
        greeting = self.good_reply() if self._language.greets else []
        if self._language.hello:
            self.send(self._language.hello.format(name=self._hello_name()))
            answer = self.good_reply()
            greeting = greeting or answer
        return _printable(greeting[-1])

    def begin_tls(self) -> None:
        """The word for it. Raises NoAnswer."""
        self.send(self._language.starttls)
        try:
            self.good_reply()
        except NoAnswer as error:
            raise NoAnswer(f"STARTTLS is refused: {error}") from error

    def secure(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        """The handshake. Raises ssl.SSLError and OSError."""
        name = self._place.name
        secured = context.wrap_socket(self._socket, server_hostname=name)
        self._socket = secured
        return secured

    def _hello_name(self) -> str:
        if self._place.language == "http":
            return self._place.name
        address = self._socket.getsockname()[0].partition("%")[0]
        return f"[IPv6:{address}]" if ":" in address else f"[{address}]"

    def _more(self) -> bytes:
        try:
            octets = self._socket.recv(4096)
        except TimeoutError as error:
            raise NoAnswer("it does not answer in time") from error
        except OSError as error:
            raise NoAnswer(f"the connection was lost: {error.strerror or error}") from error
        if not octets:
            raise NoAnswer("it ends the connection")
        return octets


def look(place: Place, patience: float = PATIENCE) -> Answer:
    """What a client meets there. Raises NoAnswer."""
    if not place.tls:
        with Talk(place, patience) as talk:
            return Answer(talk.begin())
    trusting = ssl.create_default_context()
    trusting.check_hostname = bool(place.name)
    try:
        return handshake(place, trusting, patience)
    except ssl.SSLCertVerificationError as error:
        doubt = error.verify_message.rstrip(".")
    answer = handshake(place, lenient(), patience)
    return Answer(answer.greeting, answer.version, answer.cipher, answer.certificate, doubt)


def handshake(place: Place, context: ssl.SSLContext, patience: float = PATIENCE) -> Answer:
    """By those settings. Raises NoAnswer, and ssl.SSLCertVerificationError."""
    with Talk(place, patience) as talk:
        greeting = ""
        if place.tls == "starttls":
            greeting = talk.begin()
            talk.begin_tls()
        try:
            secured = talk.secure(context)
        except ssl.SSLCertVerificationError:
            raise
        except (ssl.SSLError, OSError) as error:
            raise NoAnswer(f"the TLS handshake fails: {_reason(error)}") from error
        shown = secured.getpeercert(binary_form=True)
        cipher = secured.cipher()
        version = secured.version() or ""
        if place.tls == "implicit":
            greeting = talk.begin()
        try:
            certificate = x509.load_der_x509_certificate(shown) if shown else None
        except (ValueError, x509.InvalidVersion) as error:
            raise NoAnswer("the certificate that is shown cannot be read") from error
        return Answer(greeting, version, cipher[0] if cipher else "", certificate)


def lenient() -> ssl.SSLContext:
    """Settings that take any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _reason(error: OSError) -> str:
    words = getattr(error, "reason", "") or error.strerror or str(error) or type(error).__name__
    return str(words).replace("_", " ").lower()[:_WORDS]


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:_WORDS])
