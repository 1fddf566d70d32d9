"""The least POP3 client that can be; answers are read whole."""

from __future__ import annotations

import socket

from benchmarks.servers import PASSWORD

_READ = 64 * 1024


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._line()

    def _line(self) -> bytes:
        data = self._more()
        while not data.endswith(b"\r\n"):
            data += self._more()
        return data

    def _more(self) -> bytes:
        data = self._socket.recv(_READ)
        if not data:
            raise ConnectionError("the server has closed the connection")
        return data

    def say(self, command: bytes) -> bytes:
        """The one line that a command is answered with. Raises RuntimeError when it is no +OK."""
        self._socket.sendall(command + b"\r\n")
        answer = self._line()
        if not answer.startswith(b"+OK"):
            raise RuntimeError(f"{command!r}: {answer!r}")
        return answer

    def ask(self, command: bytes) -> int:
        """The octets of a long answer."""
        self._socket.sendall(command + b"\r\n")
        data = self._line()
        total, end = len(data), data[-5:]
        while end != b"\r\n.\r\n":
            data = self._more()
            total, end = total + len(data), (end + data)[-5:]
        return total

    def log_in(self, name: str) -> None:
        """USER and PASS."""
        self.say(b"USER " + name.encode())
        self.say(b"PASS " + PASSWORD.encode())

    def close(self) -> None:
        """Without QUIT."""
        self._socket.close()
