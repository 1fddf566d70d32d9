"""How much of large messages all sessions together may hold in memory.

A session that answers with a message holds it until the peer has taken the answer, and a peer may take
its time. So a large message is read only when there is room for it; until then the session waits its
turn. Small messages do not wait. One that is larger than everything that may be held goes alone.

Nobody waits while holding a portion, so every wait ends as soon as the peers before take, or lose, what
they asked for. One account never takes more than half the room with several messages.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    from twisted_mta.store.mailbox import Mailbox

T = TypeVar("T")

CAPACITY = 64 * 1024 * 1024  # octets of large messages
LARGE = 1024 * 1024  # octets from which a message counts


class Portions:
    """The room that is shared. Octets are those of messages, CRLF; cuts from one in hand are not counted."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._held: Counter[str] = Counter()  # octets by account
        self._waiting: list[tuple[Portion, Deferred[None]]] = []  # first come, first served
        self._admitting = False

    def portion(self, account: str, octets: int) -> Portion:
        """Room for messages of that size together: `async with` waits for it and gives it back."""
        return Portion(self, account, octets)

    def has_room(self, account: str, octets: int) -> bool:
        """True when nobody waits, and such a portion would not have to."""
        portion = self.portion(account, octets)
        return not self._waiting and self._has_room(portion) and self._may_have(portion)

    async def take(self, portion: Portion) -> None:
        """Wait for the room."""
        turn: Deferred[None] = Deferred(lambda _: self._waiting.remove((portion, turn)))
        self._waiting.append((portion, turn))
        self._admit()
        await turn

    def give_back(self, portion: Portion) -> None:
        """The room is free again."""
        self._held -= Counter({portion.account: portion.octets})
        self._admit()

    def _admit(self) -> None:
        """Whoever has their turn. Who is admitted may be done at once, and give back before we go on."""
        if self._admitting:
            return
        self._admitting = True
        while (position := self._next()) is not None:
            portion, turn = self._waiting.pop(position)
            self._held[portion.account] += portion.octets
            turn.callback(None)
        self._admitting = False

    def _next(self) -> int | None:
        """Who waits for their own account only, holds up nobody else."""
        for position, (portion, _) in enumerate(self._waiting):
            if not self._has_room(portion):
                break
            if self._may_have(portion):
                return position
        return None

    def _has_room(self, portion: Portion) -> bool:
        held = self._held.total()
        return not held or held + portion.octets <= self._capacity

    def _may_have(self, portion: Portion) -> bool:
        held = self._held[portion.account]
        return not held or held + portion.octets <= self._capacity // 2


class Portion:
    """See `Portions.portion`."""

    __slots__ = ("_portions", "account", "octets")

    def __init__(self, portions: Portions, account: str, octets: int) -> None:
        self._portions = portions
        self.account = account
        self.octets = octets

    async def __aenter__(self) -> None:
        if self.octets >= LARGE:
            await self._portions.take(self)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.octets >= LARGE:
            self._portions.give_back(self)


@asynccontextmanager
async def examined(
    portions: Portions, mailbox: Mailbox, uid: int, see: Callable[[bytes], T | None]
) -> AsyncIterator[T | None]:
    """What `see` makes of one message, in a thread, with room for it as long as it is in use; None also when
    it has just gone. Raises NoSuchMessage, NoSuchMailbox, StorageFault."""
    async with portions.portion(mailbox.account.name, mailbox.size(uid)):
        (seen,) = await mailbox.examine([uid], see)
        yield seen
