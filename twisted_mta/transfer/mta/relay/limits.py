"""Bounds of the relay: how long to wait, how many at once (RFC 5321 §4.5.3.2, §4.5.3.1.8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from twisted_mta.protocol.smtp.client_events import Stage


@dataclass(frozen=True, slots=True)
class StageTimeouts:
    """Seconds to wait at each stage, for one reply, one handshake, or one buffer of content.

    The defaults are the least that RFC 5321 §4.5.3.2 advises, where it does. `idle` is how long an unused
    connection is kept, `quit` how long a goodbye is waited for.
    """

    connect: float = 30.0
    banner: float = 300.0
    hello: float = 300.0
    start_tls: float = 120.0
    handshake: float = 60.0
    auth: float = 300.0
    reset: float = 20.0
    mail: float = 300.0
    recipient: float = 300.0
    data: float = 120.0
    content: float = 180.0
    final: float = 600.0
    quit: float = 5.0
    idle: float = 5.0

    def by_stage(self) -> Mapping[Stage, float]:
        """The same, by stage."""
        return {Stage[entry.name.upper()]: getattr(self, entry.name) for entry in fields(self)}


@dataclass(frozen=True, slots=True)
class RelayLimits:
    """sessions: hosts that one attempt may talk to. recipients: in one transaction. per_destination:
    deliveries at once on one route. kept: idle connections, in all. messages: on one connection.
    sweep: seconds between two looks at who has been silent for too long. shunned: seconds during which a host
    that could not be reached is tried last."""

    timeouts: StageTimeouts = field(default_factory=StageTimeouts)
    sessions: int = 3
    recipients: int = 100
    per_destination: int = 20
    kept: int = 100
    messages: int = 100
    sweep: float = 1.0
    shunned: float = 60.0
