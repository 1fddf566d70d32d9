"""The programs beside this server that have a say in what comes in, made from the configuration; and whether
they answer."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from typing import Any

from twisted_mta.interfaces import IResolver
from twisted_mta.protocol.milter.options import offer
from twisted_mta.service.options.config import Config
from twisted_mta.service.options.filter import Hook, hook_place
from twisted_mta.service.options.named_files import authorities, first_line
from twisted_mta.service.options.quantities import DaemonServer
from twisted_mta.trust.filters.clamav import ClamAv
from twisted_mta.trust.filters.daemon import Daemon, Place
from twisted_mta.trust.filters.filtering import DaemonCheck, FilterRules
from twisted_mta.trust.filters.http_hook import HttpHook
from twisted_mta.trust.filters.milter import ACTIONS, ALL_ACTIONS
from twisted_mta.trust.filters.milter import Milter as MilterCheck
from twisted_mta.trust.filters.rspamd import Rspamd
from twisted_mta.trust.filters.spamd import Spamd

ANSWERING = 3.0  # seconds that `mta check` waits for each

# What to say, and how the answer begins.
_PROBES = {
    "filters.rspamd": (b"GET /ping HTTP/1.0\r\n\r\n", b"HTTP/1."),
    "filters.clamav": (b"zPING\0", b"PONG"),
    "filters.spamd": (b"PING SPAMC/1.5\r\n\r\n", b"SPAMD/"),
}


class ContentFilters:
    """`checks`: those that are asked when the content of a message is complete."""

    def __init__(self, config: Config, *, resolver: IResolver, reactor: Any) -> None:
        """Raises ConfigError for a file that cannot be read."""
        self._resolver = resolver
        self._reactor = reactor
        filters = config.filters
        ours: dict[str, Any] = {"hostname": config.hostname, "reactor": reactor}
        self.checks: list[DaemonCheck] = []
        if filters.clamav.server:
            self.checks.append(
                ClamAv(
                    self._daemon("clamav", filters.clamav.server, filters.clamav.timeout),
                    _rules(filters.clamav),
                    when_too_large=filters.clamav.when_too_large,
                    reactor=reactor,
                )
            )
        if filters.rspamd.server:
            daemon = self._daemon("rspamd", filters.rspamd.server, filters.rspamd.timeout)
            self.checks.append(Rspamd(daemon, _rules(filters.rspamd), **ours))
        if filters.spamd.server:
            daemon = self._daemon("spamd", filters.spamd.server, filters.spamd.timeout)
            self.checks.append(Spamd(daemon, _rules(filters.spamd), user=filters.spamd.user, **ours))
        for name, milter in filters.milters.items():
            daemon = self._daemon(name, milter.server, milter.timeout)
            ignored = milter.ignore_changes
            self.checks.append(MilterCheck(name, daemon, _rules(milter), ignore_changes=ignored, **ours))
        if filters.hook.url:
            self.checks.append(self._hook(filters.hook, ours))

    async def start(self) -> None:
        """They are called when there is something to ask."""

    async def stop(self) -> None:
        """Let go of the connections."""
        for check in self.checks:
            check.daemon.close()

    def follow(self, other: ContentFilters) -> None:
        """Have its checks instead; what is being asked is still answered."""
        before, self.checks = self.checks, other.checks
        for check in before:
            check.daemon.close()

    def _hook(self, hook: Hook, ours: dict[str, Any]) -> HttpHook:
        url = hook_place(hook.url)
        believed = authorities("filters.hook.authorities", hook.authorities)
        place = Place(url.host, url.port, tls=url.tls, authorities=believed)
        secret = first_line("filters.hook.secret_file", hook.secret_file) if hook.secret_file else ""
        return HttpHook(
            Daemon(place, name="hook", seconds=hook.timeout, reactor=self._reactor, resolver=self._resolver),
            _rules(hook),
            target=url.target,
            secret=secret.encode(),
            with_content=hook.content,
            **ours,
        )

    def _daemon(self, name: str, server: DaemonServer, seconds: float) -> Daemon:
        place = Place(path=server.path) if server.path else Place(server.host, server.port)
        return Daemon(place, name=name, seconds=seconds, reactor=self._reactor, resolver=self._resolver)


def _rules(options: Any) -> FilterRules:
    return FilterRules(options.when_down, options.largest, getattr(options, "weight", 1.0))


def unprotected(config: Config) -> list[str]:
    """A sentence for a hook that is told of mail over a network without TLS, for `mta check`."""
    url = config.filters.hook.url
    if not url.startswith("http://"):
        return []
    host = hook_place(url).host
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_private:
            return []
    if host == "localhost":
        return []
    return [f"filters.hook.url: what is said about mail crosses the network to {host} unprotected; use https"]


def silent(config: Config) -> list[str]:
    """A sentence for each that does not answer, for `mta check`. Blocks."""
    asked = [
        (key, options.server.path or (options.server.host, options.server.port), options.when_down)
        for key, options in config.filters.servers()
    ]
    hook = config.filters.hook
    if hook.url:
        url = hook_place(hook.url)
        asked.append(("filters.hook", (url.host, url.port), hook.when_down))
    probes = dict(_PROBES)
    for name, milter in config.filters.milters.items():
        actions = ALL_ACTIONS if milter.ignore_changes else ACTIONS
        probes[f"filters.milters.{name}"] = (offer(actions), b"\0\0\0")
    found = []
    for key, where, when_down in asked:
        trouble = _trouble(where, probes.get(key))
        if trouble:
            then = "is taken without it" if when_down == "accept" else "is put off"
            found.append(f"{key}: does not answer as it should ({trouble}); until it does, mail {then}")
    return found


def _trouble(where: str | tuple[str, int], probe: tuple[bytes, bytes] | None) -> str:
    """Why a daemon cannot be used, "" when it can."""
    try:
        with contextlib.ExitStack() as closing:
            if isinstance(where, str):
                connection = closing.enter_context(socket.socket(socket.AF_UNIX))
                connection.settimeout(ANSWERING)
                connection.connect(where)
            else:
                connection = closing.enter_context(socket.create_connection(where, ANSWERING))
            if probe is None:
                return ""
            question, expected = probe
            connection.sendall(question)
            answer = connection.recv(4096)
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    if not answer:
        return "it closes the connection; if it is a milter, see ignore_changes"
    return "" if answer.startswith(expected) else "that is another protocol"
