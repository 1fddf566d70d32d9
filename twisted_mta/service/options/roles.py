"""The configuration of which process does what: `roles`.

A server is one process with both roles, or two processes that share the data directory:
 - "transfer" takes mail in, has the queue, and sends; certificates and what is served over HTTP are its own
 - "access" has the mailboxes: it delivers into them, and people read their mail there
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Literal

from twisted_mta.service.options.metrics import METRICS
from twisted_mta.service.options.quantities import ListenAddress

if TYPE_CHECKING:
    from twisted_mta.service.options.config import Config

Role = Literal["transfer", "access"]
TRANSFER: Role = "transfer"
ACCESS: Role = "access"
BOTH: tuple[Role, ...] = (TRANSFER, ACCESS)

SERVICES_OF_ACCESS = frozenset(("imap", "imaps", "pop3", "pop3s", "managesieve"))


def has_both(roles: Collection[Role]) -> bool:
    """Whether one process is the whole server."""
    return set(roles) == set(BOTH)


def services(config: Config) -> dict[str, tuple[ListenAddress, ...]]:
    """Those of listen that are on in a process with the configuration's roles, by name, in the order they are
    started. Each process has pages of its own with figures: metrics.access are those of "access" alone."""
    found = config.listen.services()
    if TRANSFER not in config.roles:
        found = {name: found[name] for name in found if name in SERVICES_OF_ACCESS}
        if config.metrics.access:
            found[METRICS] = config.metrics.access
    elif ACCESS not in config.roles:
        found = {name: found[name] for name in found if name not in SERVICES_OF_ACCESS}
    return found
