"""A bare client for text protocols: what a socket says, line by line, with nothing hidden.

The standard library's clients correct or refuse what these tests need to send.
"""

from __future__ import annotations

import socket
import ssl
from types import TracebackType

PATIENCE = 30.0  # seconds until a silent server fails the test


class LineClient:
    """A connected socket with a line reader."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.socket: socket.socket = socket.create_connection((host, port), timeout=PATIENCE)
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> LineClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> bytes:
        """The next line without its CRLF; b"" at the end of the stream."""
        return self.file.readline().removesuffix(b"\r\n")

    def reply(self) -> bytes:
        """The last line of one SMTP reply (RFC 5321 §4.2.1)."""
        while (line := self.line())[3:4] == b"-":
            pass
        return line

    def say(self, command: bytes) -> bytes:
        """Send an SMTP command line and return its reply."""
        self.send(command + b"\r\n")
        return self.reply()

    def until(self, prefix: bytes) -> list[bytes]:
        """The lines up to and including the one that starts with `prefix`. Fails at the end of the stream."""
        lines = []
        while not (line := self.file.readline()).startswith(prefix):
            assert line, f"the server closed before {prefix!r}; it had said {lines!r}"
            lines.append(line.removesuffix(b"\r\n"))
        return [*lines, line.removesuffix(b"\r\n")]

    def at_end(self) -> bool:
        """True when the server closes without another word."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True

    def start_tls(self) -> None:
        """Begin TLS on this socket; the certificate is the server's own and not checked."""
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.file.close()
        self.socket = context.wrap_socket(self.socket)
        self.file = self.socket.makefile("rb")
