"""What a script may ask of the house around it. Every question has an answer already without a house, so that
a script can be tried anywhere; the delivery agent overrides them.
"""

from __future__ import annotations

from collections.abc import Sequence


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

    def script(self, name: str, location: str) -> bytes | None:
        """The text of a script to include; location: "personal" is the owner's own, "global" everybody's
        (RFC 6609 §3.2). None when there is none."""
        return None

    def spam_score(self) -> int | None:
        """How certain it is that the message is spam, in percent; None when nobody has looked (RFC 5235)."""
        return None

    def virus_verdict(self) -> int | None:
        """1 for no virus up to 5 for one, as in RFC 5235 §3.3; None when nobody has looked."""
        return None

    def list_exists(self, name: str) -> bool:
        """Whether there is an external list of this name, a URI (RFC 6134)."""
        return False

    def in_list(self, name: str, value: str) -> bool:
        """Whether the value is in a list that exists."""
        return False

    def list_addresses(self, name: str) -> Sequence[str] | None:
        """The addresses in a list; None when mail cannot be sent to its members."""
        return None

    @property
    def separators(self) -> str:
        """Characters that begin the detail of a local part (RFC 5233)."""
        return "+"
