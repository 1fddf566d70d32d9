"""The client's side of SOCKS5, without I/O (RFC 1928, RFC 1929): how to ask a proxy for a TCP connection.

Left out on purpose: BIND, UDP ASSOCIATE, GSSAPI, and names in requests: the hosts of a route are addresses.
"""

from __future__ import annotations

import ipaddress

_VERSION = 5
_NO_LOGIN, _PASSWORD = 0, 2
_CONNECT = 1
_IPV4, _NAME, _IPV6 = 1, 3, 4
_MAX_FIELD = 255  # octets of user and password, RFC 1929 §2
_REASONS = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "no route to host",
    5: "connection refused",
    6: "connection timed out",
    7: "command not supported",
    8: "address type not supported",
}


class SocksError(Exception):
    """The proxy refuses, or does not speak SOCKS5. The text says why, in plain words."""


class SocksEngine:
    """Asks for a connection to `address`, an IP address, and `port`. `user` and `password`: the login, ""
    for none.

    Raises ValueError for a login that RFC 1929 cannot carry. established: the octets behind the proxy's
    last reply, which are the host's, are in `rest`.
    """

    def __init__(self, address: str, port: int, *, user: str = "", password: str = "") -> None:
        packed = ipaddress.ip_address(address)
        kind = _IPV4 if packed.version == 4 else _IPV6
        self._request = bytes((_VERSION, _CONNECT, 0, kind)) + packed.packed + port.to_bytes(2, "big")
        self._login = _login(user, password) if user else b""
        methods = bytes((_NO_LOGIN, _PASSWORD) if user else (_NO_LOGIN,))
        self._output = bytes((_VERSION, len(methods))) + methods
        self._input = b""
        self._step = self._take_method
        self.established = False
        self.rest = b""

    def receive(self, data: bytes) -> None:
        """Octets from the proxy. Raises SocksError."""
        self._input += data
        while not self.established and self._step():
            pass

    def take_output(self) -> bytes:
        """Octets that are ready for the proxy."""
        output, self._output = self._output, b""
        return output

    def _take_method(self) -> bool:
        if len(self._input) < 2:
            self._check_version()
            return False
        self._check_version()
        method = self._input[1]
        self._input = self._input[2:]
        if method == _PASSWORD and self._login:
            self._output += self._login
            self._step = self._take_login
        elif method == _NO_LOGIN:
            self._ask()
        elif self._login:
            raise SocksError("The proxy offers no way to log in that is known here")
        else:
            raise SocksError("The proxy wants a login")
        return True

    def _take_login(self) -> bool:
        if len(self._input) < 2:
            return False
        status = self._input[1]
        self._input = self._input[2:]
        if status:
            raise SocksError("The proxy refuses the login")
        self._ask()
        return True

    def _ask(self) -> None:
        self._output += self._request
        self._step = self._take_reply

    def _take_reply(self) -> bool:
        """The reply ends in the address that the proxy calls from, which is of no interest but for its
        length."""
        reply = self._input
        self._check_version()
        if len(reply) < 2:
            return False
        if reply[1]:
            raise SocksError(f"The proxy says: {_REASONS.get(reply[1], f'error {reply[1]}')}")
        if len(reply) < 5:
            return False
        lengths = {_IPV4: 4, _IPV6: 16, _NAME: 1 + reply[4]}
        if reply[3] not in lengths:
            raise SocksError("The proxy does not speak SOCKS5")
        end = 4 + lengths[reply[3]] + 2
        if len(reply) < end:
            return False
        self.rest, self._input = reply[end:], b""
        self.established = True
        return True

    def _check_version(self) -> None:
        if self._input and self._input[0] != _VERSION:
            raise SocksError("The proxy does not speak SOCKS5")


def _login(user: str, password: str) -> bytes:
    name, secret = user.encode(), password.encode()
    if not (0 < len(name) <= _MAX_FIELD and 0 < len(secret) <= _MAX_FIELD):
        raise ValueError("A login at a SOCKS5 proxy has a name and a password of 1 to 255 octets each")
    return b"\1%c%b%c%b" % (len(name), name, len(secret), secret)
