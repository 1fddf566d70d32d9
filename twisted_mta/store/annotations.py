"""Annotations of mailboxes and of the server (RFC 5464): names, bounds, and the work in the account's lane.

A mailbox's annotations are in its owner's index: shared ones, and private ones of each user who may see the
mailbox. They follow it when it is renamed and go with it. The server's private ones are in their user's
index; its shared ones are the operator's, and nobody can change them.

`/private/specialuse` has the special uses of the mailbox itself, with spaces between them (RFC 6154 §4,
§5.4); its owner may change them, and then no other mailbox has one of these any more.

Left out on purpose: annotations of names that only have children.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from twisted_mta.store.changes import NONE, Step
from twisted_mta.store.errors import AnnotationTooLong, BadAnnotation, BadSpecialUse, TooManyAnnotations
from twisted_mta.store.home import Home
from twisted_mta.store.index.rows import MailboxRow

MAX_VALUE = 64 * 1024  # octets
MAX_ENTRY = 255  # characters
MAX_ENTRIES = 100  # of a mailbox, or of the server: so many shared ones, and so many of each user
MAX_ENTRIES_IN_ALL = 2_000  # of a mailbox

SERVER = 0  # in place of a mailbox's number
_SHARED = ""  # in place of a user
SPECIAL_USE = "/private/specialuse"
EVENT_SCRIPT = "/shared/imapsieve/script"
SPECIAL_USES = {use.lower(): use for use in ("\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash")}

_ENTRY = re.compile(r"/(?:private|shared)(?:/[^%*/\x00-\x1f\x7f-\U0010ffff]+)*")
_INCOMPLETE = re.compile(r"/(?:private|shared)(?:/vendor(?:/[^/]+)?)?")

Values = dict[str, bytes]  # by entry


def canonical_entry(name: str, to_set: bool = False) -> str:
    """The one form of an entry's name: in lower case. `to_set`: it shall have a value, so it may not just
    be the beginning of names (RFC 5464 §3.2). Raises BadAnnotation for what can be no name."""
    entry = name.lower()
    if len(entry) > MAX_ENTRY or not _ENTRY.fullmatch(entry) or (to_set and _INCOMPLETE.fullmatch(entry)):
        raise BadAnnotation()
    return entry


def is_private(entry: str) -> bool:
    """True for an entry that only its user sees."""
    return entry.startswith("/private/")


def chosen(values: Values, asked: Sequence[str], depth: int | None) -> Values:
    """The values asked for, in the order of `asked`; `depth` as in `Viewpoint.annotations`."""
    found: Values = {}
    for wanted in asked:
        for entry, value in values.items():
            below = entry.startswith(wanted + "/") and entry.count("/", len(wanted))
            if entry == wanted or (below and (depth is None or below <= depth)):
                found[entry] = value
    return found


def read_values(home: Home, mailbox: str | None, user: str, own: bool) -> Values:
    """In the lane: all values that the user sees, by entry, of the mailbox of that canonical name; None: of
    the server. `own`: it is the user's own account. Raises NoSuchMailbox."""
    if mailbox is None:
        return {entry: value for _, entry, value in home.index.annotations.of(SERVER, [user])}
    row = home.row(mailbox)
    found = {entry: value for _, entry, value in home.index.annotations.of(row.id, [_SHARED, user])}
    if own and row.special_uses:
        found[SPECIAL_USE] = " ".join(sorted(row.special_uses)).encode()
    return found


def write_values(
    home: Home, mailbox: str | None, user: str, own: bool, changes: Mapping[str, bytes | None]
) -> None:
    """In the lane: set all of these entries, canonical ones, or none; None removes one. The rest is as in
    `read_values`.

    Raises NoSuchMailbox, AnnotationTooLong, TooManyAnnotations, BadSpecialUse."""
    if any(len(value) > MAX_VALUE for value in changes.values() if value is not None):
        raise AnnotationTooLong(MAX_VALUE)
    row = home.row(mailbox) if mailbox is not None else None
    number = row.id if row is not None else SERVER
    rows = home.index.annotations
    told: list[tuple[int, str]] = []
    with home.index.transaction():
        for entry, value in changes.items():
            if entry == SPECIAL_USE and own and row is not None:
                told += _use(home, row, value)
                continue
            rows.set(number, user if is_private(entry) else _SHARED, entry, value)
            if own or not is_private(entry):
                told.append((number, entry))
        of_user, shared = rows.count(number, user), rows.count(number, _SHARED)
        if any(value is not None for value in changes.values()):
            if max(of_user, shared) > MAX_ENTRIES or rows.count(number) > MAX_ENTRIES_IN_ALL:
                raise TooManyAnnotations()
            require_room_for(home, 0)
    if EVENT_SCRIPT in changes:
        home.event_scripts = None
    for number, entry in told:
        home.tell(Step(number if number != SERVER else NONE, annotation=entry))


def require_room_for(home: Home, octets: int) -> None:
    """In the lane: make sure that the account may have so many octets of annotations more. Raises
    TooManyAnnotations."""
    if home.index.annotations.octets() + octets > home.bounds.annotations:
        raise TooManyAnnotations()


def event_scripts(home: Home) -> dict[int, str]:
    """In the lane: the script that each mailbox names for what happens to its messages (RFC 6785 §2.2), by
    the mailbox's number, "" for none at all; mailboxes that name none are left out."""
    if home.event_scripts is None or home.event_scripts[0] != home.index.generation:
        found = {}
        for row in home.rows():
            for _, entry, value in home.index.annotations.of(row.id, [_SHARED]):
                if entry == EVENT_SCRIPT:
                    found[row.id] = value.decode("utf-8", "replace")
        home.event_scripts = home.index.generation, found
    return home.event_scripts[1]


def all_values(home: Home, user: str, mailbox: str | None) -> Values:
    """In the lane: what the owner sees of a mailbox of that canonical name, or of the server (None); nothing
    of a mailbox that does not exist."""
    if mailbox is not None and home.named(mailbox) is None:
        return {}
    return read_values(home, mailbox, user, own=True)


def _use(home: Home, row: MailboxRow, value: bytes | None) -> list[tuple[int, str]]:
    """Give a mailbox its special uses. Returns which mailboxes have other ones now."""
    uses: frozenset[str] = frozenset()
    if value is not None:
        words = value.decode("ascii", "replace").lower().split()
        uses = frozenset(SPECIAL_USES[word] for word in words if word in SPECIAL_USES)
        if not words or not SPECIAL_USES.keys() >= set(words):
            raise BadSpecialUse()
    return [(each.id, SPECIAL_USE) for each in (*give_uses(home, row, uses), row)]


def give_uses(home: Home, row: MailboxRow, uses: frozenset[str]) -> list[MailboxRow]:
    """In the lane, within a transaction: give a mailbox these special uses and no others. Returns those that
    had one of them until now."""
    before = [each for each in home.index.mailboxes() if uses & each.special_uses and each.id != row.id]
    for each in before:
        home.index.set_special_uses(each.id, each.special_uses - uses)
    home.index.set_special_uses(row.id, uses)
    return before
