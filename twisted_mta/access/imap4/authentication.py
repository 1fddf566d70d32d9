"""Proving who one is: STARTTLS, LOGIN, AUTHENTICATE (RFC 3501 §6.2, RFC 4959, RFC 2595 §3, RFC 8437)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_mta.access.imap4.capabilities import capabilities
from twisted_mta.access.imap4.command import Rows
from twisted_mta.protocol.imap4.commands.connection import Authenticate, StartTls, Unauthenticate
from twisted_mta.protocol.imap4.commands.connection import Login as LoginCommand
from twisted_mta.protocol.sasl import exchange
from twisted_mta.protocol.sasl.credentials import PasswordCredentials, SaslError, utf8_text
from twisted_mta.wire.login import LoginAttempts

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_NO_PRIVACY = "Start TLS first"


class Login:
    """What a session needs until somebody is logged in. `tag` is the one of an AUTHENTICATE under way."""

    def __init__(self, session: ImapSession) -> None:
        access = session.access
        self._session = session
        self.attempts = LoginAttempts(
            access.directory,
            reactor=access.reactor,
            journey=access.journey,
            service="imap",
            peer=session.peer_host,
            limits=access.limits.login,
        )
        self.tag = ""
        self.exchange: exchange.Exchange | None = None

    @property
    def allowed(self) -> bool:
        """True when a password may be sent over this connection as it is."""
        return self._session.secure or self._session.access.allow_cleartext

    @property
    def tls_offered(self) -> bool:
        """True when STARTTLS makes sense."""
        return self._session.listener.tls_context is not None and not self._session.secure

    def abandon(self) -> None:
        """The AUTHENTICATE under way, if any, is over."""
        self.tag = ""
        self.exchange = None


def _login(session: ImapSession) -> Login:
    assert session.login is not None  # the engine allows these commands only before login
    return session.login


async def start_tls(session: ImapSession, command: StartTls) -> None:
    """STARTTLS (RFC 3501 §6.2.1). The engine has made sure that nothing came along behind it."""
    if not _login(session).tls_offered:
        session.engine.respond(command.tag, "BAD", "TLS is not available")
        return
    session.engine.respond(command.tag, "OK", "Begin TLS negotiation now")
    session.start_tls()


async def login(session: ImapSession, command: LoginCommand) -> None:
    """LOGIN (RFC 3501 §6.2.3)."""
    if not _login(session).allowed:
        session.engine.respond(command.tag, "NO", _NO_PRIVACY, "PRIVACYREQUIRED")
        return
    try:
        credentials = PasswordCredentials(
            utf8_text(command.user, "login name"), utf8_text(command.password, "password")
        )
    except SaslError as error:
        session.engine.respond(command.tag, "NO", str(error), "AUTHENTICATIONFAILED")
        return
    await _verify(session, command.tag, credentials, "LOGIN completed")


async def authenticate(session: ImapSession, command: Authenticate) -> None:
    """AUTHENTICATE (RFC 3501 §6.2.2), with or without an initial response (RFC 4959)."""
    state = _login(session)
    if not state.allowed:
        session.engine.respond(command.tag, "NO", _NO_PRIVACY, "PRIVACYREQUIRED")
        return
    state.exchange = exchange.begin(command.mechanism)
    if state.exchange is None:
        session.engine.respond(command.tag, "NO", "No such mechanism", "CANNOT")
        return
    state.tag = command.tag
    try:
        result = state.exchange.start(command.initial)
    except SaslError as error:
        _fail(session, error)
        return
    await _continue(session, result)


async def respond(session: ImapSession, line: bytes) -> None:
    """The client's line in an AUTHENTICATE."""
    state = _login(session)
    assert state.exchange is not None
    try:
        result = state.exchange.respond(line)
    except SaslError as error:
        _fail(session, error)
        return
    await _continue(session, result)


def _fail(session: ImapSession, error: SaslError) -> None:
    state = _login(session)
    session.engine.respond(state.tag, "BAD", str(error))
    state.abandon()
    session.engine.end_continuation()


async def _continue(session: ImapSession, result: bytes | PasswordCredentials) -> None:
    if isinstance(result, bytes):
        session.engine.request(result)
        return
    state = _login(session)
    tag = state.tag
    session.engine.end_continuation()
    await _verify(session, tag, result, "AUTHENTICATE completed")
    state.abandon()


async def _verify(session: ImapSession, tag: str, credentials: PasswordCredentials, text: str) -> None:
    attempts = _login(session).attempts
    name = await attempts.check(credentials)
    if name is None:
        session.engine.respond(tag, "NO", "Authentication failed", "AUTHENTICATIONFAILED")
        if attempts.exhausted:
            session.bye("Too many failed logins")
        return
    session.logged_in(await session.access.store.account(name))
    session.engine.respond(tag, "OK", text, f"CAPABILITY {capabilities(session)}")


async def unauthenticate(session: ImapSession, command: Unauthenticate) -> None:
    """UNAUTHENTICATE (RFC 8437): the next user may log in over this connection. It cannot be refused."""
    await session.logged_out()
    session.engine.respond(command.tag, "OK", "Nobody is logged in any more")
    session.end_compression()


COMMANDS: Rows = {
    StartTls: start_tls,
    LoginCommand: login,
    Authenticate: authenticate,
    Unauthenticate: unauthenticate,
}
