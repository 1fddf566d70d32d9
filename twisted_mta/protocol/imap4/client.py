"""The client's side of IMAP, without I/O: commands out, responses in (RFC 3501 §2.2, §4.3, §7; RFC 9051).

Commands may be sent one behind the other; each response is told as it comes, and whoever gave a command
knows it by its tag. The content of a message is never held: what a FETCH response has of `BODY[]` is told in
pieces as it arrives, before the response itself, in which an empty string stands in its place. Everything
else of a response is bounded.

Left out on purpose: what no import needs, such as APPEND; and compression.
"""

from __future__ import annotations

import re
from collections import deque
from typing import NamedTuple

from twisted_mta.protocol.imap4.client_responses import (
    BadResponse,
    Continue,
    Response,
    Status,
    read_response,
)
from twisted_mta.protocol.imap4.framing import BareLineFeed, Framer, LineTooLong, announced

MAX_RESPONSE = 1024 * 1024  # octets of a response besides the content of a message
MAX_CONTENT = 2**32 - 1  # octets of a message, RFC 3501 §9, number

_IN_STRINGS = re.compile(rb"[\x20-\x7e]{0,1000}\Z")
_CONTENT = re.compile(rb"BODY\[\](?:<0>)? ~?\{\d+\+?\}\Z", re.IGNORECASE)


class Broken(Exception):
    """The server breaks the rules, and nothing more can be trusted; the text says how."""


class ContentBegins(NamedTuple):
    """The content of a message of so many octets follows, in pieces."""

    size: int


class Content(NamedTuple):
    """A piece of it."""

    data: bytes


Event = Response | ContentBegins | Content


class Text(NamedTuple):
    """An argument that may hold anything: it goes as a string or a literal, whatever it needs."""

    octets: bytes


class ClientEngine:
    """One connection. The first response is the server's greeting."""

    def __init__(self) -> None:
        self._framer = Framer(MAX_RESPONSE, 0)
        self._line = bytearray()  # of the response so far, without line ends
        self._literals: list[bytes] = []
        self._literal: bytearray | None = None  # under way
        self._left = 0  # octets of a literal that are to come
        self._streams = self._streamed = False  # this literal is a content; there was one in this response
        self._size = 0
        self._commands = 0
        self._awaited: set[str] = set()
        self._output = bytearray()
        self._held: deque[bytes] = deque()  # what waits for the server's leave to send a literal
        self._held_by = ""  # the tag of the command to which it belongs
        self._exchange = ""  # the tag of a command whose continuations are the caller's

    # Commands

    def command(self, *parts: bytes | Text, exchange: bool = False) -> str:
        """Give a command, its words in `parts` with a space between; the tag. With `exchange` the server's
        requests for more are told, see `answer`. While the octets of a literal wait for the server, nothing
        else may be given: raises ValueError."""
        if self._held:
            raise ValueError("the command before is not complete")
        self._commands += 1
        tag = f"m{self._commands}"
        pieces = [bytearray(tag.encode("ascii"))]
        for part in parts:
            pieces[-1] += b" "
            octets = part.octets if isinstance(part, Text) else part
            if isinstance(part, bytes):
                pieces[-1] += part
            elif _IN_STRINGS.match(octets):
                pieces[-1] += b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
            else:
                pieces[-1] += b"{%d}\r\n" % len(octets)
                pieces.append(bytearray(octets))
        pieces[-1] += b"\r\n"
        self._awaited.add(tag)
        self._exchange = tag if exchange else ""
        self._output += pieces[0]
        self._held.extend(bytes(piece) for piece in pieces[1:])
        self._held_by = tag if self._held else ""
        return tag

    def answer(self, line: bytes) -> None:
        """What the server waits for (`Continue`), without the line end."""
        self._output += line + b"\r\n"

    def take_output(self) -> bytes:
        """What is to be sent now."""
        output = bytes(self._output)
        self._output.clear()
        return output

    # Responses

    @property
    def has_input(self) -> bool:
        """True while octets are here that have not been told."""
        return bool(len(self._framer) or self._line or self._left)

    def receive(self, data: bytes) -> None:
        """Octets from the server."""
        self._framer.receive(data)

    def next_event(self) -> Event | None:
        """What came next; None when more octets are needed. Raises Broken."""
        try:
            return self._next()
        except LineTooLong:
            raise Broken(f"a line of more than {MAX_RESPONSE:,} octets") from None
        except BareLineFeed:
            raise Broken("a line that ends in LF alone") from None
        except BadResponse as error:
            raise Broken(str(error)) from None

    def _next(self) -> Event | None:
        while True:
            if self._left:
                if not len(self._framer):
                    return None
                data = self._framer.take(self._left)
                self._left -= len(data)
                if self._streams:
                    return Content(data)
                assert self._literal is not None
                self._literal += data
                continue
            if self._literal is not None:
                self._literals.append(bytes(self._literal))
                self._literal, self._streams = None, False
            line = self._framer.line()
            if line is None:
                return None
            self._line += line
            self._grow(len(line))
            literal = announced(line)
            if literal is None:
                event = self._complete()
                if event is not None:
                    return event
            elif begins := self._begin_literal(literal.size):
                return begins

    def _begin_literal(self, size: int) -> ContentBegins | None:
        self._literal, self._left = bytearray(), size
        self._streams = _CONTENT.search(self._line, max(0, len(self._line) - 64)) is not None
        if not self._streams:
            self._grow(size)
            return None
        if self._streamed:
            raise Broken("two contents of one message")
        if size > MAX_CONTENT:
            raise Broken(f"a message of {size:,} octets")
        self._streamed = True
        return ContentBegins(size)

    def _grow(self, octets: int) -> None:
        self._size += octets
        if self._size > MAX_RESPONSE:
            raise Broken(f"a response of more than {MAX_RESPONSE:,} octets")

    def _complete(self) -> Response | None:
        response = read_response(bytes(self._line), self._literals)
        self._line.clear()
        self._literals = []
        self._size, self._streamed = 0, False
        if isinstance(response, Continue):
            if self._held:
                self._output += self._held.popleft()
                return None
            if self._exchange not in self._awaited:
                raise Broken("it waits for more where nothing is to come")
        elif isinstance(response, Status) and response.tag:
            if response.tag not in self._awaited:
                raise Broken(f"an answer to {response.tag}, which is no command of ours")
            self._awaited.discard(response.tag)
            if response.tag == self._held_by:  # it does not want the literal
                self._held.clear()
        return response
