"""STORE (RFC 9051 §6.4.6, RFC 2180 §4.2), with UNCHANGEDSINCE (RFC 7162 §3.1.3) and the rights of RFC 4314
§4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, cast

from twisted_mta.access.imap4 import events, fetch_response, message_limit, synchronize
from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.progress import Progress
from twisted_mta.access.imap4.view import View
from twisted_mta.protocol.imap4.commands.storing import Store
from twisted_mta.protocol.imap4.fetch_items import Attribute
from twisted_mta.protocol.imap4.grammar import SYSTEM_FLAGS
from twisted_mta.protocol.imap4.sequence_set import render_uids

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_SLICE = 4000  # responses between two looks at whether the client reads


async def store(session: ImapSession, command: Store) -> None:
    """STORE. Answers with the new flags of every message, or only with what others changed (.SILENT).

    Flags that the user may not change are passed over, unless there are no others (RFC 4314 §4)."""
    view = session.require_view()
    if command.unchanged_since is not None:
        synchronize.enable_condstore(session)
    if view.read_only:
        session.refuse_command(command, "The mailbox is read-only", "READ-ONLY", expunges=command.by_uid)
        return
    positions, limited = message_limit.newest_positions(session, view.chosen(command.set, command.by_uid))
    if command.flags and not view.permitted(command.flags):
        session.refuse_command(command, "No right to change these flags", "NOPERM", expunges=command.by_uid)
        return
    uids = [view.uids[position] for position in positions]
    there = [uid for uid in uids if view.exists(uid)]
    refused = frozenset(await Progress(session, command.tag).during(_set(session, view, command, there)))
    for line in view.flag_names():
        session.engine.write(line)
    await _answer(session, view, command, positions, refused)
    code = f"MODIFIED {_names(view, command, refused)}" if refused else ""
    if len(there) < len(uids) and not (command.silent or command.by_uid):
        session.refuse_command(
            command, "Some of the messages no longer exist", code or "EXPUNGEISSUED", expunges=False
        )
        return
    text = "Conditional STORE failed for some" if refused else "STORE completed"
    code = message_limit.code_beside(session, code, limited)
    session.complete(command, text, code, expunges=command.by_uid)


async def _set(session: ImapSession, view: View, command: Store, uids: list[int]) -> list[int]:
    """Change the flags. The UIDs that were refused for what has changed since (RFC 7162 §3.1.3)."""
    how = cast(Literal["add", "remove", "replace"], command.how)
    flags = view.permitted(command.flags)
    others: frozenset[str] = frozenset()
    if how == "replace":
        everything = frozenset(SYSTEM_FLAGS) | view.mailbox.keywords
        others = view.permitted(everything) - flags
        if others != everything - flags:
            how = "add"  # what the user may not change stays; of the rest, what is not named goes
    touched = events.touched(session, view, uids, flags) if command.how == "replace" else flags
    flagged = await view.mailbox.set_flags(uids, how, flags, unchanged_since=command.unchanged_since)
    view.told_flags(flagged.changed)
    events.flagged(session, view, flagged.changed, touched)
    if how == "add" and others:
        refused = frozenset(flagged.refused)
        left = [uid for uid in uids if uid not in refused]
        view.told_flags((await view.mailbox.set_flags(left, "remove", others)).changed)
    return flagged.refused


async def _answer(
    session: ImapSession, view: View, command: Store, positions: Sequence[int], refused: frozenset[int]
) -> None:
    """The new flags; the mod-sequences alone when flags are not wanted (RFC 7162 §3.1.3, §3.2.4). Messages
    that were refused are told of, too, so that the client need not ask."""
    if command.silent and not view.tells_modseqs:
        return
    loud = view.flag_items(command.by_uid)
    items = (*view.naming_items(command.by_uid), Attribute.MODSEQ) if command.silent else loud
    told: Sequence[int] = positions
    if refused and command.silent:
        told = [position for position in positions if view.uids[position] not in refused]
        failed = [position for position in positions if view.uids[position] in refused]
        session.engine.write(b"".join(fetch_response.responses(view, failed, loud)))
    for start in range(0, len(told), _SLICE):
        if start:
            await session.access.breathe()
        session.engine.write(b"".join(fetch_response.responses(view, told[start : start + _SLICE], items)))
        await session.drain()
        if session.gone:
            return


def _names(view: View, command: Store, uids: frozenset[int]) -> str:
    """The messages as the client calls them in this command."""
    ascending = sorted(uids)
    return render_uids(ascending if command.by_uid else map(view.number_of, ascending))


COMMANDS: Rows = {Store: store}
