"""What a script may ask of the house around it. Every question has an answer already without a house, so that
a script can be tried anywhere; the delivery agent overrides them.
"""

from __future__ import annotations


class World:
    """All of it is asked in a thread and may block."""

    def cpu_seconds(self) -> float:
        """Processor time that this thread has used, from any beginning."""
        return 0.0

    def now(self) -> float:
        """The wall clock, seconds since the epoch."""
        return 0.0

    def mailbox_exists(self, name: str) -> bool:
        """Whether the owner could file mail there."""
        return name.upper() == "INBOX"

    @property
    def separators(self) -> str:
        """Characters that begin the detail of a local part (RFC 5233)."""
        return "+"
