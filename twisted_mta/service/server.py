"""The server as one Twisted service: start in order, listen last; stop in the reverse order, in bounded time.

Ports are bound at once, before anything else happens and before root is given up, so that a port that is
taken is told in one line; connections are refused until everything behind the ports has started.
A part that cannot start ends the process with exit code 1.
"""

from __future__ import annotations

import atexit
import errno
import gc
import os
import resource
import signal
import socket
import sqlite3
import sys
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.defer import TimeoutError as TookTooLong
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import ILogObserver, Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from twisted_mta.certificates.tls_alpn import ChallengeAware
from twisted_mta.directory.error import DirectoryError
from twisted_mta.queue.schema import SchemaTooNew
from twisted_mta.service import data_dir, demo
from twisted_mta.service.certificate import Certificates
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.metrics import METRICS
from twisted_mta.service.options.roles import Role, has_both, services
from twisted_mta.service.reload import Reload
from twisted_mta.service.wiring.build import Part, Parts, build
from twisted_mta.service.wiring.proxy import behind_proxies
from twisted_mta.store.allocation import return_large_blocks
from twisted_mta.web.listener import WebListener
from twisted_mta.wire.listener import Listener

SENTENCES = (ConfigError, DirectoryError, SchemaTooNew)  # errors that say all there is to say
BACKLOG = 511  # connections the system holds until they are accepted
SWITCH_INTERVAL = 0.001  # seconds a thread computes while another one waits for the interpreter
YOUNG = 10_000  # objects that are made, and not freed, between two looks of the collector at the new ones
STOPPING = 12.0  # seconds for one part to stop; sessions are cut off before
BESIDE = "dispatcher"  # a part that needs no sessions, and no session needs it: it stops while they end
READERS = frozenset(("pop3", "pop3s"))  # their sessions may each have the file of a message open
OTHER_FILES = 100  # descriptors that are not for clients: databases, spool files, mailboxes, other servers

Bound = list[tuple[str, socket.socket]]


class MailServer(Service):
    """`path` is the configuration's file, for the demonstration's hints; `observer` is twistd's log; `role`:
    what the command line says, whatever the file does."""

    log = Logger(namespace="twisted_mta.service")

    def __init__(
        self,
        config: Config,
        *,
        path: Path,
        reactor: Any,
        observer: ILogObserver | None,
        role: Role | None = None,
    ) -> None:
        self._role = role
        self._config = config
        self._path = path
        self._reactor = reactor
        self._observer = observer
        self._bound: Bound = []
        self._ports: list[IListeningPort] = []
        self._started: list[tuple[str, Part]] = []
        self._parts: Parts | None = None
        self._starting: Deferred[None] | None = None

    def setServiceParent(self, parent: Any) -> None:
        """twistd's application also carries the log observer, which has to be there before it starts."""
        if self._observer is not None:
            parent.setComponent(ILogObserver, self._observer)
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]

    def privilegedStartService(self) -> None:
        """Bind the ports while we are still root. Raises SystemExit, the sentence is in the log."""
        self._bind_ports()

    def _bind_ports(self) -> None:
        try:  # the same server once more has its ports, too, but that is not what is wrong
            data_dir.require_free(Path(self._config.data_dir), self._config.roles)
        except ConfigError as error:
            self._refuse(str(error))
        for name, addresses in services(self._config).items():
            for address in addresses:
                try:
                    self._bound.append((name, _bind(address.host, address.port)))
                except OSError as error:
                    self._refuse(f"listen.{name}: {address}: {_why(error)}")

    def startService(self) -> None:
        """Raises SystemExit, the sentence is in the log, when the data directory, the certificate or a
        password file cannot be used."""
        super().startService()  # type: ignore[no-untyped-call]
        if not self._bound:  # `python -m twisted` does nothing while it is root
            self._bind_ports()
        # Whoever sees the lock may ask for a reload; it is done when the reactor runs, and all has been made.
        signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._ask_reload))
        return_large_blocks()
        try:
            directory = Path(self._config.data_dir)
            data_dir.create(directory)
            self._lock = data_dir.Lock.acquire(directory, self._config.roles)
            data_dir.require_restored(directory)
            self._certificates = Certificates(self._config)
            self._parts = build(
                self._config,
                reactor=self._reactor,
                certificates=self._certificates,
                max_connections=self._max_connections(),
            )
            passwords = demo.create_accounts(self._config)
        except (ConfigError, DirectoryError) as error:
            self._refuse(str(error))
        self._reload = Reload(self._config, self._path.absolute(), self._parts.takers, role=self._role)
        self._starting = Deferred.fromCoroutine(self._start(self._parts, passwords))
        self._starting.addErrback(self._start_failed)

    def _ask_reload(self) -> None:
        self._reload.asked()

    def _max_connections(self) -> int:
        """To one service: as many as configured, as far as the system lets us have descriptors for all."""
        files = _raise_file_limit()
        served = services(self._config)
        served.pop(METRICS, None)  # is one of the others
        shares = max(1, len(served) + len(served.keys() & READERS))
        most = max(1, max(files - OTHER_FILES, files // 2) // shares)
        if most >= self._config.limits.connections:
            return self._config.limits.connections
        self.log.warn(
            "limits.connections: {most} to each service, because the system lets this process have no more "
            "than {files} open files (ulimit -Hn, LimitNOFILE)",
            most=most,
            files=files,
        )
        return most

    def _refuse(self, sentence: str) -> NoReturn:
        """End the process before it has begun. Standard error is the log by now."""
        self.log.critical("{sentence}", sentence=sentence)
        raise SystemExit(1)

    async def _start(self, parts: Parts, passwords: dict[str, str]) -> None:
        for name, part in parts.in_order:
            try:
                await part.start()
            except (OSError, sqlite3.Error) as error:
                raise ConfigError(f"data_dir: the {name} cannot use its files: {error}") from error
            self._started.append((name, part))
        for name, bound in self._bound:
            factory = self._factory(name, parts.listeners[name])
            try:
                bound.listen(BACKLOG)
            except OSError as error:  # somebody who came after us was faster
                host, port = bound.getsockname()[:2]
                raise ConfigError(f"listen.{name}: {host}:{port}: {_why(error)}") from error
            self._ports.append(self._reactor.adoptStreamPort(bound.fileno(), bound.family, factory))
            bound.close()
        for _, part in parts.when_open:
            await part.start()
        # What has been made so far will stay: the collector need not look through it again and again.
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG)
        # A thread of the store gives the interpreter away with every system call. While the reactor computes
        # it comes back only after this interval; with the default, 5 ms, an answer waits for several of them.
        sys.setswitchinterval(SWITCH_INTERVAL)
        told = {name: ",".join(addresses) for name, addresses in services(self._config).items()}
        if not has_both(self._config.roles):
            told["role"] = self._config.roles[0]
        parts.journey.tell("ready", **told)
        if self._config.demo.accounts:
            _say(demo.guide(self._config, self._path, passwords))

    def _factory(self, name: str, listener: Listener | WebListener) -> IProtocolFactory:
        """With what stands in front of sessions: proxies, TLS, the challenges of authorities."""
        factory: IProtocolFactory = listener
        if name == METRICS:
            return factory
        if listener.implicit_tls and listener.tls_context is not None:
            factory = TLSMemoryBIOFactory(listener.tls_context, False, listener)
            if name == "https":
                factory = ChallengeAware(
                    factory, challenges=self._certificates.challenges, reactor=self._reactor
                )
        return behind_proxies(factory, name, proxy=self._config.proxy, reactor=self._reactor)

    def _start_failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):  # stopped before it had started
            return
        if failure.check(*SENTENCES):
            self.log.critical("the server cannot start: {error}", error=failure.getErrorMessage())
        else:
            self.log.failure("the server cannot start", failure=failure)
        atexit.register(_leave)  # twistd itself would end with exit code 0
        self._reactor.callWhenRunning(self._reactor.stop)

    def stopService(self) -> Deferred[None]:
        """Fires when everything has stopped. Who cannot wait may press Ctrl-C again: nothing that was
        acknowledged is lost by it."""
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        if self._parts is not None:
            self._parts.journey.tell("stopping")
            for name, part in reversed(self._parts.when_open):
                await self._end(name, part)
            closing = [Deferred.fromCoroutine(_completed(port.stopListening())) for port in self._ports]
            await self._bounded("listeners", gatherResults(closing, consumeErrors=True), STOPPING)
            farewells = [listener.end_all() for listener in self._parts.listeners.values()]
            ending = [self._bounded("sessions", gatherResults(farewells, consumeErrors=True), STOPPING)]
            ending += [self._end(name, part) for name, part in self._started if name == BESIDE]
            await gatherResults(map(Deferred.fromCoroutine, ending))
            for name, part in reversed(self._started):
                if name != BESIDE:
                    await self._end(name, part)
            self._parts.journey.tell("stopped")
            self._lock.release()

    async def _end(self, name: str, part: Part) -> None:
        await self._bounded(name, Deferred.fromCoroutine(part.stop()), STOPPING)

    async def _bounded(self, name: str, done: Deferred[Any], seconds: float) -> None:
        """Wait for the end of something, but not for ever, and go on whatever becomes of it."""
        try:
            await done.addTimeout(seconds, self._reactor)
        except (TookTooLong, CancelledError):
            self.log.warn(
                "{name}: still busy after {seconds:g} s, stopping anyway", name=name, seconds=seconds
            )
        except Exception:
            self.log.failure("{name}: trouble while stopping", name=name)


def _raise_file_limit() -> int:
    """Have as many open files as the system permits; how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # systems that say "unlimited" and mean something else
        hard = soft
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard


async def _completed(result: Any) -> None:
    """`stopListening` answers with a Deferred or with None."""
    if isinstance(result, Deferred):
        await result


def _bind(host: str, port: int) -> socket.socket:
    """A TCP socket that does not listen yet. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


def _why(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "another program listens there already; stop it or choose another port"
        case errno.EACCES:
            return "not allowed; ports below 1024 need root or CAP_NET_BIND_SERVICE"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address"
        case _:
            return error.strerror or str(error)


def _say(text: str) -> None:
    """To the terminal itself: twistd has turned standard output into the log."""
    if sys.__stdout__ is not None:
        print(text, file=sys.__stdout__, flush=True)


def _leave() -> None:
    if sys.__stdout__ is not None:
        sys.__stdout__.flush()
    os._exit(1)
