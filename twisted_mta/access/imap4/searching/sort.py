"""SORT (RFC 5256 §3), with return options (RFC 5267 §3) and by relevancy (RFC 6203 §6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_mta.access.imap4 import message_limit
from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.progress import Progress
from twisted_mta.access.imap4.searching import relevancy
from twisted_mta.access.imap4.searching.ordering import ordered
from twisted_mta.access.imap4.searching.result import answer, find, requested, saving
from twisted_mta.access.imap4.searching.searched import Searched
from twisted_mta.protocol.imap4.commands.searching import Sort

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession


async def sort(session: ImapSession, command: Sort) -> None:
    """SORT and UID SORT."""
    with saving(session, command.returning):
        mailbox = session.require_view().mailbox
        since = mailbox.highest_modseq
        key = await requested(session, command)
        message_limit.require_within(session, key)
        progress = Progress(session, command.tag)
        found = await progress.during(find(session, key))
        score_of: dict[int, int] = {}
        by_score = any(criterion.key == "RELEVANCY" for criterion in command.criteria)
        if by_score or (command.returning is not None and "RELEVANCY" in command.returning.words):
            scores = await relevancy.scores(session, Searched(mailbox, session.view), key, found.uids)
            score_of = dict(zip(found.uids, scores, strict=True))
        order = await progress.during(ordered(session, mailbox, found.uids, command.criteria, score_of))
        found = found.arranged(order)
        by_order = [score_of[uid] for uid in found.uids] if score_of else []
        await answer(session, command, key, found, since, by_order)
    session.complete(command, "SORT completed", expunges=command.by_uid)


COMMANDS: Rows = {Sort: sort}
