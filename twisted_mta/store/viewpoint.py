"""All mailboxes as one user sees them: their own, and what others share with them (RFC 4314, RFC 2342).

A user's own mailboxes bear their names; those of another account are `Other Users/<account>/<name>`. That
prefix is nobody's own: a mailbox of such a name, made by another program, is not to be reached.

What the user may not know of is answered as if it were not there, from the grants in memory alone: no
answer, and no time that it takes, depends on whether the account or the mailbox exists. A user knows of a
mailbox with the right `l`; what other rights allow, they allow without it, too (RFC 4314 §4). Rights are
looked up at each call, so what is granted or taken away counts at once, for mailboxes that are open as well.

Mailboxes at the top of an account are made, and moved there, by its owner only: there is no mailbox above
whose right `k` could allow it.

Left out on purpose: a namespace of mailboxes that belong to nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from twisted_mta.store import rights
from twisted_mta.store.account import Account, MailboxInfo, MailboxStatus
from twisted_mta.store.annotations import (
    Values,
    canonical_entry,
    chosen,
    is_private,
    read_values,
    write_values,
)
from twisted_mta.store.crossing import cross
from twisted_mta.store.errors import (
    BadSpecialUse,
    CannotDo,
    MailboxExists,
    NoPermission,
    NoSuchMailbox,
    StoreError,
)
from twisted_mta.store.mailbox import CopyResult, Mailbox
from twisted_mta.store.names import SEPARATOR, canonical_name, parents
from twisted_mta.store.quota import UNLIMITED, Quota, require_room
from twisted_mta.store.sharing import Grants, grant

if TYPE_CHECKING:
    from twisted_mta.store.store import MessageStore

PREFIX = "Other Users/"

HowRights = Literal["replace", "add", "remove"]


@dataclass(frozen=True, slots=True)
class Opened:
    """A mailbox that was opened, and what the user might do with it then. `own`: it is the user's."""

    mailbox: Mailbox
    rights: frozenset[str]
    own: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where a name that the user sees leads to: a mailbox's name within its account."""

    account: Account
    name: str
    rights: frozenset[str]
    own: bool

    def storable(self, flags: frozenset[str]) -> frozenset[str]:
        """Those of the flags that the user may set there; the others are passed over (RFC 4314 §4)."""
        return rights.storable(flags, self.rights)


@dataclass(frozen=True, slots=True)
class _Name:
    """A name taken apart: whose mailbox it would be, and its canonical name there."""

    owner: str
    mailbox: str
    own: bool

    @property
    def visible(self) -> str:
        """As the user writes it."""
        return self.mailbox if self.own else f"{PREFIX}{self.owner}{SEPARATOR}{self.mailbox}"


class Viewpoint:
    """What the user of `account` sees. Names are Unicode with "/" between the levels.

    All methods raise StoreError: BadMailboxName for a name that cannot be; NoSuchMailbox also for what the
    user may not know of; NoPermission for what they know of and have not the right to; StorageFull,
    StorageFault; and what they tell themselves. Those that `Account` has, too, do here what they do there.
    """

    PREFIX = PREFIX

    def __init__(self, store: MessageStore, account: Account) -> None:
        self.account = account
        self._store = store
        self._sharing = store.sharing

    @property
    def name(self) -> str:
        """The user's account name."""
        return self.account.name

    # Lists

    async def list_mailboxes(self) -> list[MailboxInfo]:
        """Every mailbox that the user may see in lists (right `l`), and every parent that is none: the own
        ones as `Account.list_mailboxes` has them, then those of others by name."""
        own = [
            info
            for info in await self.account.list_mailboxes()
            if not (info.name + SEPARATOR).startswith(PREFIX)
        ]
        await self._sharing.refresh()
        shared = self._sharing.visible_to(self.name)
        if not shared:
            return own
        subscribed = set(await self.account.subscriptions())
        found: dict[str, MailboxInfo] = {}
        for owner, of_owner in shared.items():
            with suppress(StoreError):  # an account that is out of order is said so where it happened
                for info in await self._shared_by(owner, of_owner):
                    found[info.name] = replace(info, subscribed=info.name in subscribed)
        for above in {above for name in found for above in parents(name)} - found.keys():
            found[above] = MailboxInfo(
                above, frozenset(), above in subscribed, False, rights=rights.NONE, own=False
            )
        return own + [found[name] for name in sorted(found)]

    async def _shared_by(self, owner: str, rights_by_name: dict[str, frozenset[str]]) -> list[MailboxInfo]:
        """Those of an owner's mailboxes that are there; their special uses are the owner's."""
        account = await self._store.account(owner)
        return [
            replace(
                info,
                name=_Name(owner, info.name, own=False).visible,
                special_uses=frozenset(),
                rights=rights_by_name[info.name],
                own=False,
            )
            for info in await account.list_mailboxes()
            if info.selectable and info.name in rights_by_name
        ]

    async def subscriptions(self) -> list[str]:
        """The subscribed names, own and others', sorted; some may name no mailbox that is to be seen."""
        return await self.account.subscriptions()

    async def subscribe(self, name: str) -> None:
        """Add a name to the user's subscriptions. Raises NoSuchMailbox."""
        there = self._take_apart(name)
        if there.own:
            await self.account.subscribe(name)
        else:
            await self.require(name, "l")
            await self.account.subscribe(there.visible, elsewhere=True)

    async def unsubscribe(self, name: str) -> None:
        """Take a name off the subscriptions. Raises NoSuchMailbox when it is not among them."""
        try:
            name = self._take_apart(name).visible
        except NoSuchMailbox:
            pass  # a parent of shared mailboxes, or what was one
        await self.account.unsubscribe(name)

    # Names

    async def require(self, name: str, right: str) -> Place:
        """Where the mailbox of that name lives. It exists, and the user has the right.

        Raises NoSuchMailbox, NoPermission."""
        place = await self._place(self._take_apart(name), right)
        await place.account.require(place.name)
        return place

    async def place(self, name: str, right: str) -> Place:
        """As `require`, without a look at whether there is such a mailbox: whoever puts something into it
        will see."""
        return await self._place(self._take_apart(name), right)

    async def create(self, name: str, special_uses: frozenset[str] = frozenset()) -> None:
        """Make a mailbox; below another one (right `k`) it is shared as that one is (RFC 4314 §4).

        Raises MailboxExists; BadSpecialUse in the account of another."""
        there = self._take_apart_new(name)
        account, above = await self._require_parent(there)
        if special_uses and not there.own:
            raise BadSpecialUse()
        if self._sharing.acl(there.owner, there.mailbox):
            await self._forget_stale(account, there)
        await account.create(there.mailbox, special_uses)
        inherited = self._sharing.acl(there.owner, above) if above else {}
        if inherited:
            await self._sharing.change(there.owner, lambda grants: grants.update({there.mailbox: inherited}))

    async def delete(self, name: str) -> None:
        """Delete a mailbox with its grants (right `x`); its children stay. Raises CannotDo."""
        there = self._take_apart(name)
        place = await self._place(there, "x")
        await place.account.delete(place.name)
        if self._sharing.acl(there.owner, there.mailbox):
            await self._sharing.change(there.owner, lambda grants: grants.pop(there.mailbox, None))

    async def rename(self, old: str, new: str) -> None:
        """Rename a mailbox with its children, all as shared as before (right `x`, and `k` on what will be
        above it). It stays in its account.

        A crash at the wrong moment leaves them shared with nobody. Raises MailboxExists, CannotDo."""
        source, target = self._take_apart(old), self._take_apart_new(new)
        place = await self._place(source, "x")
        if source.owner != target.owner:
            await place.account.require(place.name)
            raise CannotDo("A mailbox cannot move into another account")
        account, above = await self._require_parent(target)
        await account.rename(source.mailbox, target.mailbox)
        if self._sharing.has_granted(source.owner):
            inherited = self._sharing.acl(target.owner, above) if above else {}
            edit = partial(_rename_grants, source.mailbox, target.mailbox, inherited)
            await self._sharing.change(source.owner, edit)

    # Mailboxes

    async def open(self, name: str, wanted: str = "r") -> Opened:
        """The mailbox, up to date, for somebody who has the right `wanted`; let go of it with
        `Mailbox.close`."""
        place = await self._place(self._take_apart(name), wanted)
        return Opened(await place.account.open(place.name), place.rights, place.own)

    async def status(self, name: str) -> MailboxStatus:
        """Count a mailbox without opening it (right `r`)."""
        place = await self._place(self._take_apart(name), "r")
        return await place.account.status(place.name)

    async def require_room(self, place: Place, octets: int, messages: int = 1) -> None:
        """Make sure that messages fit into the account of a place, before they are sent. What is put into
        a mailbox is checked in any case. Raises OverQuota."""
        await self._store.renew_limits()
        limits = self._store.limits_of(place.account.name)
        if limits != UNLIMITED:
            usage = await place.account.usage()
            require_room(usage, limits, octets, messages)

    async def copy(self, mailbox: Mailbox, uids: Sequence[int], target: str, move: bool) -> CopyResult:
        """Copy or move messages of an open mailbox, all or none, into another one, also of another account
        (right `i` there; to move, `t` and `e` here). Flags that the user may not set there are left out.

        From one account to another, a message is in both for a moment while it is moved, never in none.
        Raises OverQuota."""
        here = self.rights_on(mailbox)
        if not here >= frozenset("rte" if move else "r"):
            raise NoPermission()
        place = await self._place(self._take_apart(target), "i")
        await self._store.renew_limits()
        if place.account is mailbox.account and place.rights >= frozenset("stw"):
            relocate = mailbox.move if move else mailbox.copy
            return await relocate(uids, place.name)
        return await cross(mailbox, uids, place.account, place.name, place.storable, move)

    # Rights

    def rights_on(self, mailbox: Mailbox) -> frozenset[str]:
        """What the user may do with an open mailbox, as of now."""
        if mailbox.account is self.account:
            return rights.ALL
        return self._sharing.rights(mailbox.account.name, mailbox.name, self.name)

    async def rights(self, name: str) -> frozenset[str]:
        """What the user may do with a mailbox (RFC 4314 §3.5); any right but s, w, t, e, p lets them ask."""
        place = await self._place(self._take_apart(name), *rights.KNOWN_BY)
        await place.account.require(place.name)
        return place.rights

    async def acl(self, name: str) -> dict[str, frozenset[str]]:
        """Rights by identifier, with the owner's first (right `a`)."""
        place = await self.require(name, "a")
        return {place.account.name: rights.ALL, **self._sharing.acl(place.account.name, place.name)}

    async def set_acl(
        self, name: str, identifier: str, wanted: Iterable[str], how: HowRights = "replace"
    ) -> None:
        """Change what is granted to an identifier (right `a`); no rights at all take it off the list.

        Raises CannotDo for what is no right or identifier, for less than all for the owner, and when the
        list is too long."""
        place = await self.require(name, "a")
        letters, who = rights.checked_rights(wanted), rights.canonical_identifier(identifier)
        owner = place.account.name
        if rights.means_owner(who, owner):
            after = _changed(rights.ALL, letters, how)
            if who.startswith(rights.NEGATIVE) or after != rights.ALL:
                raise CannotDo("The owner of a mailbox has every right to it")
            return

        def edit(grants: Grants) -> None:
            before = grants.get(place.name, {})
            after = grant(before, who, _changed(before.get(who, rights.NONE), letters, how))
            if len(after) > max(len(before), rights.MAX_IDENTIFIERS):
                raise CannotDo("Too many identifiers have rights to this mailbox")
            grants[place.name] = after

        await self._sharing.change(owner, edit)

    async def delete_acl(self, name: str, identifier: str) -> None:
        """Take an identifier off the list (right `a`). Raises CannotDo for the owner."""
        await self.set_acl(name, identifier, "")

    async def list_rights(self, name: str, identifier: str) -> tuple[frozenset[str], frozenset[str]]:
        """(what the identifier has in any case, what may be granted to it); right `a`. Raises CannotDo."""
        place = await self.require(name, "a")
        who = rights.canonical_identifier(identifier)
        if rights.means_owner(who, place.account.name) and not who.startswith(rights.NEGATIVE):
            return rights.ALL, rights.NONE
        return rights.NONE, rights.ALL

    # Annotations

    async def annotations(self, name: str | None, entries: Sequence[str], depth: int | None = 0) -> Values:
        """Values of a mailbox's annotations, or the server's (None), by canonical entry, in the order asked
        for; entries without a value are left out. `depth`: 0 for these entries alone, 1 with those right
        below them, None with all below (RFC 5464 §4.2.2). Raises BadAnnotation."""
        asked = [canonical_entry(entry) for entry in entries]
        if name is None:
            values = await self.account.visit(partial(read_values, mailbox=None, user=self.name, own=True))
            values.update(self._store.server_annotations)
        else:
            place = await self._annotated(name)
            values = await place.account.visit(
                partial(read_values, mailbox=place.name, user=self.name, own=place.own)
            )
        return chosen(values, asked, depth)

    async def set_annotations(self, name: str | None, changes: Mapping[str, bytes | None]) -> None:
        """Set entries of a mailbox or of the server (None), all or none; None removes one. Shared ones of
        others' mailboxes need the right `w`, those of the server are the operator's.

        Raises BadAnnotation, AnnotationTooLong, TooManyAnnotations, BadSpecialUse."""
        canonical = {canonical_entry(entry, to_set=True): value for entry, value in changes.items()}
        place = await self._annotated(name) if name is not None else None
        if not all(map(is_private, canonical)) and (place is None or "w" not in place.rights):
            raise NoPermission()
        account = place.account if place is not None else self.account
        mailbox, own = (place.name, place.own) if place is not None else (None, True)
        await account.visit(
            partial(write_values, mailbox=mailbox, user=self.name, own=own, changes=canonical)
        )

    async def _annotated(self, name: str) -> Place:
        place = await self.require(name, "l")
        if not place.rights & rights.ANNOTATING:
            raise NoPermission()
        return place

    # Quota

    async def quota_roots(self, name: str) -> list[str]:
        """The quota roots of a mailbox, which need not exist in one's own account: the account's name
        (RFC 9208 §4.1.2; right `r`)."""
        there = self._take_apart(name)
        if not there.own:
            await self.require(name, "r")
        return [there.owner]

    async def quota(self, root: str) -> Quota:
        """What is used of a quota root, and what may be; of another account for those who may read one of
        its mailboxes. Raises NoSuchMailbox when there is no such root."""
        if root == self.name:
            account = self.account
        else:
            await self._sharing.refresh()
            if not self._sharing.may_read_some_of(root, self.name):
                raise NoSuchMailbox("No such quota root")
            account = await self._store.account(root)
        await self._store.renew_limits()
        return Quota(root, await account.usage(), self._store.limits_of(root))

    # What names mean

    def _take_apart(self, name: str) -> _Name:
        """Raises BadMailboxName; NoSuchMailbox for what no mailbox can be: the prefix and what is right
        below it."""
        if not (name + SEPARATOR).startswith(PREFIX):
            return _Name(self.name, canonical_name(name), own=True)
        owner, separator, mailbox = name[len(PREFIX) :].partition(SEPARATOR)
        if not separator or owner == self.name:
            canonical_name(name)
            raise NoSuchMailbox()
        return _Name(owner, canonical_name(mailbox), own=False)

    def _take_apart_new(self, name: str) -> _Name:
        """A name for a mailbox that is to be made; one separator at its end is passed over."""
        try:
            return self._take_apart(name.removesuffix(SEPARATOR))
        except NoSuchMailbox:
            raise NoPermission() from None

    async def _place(self, there: _Name, *wanted: str) -> Place:
        """The place, when the user has one of the rights; in their own account, and with such a right, the
        mailbox may still not exist. Raises NoSuchMailbox, NoPermission."""
        if there.own:
            return Place(self.account, there.mailbox, rights.ALL, own=True)
        await self._sharing.refresh()
        granted = self._sharing.rights(there.owner, there.mailbox, self.name)
        allowed = not granted.isdisjoint(wanted)
        if not allowed and "l" not in granted:
            raise NoSuchMailbox()
        account = await self._store.account(there.owner)
        if not allowed:
            await account.require(there.mailbox)
            raise NoPermission()
        return Place(account, there.mailbox, granted, own=False)

    async def _require_parent(self, there: _Name) -> tuple[Account, str]:
        """Make sure that the user may make the mailbox: the account, and the nearest mailbox above it that
        exists, or "". In an account where the user may make nothing, each name gets the same answer."""
        await self._sharing.refresh()
        levels = parents(there.mailbox)[::-1]
        if there.own:
            account = self.account
            if not self._sharing.has_granted(there.owner):
                return account, ""
        elif any("k" in self._sharing.rights(there.owner, each, self.name) for each in levels):
            account = await self._store.account(there.owner)
        else:
            raise NoPermission()
        existing = {info.name for info in await account.list_mailboxes() if info.selectable}
        above = next((each for each in levels if each in existing), "")
        if "k" not in self._sharing.rights(there.owner, above, self.name):
            raise NoPermission()
        return account, above

    async def _forget_stale(self, account: Account, there: _Name) -> None:
        """Grants of a mailbox that is no more must not become those of a new one."""
        try:
            await account.require(there.mailbox)
        except NoSuchMailbox:
            await self._sharing.change(there.owner, lambda grants: grants.pop(there.mailbox, None))
        else:
            raise MailboxExists()


def _changed(before: frozenset[str], letters: frozenset[str], how: HowRights) -> frozenset[str]:
    if how == "replace":
        return letters
    return before | letters if how == "add" else before - letters


def _rename_grants(old: str, new: str, inherited: rights.Acl, grants: Grants) -> None:
    """What is granted on a mailbox and on those below it is granted on their new names; nothing else on
    these, which nothing has had until now. Of INBOX only the messages have moved (RFC 3501 §6.3.5)."""
    for name in [name for name in grants if name == new or name.startswith(new + SEPARATOR)]:
        del grants[name]
    if old == "INBOX":
        grants[new] = inherited
        return
    for name in [name for name in grants if name == old or name.startswith(old + SEPARATOR)]:
        grants[new + name[len(old) :]] = grants.pop(name)
