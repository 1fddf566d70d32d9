"""The part of the configuration that names the programs beside this server which have a say in what comes
in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Annotated
from urllib.parse import urlsplit

from msgspec import Meta, Struct
from msgspec.structs import replace

from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.quantities import DaemonServer, Domain, Duration, Size
from twisted_mta.trust.modes import WhenDown, WhenTooLarge

LONGEST = 240.0  # seconds: the client waits for the end of a message, for ten minutes (RFC 5321 §4.5.3.2.6)

Weight = Annotated[float, Meta(ge=0)]

_NAME = re.compile(r"[a-z][a-z0-9-]{0,19}\Z")
_TAKEN = frozenset(("rspamd", "clamav", "spamd", "hook"))


class Rspamd(Struct, frozen=True, forbid_unknown_fields=True):
    """`server` "": it is not asked; the same in the others. `timeout`: for one message. `largest`: it is not
    shown larger ones. `weight`: what each of its points counts in trust.junk_score and trust.reject_score."""

    server: DaemonServer = DaemonServer("")
    timeout: Duration = Duration(10)
    when_down: WhenDown = "accept"
    largest: Size = Size(25 * 2**20)
    weight: Weight = 1.0


class ClamAv(Struct, frozen=True, forbid_unknown_fields=True):
    """`when_too_large`: what becomes of a message beyond `largest`, or the daemon's own limit."""

    server: DaemonServer = DaemonServer("")
    timeout: Duration = Duration(60)
    when_down: WhenDown = "defer"
    largest: Size = Size(25 * 2**20)
    when_too_large: WhenTooLarge = "accept"


class Spamd(Struct, frozen=True, forbid_unknown_fields=True):
    """`user`: whose preferences it goes by."""

    server: DaemonServer = DaemonServer("")
    user: str = ""
    timeout: Duration = Duration(30)
    when_down: WhenDown = "accept"
    largest: Size = Size(500 * 2**10)
    weight: Weight = 1.0


class Hook(Struct, frozen=True, forbid_unknown_fields=True):
    """`secret_file`: its first line signs what is asked. `content`: the message is sent along."""

    url: str = ""
    secret_file: str = ""
    authorities: str = ""
    content: bool = False
    timeout: Duration = Duration(10)
    when_down: WhenDown = "accept"
    largest: Size = Size(10 * 2**20)
    weight: Weight = 1.0


class Milter(Struct, frozen=True, forbid_unknown_fields=True):
    """`ignore_changes`: it may ask for changes that are not made."""

    server: DaemonServer = DaemonServer("")
    timeout: Duration = Duration(30)
    when_down: WhenDown = "accept"
    largest: Size = Size(25 * 2**20)
    ignore_changes: bool = False


class Filters(Struct, frozen=True, forbid_unknown_fields=True):
    """`milters` by a name for them."""

    rspamd: Rspamd = Rspamd()
    clamav: ClamAv = ClamAv()
    spamd: Spamd = Spamd()
    hook: Hook = Hook()
    milters: dict[str, Milter] = {}

    def servers(self) -> Iterator[tuple[str, Rspamd | ClamAv | Spamd | Milter]]:
        """Those that are asked, but for the hook, by their keys."""
        for name in ("rspamd", "clamav", "spamd"):
            options = getattr(self, name)
            if options.server:
                yield f"filters.{name}", options
        for name, options in self.milters.items():
            yield f"filters.milters.{name}", options

    def files(self) -> dict[str, str]:
        """Every file that is named, by its key."""
        named = {
            "filters.hook.secret_file": self.hook.secret_file,
            "filters.hook.authorities": self.hook.authorities,
        }
        return {key: path for key, path in named.items() if path}

    def absolute(self, resolve: Callable[[str], str]) -> Filters:
        """With the paths that `resolve` makes of those in the file."""
        hook = self.hook
        files = {
            "secret_file": resolve(hook.secret_file),
            "authorities": resolve(hook.authorities),
        }
        return replace(self, hook=replace(hook, **files))


class HookPlace(Struct, frozen=True):
    """An http or https URL in parts; `target` is path and query."""

    tls: bool
    host: str
    port: int
    target: str


def hook_place(url: str) -> HookPlace:
    """Raises ConfigError."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host = host if ":" in host or re.fullmatch(r"[0-9.]+", host) else Domain.read(host)
    except ValueError:
        host, port = "", None
    if not host or not url.isascii() or parts.scheme not in ("http", "https") or "@" in parts.netloc:
        raise ConfigError(
            f"filters.hook.url: expected a URL such as https://filter.example/mail, found {url!r}"
        )
    if re.search(r"[\x00-\x20\x7f]", url) or parts.fragment:
        raise ConfigError(f"filters.hook.url: no spaces and no # in {url!r}")
    tls = parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return HookPlace(tls, host, port or (443 if tls else 80), target)


def check_filters(filters: Filters) -> None:
    """Raises ConfigError."""
    for name in filters.milters:
        if not _NAME.match(name) or name in _TAKEN:
            raise ConfigError(
                f"filters.milters: {name!r} is no name for one; write for example [filters.milters.opendkim]"
            )
    asked = dict(filters.servers())
    for key, options in (*asked.items(), ("filters.hook", filters.hook)):
        if options.timeout > LONGEST:
            raise ConfigError(f"{key}.timeout: at most 4m, the client waits for as long")
    for key, milter in asked.items():
        if not milter.server:
            raise ConfigError(f"{key}.server: empty; write for example server = {DaemonServer.EXAMPLE}")
    hook = filters.hook
    if hook.url:
        hook_place(hook.url)
    elif hook != Hook():
        raise ConfigError("filters.hook.url: missing; it says whom to ask")
    if re.search(r"[\x00-\x20\x7f]", filters.spamd.user) or not filters.spamd.user.isascii():
        raise ConfigError("filters.spamd.user: expected the name of one user")
