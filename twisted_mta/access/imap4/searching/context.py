"""Search results that are kept up to date for the client: UPDATE, ADDTO and REMOVEFROM (RFC 5267 §4.3).

A context knows its result as the client has it. When messages change, what they match now is found out at
once, which only for keys about contents takes a while. The client is told when no command is under way, or
with the responses that tell of the change itself: what is expunged before EXPUNGE, what is new after EXISTS,
and after what the client wants to know of new messages (RFC 5465 §7).

Left out on purpose: OLDER and YOUNGER are looked at when a message changes, not as time goes by (RFC 5032).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from twisted_mta.access.imap4 import fetch
from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.searching.arrangement import fixed
from twisted_mta.access.imap4.searching.ordering import ordered
from twisted_mta.access.imap4.searching.program import Found, SearchProgram
from twisted_mta.access.imap4.searching.searched import Searched
from twisted_mta.access.imap4.view import View
from twisted_mta.protocol.imap4.commands.command import Command
from twisted_mta.protocol.imap4.commands.searching import Criterion, MultiSearch, Search, Sort
from twisted_mta.protocol.imap4.esearch import esearch, render_set
from twisted_mta.protocol.imap4.fetch_items import Binary, Body, Item
from twisted_mta.protocol.imap4.grammar import CommandError
from twisted_mta.protocol.imap4.search_keys import Key
from twisted_mta.store.changes import Change
from twisted_mta.store.errors import StoreError

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

MAX_CONTEXTS = 8  # of a session
MAX_RESULT = 100_000  # messages in a context, but for the first one
MAX_SORTED = 20_000  # messages in one with an order of its own


@dataclass(frozen=True, slots=True)
class Due(Command):
    """No command of the client's: something is to be told, and its turn has come."""


@dataclass(slots=True)
class Context:
    """One result. criteria: () for mailbox order. told: the UIDs that the client has in its result, in their
    order when there are criteria."""

    tag: str
    by_uid: bool
    key: Key
    criteria: tuple[Criterion, ...]
    told: dict[int, None]
    where: tuple[bytes, int] | None = None  # for ESEARCH: the mailbox, and its UIDVALIDITY
    matching: dict[int, bool] = field(default_factory=dict)  # what changed messages turned out to be
    fetched: tuple[Item, ...] = ()
    new: set[int] = field(default_factory=set)  # messages that came since, and of which nothing was told
    order: list[int] = field(default_factory=list)  # of what is told and what is to be told
    touched: set[int] = field(default_factory=set)  # changed, and not looked at yet
    gone: set[int] = field(default_factory=set)  # expunged, and the client has them
    busy: bool = False


class Contexts:
    """The contexts of a view."""

    def __init__(self, session: ImapSession, view: View) -> None:
        self._session = session
        self._view = view
        self.by_tag: dict[str, Context] = {}
        self.due = False  # something is to be told

    def add(self, context: Context) -> None:
        """Keep a result up to date from now on."""
        self.by_tag[context.tag] = context
        self._look(context)

    def note(self, change: Change) -> None:
        """The mailbox has changed."""
        for context in list(self.by_tag.values()):
            context.touched.update(change.added, change.flags)
            if context.fetched:
                context.new.update(change.added)
            context.gone.update(uid for uid in change.expunged if uid in context.told)
            self._look(context)
        self._make_due()

    def _make_due(self) -> None:
        if not self.due and any(context.gone or context.matching for context in self.by_tag.values()):
            self.due = True
            # In a moment: with the end of a command that is under way, if it can be.
            self._session.access.reactor.callLater(0, self._session.pump)

    async def tell(self) -> None:
        """Tell all that can be told, now that nothing else is being said. Raises StoreError."""
        self.due = False
        session, view = self._session, self._view
        if not view.readable:
            return
        if session.idling is not None:
            session.tell_updates(expunges=True)
        for line in self.removals():
            session.engine.write(line)
        known = view.uids[: view.count]
        for context in list(self.by_tag.values()):
            new = [uid for uid in known if uid in context.new] if context.new else []
            found = [view.number_of(uid) - 1 for uid in new if context.matching.get(uid)]
            if found:
                await fetch.tell(session, context.fetched, found)
            context.new.difference_update(new)
        for line in self.changes():
            session.engine.write(line)

    def removals(self) -> list[bytes]:
        """Responses for what has been expunged, to be sent before EXPUNGE."""
        lines: list[bytes] = []
        for context in self.by_tag.values():
            if context.gone:
                gone, context.gone = context.gone, set()
                lines += self._remove(context, gone)
        return lines

    def changes(self) -> list[bytes]:
        """Responses for what matches now and did not, or the other way round, to be sent after EXISTS."""
        view = self._view
        if not view.readable:
            return []
        newest = view.uids[view.count - 1] if view.count else 0
        lines: list[bytes] = []
        for context in self.by_tag.values():
            known = {
                uid: matches
                for uid, matches in context.matching.items()
                if uid <= newest and uid not in context.new
            }
            if any(uid <= newest for uid in context.new):
                self._make_due()
            if not known:
                continue
            for uid in known:
                del context.matching[uid]
            lines += self._remove(context, {uid for uid, matches in known.items() if not matches})
            lines += self._add(
                context, {uid for uid, matches in known.items() if matches and view.exists(uid)}
            )
        return lines

    # Finding out

    def _look(self, context: Context) -> None:
        if not context.busy and context.touched:
            context.busy = True
            done = Deferred.fromCoroutine(self._find_out(context))
            done.addErrback(
                lambda failure: self._session.log.failure("looking at a context failed", failure=failure)
            )

    async def _find_out(self, context: Context) -> None:
        view = self._view
        try:
            while context.touched and self.by_tag.get(context.tag) is context and not self._session.gone:
                touched, context.touched = sorted(context.touched), set()
                searched = Searched(view.mailbox, view, touched)
                program = SearchProgram(
                    searched, context.key, breathe=self._session.access.breathe, gone=lambda: False
                )
                matching = frozenset((await program.run()).uids)
                if context.criteria and not matching <= context.told.keys():
                    together = {*context.told, *context.matching, *matching}
                    uids = sorted(together)
                    order = await ordered(self._session, view.mailbox, uids, context.criteria)
                    context.order = [uids[at] for at in order]
                context.matching.update((uid, uid in matching) for uid in touched)
        except StoreError:
            pass  # the mailbox is gone, or said already where it happened
        finally:
            context.busy = False
        self._make_due()

    # Telling

    def _remove(self, context: Context, uids: set[int]) -> list[bytes]:
        """REMOVEFROM for those of the messages that are in the result."""
        there = sorted(uid for uid in uids if uid in context.told)
        if not there:
            return []
        pairs: list[tuple[int, list[int]]] = [(0, there)]
        if context.criteria:
            told = list(context.told)
            positions = {uid: at for at, uid in enumerate(told)}
            runs = _runs(sorted(positions[uid] for uid in there))
            pairs = [(first + 1, told[first:end]) for first, end in reversed(runs)]
        for uid in there:
            del context.told[uid]
        return [self._response(context, b"REMOVEFROM", pairs)]

    def _add(self, context: Context, uids: set[int]) -> list[bytes]:
        """ADDTO for those of the messages that are not in the result."""
        new = sorted(uid for uid in uids if uid not in context.told)
        if not new:
            return []
        pairs: list[tuple[int, list[int]]] = [(0, new)]
        if context.criteria:
            there = {*context.told, *new}
            told = [uid for uid in context.order if uid in there]
            added = frozenset(new)
            runs = _runs([at for at, uid in enumerate(told) if uid in added])
            pairs = [(first + 1, told[first:end]) for first, end in runs]
            context.told = dict.fromkeys(told)
        else:
            context.told.update(dict.fromkeys(new))
        return [self._response(context, b"ADDTO", pairs)] if pairs else []

    def _response(self, context: Context, word: bytes, pairs: Iterable[tuple[int, list[int]]]) -> bytes:
        name: Callable[[Sequence[int]], Sequence[int]] = list if context.by_uid else self._numbers
        items = [b"%d %b" % (position, render_set(name(uids))) for position, uids in pairs]
        return esearch(
            context.tag, [b"%b (%b)" % (word, b" ".join(items))], by_uid=context.by_uid, where=context.where
        )

    def _numbers(self, uids: Sequence[int]) -> list[int]:
        view = self._view
        return [bisect_left(view.uids, uid, 0, view.count) + 1 for uid in uids]


def _runs(positions: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending positions as (first, end) of runs of consecutive ones."""
    runs: list[tuple[int, int]] = []
    for position in positions:
        if runs and runs[-1][1] == position:
            runs[-1] = (runs[-1][0], position + 1)
        else:
            runs.append((position, position + 1))
    return runs


# The commands


def check(view: View, command: Search | Sort | MultiSearch) -> None:
    """A context is known by its tag, so there can be only one. Raises CommandError."""
    asked = command.returning is not None and "UPDATE" in command.returning.words
    if asked and view.contexts is not None and command.tag in view.contexts.by_tag:
        raise CommandError("Tag reuse")


def begin(
    session: ImapSession,
    command: Search | Sort | MultiSearch,
    key: Key,
    found: Found,
    since: int,
    where: tuple[bytes, int] | None = None,
) -> None:
    """Keep a result up to date, or say that we do not. `since`: the highest mod-sequence of the mailbox when
    the search began: what changed meanwhile is looked at again."""
    view = session.require_view()
    if view.contexts is None:
        view.contexts = Contexts(session, view)
    criteria = command.criteria if isinstance(command, Sort) else ()
    held = len(view.contexts.by_tag)
    size = len(found.uids)
    if held >= MAX_CONTEXTS or (held and size > MAX_RESULT) or (criteria and size > MAX_SORTED):
        session.engine.respond("*", "NO", "Too many contexts", f'NOUPDATE "{command.tag}"')
        return
    context = Context(
        command.tag,
        isinstance(command, MultiSearch) or command.by_uid,
        fixed(key, Searched(view.mailbox, view)),
        criteria,
        dict.fromkeys(found.uids),
        where,
        fetched=tuple(_peeking(item) for item in command.returning.fetched) if command.returning else (),
        order=list(found.uids) if criteria else [],
        touched=set(view.mailbox.changed_since(since)),
    )
    existing = frozenset(view.mailbox.uids) if view.uids is not view.mailbox.uids else None
    if existing is not None:
        context.gone.update(uid for uid in found.uids if uid not in existing)
    view.contexts.add(context)


def cancel(view: View, tags: Iterable[str]) -> None:
    """No more about these contexts (RFC 5267 §4.3.5)."""
    for tag in tags:
        if view.contexts is not None:
            view.contexts.by_tag.pop(tag, None)


def _peeking(item: Item) -> Item:
    """The item as it is fetched without marking a message as read."""
    return replace(item, peek=True) if isinstance(item, Body | Binary) else item


async def tell(session: ImapSession, due: Due) -> None:
    """Something is to be told. Trouble with the store on the way is for the operator, who knows already."""
    await session.drain()
    if session.view is None or session.view.contexts is None or session.gone:
        return
    try:
        await session.view.contexts.tell()
    except StoreError:
        pass  # said already where it happened


COMMANDS: Rows = {Due: tell}
