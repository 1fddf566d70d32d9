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

    def utc_offset(self) -> int:
        """The owner's time zone, seconds east of UTC."""
        return 0

    def environment(self, name: str) -> str | None:
        """An item of RFC 5183 §4.1, in lower case; None for what is not known."""
        return {"domain": "", "host": "", "location": "MDA", "name": "twisted_mta", "phase": "during"}.get(
            name
        )

    def has_special_use(self, mailbox: str | None, use: str) -> bool:
        """Whether the mailbox, or for None any of the owner's, is the one for this use, as "\\Junk"."""
        return False

    def annotation(self, mailbox: str | None, name: str) -> str | None:
        """Of a mailbox, or of the server (RFC 5464)."""
        return None

    def seen_before(self, key: str, seconds: int, extend: bool) -> bool:
        """Whether the owner had mail of this key within so many seconds: of the first, with `extend` of
        the last. It has come now, if the delivery succeeds."""
        return False

    def mailbox_exists(self, name: str) -> bool:
        """Whether the owner could file mail there."""
        return name.upper() == "INBOX"

    @property
    def separators(self) -> str:
        """Characters that begin the detail of a local part (RFC 5233)."""
        return "+"
