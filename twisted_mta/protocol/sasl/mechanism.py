"""What a SASL mechanism is on the server's side: challenges out, responses in, credentials at the end
(RFC 4422 §3).

Sans-I/O. A mechanism object serves one exchange. It never decides who may log in: it only reads the
exchange, and the session asks the directory. Security layers are left out on purpose: TLS is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted_mta.protocol.sasl.credentials import Credentials, KeysWanted
from twisted_mta.protocol.sasl.scram import Keys

Result = bytes | KeysWanted | Credentials


class Mechanism(Protocol):
    """One exchange. `start` is called once, `step` for each response until credentials come out."""

    def start(self, initial: bytes | None) -> Result:
        """Begin. `initial` is the decoded initial response, b"" when it was empty, None when there was none.

        Returns the next challenge, not yet encoded, a question, or the credentials. Raises SaslError.
        """

    def step(self, response: bytes) -> Result:
        """Go on with the peer's decoded response to the last challenge. Returns and raises as `start`."""

    def provide(self, keys: Sequence[Keys]) -> bytes:
        """The answer to KeysWanted; returns the next challenge."""


class ClientFirst:
    """What the mechanisms share in which the client has the first word, and has no question to ask the
    session: an empty challenge asks for the word when it did not come along."""

    def start(self, initial: bytes | None) -> Result:
        """See Mechanism."""
        return b"" if initial is None else self.step(initial)

    def step(self, response: bytes) -> Result:
        """See Mechanism."""
        raise NotImplementedError

    def provide(self, keys: Sequence[Keys]) -> bytes:
        """See Mechanism."""
        raise AssertionError("no keys were asked for")
