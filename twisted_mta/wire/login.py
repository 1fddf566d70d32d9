"""The password check every server session shares, with its price for failures.

Each failure is answered late and the third ends the connection, so that guessing over one connection is
slow and guessing over many is visible (RFC 4954 §4 and RFC 5034 §4 advise a limit). All that the peer
learns is "no": an unknown name, a wrong password and a forbidden authorization identity look alike.
Bans that outlive the connection are left out on purpose: they belong to the trust layer.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from twisted_mta.interfaces import IDirectory
from twisted_mta.journey.bus import Journey
from twisted_mta.protocol.sasl.credentials import PasswordCredentials


@dataclass(frozen=True, slots=True)
class LoginLimits:
    """`delay` is in seconds and is paid once for the first failure, twice for the second, and so on;
    after `failures` failures on one connection there are no more attempts."""

    delay: float = 1.0
    failures: int = 3


class LoginAttempts:
    """The login attempts of one connection.

    service: the protocol's name for the journey ("smtp", "imap", "pop3"); peer: the client's address.
    """

    def __init__(
        self,
        directory: IDirectory,
        *,
        reactor: IReactorTime,
        journey: Journey,
        service: str,
        peer: str,
        limits: LoginLimits = LoginLimits(),
    ) -> None:
        self._directory = directory
        self._reactor = reactor
        self._journey = journey
        self._service = service
        self._peer = peer
        self._limits = limits
        self._failures = 0

    @property
    def exhausted(self) -> bool:
        """True when the last failure was one too many: answer it, then close the connection."""
        return self._failures >= self._limits.failures

    async def check(self, credentials: PasswordCredentials) -> str | None:
        """The account's name when the credentials are good; None, after the delay, when they are not.

        Nobody may act for somebody else: an authorization identity that is neither the login name nor
        the account's is refused (RFC 4616 §2). What the directory raises goes through and is
        no failure.
        """
        account = await self._directory.authenticate(credentials.login, credentials.password, self._peer)
        other = credentials.authorization_id
        if account is not None and other not in ("", credentials.login) and other.lower() != account:
            account = None
        if account is None:
            self._failures += 1
            self._journey.tell(
                "login-failed", service=self._service, peer=self._peer, login=credentials.login[:100]
            )
            await self._pause(self._limits.delay * self._failures)
        else:
            self._journey.tell("login", service=self._service, peer=self._peer, account=account)
        return account

    async def _pause(self, seconds: float) -> None:
        over: Deferred[None] = Deferred()
        self._reactor.callLater(seconds, over.callback, None)
        await over
