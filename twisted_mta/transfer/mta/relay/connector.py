"""Connections to other mail servers: opened, kept for a while, used again, given up in time.

A connection is kept under what it was opened for (host, address, port, TLS level, login), so that it serves
every domain whose mail goes there. One sweep looks after the deadlines of all.

Left out on purpose: source addresses and SOCKS, which belong to one more argument of `_connect`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twisted_mta.journey.bus import Journey
from twisted_mta.protocol.smtp.client_events import Stage
from twisted_mta.transfer.mta.relay.client_session import ClientSession
from twisted_mta.transfer.mta.relay.limits import RelayLimits
from twisted_mta.transfer.mta.relay.verdict import Trouble, trouble
from twisted_mta.transfer.mta.routing import Credentials, Host, Route
from twisted_mta.transfer.mta.tls.policy import TlsLevel, TlsPolicy, from_the_start


@dataclass(frozen=True, slots=True)
class _Purpose:
    host: Host
    level: TlsLevel
    tls_first: bool
    credentials: Credentials | None


class Connector:
    """hostname: our name in EHLO. Sessions are taken with `session` and brought back with `put_back`."""

    log = Logger(namespace="twisted_mta.relay")

    def __init__(
        self, *, reactor: IReactorTCP, hostname: str, tls: TlsPolicy, journey: Journey, limits: RelayLimits
    ) -> None:
        self._reactor = reactor
        self._seconds = IReactorTime(reactor).seconds
        self._hostname = hostname
        self._tls = tls
        self._journey = journey
        self._limits = limits
        self._timeouts = limits.timeouts.by_stage()
        self._purposes: dict[ClientSession, _Purpose] = {}  # of all open connections
        self._kept: defaultdict[_Purpose, list[ClientSession]] = defaultdict(list)
        self._kept_count = 0
        self._stopped = False
        self._emptied: Deferred[None] | None = None
        self._sweep = LoopingCall(self.sweep)
        self._sweep.clock = IReactorTime(reactor)

    async def start(self) -> None:
        """Begin to look after deadlines."""
        done = self._sweep.start(self._limits.sweep, now=False)
        done.addErrback(lambda failure: self.log.failure("the sweep ended", failure=failure))

    async def stop(self) -> None:
        """Say goodbye where nothing is going on, cut the rest; returns when all connections are gone."""
        self._stopped = True
        for session in list(self._purposes):
            session.quit()
        if self._purposes:
            self._emptied = Deferred()
            await self._emptied
        if self._sweep.running:
            self._sweep.stop()

    async def session(self, route: Route, host: Host, *, fresh: bool) -> ClientSession:
        """A session at which mail can be sent: one that was kept, unless `fresh`, or a new one.
        Raises Trouble."""
        purpose = _Purpose(host, self._tls.level(route, host), from_the_start(route, host), route.credentials)
        kept = self._kept.get(purpose)
        while kept and not fresh:
            session = kept[-1]
            self._forget(session, purpose)
            if session.usable:
                return session
        return await self._open(purpose)

    def put_back(self, session: ClientSession) -> None:
        """The caller needs the session no more: it is kept, or ended."""
        purpose = self._purposes.get(session)
        if purpose is None:
            return
        if not session.usable or session.messages >= self._limits.messages or not self._limits.kept:
            session.quit()
            return
        if self._kept_count >= self._limits.kept:
            least_used, sessions = next(iter(self._kept.items()))
            oldest = sessions[0]
            self._forget(oldest, least_used)
            oldest.quit()
        self._kept[purpose].append(session)
        self._kept_count += 1
        session.rest()

    def sweep(self) -> None:
        """End what has made no progress until its deadline."""
        now = self._seconds()
        for session in [session for session in self._purposes if session.deadline <= now]:
            session.expire()

    async def _open(self, purpose: _Purpose) -> ClientSession:
        try:
            return await self._try(purpose, purpose.level)
        except Trouble as end:
            if not (end.tls and purpose.level is TlsLevel.MAY):
                raise
            self._journey.tell("tls-failed", host=purpose.host, reason=end.verdict.text)
        return await self._try(purpose, TlsLevel.CLEAR)

    async def _try(self, purpose: _Purpose, level: TlsLevel) -> ClientSession:
        session = await self._connect(purpose)
        await session.open(
            level,
            self._tls.creator(level, purpose.host.name),
            tls_first=purpose.tls_first,
            credentials=purpose.credentials,
        )
        return session

    async def _connect(self, purpose: _Purpose) -> ClientSession:
        host = purpose.host
        kind: Any = TCP6ClientEndpoint if ":" in host.address else TCP4ClientEndpoint
        timeout = self._timeouts[Stage.CONNECT]
        endpoint = kind(self._reactor, host.address, host.port, timeout=timeout)
        session = ClientSession(
            self._hostname, timeouts=self._timeouts, seconds=self._seconds, on_end=self._gone
        )
        try:
            await endpoint.connect(Factory.forProtocol(lambda: session))
        except (error.TimeoutError, error.TCPTimedOutError):
            raise trouble(Stage.CONNECT, "4.4.1", "Connection timed out") from None
        except error.ConnectError as failure:
            raise trouble(Stage.CONNECT, "4.4.1", _reason(failure)) from failure
        self._purposes[session] = purpose
        if self._stopped:
            session.abort()
        return session

    def _forget(self, session: ClientSession, purpose: _Purpose) -> None:
        sessions = self._kept.get(purpose, [])
        if session in sessions:
            sessions.remove(session)
            self._kept_count -= 1
            if not sessions:
                del self._kept[purpose]

    def _gone(self, session: ClientSession) -> None:
        purpose = self._purposes.pop(session, None)
        if purpose is not None:
            self._forget(session, purpose)
        if not self._purposes and self._emptied is not None:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)


def _reason(failure: error.ConnectError) -> str:
    """Why a connection could not be made, in plain words."""
    if isinstance(failure, error.ConnectionRefusedError):
        return "Connection refused"
    if isinstance(failure, error.NoRouteError):
        return "No route to host"
    return ascii(f"Cannot connect: {failure.osError or failure}").strip("'")
