"""One SASL exchange from the server's side, as SMTP, IMAP, POP3 and ManageSieve carry it (RFC 4422 §3, §4).

All four engines drive an `Exchange` in the same way: lines in; out comes the next challenge, a question for
the session (`KeysWanted`, answered by `provide`), or credentials. Those the session judges; when it says
no, `refused` tells whether the mechanism has something to say first. What a mechanism says with success
goes into one more challenge, which the client answers with nothing, unless the protocol has a place for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from twisted_mta.protocol.sasl.credentials import Credentials, KeysWanted, ProvenCredentials
from twisted_mta.protocol.sasl.error import SaslError
from twisted_mta.protocol.sasl.lines import CANCEL, decode, encode
from twisted_mta.protocol.sasl.mechanism import Mechanism
from twisted_mta.protocol.sasl.scram import Keys

Step = bytes | KeysWanted | Credentials  # bytes: the line of the next challenge, without prefix and CRLF


class SaslCancelled(SaslError):
    """The peer called the exchange off with `*`."""


class SaslRefused(SaslError):
    """The peer has heard why it was refused; now say "no" in the words of the protocol."""


class Exchange:
    """Drives one mechanism through lines. `final_apart`: what the server says with success travels in a
    challenge of its own; otherwise the engine finds it in the credentials."""

    def __init__(self, mechanism: Mechanism, *, final_apart: bool = True) -> None:
        self._mechanism = mechanism
        self._final_apart = final_apart
        self._proven: ProvenCredentials | None = None  # and the client has been told
        self._refusal = b""
        self._refused = False

    def start(self, initial: bytes | None) -> Step:
        """`initial` is the initial response as it stood on the command line, None without one; "=" is an
        empty one (RFC 4954 §4). Raises SaslError."""
        octets = initial if initial is None else decode(b"" if initial == b"=" else initial)
        return self._step(self._mechanism.start(octets))

    def respond(self, line: bytes) -> Step:
        """The peer's next line. Raises SaslRefused after `refused`, SaslCancelled for `*`, SaslError for a
        malformed one."""
        if self._refused:  # whatever it is: the dummy response of RFC 7628 §3.2.3, "*"
            raise SaslRefused("Authentication failed")
        if line == CANCEL:
            raise SaslCancelled("Authentication cancelled")
        response = decode(line)
        if self._proven is None:
            return self._step(self._mechanism.step(response))
        if response:
            raise SaslError("A response where none belongs")
        return self._proven

    def provide(self, keys: Sequence[Keys]) -> bytes:
        """The answer to KeysWanted: at least one, all with the same salt and iterations. Returns the line
        of the next challenge."""
        return encode(self._mechanism.provide(keys))

    def refused(self) -> bytes:
        """The credentials were not good. The line of the challenge that says why, after whose answer the
        exchange is over; b"" when there is none."""
        self._refused = True
        return encode(self._refusal)

    def _step(self, result: Step) -> Step:
        if isinstance(result, bytes):
            return encode(result)
        if isinstance(result, KeysWanted):
            return result
        self._refusal = result.refusal
        if isinstance(result, ProvenCredentials) and self._final_apart:
            self._proven = replace(result, final=b"")
            return encode(result.final)
        return result
