"""The client's side of SASL: how to log in at another server, strongest mechanism first (RFC 4422 §3).

SCRAM (RFC 5802, RFC 7677), PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login-00), and with a token of
OAuth OAUTHBEARER (RFC 7628) and XOAUTH2, which Google and Microsoft speak. Sans-I/O; a mechanism object
serves one exchange.

Left out on purpose: CRAM-MD5 and DIGEST-MD5, which are historic.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from twisted_mta.protocol.sasl.error import SaslError
from twisted_mta.protocol.sasl.scram import HASHES, ScramClient


class ClientMechanism(Protocol):
    """One exchange. `initial`: the initial response, None when the server speaks first. `proven`: the
    server has shown what the mechanism wants of it; only then its success may be believed."""

    name: str
    initial: bytes | None
    proven: bool

    def respond(self, challenge: bytes) -> bytes:
        """The response to the server's next challenge; may take milliseconds. Raises SaslError when there
        is none: the exchange is to be cancelled."""


class PlainClient:
    """PLAIN (RFC 4616)."""

    name = "PLAIN"
    proven = True

    def __init__(self, login: str, password: str) -> None:
        self.initial: bytes | None = b"\0%b\0%b" % (login.encode(), password.encode())

    def respond(self, challenge: bytes) -> bytes:
        raise SaslError("A challenge where none belongs")


class LoginClient:
    """LOGIN: name and password, in this order, whatever the server asks."""

    name = "LOGIN"
    proven = True
    initial: bytes | None = None

    def __init__(self, login: str, password: str) -> None:
        self._answers = [password.encode(), login.encode()]

    def respond(self, challenge: bytes) -> bytes:
        if not self._answers:
            raise SaslError("A challenge where none belongs")
        return self._answers.pop()


class BearerClient:
    """OAUTHBEARER (RFC 7628 §3.1) and XOAUTH2. A challenge means failure, its text says why, and an empty
    answer (for OAUTHBEARER a %x01, §3.2.3) is waited for before the server says so in its own protocol."""

    proven = True

    def __init__(self, name: str, login: str, token: str, host: str, port: int) -> None:
        self.name = name
        self._answered = False
        bearer = b"auth=Bearer %b\1\1" % token.encode()
        self.initial: bytes | None
        if name == "XOAUTH2":
            self.initial = b"user=%b\1%b" % (login.encode(), bearer)
        else:
            escaped = login.replace("=", "=3D").replace(",", "=2C").encode()
            self.initial = b"n,a=%b,\1host=%b\1port=%d\1%b" % (escaped, host.encode(), port, bearer)

    def respond(self, challenge: bytes) -> bytes:
        if self._answered:
            raise SaslError("A challenge where none belongs")
        self._answered = True
        return b"" if self.name == "XOAUTH2" else b"\1"


def choose(
    offered: Collection[str],
    *,
    login: str,
    password: str,
    token: str,
    secure: bool,
    nonce: str,
    binding: bytes | None,
    host: str = "",
    port: int = 0,
) -> ClientMechanism | None:
    """The strongest mechanism that the server offers and the credentials allow; None when there is none.

    offered: names in upper case. secure: nobody can listen; otherwise only SCRAM is chosen. nonce, binding:
    see ScramClient. host, port: the server as we call it. Control characters have no place in credentials:
    raises SaslError.
    """
    if any(character < " " or character == "\x7f" for character in login + password + token):
        raise SaslError("Control characters in the login name, password or token")
    if token:
        bearer = next((name for name in ("OAUTHBEARER", "XOAUTH2") if name in offered and secure), "")
        return BearerClient(bearer, login, token, host, port) if bearer else None
    for name in _scram_names(binding is not None):
        if name in offered:
            server_binds = name.removesuffix("-PLUS") + "-PLUS" in offered
            return ScramClient(name, login, password, nonce=nonce, binding=binding, server_binds=server_binds)
    if secure and "PLAIN" in offered:
        return PlainClient(login, password)
    if secure and "LOGIN" in offered:
        return LoginClient(login, password)
    return None


def _scram_names(binds: bool) -> list[str]:
    return [f"{name}-PLUS" for name in HASHES if binds] + list(HASHES)
