"""What a restore has written until it is complete, and until the last of it is in its place."""

from __future__ import annotations

import os

DRAFT = ".restoring"  # in the data directory
COMPLETE = "complete"  # there: what is in `data`, beside it, only has to be moved; it says what that is


def is_cut_short(data: str) -> bool:
    """True when a restore of everything was complete, but has not been moved to its place."""
    return os.path.exists(f"{data}/{DRAFT}/{COMPLETE}")
