"""A bare IMAP client on a socket: whole responses, literals included, and nothing hidden."""

from __future__ import annotations

import re
import socket
from types import TracebackType

PATIENCE = 60.0  # seconds until a silent server fails the test
_LITERAL = re.compile(rb"\{(\d+)\}\r\n\Z")


class RawImap:
    """One session in the clear, logged in. Raises OSError when the connection is lost."""

    def __init__(self, port: int, user: str, password: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.file = self.socket.makefile("rb")
        self.sent = 0
        self.response()
        self.ok(f'LOGIN {user} "{password}"')

    def __enter__(self) -> RawImap:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self.file.close()
        self.socket.close()

    def response(self) -> bytes:
        """The next response, with its literals and without its last CRLF."""
        response = b""
        while True:
            line = self.file.readline()
            if not line.endswith(b"\r\n"):
                raise ConnectionError("the server is gone")
            response += line
            literal = _LITERAL.search(line)
            if literal is None:
                return response.removesuffix(b"\r\n")
            response += self.file.read(int(literal[1]))

    def command(self, text: str | bytes) -> list[bytes]:
        """The responses to a command; the tagged one is the last."""
        self.sent += 1
        tag = b"t%d " % self.sent
        self.socket.sendall(tag + (text.encode() if isinstance(text, str) else text) + b"\r\n")
        responses = [self.response()]
        while not responses[-1].startswith(tag):
            responses.append(self.response())
        return responses

    def ok(self, text: str | bytes) -> list[bytes]:
        """The responses to a command that has to be carried out."""
        responses = self.command(text)
        assert responses[-1].startswith(b"t%d OK" % self.sent), (text, responses[-1])
        return responses
