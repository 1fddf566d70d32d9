"""Connections to other mail servers: opened, kept for a while, used again, given up in time.

A connection is kept under what it was opened for (address and port, demand on TLS, login, where from), so
that it serves every message and every domain whose mail goes there, and never mail that demands more. It
ends after a number of messages, which a server may limit itself (LIMITS, RFC 9422), or a while without any.
One sweep looks after the deadlines of all.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from twisted_mta.journey.bus import Journey
from twisted_mta.protocol.smtp.client_events import Stage
from twisted_mta.steady import steady_seconds
from twisted_mta.transfer.mta.relay import dial
from twisted_mta.transfer.mta.relay.client_session import ClientSession
from twisted_mta.transfer.mta.relay.limits import RelayLimits
from twisted_mta.transfer.mta.relay.verdict import Trouble, Verdict
from twisted_mta.transfer.mta.routing import Credentials, Host, Proxy, Route
from twisted_mta.transfer.mta.tls.demand import TlsDemand
from twisted_mta.transfer.mta.tls.level import TlsLevel
from twisted_mta.transfer.mta.tls.policy import TlsPolicy


@dataclass(frozen=True, slots=True)
class _Purpose:
    address: tuple[object, ...]  # as `_address` has it
    tls: str  # TlsDemand.key
    credentials: Credentials | None
    source: str
    proxy: Proxy | None
    host: Host = field(compare=False)


def _address(host: Host) -> tuple[object, ...]:
    return host.address, host.port, host.path, host.lmtp, host.tls_first


class Connector:
    """hostname: our name in EHLO. Sessions are taken with `session` and brought back with `put_back`."""

    log = Logger(namespace="twisted_mta.relay")

    def __init__(
        self, *, reactor: IReactorTCP, hostname: str, tls: TlsPolicy, journey: Journey, limits: RelayLimits
    ) -> None:
        self._reactor = reactor
        self._seconds = IReactorTime(reactor).seconds
        self._steady = steady_seconds(IReactorTime(reactor))
        self._hostname = hostname
        self._tls = tls
        self._journey = journey
        self._limits = limits
        self._timeouts = limits.timeouts.by_stage()
        self._purposes: dict[ClientSession, _Purpose] = {}  # of all open connections
        self._kept: defaultdict[_Purpose, list[ClientSession]] = defaultdict(list)
        self._kept_count = 0
        self._kept_at: Counter[tuple[object, ...]] = Counter()  # by address
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

    async def session(
        self,
        route: Route,
        host: Host,
        *,
        fresh: bool,
        require_tls: bool = False,
        tls_optional: bool = False,
    ) -> ClientSession:
        """A session at which mail can be sent: one that was kept, unless `fresh`, or a new one.
        `require_tls`: for mail whose sender asks for REQUIRETLS; `tls_optional`: for the opposite.
        Raises Trouble."""
        demand = await self._tls.demand(route, host, require_tls=require_tls, tls_optional=tls_optional)
        if demand.refused:
            code = 550 if demand.permanent else 0
            raise Trouble(Verdict(Stage.CONNECT, code, demand.status, demand.refused))
        purpose = _Purpose(
            _address(host), demand.key, route.credentials, route.source(host), route.proxy, host
        )
        kept = self._kept.get(purpose)
        while kept and not fresh:
            session = kept[-1]
            self._forget(session, purpose)
            if session.usable:
                session.wake()
                return session
        return await self._open(route, demand, purpose)

    def has_kept(self, host: Host) -> bool:
        """Whether a connection to this host was kept."""
        return self._kept_at[_address(host)] > 0

    def may_go_on(self, session: ClientSession) -> bool:
        """Whether another message may be sent at a session."""
        most = min(self._limits.messages, session.engine.limits.mails or self._limits.messages)
        return session.usable and session.messages < most

    def put_back(self, session: ClientSession) -> None:
        """The caller needs the session no more: it is kept, or ended."""
        purpose = self._purposes.get(session)
        if purpose is None:
            return
        if not self.may_go_on(session) or not self._limits.kept:
            session.quit()
            return
        if self._kept_count >= self._limits.kept:
            least_used, sessions = next(iter(self._kept.items()))
            oldest = sessions[0]
            self._forget(oldest, least_used)
            oldest.quit()
        self._kept[purpose].append(session)
        self._kept_count += 1
        self._kept_at[purpose.address] += 1
        session.rest()

    def sweep(self) -> None:
        """End what has made no progress until its deadline."""
        now = self._steady()
        for session in [session for session in self._purposes if session.deadline <= now]:
            session.expire()

    async def _open(self, route: Route, demand: TlsDemand, purpose: _Purpose) -> ClientSession:
        try:
            session = await self._try(demand, demand.level, purpose)
        except Trouble as end:
            if not (end.tls or end.verdict.stage in (Stage.START_TLS, Stage.HANDSHAKE)):
                raise
            self._tls.achieved(route, purpose.host, demand, "", end.verdict.text)
            if demand.level.binding:
                said = end.verdict
                text = f"{demand.reason} demands TLS: {said.text}"
                status = said.status if said.status.startswith("4.7.") else demand.status
                code, status = (550, "5.7.10") if demand.permanent else (0, status)
                raise Trouble(Verdict(said.stage, code, status, text)) from end
            if not end.tls or demand.level is TlsLevel.CLEAR:
                raise
            self._journey.tell("tls-failed", host=purpose.host, reason=end.verdict.text)
            return await self._try(demand, TlsLevel.CLEAR, purpose)
        if demand.level is not TlsLevel.CLEAR:
            local = getattr(session.transport.getHost(), "host", "")  # none at a socket of this machine
            self._tls.achieved(route, purpose.host, demand, session.tls_version, local=local)
        return session

    async def _try(self, demand: TlsDemand, level: TlsLevel, purpose: _Purpose) -> ClientSession:
        session = await self._connect(purpose)
        await session.open(
            level, demand.creator, tls_first=purpose.host.tls_first, credentials=purpose.credentials
        )
        return session

    async def _connect(self, purpose: _Purpose) -> ClientSession:
        session = ClientSession(
            self._hostname,
            purpose.host,
            timeouts=self._timeouts,
            seconds=self._seconds,
            steady=self._steady,
            on_end=self._gone,
        )
        await dial.connect(
            self._reactor,
            purpose.host,
            session,
            source=purpose.source,
            proxy=purpose.proxy,
            timeout=self._timeouts[Stage.CONNECT],
        )
        self._purposes[session] = purpose
        if self._stopped:
            session.abort()
        return session

    def _forget(self, session: ClientSession, purpose: _Purpose) -> None:
        sessions = self._kept.get(purpose, [])
        if session in sessions:
            sessions.remove(session)
            self._kept_count -= 1
            self._kept_at[purpose.address] -= 1
            if not self._kept_at[purpose.address]:
                del self._kept_at[purpose.address]
            if not sessions:
                del self._kept[purpose]

    def _gone(self, session: ClientSession) -> None:
        purpose = self._purposes.pop(session, None)
        if purpose is not None:
            self._forget(session, purpose)
        if not self._purposes and self._emptied is not None:
            emptied, self._emptied = self._emptied, None
            emptied.callback(None)
