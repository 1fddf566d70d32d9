"""What a client has cost us for nothing since its last message: errors, refusals, and commands that bring no
message any further (RFC 5321 §3.8 and §7.8 let a server close on who goes too far)."""

from __future__ import annotations

from twisted_mta.protocol.smtp.extensions import SmtpLimits

IDLE = frozenset(("HELO", "EHLO", "LHLO", "RSET", "NOOP", "HELP", "VRFY", "EXPN"))


class Nuisance:
    """Counts, up to `limits`. Each method is told of one more and returns True when it was one too many."""

    def __init__(self, limits: SmtpLimits) -> None:
        self._limits = limits
        self.forget()

    def forget(self) -> None:
        """A message has come of it."""
        self._errors = self._refusals = self._idle = 0

    def error(self) -> bool:
        """A command was malformed or out of order."""
        self._errors += 1
        return self._errors >= self._limits.errors

    def refusal(self) -> bool:
        """The session has refused what was asked for."""
        self._refusals += 1
        return self._refusals >= self._limits.refusals

    def idle(self, verb: str) -> bool:
        """A command is about to be obeyed; those in IDLE count."""
        if verb in IDLE:
            self._idle += 1
        return self._idle > self._limits.idle
