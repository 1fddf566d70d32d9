"""One connection between the two processes, and the calls that go over it in both directions.

An argument and an answer are values (dataclasses, numbers, texts), the same on both sides: what is decoded
has the type that is expected, or the call is refused. What a call raises arrives as the same MailError; what
is no MailError is told in the log of the process where it happened, and arrives as a temporary one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_mta.handover.frames import PROTOCOL, BadFrame, Frame, FrameReader, Kind, call, called, encode
from twisted_mta.message.status import MailError, unexpected

MOST_UNANSWERED = 128 * 1024 * 1024  # octets of calls, for a process that hangs

_Refused = tuple[int, str, str]


class Away(MailError):
    """The other process does not run, is about to end, or ended before it could answer."""

    def __init__(self) -> None:
        super().__init__(451, "4.3.2", "A part of the server does not run at the moment, try again later")


class Served(NamedTuple):
    """What is called: the type of its argument, and what answers."""

    argument: Any
    answer: Callable[[Any], Awaitable[object]]


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(type(value).__name__)


def _special(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(kind.__name__)


@lru_cache(64)
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind, dec_hook=_special)


_encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode


class Link(Protocol):
    """`serves`: what the other side may call, by name. `opened` is told once the other side has greeted,
    `closed` when the connection is over, with the reason in words; when it has never been open, only if there
    is one."""

    log = Logger(namespace="twisted_mta.handover")

    def __init__(
        self,
        serves: Mapping[str, Served],
        *,
        opened: Callable[[Link], None],
        closed: Callable[[Link, str], None],
    ) -> None:
        self._serves = serves
        self._opened = opened
        self._closed = closed
        self._reader = FrameReader()
        self.was_open = False
        self._numbers = 0
        self._asked: dict[int, tuple[Any, Deferred[Any], int]] = {}  # the last: octets of the frame
        self._unanswered = 0  # octets
        self._answering = 0
        self._idle: Deferred[None] | None = None
        self._trouble = ""
        self._leaving = False
        self._over = False

    # Calls of ours

    def call(self, name: str, argument: object, answer: Any = None) -> Deferred[Any]:
        """What the other side answers, a value of the type `answer`. Fails with MailError, such as Away, also
        when it has not answered MOST_UNANSWERED."""
        if self._over or self._unanswered >= MOST_UNANSWERED:
            return self._failed(Away())
        self._numbers = self._numbers % 0xFFFFFFFF + 1
        try:
            frame = encode(Frame(Kind.CALL, self._numbers, call(name, _encode(argument))))
        except (BadFrame, UnicodeEncodeError) as error:
            self.log.error("{name} cannot be asked for: {error}", name=name, error=error)
            return self._failed(unexpected())
        asked: Deferred[Any] = Deferred()
        self._asked[self._numbers] = (answer, asked, len(frame))
        self._unanswered += len(frame)
        assert self.transport is not None
        self.transport.write(frame)
        return asked

    @staticmethod
    def _failed(error: MailError) -> Deferred[Any]:
        failed: Deferred[Any] = Deferred()
        failed.errback(error)
        return failed

    async def finish(self) -> None:
        """Do nothing more for the other side; returns when nothing of it is under way."""
        self._leaving = True
        if self._answering:
            self._idle = self._idle or Deferred()
            await self._idle

    # The connection

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(encode(Frame(Kind.GREETING, 0, PROTOCOL)))

    def dataReceived(self, data: bytes) -> None:
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except (BadFrame, msgspec.MsgspecError) as error:
            self.cut(f"what came is not understood: {error}")

    def cut(self, why: str) -> None:
        """End it now."""
        self._trouble = self._trouble or why
        assert self.transport is not None
        self.transport.abortConnection()  # type: ignore[attr-defined]

    def connectionLost(self, reason: Failure | None = None) -> None:
        self._over = True
        asked, self._asked = self._asked, {}
        if self.was_open or self._trouble:
            self._closed(self, self._trouble)
        for _, deferred, _ in asked.values():
            deferred.errback(Away())

    def _take(self, frame: Frame) -> None:
        if not self.was_open:
            if frame.kind is not Kind.GREETING or frame.payload != PROTOCOL:
                raise BadFrame("it is of another release; both processes have to be of the same one")
            self.was_open = True
            self._opened(self)
        elif frame.kind is Kind.CALL:
            name, argument = called(frame.payload)
            served = self._serves.get(name)
            if served is None:
                raise BadFrame(f"nothing is called {name}")
            self._answering += 1
            Deferred.fromCoroutine(self._answer(frame.number, name, served, argument))
        elif frame.kind is not Kind.GREETING:
            self._take_answer(frame)

    def _take_answer(self, frame: Frame) -> None:
        answer, asked, octets = self._asked.pop(frame.number, (None, None, 0))
        if asked is None:
            raise BadFrame("an answer to nothing")
        self._unanswered -= octets
        try:
            if frame.kind is Kind.ANSWER:
                result = _decoder(answer).decode(frame.payload)
            elif frame.kind is Kind.AWAY:
                result = Failure(Away())
            else:
                result = Failure(MailError(*_decoder(_Refused).decode(frame.payload)))
        except msgspec.MsgspecError as error:
            self.log.error("an answer is not understood: {error}", error=error)
            result = Failure(unexpected())
        asked.callback(result)

    async def _answer(self, number: int, name: str, served: Served, argument: bytes) -> None:
        try:
            frame = await self._result(number, name, served, argument)
        finally:
            self._answering -= 1
        if not self._over:
            assert self.transport is not None
            self.transport.write(frame)
        if not self._answering and self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)

    async def _result(self, number: int, name: str, served: Served, argument: bytes) -> bytes:
        try:
            if self._leaving:
                raise Away()
            result = await served.answer(_decoder(served.argument).decode(argument))
            return encode(Frame(Kind.ANSWER, number, _encode(result)))
        except Away:
            return encode(Frame(Kind.AWAY, number, b""))
        except MailError as refused:
            error = refused
        except Exception:
            self.log.failure("{name}: what the other process asked for cannot be done", name=name)
            error = unexpected()
        text = error.text.encode("utf-8", "replace").decode()  # no half of a surrogate pair
        return encode(Frame(Kind.REFUSAL, number, _encode((error.code, error.status, text))))
