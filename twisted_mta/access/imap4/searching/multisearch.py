"""ESEARCH: one search in several mailboxes (RFC 7377, once RFC 6237).

One mailbox after the other is opened, searched and let go of, each with a response of its own if anything was
found in it. What the user may not read, or know of, is passed over as if it were not there. SAVE is for a
search in the selected mailbox only, and UPDATE is about that one only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.progress import Progress
from twisted_mta.access.imap4.searching import context, relevancy
from twisted_mta.access.imap4.searching.program import SearchProgram
from twisted_mta.access.imap4.searching.request import forbid_charset, requested_key
from twisted_mta.access.imap4.searching.result import highest_modseq, save, saving
from twisted_mta.access.imap4.searching.searched import Searched
from twisted_mta.access.imap4.view import UNREADABLE
from twisted_mta.protocol.imap4.commands.searching import MultiSearch
from twisted_mta.protocol.imap4.esearch import ALL_RESULTS, esearch, result_data
from twisted_mta.protocol.imap4.grammar import CommandError
from twisted_mta.protocol.imap4.mailbox_filter import MailboxFilter
from twisted_mta.protocol.imap4.search_keys import Key, ModSeq, walk
from twisted_mta.store.errors import NoPermission, StoreError
from twisted_mta.store.mailbox import Mailbox
from twisted_mta.store.names import SEPARATOR

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_SELECTED = (MailboxFilter("selected"),)


async def multisearch(session: ImapSession, command: MultiSearch) -> None:
    """ESEARCH."""
    sources = command.sources or _SELECTED
    _check(session, command, sources)
    forbid_charset(session, command.program)
    with saving(session, command.returning):
        key = await requested_key(session, command.program, by_uid=True)
        relevancy.check(key, command)
        progress = Progress(session, command.tag)
        done: set[Mailbox] = set()
        if any(source.kind == "selected" for source in sources):
            mailbox = session.require_view().mailbox
            done.add(mailbox)
            await progress.during(_search(session, command, key, mailbox, _name(session, mailbox)))
        for name in await _names(session, sources):
            if session.gone:
                return
            await progress.during(_open_and_search(session, command, key, name, done))
            await session.drain()
    session.complete(command, "ESEARCH completed")


def _check(session: ImapSession, command: MultiSearch, sources: tuple[MailboxFilter, ...]) -> None:
    """Raises CommandError for what does not go together; NoPermission when what is selected may not be read
    any more."""
    kinds = {source.kind for source in sources}
    words = command.returning.words if command.returning else frozenset[str]()
    if "selected-delayed" in kinds:
        raise CommandError("selected-delayed has no meaning here")
    if ("selected" in kinds or "UPDATE" in words) and session.view is None:
        raise CommandError("No mailbox is selected")
    if "SAVE" in words and kinds != {"selected"}:
        raise CommandError("Only a result of the selected mailbox can be saved")
    if session.view is not None:
        if "selected" in kinds and not session.view.readable:
            raise NoPermission(UNREADABLE)
        context.check(session.view, command)


async def _names(session: ImapSession, sources: tuple[MailboxFilter, ...]) -> list[str]:
    """The mailboxes that are meant, each once; some of them may not be there."""
    listed = [info for info in await session.viewpoint.list_mailboxes() if info.selectable]
    names: list[str] = []
    for source in sources:
        match source.kind:
            case "inboxes":  # what a filter puts elsewhere nobody can tell (RFC 5465 §6.3)
                names += [info.name for info in listed if info.own]
            case "personal":
                names += [info.name for info in listed if info.own]
            case "subscribed":
                subscribed = frozenset(await session.viewpoint.subscriptions())
                names += [info.name for info in listed if info.name in subscribed]
            case "subtree" | "subtree-one" as kind:
                names += source.names
                names += [info.name for info in listed if _is_below(info.name, source.names, kind)]
            case "mailboxes":
                names += source.names
    return list(dict.fromkeys(names))


def _is_below(name: str, tops: tuple[str, ...], kind: str) -> bool:
    """True for the name of a mailbox below one of `tops`; for "subtree-one" on the next level."""
    above = name.rpartition(SEPARATOR)[0]
    if kind == "subtree-one":
        return above in tops
    return any(name.startswith(top + SEPARATOR) for top in tops)


def _name(session: ImapSession, mailbox: Mailbox) -> str:
    """The name of a mailbox as the user sees it."""
    owner = mailbox.account.name
    if owner == session.viewpoint.name:
        return mailbox.name
    return f"{session.viewpoint.PREFIX}{owner}{SEPARATOR}{mailbox.name}"


async def _open_and_search(
    session: ImapSession, command: MultiSearch, key: Key, name: str, done: set[Mailbox]
) -> None:
    """Search in a mailbox that is not in `done`, if the user may."""
    try:
        opened = await session.viewpoint.open(name, "r")
    except StoreError:
        return
    mailbox = opened.mailbox
    try:
        if mailbox not in done:
            done.add(mailbox)
            await _search(session, command, key, mailbox, name)
    finally:
        await mailbox.close()


async def _search(session: ImapSession, command: MultiSearch, key: Key, mailbox: Mailbox, name: str) -> None:
    view = session.view if session.view is not None and session.view.mailbox is mailbox else None
    returning = command.returning or ALL_RESULTS
    since = mailbox.highest_modseq
    searched = Searched(mailbox, view)
    program = SearchProgram(searched, key, breathe=session.access.breathe, gone=lambda: session.gone)
    found = await program.run()
    chosen = returning.chosen(found.uids)
    if "SAVE" in returning.words:
        save(session, chosen)
    where = session.mailbox_name(name), mailbox.uid_validity
    if found.uids and not returning.silent:
        scores: list[int] = []
        if "RELEVANCY" in returning.words:
            scores = await relevancy.scores(session, searched, key, found.uids)
        modseq = 0
        if any(isinstance(each, ModSeq) for each in walk(key)):
            modseq = highest_modseq(mailbox, chosen)
        data = result_data(returning, found.uids, modseq=modseq, scores=scores)
        session.engine.write(esearch(command.tag, data, by_uid=True, where=where))
    if "UPDATE" in returning.words and view is not None:
        context.begin(session, command, key, found, since, where)


COMMANDS: Rows = {MultiSearch: multisearch}
