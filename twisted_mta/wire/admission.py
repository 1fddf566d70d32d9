"""Whether a client may come in at all: asked once for a connection, before anything else is done for it."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from twisted_mta.wire.bans import Bans
from twisted_mta.wire.load import Load
from twisted_mta.wire.rates import Rates


class Verdict(enum.Enum):
    """What becomes of a client."""

    WELCOME = "welcome"
    BANNED = "banned"  # told nothing, not even that
    TOO_OFTEN = "too often"  # told to come later, as when there are too many
    OVERLOADED = "overloaded"


@dataclass(frozen=True, slots=True)
class Admission:
    """For one service; what is None is not asked."""

    bans: Bans | None = None
    rates: Rates | None = None
    load: Load | None = None

    def __call__(self, host: str) -> Verdict:
        """`host`: the client's address."""
        if self.bans is not None and self.bans.banned(host):
            return Verdict.BANNED
        if self.load is not None and self.load.overloaded:
            return Verdict.OVERLOADED
        if self.rates is not None and not self.rates.connection(host):
            return Verdict.TOO_OFTEN
        return Verdict.WELCOME


def everybody(host: str) -> Verdict:
    """No policy at all."""
    return Verdict.WELCOME
