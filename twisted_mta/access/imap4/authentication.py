"""Proving who one is: STARTTLS, LOGIN, AUTHENTICATE (RFC 3501 §6.2, RFC 4959, RFC 2595 §3, RFC 8437)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_mta.access.imap4.capabilities import capabilities
from twisted_mta.access.imap4.command import Rows
from twisted_mta.protocol.imap4.commands.connection import Authenticate, StartTls, Unauthenticate
from twisted_mta.protocol.imap4.commands.connection import Login as LoginCommand
from twisted_mta.protocol.sasl.credentials import Credentials, KeysWanted, PasswordCredentials
from twisted_mta.protocol.sasl.error import SaslError, utf8_text
from twisted_mta.protocol.sasl.exchange import Exchange, SaslRefused, Step
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
            session,
            access.directory,
            reactor=access.reactor,
            journey=access.journey,
            service="imap",
            allow_cleartext=access.allow_cleartext,
            limits=access.limits.login,
            means=access.means,
        )
        self.tag = ""
        self.exchange: Exchange | None = None

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
    if not _login(session).attempts.offer().private:
        session.engine.respond(command.tag, "NO", _NO_PRIVACY, "PRIVACYREQUIRED")
        return
    try:
        credentials = PasswordCredentials(
            utf8_text(command.user, "login name"), utf8_text(command.password, "password")
        )
    except SaslError as error:
        session.engine.respond(command.tag, "NO", str(error), "AUTHENTICATIONFAILED")
        return
    if not await _verified(session, command.tag, credentials, "LOGIN completed"):
        _not_let_in(session, command.tag)


async def authenticate(session: ImapSession, command: Authenticate) -> None:
    """AUTHENTICATE (RFC 3501 §6.2.2), with or without an initial response (RFC 4959)."""
    state = _login(session)
    offer = state.attempts.offer()
    if not offer.private:
        session.engine.respond(command.tag, "NO", _NO_PRIVACY, "PRIVACYREQUIRED")
        return
    state.exchange = offer.begin(command.mechanism)
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
    except SaslRefused:
        _not_let_in(session, state.tag)
        _end(session)
        return
    except SaslError as error:
        _fail(session, error)
        return
    await _continue(session, result)


def _fail(session: ImapSession, error: SaslError) -> None:
    session.engine.respond(_login(session).tag, "BAD", str(error))
    _end(session)


def _end(session: ImapSession) -> None:
    if session.login is not None:
        session.login.abandon()
    session.engine.end_continuation()


async def _continue(session: ImapSession, result: Step) -> None:
    """The next challenge, or what comes of the credentials. There is no place for what a mechanism says with
    success but one more challenge (RFC 9051 §6.2.2, RFC 4422 §4)."""
    state = _login(session)
    exchange = state.exchange
    assert exchange is not None
    if isinstance(result, KeysWanted):
        session.engine.request(exchange.provide(await state.attempts.keys(result)))
    elif isinstance(result, bytes):
        session.engine.request(result)
    elif await _verified(session, state.tag, result, "AUTHENTICATE completed"):
        _end(session)
    elif not state.attempts.exhausted and (why := exchange.refused()):
        session.engine.request(why)  # the answer follows the client's
    else:
        _not_let_in(session, state.tag)
        _end(session)


async def _verified(session: ImapSession, tag: str, credentials: Credentials, text: str) -> bool:
    """False for who is not let in, who has heard nothing yet."""
    name = await _login(session).attempts.check(credentials)
    if name is None:
        return False
    session.logged_in(await session.access.store.account(name))
    session.engine.respond(tag, "OK", text, f"CAPABILITY {capabilities(session)}")
    return True


def _not_let_in(session: ImapSession, tag: str) -> None:
    session.engine.respond(tag, "NO", "Authentication failed", "AUTHENTICATIONFAILED")
    if _login(session).attempts.exhausted:
        session.bye("Too many failed logins")


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
