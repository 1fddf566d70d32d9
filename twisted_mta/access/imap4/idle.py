"""IDLE: changes are told the moment they happen (RFC 2177).

What is to be told waits while the client does not read, so that a stalled one costs no memory. The
store looks after watched mailboxes by itself, so changes by other programs come the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from twisted_mta.access.imap4.command import Rows
from twisted_mta.protocol.imap4.commands.idling import Idle

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession


@dataclass(slots=True)
class Idling:
    """An IDLE under way. `pushing`: untold changes are on their way out already."""

    tag: str
    pushing: bool = False


async def idle(session: ImapSession, command: Idle) -> None:
    """IDLE. Without a selected mailbox there is nothing to tell, but it is allowed."""
    if session.view is not None:
        await session.view.mailbox.refresh()
    session.idling = Idling(command.tag)
    session.engine.request(b"idling")
    session.tell_updates(expunges=True)


def notice(session: ImapSession) -> None:
    """The selected mailbox has changed."""
    if session.notifications is not None:
        session.notifications.selected_changed()
        return
    idling = session.idling
    if idling is not None and not idling.pushing:
        idling.pushing = True
        done = Deferred.fromCoroutine(_push(session, idling))
        done.addErrback(lambda failure: session.log.failure("IDLE push failed", failure=failure))


async def _push(session: ImapSession, idling: Idling) -> None:
    try:
        await session.drain()
        if session.idling is idling and not session.gone:
            session.tell_updates(expunges=True)
            session.flush()
    finally:
        idling.pushing = False


async def end(session: ImapSession, line: bytes) -> None:
    """The client's line, which can only be DONE."""
    assert session.idling is not None
    tag = session.idling.tag
    session.idling = None
    session.engine.end_continuation()
    session.tell_updates(expunges=True)
    if session.engine.finished:
        return
    if line.upper() == b"DONE":
        session.engine.respond(tag, "OK", "IDLE completed")
    else:
        session.engine.respond(tag, "BAD", "Expected DONE")


COMMANDS: Rows = {Idle: idle}
