"""What SEARCH and SORT have in common: finding, the answer, and what it leaves behind (RFC 9051 §6.4.4,
RFC 4731, RFC 5182, RFC 5267 §4, RFC 7162 §3.1.5)."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from twisted_mta.access.imap4 import synchronize
from twisted_mta.access.imap4.searching import context, relevancy
from twisted_mta.access.imap4.searching.program import Found, SearchProgram
from twisted_mta.access.imap4.searching.request import requested_key
from twisted_mta.access.imap4.searching.searched import Searched
from twisted_mta.message.status import MailError
from twisted_mta.protocol.imap4.commands.searching import Search, Sort, Thread
from twisted_mta.protocol.imap4.esearch import ALL_RESULTS, Return, esearch, render_numbers, result_data
from twisted_mta.protocol.imap4.grammar import CommandError
from twisted_mta.protocol.imap4.search_keys import Key, ModSeq, walk
from twisted_mta.store.mailbox import Mailbox

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

MAX_SAVED = 500_000  # messages that `$` may stand for


async def requested(session: ImapSession, command: Search | Sort | Thread) -> Key:
    """The criteria as they are carried out. Raises CommandError, StoreError."""
    key = await requested_key(session, command.program, by_uid=command.by_uid)
    if not isinstance(command, Thread):
        context.check(session.require_view(), command)
        relevancy.check(key, command)
    if any(isinstance(each, ModSeq) for each in walk(key)):
        synchronize.enable_condstore(session)  # RFC 7162 §3.1
    return key


async def find(session: ImapSession, key: Key) -> Found:
    """What the criteria find in the selected mailbox. Raises StoreError."""
    view = session.require_view()
    searched = Searched(view.mailbox, view)
    program = SearchProgram(searched, key, breathe=session.access.breathe, gone=lambda: session.gone)
    return await program.run()


async def answer(
    session: ImapSession,
    command: Search | Sort,
    key: Key,
    found: Found,
    since: int,
    scores: Sequence[int] = (),
) -> None:
    """Tell what was found, in the order of `found`; keep it, or watch it, when that is asked for. `since`:
    the highest mod-sequence when the search began. Raises CommandError, StoreError."""
    returning = command.returning
    if returning is None and isinstance(command, Search) and "IMAP4REV2" in session.enabled:
        returning = ALL_RESULTS  # there is no SEARCH response any more
    mailbox = session.require_view().mailbox
    results = found.uids if command.by_uid else found.numbers
    about_modseq = any(isinstance(each, ModSeq) for each in walk(key))
    if returning is None:
        word = b"* SEARCH" if isinstance(command, Search) else b"* SORT"
        modseq = highest_modseq(mailbox, found.uids) if about_modseq else 0
        code = b" (MODSEQ %d)" % modseq if modseq else b""
        session.engine.write(b"%b%b%b\r\n" % (word, render_numbers(results), code))
        return
    chosen = returning.chosen(found.uids)
    if "SAVE" in returning.words:
        save(session, chosen)
    if not returning.silent:
        if "RELEVANCY" in returning.words and not scores:
            scores = await relevancy.scores(session, Searched(mailbox, session.view), key, found.uids)
        modseq = highest_modseq(mailbox, chosen) if about_modseq else 0
        data = result_data(returning, results, modseq=modseq, scores=scores)
        session.engine.write(esearch(command.tag, data, by_uid=command.by_uid))
    if "UPDATE" in returning.words:
        context.begin(session, command, key, found, since)


def highest_modseq(mailbox: Mailbox, uids: Sequence[int]) -> int:
    """The highest mod-sequence of these messages; 0 when there are none."""
    columns = mailbox.columns
    return max((columns.modseqs[position] for position in columns.positions(uids)), default=0)


# The saved result


def save(session: ImapSession, uids: Sequence[int]) -> None:
    """`$` stands for these messages from now on (RFC 5182 §2.1). Raises CommandError."""
    if len(uids) > MAX_SAVED:
        raise CommandError("The result is too large to be saved", condition="NO", code="NOTSAVED")
    session.require_view().saved = array("I", sorted(uids))


@contextmanager
def saving(session: ImapSession, returning: Return | None) -> Iterator[None]:
    """Around a search: one with SAVE that fails leaves nothing saved (RFC 5182 §2.1); one that is BAD changes
    nothing."""
    try:
        yield
    except (CommandError, MailError) as error:
        refused = isinstance(error, MailError) or error.condition == "NO"
        if refused and returning is not None and "SAVE" in returning.words:
            forget_saved(session)
        raise


def forget_saved(session: ImapSession) -> None:
    """`$` stands for no message."""
    if session.view is not None:
        session.view.saved = array("I")
