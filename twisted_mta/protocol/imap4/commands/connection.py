"""Commands about the connection: what it can do, who is there (RFC 9051 §6.1, §6.2).

With ID (RFC 2971), the initial response of SASL (RFC 4959), COMPRESS (RFC 4978), UNAUTHENTICATE (RFC 8437).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from twisted_mta.protocol.imap4.commands.command import ANY, BEFORE_LOGIN, LOGGED_IN, Command, Rows, plain
from twisted_mta.protocol.imap4.grammar import MAX_LIST, CommandError, Cursor


@dataclass(frozen=True, slots=True)
class Capability(Command):
    """CAPABILITY."""


@dataclass(frozen=True, slots=True)
class Noop(Command):
    """NOOP."""


@dataclass(frozen=True, slots=True)
class Logout(Command):
    """LOGOUT."""


@dataclass(frozen=True, slots=True)
class Id(Command):
    """ID (RFC 2971): what the client says of itself, for the log."""

    parameters: tuple[tuple[bytes, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class StartTls(Command):
    """STARTTLS."""


@dataclass(frozen=True, slots=True)
class Authenticate(Command):
    """AUTHENTICATE, with the initial response of RFC 4959 as it stood there (base64), None without one."""

    mechanism: str
    initial: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Login(Command):
    """LOGIN."""

    user: bytes
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Enable(Command):
    """ENABLE (RFC 5161), the names in upper case."""

    capabilities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Compress(Command):
    """COMPRESS DEFLATE (RFC 4978)."""


@dataclass(frozen=True, slots=True)
class Unauthenticate(Command):
    """UNAUTHENTICATE (RFC 8437)."""


def _id(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    if cursor.peek() != b"(":
        if cursor.nstring() is not None:
            cursor.fail("a list or NIL")
        return Id(tag, ())

    def pair() -> tuple[bytes, bytes | None]:
        name = cursor.string()
        cursor.space()
        return name, cursor.nstring()

    parameters = cursor.parenthesized(pair, empty=True)
    if len(parameters) > 30:  # RFC 2971 §3.3
        raise CommandError("Too many ID parameters")
    return Id(tag, tuple(parameters))


def _login(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    user = cursor.astring()
    cursor.space()
    return Login(tag, user, cursor.astring())


def _authenticate(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    mechanism = cursor.keyword()
    initial = None
    if cursor.accept(b" "):
        initial = cursor.data[cursor.position :]
        cursor.position = len(cursor.data)
    return Authenticate(tag, mechanism, initial)


def _enable(cursor: Cursor, tag: str) -> Command:
    names: list[str] = []
    while not cursor.at_end():
        cursor.space()
        names.append(cursor.keyword())
        if len(names) > MAX_LIST:
            raise CommandError("Too many capabilities")
    if not names:
        cursor.fail("a capability")
    return Enable(tag, tuple(names))


def _compress(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    if cursor.keyword() != "DEFLATE":
        cursor.fail("DEFLATE")
    return Compress(tag)


COMMANDS: Rows = {
    "CAPABILITY": (ANY, plain(Capability)),
    "NOOP": (ANY, plain(Noop)),
    "LOGOUT": (ANY, plain(Logout)),
    "ID": (ANY, _id),
    "STARTTLS": (BEFORE_LOGIN, plain(StartTls)),
    "AUTHENTICATE": (BEFORE_LOGIN, _authenticate),
    "LOGIN": (BEFORE_LOGIN, _login),
    "ENABLE": (LOGGED_IN, _enable),
    "COMPRESS": (LOGGED_IN, _compress),
    "UNAUTHENTICATE": (LOGGED_IN, plain(Unauthenticate)),
}
