"""The least IMAP client that can be: one command, the octets up to its tagged answer."""

from __future__ import annotations

import socket

from benchmarks.servers import PASSWORD, USER


class Client:
    """A connection, logged in."""

    def __init__(self, port: int, user: str = USER) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read(b"* OK")
        self.command(f"LOGIN {user} {PASSWORD}")

    def command(self, line: str, *more: bytes) -> bytes:
        """Send it, with octets behind it; what the server answers. Raises RuntimeError unless that is OK."""
        self._socket.sendall(b"".join([b"x ", line.encode(), b"\r\n", *more]))
        return self._read(b"x OK")

    def _read(self, wanted: bytes) -> bytes:
        pieces: list[bytes] = []
        end = b""
        while True:
            piece = self._socket.recv(1 << 20)
            if not piece:
                raise RuntimeError(f"the server hung up: {end!r}")
            pieces.append(piece)
            end = (end + piece)[-2000:]
            if end.endswith(b"\r\n"):
                last = end[:-2].rpartition(b"\r\n")[2]
                if last.startswith(wanted[:2]):
                    if not last.startswith(wanted):
                        raise RuntimeError(last.decode("latin-1"))
                    return b"".join(pieces)

    def close(self) -> None:
        """Log out."""
        self.command("LOGOUT")
        self._socket.close()
