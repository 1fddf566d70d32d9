"""What an authority finds here while it looks whether a name is ours."""

from __future__ import annotations

from OpenSSL import SSL


class Challenges:
    """Open ones. `contexts`: those of TLS-ALPN-01, by the name that is asked for (RFC 8737 §3)."""

    def __init__(self) -> None:
        self._answers: dict[str, bytes] = {}
        self.contexts: dict[str, SSL.Context] = {}

    def answer(self, token: str) -> bytes | None:
        """What stands below /.well-known/acme-challenge/ (RFC 8555 §8.3); None when nobody asked us to."""
        return self._answers.get(token)

    def put(self, token: str, key_authorization: str) -> None:
        """Show it from now on."""
        self._answers[token] = key_authorization.encode("ascii")

    def remove(self, token: str) -> None:
        """Idempotent."""
        self._answers.pop(token, None)
