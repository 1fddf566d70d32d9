"""THREAD (RFC 5256 §3): what was searched, put together by what answers what.

The work is done in a thread of the store: for a large mailbox it takes as long as a hundred small commands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.progress import Progress
from twisted_mta.access.imap4.search_result import find, requested
from twisted_mta.message import threading
from twisted_mta.protocol.imap4.commands.searching import Thread
from twisted_mta.protocol.imap4.thread_response import thread_response
from twisted_mta.store.mailbox import Mailbox

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_FIELDS = ("sent", "base_subject", "is_reply", "message_id", "references")
_PORTION = 20_000  # messages that are asked about at a time
_ALGORITHMS: dict[str, Callable[[Sequence[threading.Message]], list[threading.Thread]]] = {
    "ORDEREDSUBJECT": threading.ordered_subject,
    "REFERENCES": threading.references,
    "REFS": threading.refs,
}

T = TypeVar("T")


async def thread(session: ImapSession, command: Thread) -> None:
    """THREAD and UID THREAD."""
    mailbox = session.require_view().mailbox
    progress = Progress(session, command.tag)
    key = await requested(session, command)
    found = await progress.during(find(session, key))
    response = await progress.during(
        _threads(session, mailbox, command, found.uids, found.uids if command.by_uid else found.numbers)
    )
    session.engine.write(response)
    session.complete(command, "THREAD completed", expunges=command.by_uid)


async def _threads(
    session: ImapSession, mailbox: Mailbox, command: Thread, uids: Sequence[int], numbers: Sequence[int]
) -> bytes:
    overviews: dict[int, tuple[Any, ...]] = {}
    for start in range(0, len(uids), _PORTION):
        if start:
            await session.access.breathe()
        overviews.update(await mailbox.overviews(uids[start : start + _PORTION], _FIELDS))
    columns = mailbox.columns
    positions = columns.positions(uids)
    dates = {columns.uids[position]: columns.dates[position] for position in positions}
    return await _beside(mailbox, partial(_render, command.algorithm, uids, numbers, overviews, dates))


def _render(
    algorithm: str,
    uids: Sequence[int],
    numbers: Sequence[int],
    overviews: dict[int, tuple[Any, ...]],
    dates: dict[int, float],
) -> bytes:
    """The response; in a thread. dates: internal ones, which count where a message has no other (RFC 5256
    §2.2), and for REFS always."""
    messages = [
        threading.Message(
            number,
            dates[uid] if row[0] is None or algorithm == "REFS" else row[0],
            row[1],
            row[2],
            row[3],
            row[4],
        )
        for uid, number in zip(uids, numbers, strict=True)
        if (row := overviews.get(uid)) is not None and uid in dates
    ]
    return thread_response(_ALGORITHMS[algorithm](messages))


async def _beside(mailbox: Mailbox, work: Callable[[], T]) -> T:
    """What the work gives, done in a thread."""
    done: Deferred[T] = Deferred()

    def perform() -> Callable[[], None]:
        try:
            return partial(done.callback, work())
        except BaseException:
            return partial(done.errback, Failure())

    mailbox.account.threads.run(perform)
    return await done


COMMANDS: Rows = {Thread: thread}
