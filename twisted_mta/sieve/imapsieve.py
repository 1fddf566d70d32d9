"""Scripts that run when something has happened to a message in a mailbox (RFC 6785).

The items of the environment (§4.2 to §4.4) come from the house. A message is in its mailbox already: an
implicit keep leaves it there as it is, and what would answer or refuse it makes no sense any more (§3).
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted_mta.sieve.actions import AnyAction
from twisted_mta.sieve.language import Extension
from twisted_mta.sieve.rejecting import Reject
from twisted_mta.sieve.vacation import Vacation

EXTENSION = Extension("imapsieve")


def out_of_place(actions: Iterable[AnyAction]) -> str:
    """Why these cannot be carried out for a message in a mailbox, "" when they can."""
    if any(isinstance(action, Reject | Vacation) for action in actions):
        return "a message that is in a mailbox can neither be refused nor answered"
    return ""
