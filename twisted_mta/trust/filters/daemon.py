"""A daemon that is asked about messages: where it is, for how long one waits for it, and whether it is worth
asking at all.

At most MOST_ASKED questions are under way at the same time; others wait for their turn, within their time.
When FAILURES questions in a row came to nothing the daemon rests: nobody waits for it until a while has
passed, then one question tries. Rests grow up to LONGEST_REST; the log is told when the first begins and when
the last is over. An answer that is of no use is no reason to rest: or whoever finds out what the daemon does
not understand could switch it off.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.ssl import optionsForClientTLS
from twisted.logger import Logger

from twisted_mta.interfaces import IResolver
from twisted_mta.resolver import ResolutionError
from twisted_mta.steady import steady_seconds
from twisted_mta.trust.filters.conversation import Conversation
from twisted_mta.trust.filters.unavailable import Unavailable

T = TypeVar("T")
Dialog = Callable[[Conversation], Coroutine[Any, Any, T]]

MOST_ASKED = 50  # questions at the same time
FAILURES = 3  # in a row, until the daemon rests
FIRST_REST = 5.0  # seconds
LONGEST_REST = 60.0
KEPT = 4  # connections, of those that take more than one question
KEPT_FOR = 20.0  # seconds without a question
_MOST_ADDRESSES = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Where a daemon listens: `path` of a Unix socket, or a host, name or IP address, and a port. `tls`: with
    a certificate for `host`, signed by `authorities`, or by those of the system when None."""

    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False
    authorities: Any = None

    def __str__(self) -> str:
        return self.path or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")


class Daemon:
    """One of them. `name` is for the log; `seconds` is what a question may take, with all that belongs to
    it."""

    log = Logger(namespace="twisted_mta.trust")

    def __init__(
        self, place: Place, *, name: str, seconds: float, reactor: Any, resolver: IResolver | None = None
    ) -> None:
        self.place = place
        self.name = name
        self.seconds = seconds
        self._reactor = reactor
        self._clock = IReactorTime(reactor)
        self._steady = steady_seconds(self._clock)
        self._resolver = resolver
        self._turns = DeferredSemaphore(MOST_ASKED)
        self._kept: list[tuple[float, Conversation]] = []
        self._failures = 0
        self._rest = 0.0  # seconds, the last one
        self._rests_until = 0.0
        self._trying = False
        self._quiet_until = 0.0

    async def ask(self, dialog: Dialog[T]) -> T:
        """What a dialog comes to. It is led on a connection that was kept, or else on a new one; once more
        when the one that was kept turns out to be gone. It sets `reusable` when the connection may be kept.
        Raises Unavailable."""
        if self._rests_until and (self._trying or self._steady() < self._rests_until):
            raise Unavailable(f"{self.place} has not answered lately")
        trying = self._trying = bool(self._rests_until)
        begun = False

        async def in_turn() -> T:
            nonlocal begun
            await self._turns.acquire()
            try:
                begun = True
                return await self._lead(dialog)
            finally:
                self._turns.release()

        try:
            answer = await Deferred.fromCoroutine(in_turn()).addTimeout(self.seconds, self._clock)
        except TookTooLong:
            why = f"{self.place} has not answered in {self.seconds:g} seconds"
            failure = Unavailable(why if begun else f"too many questions wait for {self.place}")
        except Unavailable as trouble:
            failure = Unavailable(f"{self.place}: {trouble}")
            failure.answered = trouble.answered
        except CancelledError:  # nobody wants to know any more
            raise
        except Exception as accident:  # whatever a daemon's octets make of us: no message waits for that
            self.log.failure("{name} at {place}", name=self.name, place=self.place)
            failure = Unavailable(f"{self.place}: {type(accident).__name__}")
        else:
            self._well()
            return answer
        finally:
            self._trying = self._trying and not trying
        if failure.answered:
            self._well()
            self._complain(failure)
        elif begun:
            self._failed(failure)
        raise failure

    def close(self) -> None:
        """Let go of the connections that are kept."""
        while self._kept:
            self._kept.pop()[1].close()

    async def _lead(self, dialog: Dialog[T]) -> T:
        kept = self._take_kept()
        if kept is not None:
            try:
                return await self._lead_on(kept, dialog)
            except Unavailable:
                if kept.heard:
                    raise
        return await self._lead_on(await self._connect(), dialog)

    async def _lead_on(self, conversation: Conversation, dialog: Dialog[T]) -> T:
        conversation.reusable = conversation.heard = False
        try:
            answer = await dialog(conversation)
        except Unavailable as trouble:
            trouble.answered = conversation.heard
            conversation.close()
            raise
        except BaseException:
            conversation.close()
            raise
        if conversation.reusable and conversation.quiet and len(self._kept) < KEPT:
            self._kept.append((self._steady(), conversation))
        else:
            conversation.close()
        return answer

    def _take_kept(self) -> Conversation | None:
        while self._kept:
            since, conversation = self._kept.pop()
            if conversation.quiet and self._steady() - since < KEPT_FOR:
                return conversation
            conversation.close()
        return None

    # Its state

    def _well(self) -> None:
        if self._rests_until:
            self.log.info("{name} at {place} answers again.", name=self.name, place=self.place)
        self._failures, self._rest, self._rests_until = 0, 0.0, 0.0

    def _failed(self, why: Unavailable) -> None:
        self._failures += 1
        if self._failures < FAILURES:
            return
        if not self._rests_until:
            self.log.warn("{name} is not asked for a while: {why}.", name=self.name, why=str(why))
        self._rest = min(2 * self._rest or FIRST_REST, LONGEST_REST)
        self._rests_until = self._steady() + self._rest

    def _complain(self, why: Unavailable) -> None:
        """It is there, and of no use. Once in a while: perhaps somebody provokes it with each message."""
        if self._steady() >= self._quiet_until:
            self._quiet_until = self._steady() + LONGEST_REST
            self.log.warn("{name} is asked in vain: {why}.", name=self.name, why=str(why))

    # Connections

    async def _connect(self) -> Conversation:
        place = self.place
        if place.path:
            return await self._connected(UNIXClientEndpoint(self._reactor, place.path, self.seconds))
        trouble = Unavailable("the name has no address")
        for address in await self._addresses():
            kind: Any = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            endpoint = kind(self._reactor, address, place.port, self.seconds)
            if place.tls:
                options = optionsForClientTLS(place.host, trustRoot=place.authorities)
                endpoint = wrapClientTLS(options, endpoint)
            try:
                return await self._connected(endpoint)
            except Unavailable as failure:
                trouble = failure
        raise trouble

    async def _addresses(self) -> tuple[str, ...]:
        host = "127.0.0.1" if self.place.host == "localhost" else self.place.host
        try:
            return (str(ipaddress.ip_address(host)),)
        except ValueError:
            pass
        if self._resolver is None:
            return ()
        try:
            found = await self._resolver.addresses(host)
        except ResolutionError as failure:
            raise Unavailable(str(failure)) from failure
        return found.records[:_MOST_ADDRESSES] if found is not None else ()

    async def _connected(self, endpoint: Any) -> Conversation:
        try:
            conversation: Conversation = await endpoint.connect(Factory.forProtocol(Conversation))
        except error.ConnectError as failure:
            raise Unavailable(_reason(failure)) from failure
        return conversation


def _reason(failure: error.ConnectError) -> str:
    """Why a connection could not be made, in plain words."""
    if isinstance(failure, error.ConnectionRefusedError):
        return "connection refused"
    why = os.strerror(failure.osError) if isinstance(failure.osError, int) else failure
    return ascii(str(why) or type(failure).__name__)[1:-1][:200].rstrip(".")
