"""AUTH in an SMTP session (RFC 4954): the command, the lines of its exchange, and when it may be used.

The engine hands each line here while an exchange is `active`. What comes out is a line for the client, or
an event for the session, whose verdict the exchange waits for; MailError says what is wrong, and ends the
exchange.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted_mta.message.status import MailError
from twisted_mta.protocol.sasl.credentials import KeysWanted
from twisted_mta.protocol.sasl.error import SaslError
from twisted_mta.protocol.sasl.exchange import Exchange, SaslCancelled, SaslRefused, Step
from twisted_mta.protocol.sasl.offer import Offer
from twisted_mta.protocol.sasl.scram import Keys
from twisted_mta.protocol.smtp.events import Authenticate
from twisted_mta.protocol.smtp.parameters import syntax_error


class AuthDialog:
    """`offer`: what a client may log in with now; None for a server without AUTH."""

    def __init__(self, offer: Callable[[], Offer] | None) -> None:
        self._offer = offer
        self._exchange: Exchange | None = None

    @property
    def active(self) -> bool:
        """True inside of an exchange: the next line belongs to it."""
        return self._exchange is not None

    def leave(self) -> None:
        """Forget the exchange, if there is one."""
        self._exchange = None

    def offered(self) -> Sequence[str]:
        """The mechanisms of the line AUTH of EHLO."""
        return self._offer().names if self._offer is not None else ()

    def begin(self, argument: str) -> bytes | Authenticate | KeysWanted:
        """The argument of AUTH (RFC 4954 §4). Raises MailError."""
        assert self._offer is not None
        offer = self._offer()
        if not offer.private:
            raise MailError(538, "5.7.11", "Encryption required for authentication, use STARTTLS")
        if not argument:
            raise syntax_error("AUTH mechanism [response]")
        if not argument.isascii():
            raise MailError(501, "5.5.2", "AUTH is ASCII")
        name, _, initial = argument.partition(" ")
        exchange = offer.begin(name)
        if exchange is None:
            raise MailError(504, "5.5.4", "Authentication mechanism not known")
        self._exchange = exchange
        return self._taken(lambda: exchange.start(initial.encode("ascii") if initial else None))

    def respond(self, line: bytes) -> bytes | Authenticate | KeysWanted:
        """A line of the exchange. Raises MailError."""
        exchange = self._exchange
        assert exchange is not None
        return self._taken(lambda: exchange.respond(line))

    def provide(self, keys: Sequence[Keys]) -> bytes:
        """The answer to KeysWanted; returns the line for the client."""
        assert self._exchange is not None
        return _line(self._exchange.provide(keys))

    def refused(self) -> bytes:
        """The credentials were not good. The line for the client in which the mechanism says why; b"" when
        the reply says it all."""
        assert self._exchange is not None
        challenge = self._exchange.refused()
        return _line(challenge) if challenge else b""

    @staticmethod
    def _taken(step: Callable[[], Step]) -> bytes | Authenticate | KeysWanted:
        try:
            result = step()
        except SaslRefused:
            raise not_let_in() from None
        except SaslCancelled as error:
            raise MailError(501, "5.7.0", str(error)) from None
        except SaslError as error:
            raise MailError(501, "5.5.2", str(error)) from None
        if isinstance(result, bytes):
            return _line(result)
        return result if isinstance(result, KeysWanted) else Authenticate(result)


def not_let_in() -> MailError:
    """The refusal. Each its own: one that was raised holds on to those who raised it."""
    return MailError(535, "5.7.8", "Authentication credentials invalid")


def _line(challenge: bytes) -> bytes:
    return b"334 " + challenge + b"\r\n"
