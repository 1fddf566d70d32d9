"""NOTIFY: the client is told of changes at any time, in the selected mailbox and in others (RFC 5465).

The session hears of every change of its account, and of the accounts of others whose mailboxes it watches.
What is to be told is only noted, mailbox by mailbox, and told when no command is under way and the client
reads: a stalled one costs no memory, and what changes often is told once, as it is then. A client for which
too much piles up is told so, and nothing more (§5.8).

A mailbox that others share, or share no more, counts as made or deleted (§5.4).

Left out on purpose: annotations of messages (§5.1).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from twisted_mta.access.imap4 import fetch
from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.listing import Found, attributes, levels_above, list_line, oldname, together
from twisted_mta.access.imap4.metadata_changes import changed_line
from twisted_mta.access.imap4.status import status_line
from twisted_mta.access.imap4.view import View
from twisted_mta.protocol.imap4.commands.command import Command
from twisted_mta.protocol.imap4.commands.notifying import SELECTED, Group, Notify
from twisted_mta.protocol.imap4.fetch_items import Attribute
from twisted_mta.protocol.imap4.mailbox_name import SEPARATOR
from twisted_mta.store.account import Account, MailboxInfo
from twisted_mta.store.changes import AccountChange, Change
from twisted_mta.store.errors import StoreError
from twisted_mta.store.mailbox import MailboxStatus
from twisted_mta.store.viewpoint import PREFIX

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

MAX_PENDING = 1000  # mailboxes that something is to be told of
_AT_ONCE = 20  # mailboxes asked for their status together
_NONE: frozenset[str] = frozenset()
_NEEDED = frozenset("lr")  # rights for events of any kind (§5)
_STATUS = ("MESSAGES", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "HIGHESTMODSEQ")  # in this order


@dataclass(frozen=True, slots=True)
class Due(Command):
    """No command of the client's: something is to be told, and its turn has come."""


@dataclass(slots=True)
class _Pending:
    """What is to be told, by mailbox: items of STATUS; a LIST, with the old name if there is one; the names
    of entries ("" is the server)."""

    statuses: dict[str, set[str]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    entries: dict[str, dict[str, None]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.statuses) + len(self.names) + len(self.entries)


class Notifications:
    """What one session wants to hear of, from a NOTIFY to the next."""

    def __init__(self, session: ImapSession, groups: tuple[Group, ...]) -> None:
        self._session = session
        self._selected = next((group for group in groups if group.filter in SELECTED), None)
        self._others = [group for group in groups if group.filter not in SELECTED and group.events]
        # The events that are told of mailboxes: of one's own (INBOXES, too, as filters may deliver into each
        # of them, §6.3), of those subscribed, and by name, of one and of all in a subtree.
        self._of_own: set[str] = set()
        self._of_subscribed: set[str] = set()
        self._of_name: defaultdict[str, set[str]] = defaultdict(set)
        self._of_tree: defaultdict[str, set[str]] = defaultdict(set)
        for group in self._others:
            self._sort_in(group)
        self._subscriptions: set[str] = set()
        self._watched: dict[Account, Callable[[AccountChange], None]] = {}
        self._shared: dict[str, set[str]] = {}  # by owner: the visible names that the user may hear of
        self._pending = _Pending()
        self._known: set[str] = set()  # names of pending changes that the client may know of
        self._overflown = False
        self._new: tuple[View, int] | None = None  # messages after this UID are to be fetched
        self._own: set[tuple[View, int]] = set()  # but not these, which the client has stored itself
        self.due = False

    def _sort_in(self, group: Group) -> None:
        match group.filter:
            case "SUBSCRIBED":
                self._of_subscribed |= group.events
            case "SUBTREE" | "MAILBOXES":
                by_name = self._of_tree if group.filter == "SUBTREE" else self._of_name
                for name in group.mailboxes:
                    by_name[name] |= group.events
            case _:
                self._of_own |= group.events

    # What is watched

    async def begin(self, status: bool) -> None:
        """Watch the mailboxes, and tell where they stand (`status`) and which of them cannot be watched."""
        if not self._others:
            return
        session = self._session
        self._subscriptions = set(await session.viewpoint.subscriptions())
        mailboxes = [info for info in await session.viewpoint.list_mailboxes() if info.selectable]
        watched = [info for info in mailboxes if self._events(info.name, info.own)]
        self._watch(session.require_account())
        sharing = session.access.store.sharing
        sharing.watch(self._grants_changed)
        for owner in sharing.visible_to(session.viewpoint.name):
            self._shared[owner] = self._heard_of(owner)
        await self._watch_others()
        for start in range(0, len(watched), _AT_ONCE):
            await self._tell_begin(watched[start : start + _AT_ONCE], status)
            await session.drain()
            await session.access.breathe()

    async def _tell_begin(self, watched: list[MailboxInfo], status: bool) -> None:
        engine = self._session.engine
        for info in watched:
            if "r" not in info.rights:
                engine.write(list_line(self._session, ("\\NoAccess", "\\Noselect"), info.name))
            elif status:
                events = self._events(info.name, info.own)
                items = {"MESSAGES"} if "MessageExpunge" in events else set()
                items |= {"UIDNEXT", "UIDVALIDITY"} if "MessageNew" in events else set()
                items |= {"UIDVALIDITY", "HIGHESTMODSEQ"} if "FlagChange" in events else set()
                if items and not self._is_selected(info.name):
                    self._pending.statuses[info.name] = items
        await self._tell_statuses()

    def _watch(self, account: Account) -> None:
        if account not in self._watched:
            self._watched[account] = watcher = partial(self._changed, account)
            account.watch(watcher)

    async def _watch_others(self) -> None:
        """Watch the accounts whose mailboxes are shared with the user and are to be told of."""
        names = {account.name for account in self._watched}
        for owner, shared in list(self._shared.items()):
            if owner not in names and any(self._events(name, own=False) for name in shared):
                self._watch(await self._session.access.store.account(owner))

    def close(self) -> None:
        """Hear of nothing any more."""
        self._session.access.store.sharing.unwatch(self._grants_changed)
        for account, watcher in self._watched.items():
            account.unwatch(watcher)
        self._watched.clear()

    def _events(self, name: str, own: bool) -> frozenset[str]:
        """The events that are told of a mailbox that is not selected."""
        events = set(self._of_name.get(name, _NONE))
        if own:
            events |= self._of_own
        if name in self._subscriptions:
            events |= self._of_subscribed
        if self._of_tree:
            events.update(*(self._of_tree.get(top, _NONE) for top in (name, *levels_above(name))))
        return frozenset(events)

    def _is_selected(self, name: str) -> bool:
        view = self._session.view
        return view is not None and name == self._visible(view.mailbox.account, view.mailbox.name)

    def _visible(self, account: Account, name: str) -> str:
        own = account is self._session.account
        return name if own or not name else f"{PREFIX}{account.name}{SEPARATOR}{name}"

    # What happens

    def _changed(self, account: Account, change: AccountChange) -> None:
        own = account is self._session.account
        if not change.mailbox:
            self._server_changed(change)
            return
        name = self._visible(account, change.mailbox) if change.subscribed is None else change.mailbox
        if change.subscribed is not None:
            (self._subscriptions.add if change.subscribed else self._subscriptions.discard)(name)
            if "SubscriptionChange" in self._events(name, own=not name.startswith(PREFIX)):
                self._pending.names.setdefault(name, "")
        events = self._events(name, own)
        # The grants of a mailbox that was made, renamed or deleted follow in a moment.
        before = self._visible(account, change.renamed_from or change.mailbox)
        shared = self._shared.get(account.name, set())
        if not own and before not in shared:
            return
        if change.deleted or change.renamed_from:
            shared.discard(before)
            self._known.add(before)
        if change.change is not None and not self._is_selected(name):
            self._messages_changed(name, change.change, events)
        if change.created or change.deleted or change.renamed_from:
            self._name_changed(name, self._visible(account, change.renamed_from), own)
        others_own = change.annotation.startswith("/private/") and not own
        if change.annotation and "MailboxMetadataChange" in events and not others_own:
            self._pending.entries.setdefault(name, {})[change.annotation] = None
        self._note()

    def _heard_of(self, owner: str) -> set[str]:
        """The names, as the user sees them, of the mailboxes of that account that they may hear of."""
        session = self._session
        shared = session.access.store.sharing.visible_to(session.viewpoint.name).get(owner, {})
        return {f"{PREFIX}{owner}{SEPARATOR}{name}" for name, rights in shared.items() if rights >= _NEEDED}

    def _grants_changed(self, owner: str) -> None:
        if owner == self._session.viewpoint.name:
            return
        before, after = self._shared.get(owner, set()), self._heard_of(owner)
        self._shared[owner] = after
        self._known |= before - after
        for name in sorted(before ^ after):
            self._name_changed(name, "", own=False)
        if before != after:
            self._make_due()

    def _server_changed(self, change: AccountChange) -> None:
        if change.annotation and any("ServerMetadataChange" in group.events for group in self._others):
            self._pending.entries.setdefault("", {})[change.annotation] = None
            self._note()

    def _messages_changed(self, name: str, change: Change, events: frozenset[str]) -> None:
        items: set[str] = set()
        if (change.added and "MessageNew" in events) or (change.expunged and "MessageExpunge" in events):
            items |= {"MESSAGES", "UIDNEXT", "UIDVALIDITY"}
        if change.flags and "FlagChange" in events:
            items |= {"UIDVALIDITY", "UNSEEN"}
        if items and not change.deleted:
            self._pending.statuses.setdefault(name, set()).update(items)

    def _name_changed(self, name: str, old: str, own: bool) -> None:
        """§5.4: the mailbox and what is right above it; of what is renamed, it alone, and nothing below."""
        names = self._pending.names
        if old:
            for level in levels_above(old):
                new = name.removesuffix(old[len(level) :])
                if new != name and names.get(new) == level:
                    return
        elif SEPARATOR in name:
            above = name.rpartition(SEPARATOR)[0]
            if "MailboxName" in self._events(above, own):
                names.setdefault(above, "")
        if "MailboxName" in self._events(name, own):
            names.pop(name, None)
            names[name] = old

    def _note(self) -> None:
        if len(self._pending) > MAX_PENDING:
            self._pending = _Pending()
            self._overflown = True
        if self._overflown or len(self._pending):
            self._make_due()

    def _make_due(self) -> None:
        if not self.due:
            self.due = True
            # In a moment: a delivery to many mailboxes, or of many messages, is told of once.
            self._session.access.reactor.callLater(0, self._session.pump)

    def forget(self, *names: str) -> None:
        """The client has made, renamed, deleted, subscribed … these itself (§5)."""
        for name in names:
            self._pending.names.pop(name, None)
            self._pending.names.pop(name.rpartition(SEPARATOR)[0], None)

    def forget_entries(self, name: str, entries: Iterable[str]) -> None:
        """The client has set these annotations itself (§5)."""
        for entry in entries:
            self._pending.entries.get(name, {}).pop(entry, None)

    # The selected mailbox

    def selected_changed(self) -> None:
        """Something has happened in the selected mailbox."""
        if self._selected is not None and self._selected.events:
            self._make_due()

    def stored(self, account: Account, mailbox: str, uids: Iterable[int]) -> None:
        """The client has put these messages into a mailbox itself: if that is the selected one, they are told
        like others, but nothing of them is fetched (§5.2)."""
        view = self._session.view
        if view is not None and view.mailbox.account is account and view.mailbox.name == mailbox:
            self._own = {(view, uid) for uid in uids}

    def tell_selected(self, view: View, *, expunges: bool, result: bool, exists_first: bool) -> None:
        """What the client wants to know of the selected mailbox. `result`: messages are gone because it has
        asked for that, which it is told in any case."""
        events = self._selected.events if self._selected is not None else frozenset()
        if "FlagChange" not in events:
            view.know_flags(view.uids)
        if not events and not result:
            return
        last = view.uids[view.count - 1] if view.count else 0
        for line in view.updates(expunges=expunges, with_uid=True, exists_first=exists_first):
            self._session.engine.write(line)
        grown = view.count and view.uids[view.count - 1] > last
        if grown and self._selected is not None and self._selected.items:
            if self._new is None or self._new[0] is not view:
                self._new = view, last
            self._make_due()

    # Telling

    async def tell(self) -> None:
        """Tell all that is to be told, now that nothing else is being said."""
        session = self._session
        self.due = False
        if self._overflown:
            session.engine.respond("*", "OK", "Too much has changed", "NOTIFICATIONOVERFLOW")
            self.close()
            session.notifications = Notifications(session, ())
            return
        at_once = self._selected is not None and self._selected.filter == "SELECTED"
        session.tell_updates(expunges=at_once or session.idling is not None)
        new, self._new = self._new, None
        if new is not None and new[0] is session.view and self._selected is not None:
            view, last = new
            first = bisect_right(view.uids, last, 0, view.count)
            others = [at for at in range(first, view.count) if (view, view.uids[at]) not in self._own]
            # What comes unasked has to have these (RFC 7162 §3.1, §3.2.4).
            also = (*view.naming_items(), Attribute.MODSEQ) if view.tells_modseqs else ()
            await fetch.tell(session, tuple(dict.fromkeys((*self._selected.items, *also))), others)
        await self._watch_others()
        await self._tell_names()
        await self._tell_statuses()
        entries, self._pending.entries = self._pending.entries, {}
        for name, changed in entries.items():
            if changed:
                session.engine.write(changed_line(session, name, changed))

    async def _tell_names(self) -> None:
        names, self._pending.names = self._pending.names, {}
        known, self._known = self._known, set()
        if not names:
            return
        session = self._session
        infos = {info.name: info for info in await session.viewpoint.list_mailboxes()}
        subscribed = set(await session.viewpoint.subscriptions())
        parents = {above for name in infos for above in levels_above(name)}
        for name, old in names.items():
            info = infos.get(name)
            if info is None and name.startswith(PREFIX) and name not in known:
                if old not in known:
                    continue  # not for this user's eyes
                name, old = old, ""
            found = Found(name, info, name in parents, name in subscribed, selected=True, below=False)
            words = attributes(found, new_form=True)
            if found.subscribed:
                words.append("\\Subscribed")
            session.engine.write(list_line(session, words, name, oldname(session, old) if old else b""))

    async def _tell_statuses(self) -> None:
        statuses, self._pending.statuses = self._pending.statuses, {}
        session = self._session
        names = [name for name in statuses if not self._is_selected(name)]
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            results = await together([session.viewpoint.status(name) for name in some])
            for name, found in zip(some, results, strict=True):
                if isinstance(found, MailboxStatus):
                    items = statuses[name] | ({"HIGHESTMODSEQ"} if "CONDSTORE" in session.enabled else set())
                    told = [item for item in _STATUS if item in items]
                    session.engine.write(await status_line(session, name, told, found))


async def notify(session: ImapSession, command: Notify) -> None:
    """NOTIFY. What has happened in the selected mailbox until now is told first (§3.1)."""
    former, session.notifications = session.notifications, None
    if session.view is not None:
        await session.view.mailbox.refresh()
    session.tell_updates(expunges=True)
    if former is not None:
        former.close()
    session.notifications = notifications = Notifications(session, command.groups)
    try:
        await notifications.begin(command.status)
    except StoreError:
        notifications.close()
        session.notifications = Notifications(session, ())
        raise
    session.complete(command, "NOTIFY completed")


async def tell(session: ImapSession, due: Due) -> None:
    """Something is to be told. Trouble with the store on the way is for the operator, who knows already."""
    await session.drain()
    notifications = session.notifications
    if notifications is None or session.gone:
        return
    try:
        await notifications.tell()
    except StoreError:
        pass  # said already where it happened


COMMANDS: Rows = {Notify: notify, Due: tell}
