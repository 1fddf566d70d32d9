"""THREAD (RFC 5256 §3): what was searched, put together by what answers what.

The work is done in a thread of the store: for a large mailbox it takes as long as a hundred small commands.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from twisted_mta.access.imap4 import message_limit
from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.progress import Progress
from twisted_mta.access.imap4.searching.result import find, requested
from twisted_mta.message import threading
from twisted_mta.message.collation import casemap
from twisted_mta.protocol.imap4.commands.searching import Thread
from twisted_mta.protocol.imap4.thread_response import thread_response
from twisted_mta.store.mailbox import Mailbox
from twisted_mta.store.overview_columns import Look, Overviews

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession


def _numbers(identifiers: Sequence[str]) -> array[int]:
    """Message-ids as Python's own digests of texts: 64 bits that nobody can aim at."""
    return array("q", map(hash, identifiers))


_LOOKS = (
    Look("sent"),
    Look("base_subject", casemap),
    Look("is_reply", bool),
    Look("message_id", hash),
    Look("references", _numbers),
)
_ALGORITHMS: dict[str, Callable[[threading.Messages], threading.Forest]] = {
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
    message_limit.require_within(session, key)
    found = await progress.during(find(session, key))
    response = await progress.during(
        _threads(session, mailbox, command, found.uids, found.uids if command.by_uid else found.numbers)
    )
    session.engine.write(response)
    session.complete(command, "THREAD completed", expunges=command.by_uid)


async def _threads(
    session: ImapSession, mailbox: Mailbox, command: Thread, uids: Sequence[int], numbers: Sequence[int]
) -> bytes:
    overviews = await mailbox.overviews(uids, _LOOKS)
    asked = command.algorithm, command.by_uid
    # Numbers are places in the mailbox for as long as the client knows of all that came and went.
    usual = command.by_uid or numbers == range(1, len(mailbox) + 1)
    answers = mailbox.overview_columns.answers_about(overviews) if usual else {}
    if asked not in answers:
        if len(overviews.uids) < len(uids):
            called = dict(zip(uids, numbers, strict=True))
            numbers = [called[uid] for uid in overviews.uids]
        # Whole seconds, as clients see them (and ordering.py).
        dates = [mailbox.columns.dates[place] // 1 for place in overviews.places]
        work = partial(_render, command.algorithm, numbers, overviews, dates)
        answers[asked] = await _beside(mailbox, work)
    return bytes(answers[asked])


def _render(
    algorithm: str, numbers: Sequence[int], overviews: Overviews, internal_dates: Sequence[float]
) -> bytes:
    """The response; in a thread. Internal dates count where a message has no other (RFC 5256 §2.2), and for
    REFS always."""
    sent, *others = overviews.values
    dates = internal_dates
    if algorithm != "REFS":
        dates = [other if date is None else date for date, other in zip(sent, dates, strict=True)]
    return thread_response(_ALGORITHMS[algorithm](threading.Messages(numbers, dates, *others)))


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
