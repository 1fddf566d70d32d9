"""How many messages may come in at the same time, and how many of them from one client.

Each of them has a part of its content in memory. No stranger has more than a quarter of the places, and when
all are taken, those who have sent nothing for long lose theirs.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from twisted_mta.wire.connection import Connection

SHARE = 4  # a stranger has one in so many places


def crowded(
    newcomer: Connection[Any], connections: Collection[Connection[Any]], most: int, *, share: int
) -> bool:
    """Is there no place left for the newcomer's content? `most`: how many places there are, 0 for any number;
    a client may have one in `share` of them. Ends those who hold a place for nothing."""
    if not most or len(connections) * share < most:
        return False
    holders = [connection for connection in connections if getattr(connection, "receiving", False)]
    if sum(holder.peer_host == newcomer.peer_host for holder in holders) * share >= max(most, share):
        return True
    if len(holders) < most:
        return False
    newcomer.listener.expire_quiet(holders)
    return True
