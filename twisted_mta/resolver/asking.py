"""How a question gets its answer: one name server after the other, round after round, until one has answered
or time is up (RFC 1035 §7.2, RFC 7766 §5).

A server that has answered nonsense, that fails, refuses or does not know is not asked again for this
question; one that is silent or cannot be reached is, after a pause that grows. An answer that is too large
for a datagram is fetched over a connection.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import dns.rcode
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import ConnectError, ConnectingCancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from twisted_mta.resolver.answer import Answer, Malformed, is_truncated, read_answer
from twisted_mta.resolver.failure import ResolutionError
from twisted_mta.resolver.name_servers import NameServer, NameServers
from twisted_mta.resolver.question import Question
from twisted_mta.resolver.transport import Connection, Datagram, Unreachable, Useless, endpoint
from twisted_mta.resolver.turns import Turns
from twisted_mta.steady import steady_seconds

SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 2.0  # seconds between two rounds

T = TypeVar("T")


class _Silence(Exception):
    """Nothing came in time."""


class _Stopped(Exception):
    """No further questions."""


class Asking:
    """`timeout` is what one server gets for one try, `lifetime` what a question gets in all, waiting for its
    turn included, both in seconds; `most` questions are on their way at the same time."""

    def __init__(
        self,
        servers: NameServers,
        *,
        reactor: Any,
        clock: IReactorTime,
        timeout: float,
        lifetime: float,
        most: int,
    ) -> None:
        self._servers = servers
        self._reactor = reactor
        self._clock = clock
        self._steady = steady_seconds(clock)
        self._timeout = timeout
        self._lifetime = lifetime
        self._turns = Turns(most)
        self._pending: dict[Deferred[Any], None] = {}  # what questions wait for, the oldest first
        self._stopped = False

    def stop(self) -> None:
        """All questions on their way end with ResolutionError, and those that come later."""
        self._stopped = True
        for waiting in tuple(self._pending):
            waiting.cancel()

    async def ask(self, question: Question) -> tuple[Answer, NameServer]:
        """The answer (NOERROR or NXDOMAIN), and whose it is. Raises ResolutionError."""
        deadline = self._steady() + self._lifetime
        try:
            await self._by(deadline, self._turns.take())
            try:
                return await self._rounds(question, deadline)
            finally:
                self._turns.give_back()
        except _Silence:
            raise ResolutionError(f"{question}: no answer from the DNS") from None
        except _Stopped:
            raise ResolutionError(f"{question}: the server is stopping") from None
        except Useless as error:
            raise ResolutionError(f"{question}: {error}") from error

    async def _rounds(self, question: Question, deadline: float) -> tuple[Answer, NameServer]:
        """Raises Useless, what the last one said, when no server is left; _Silence, _Stopped."""
        left: Sequence[NameServer] = self._servers.in_order()
        pause = SHORTEST_PAUSE
        while True:
            silent = []
            for server in left:
                try:
                    return await self._one_try(question, server, deadline), server
                except (_Silence, Unreachable):
                    silent.append(server)
                except Useless as error:
                    useless = error
            if not silent:
                raise useless
            left = silent
            await self._by(deadline, deferLater(self._clock, pause, lambda: None))
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _one_try(self, question: Question, server: NameServer, deadline: float) -> Answer:
        octets = await self._by(self._soon(deadline), Datagram(question, server, self._reactor).answer)
        if is_truncated(octets):
            octets = await self._connected(question, server, self._soon(deadline))
            if is_truncated(octets):
                raise Useless("truncated even over a connection")
        try:
            answer = read_answer(octets, question)
        except Malformed as error:
            raise Useless(str(error)) from error
        if answer.rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            raise Useless(dns.rcode.to_text(dns.rcode.Rcode.make(answer.rcode)))
        if answer.lame:
            raise Useless("the name server does not know, and does not ask others")
        return answer

    async def _connected(self, question: Question, server: NameServer, deadline: float) -> bytes:
        place = endpoint(server, reactor=self._reactor)
        try:
            connection = await self._by(deadline, connectProtocol(place, Connection(question)))
        except ConnectError as error:
            raise Useless("no connection for an answer too large for a datagram") from error
        try:
            return await self._by(deadline, connection.answer)
        finally:
            connection.abort()

    def _soon(self, deadline: float) -> float:
        """When a try that begins now must be over. Raises _Silence when it is too late for one, _Stopped."""
        now = self._steady()
        if self._stopped:
            raise _Stopped
        if now >= deadline:
            raise _Silence
        return min(deadline, now + self._timeout)

    async def _by(self, deadline: float, waiting: Deferred[T]) -> T:
        """What it gives. Raises _Silence when it is not there by then, _Stopped."""
        self._pending[waiting] = None
        if not waiting.called:
            waiting.addTimeout(max(0.0, deadline - self._steady()), self._clock)
        try:
            return await waiting
        except (TookTooLong, CancelledError, ConnectingCancelledError):
            raise _Stopped if self._stopped else _Silence from None
        finally:
            del self._pending[waiting]
