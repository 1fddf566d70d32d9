"""Bringing a client up to date (RFC 7162): the CONDSTORE enabling commands, the answers to SELECT (QRESYNC)
and to UID FETCH (VANISHED).

A client whose mod-sequence is older than what is remembered of expunged messages is told of all UIDs that it
may know and that are gone (§3.2.6), as ranges, so that even this is short.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from twisted_mta.access.imap4 import fetch_response
from twisted_mta.access.imap4.view import View, highest_modseq_line
from twisted_mta.protocol.imap4.commands.selecting import Qresync
from twisted_mta.protocol.imap4.fetch_items import Attribute
from twisted_mta.protocol.imap4.grammar import CommandError
from twisted_mta.protocol.imap4.sequence_set import SAVED, SequenceSet, render_ranges, render_uids, without

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_SLICE = 2000  # responses between two looks at whether the client reads


def enable_condstore(session: ImapSession) -> None:
    """The client keeps mod-sequences from now on (RFC 7162 §3.1). When a mailbox is selected it is told where
    to start."""
    if "CONDSTORE" not in session.enabled:
        session.enabled.add("CONDSTORE")
        if session.view is not None and session.view.readable:
            session.engine.write(highest_modseq_line(session.view.mailbox.highest_modseq))


def require_qresync(session: ImapSession) -> None:
    """Raises CommandError unless the client has enabled QRESYNC (RFC 7162 §3.2.3)."""
    if "QRESYNC" not in session.enabled:
        raise CommandError("ENABLE QRESYNC first")


async def tell_since(session: ImapSession, view: View, qresync: Qresync) -> None:
    """What has happened to the messages that the client knows since it last looked (RFC 7162 §3.2.5). The
    mailbox has just been selected."""
    mailbox = view.mailbox
    if qresync.uid_validity != mailbox.uid_validity:
        return
    known = qresync.known or SequenceSet(((1, mailbox.uid_next - 1),) if mailbox.uid_next > 1 else ())
    if known == SAVED:
        return
    above = _known_up_to(view, *qresync.sample) if qresync.sample else 0
    await tell_vanished(session, view, known, qresync.modseq, above)
    positions = changed_since(view, view.chosen(known, by_uid=True), qresync.modseq)
    items = (*view.naming_items(), Attribute.FLAGS, Attribute.MODSEQ)
    for start in range(0, len(positions), _SLICE):
        session.engine.write(
            b"".join(fetch_response.responses(view, positions[start : start + _SLICE], items))
        )
        await session.drain()
        if session.gone:
            return


async def tell_vanished(
    session: ImapSession, view: View, numbers: SequenceSet, modseq: int, above: int = 0
) -> None:
    """VANISHED (EARLIER) for the UIDs of a set, all `above` one, that have been expunged after `modseq`
    (RFC 7162 §3.2.6)."""
    mailbox = view.mailbox
    vanished = await mailbox.vanished_since(modseq)
    if numbers == SAVED:
        return  # it names messages that are there
    largest = mailbox.uid_next - 1
    ranges = [
        (max(low, above + 1), min(high, largest))
        for low, high in numbers.resolve(largest)
        if high > above and 0 < low <= largest
    ]
    if vanished is None:
        gone = render_ranges(without(ranges, view.uids[: view.count]))
    else:
        found = SequenceSet(tuple(ranges)).positions_of_uids(vanished, len(vanished)) if ranges else []
        gone = render_uids(chain.from_iterable(vanished[part.start : part.stop] for part in found))
    if gone:
        session.engine.write(f"* VANISHED (EARLIER) {gone}\r\n".encode("ascii"))


def changed_since(view: View, positions: Sequence[int], modseq: int) -> Sequence[int]:
    """Those of the positions whose messages are there and have changed after `modseq`."""
    mailbox = view.mailbox
    if modseq >= mailbox.highest_modseq:
        return []
    changed = frozenset(mailbox.changed_since(modseq))
    uids = view.uids
    return [position for position in positions if uids[position] in changed]


def _known_up_to(view: View, numbers: SequenceSet, uids: SequenceSet) -> int:
    """The highest UID of the sample that stands where the client believes: up to there it knows of every
    expunge (RFC 7162 §3.2.5.2). 0 for none."""
    known = 0
    for number, uid in zip(_each(numbers), _each(uids), strict=False):
        if number > view.count:
            break
        if view.uids[number - 1] == uid:
            known = uid
    return known


def _each(numbers: SequenceSet) -> Iterator[int]:
    return chain.from_iterable(range(low, high + 1) for low, high in numbers.resolve(0))
