"""What may be said of how far findings are followed: words that the configuration shares with what follows
them. Nothing else is here, because every command reads the configuration."""

from __future__ import annotations

from typing import Literal

Mode = Literal["enforce", "junk", "record"]  # of the policies of authors' domains
SpfMode = Literal["reject", "junk", "record"]  # of those of senders' domains
WhenDown = Literal["accept", "defer"]  # a filter does not answer
WhenTooLarge = Literal["accept", "reject"]  # a message is larger than a filter is shown
