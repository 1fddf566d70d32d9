"""How each command is read: one row of `COMMANDS` a name (RFC 3501 §9; RFC 2177, 2342, 2971, 3691, 4315,
4959, 6851).

APPEND, whose message literal is streamed, is read up to that literal; the continuations of AUTHENTICATE
and IDLE are the engine's affair (server.py).
"""

from __future__ import annotations

from collections.abc import Callable

from twisted_mta.message.date import parse_internal_date
from twisted_mta.protocol.imap4.commands import (
    Append,
    Authenticate,
    Capability,
    Check,
    Close,
    Command,
    Copy,
    Create,
    Delete,
    Expunge,
    Fetch,
    Id,
    Idle,
    List,
    Login,
    Logout,
    Lsub,
    Move,
    Namespace,
    Noop,
    Rename,
    Search,
    Select,
    StartTls,
    State,
    Status,
    Store,
    Subscribe,
    Unselect,
    Unsubscribe,
)
from twisted_mta.protocol.imap4.fetch_items import parse_items
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor
from twisted_mta.protocol.imap4.search_keys import parse_search
from twisted_mta.protocol.imap4.sequence_set import SequenceSet, parse_sequence_set

# Starts behind the command's name and reads to the end of its arguments.
Reader = Callable[[Cursor, str], Command]


def _plain(kind: Callable[[str], Command]) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        return kind(tag)

    return read


def _on_mailbox(kind: Callable[[str, str], Command]) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        cursor.space()
        return kind(tag, cursor.mailbox())

    return read


def _id(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    if cursor.peek() != b"(":
        if cursor.nstring() is not None:
            cursor.fail("a list or NIL")
        return Id(tag, ())

    def pair() -> tuple[bytes, bytes | None]:
        name = cursor.string()
        cursor.space()
        return name, cursor.nstring()

    parameters = cursor.parenthesized(pair, empty=True)
    if len(parameters) > 30:  # RFC 2971 §3.3
        raise CommandError("Too many ID parameters")
    return Id(tag, tuple(parameters))


def _login(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    user = cursor.astring()
    cursor.space()
    return Login(tag, user, cursor.astring())


def _authenticate(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    mechanism = cursor.keyword()
    initial = None
    if cursor.accept(b" "):
        initial = cursor.data[cursor.position :]
        cursor.position = len(cursor.data)
    return Authenticate(tag, mechanism, initial)


def _create(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    return Create(tag, cursor.mailbox().removesuffix("/"))


def _rename(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    old = cursor.mailbox()
    cursor.space()
    return Rename(tag, old, cursor.mailbox().removesuffix("/"))


def _list(kind: Callable[[str, str, str], Command]) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        cursor.space()
        reference = cursor.mailbox()
        cursor.space()
        return kind(tag, reference, cursor.list_mailbox())

    return read


STATUS_ITEMS = frozenset({"MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN"})


def _status(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    mailbox = cursor.mailbox()
    cursor.space()
    items = cursor.parenthesized(cursor.keyword)
    if not STATUS_ITEMS.issuperset(items):
        cursor.fail("a status data item")
    return Status(tag, mailbox, tuple(dict.fromkeys(items)))


def read_append(cursor: Cursor, tag: str, size: int) -> Append:
    """The arguments of APPEND; the cursor's data ends where the literal of `size` octets begins."""
    cursor.space()
    mailbox = cursor.mailbox()
    cursor.space()
    flags: frozenset[str] = frozenset()
    if cursor.peek() == b"(":
        flags = cursor.flag_list()
        cursor.space()
    internal_date = None
    if cursor.peek() == b'"':
        internal_date = parse_internal_date(cursor.string())
        if internal_date is None:
            cursor.fail("a date-time")
        cursor.space()
    cursor.end()
    return Append(tag, mailbox, flags, internal_date, size)


def _append(cursor: Cursor, tag: str) -> Command:
    cursor.fail("a message literal")  # an APPEND with one never gets here: the engine streams it


def _search(by_uid: bool) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        cursor.space()
        return Search(tag, by_uid, parse_search(cursor))

    return read


def _fetch(by_uid: bool) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        cursor.space()
        numbers = parse_sequence_set(cursor)
        cursor.space()
        return Fetch(tag, by_uid, numbers, parse_items(cursor))

    return read


_STORE_ITEMS = {
    sign + "FLAGS" + suffix: (how, bool(suffix))
    for sign, how in (("", "replace"), ("+", "add"), ("-", "remove"))
    for suffix in ("", ".SILENT")
}


def _store(by_uid: bool) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        cursor.space()
        numbers = parse_sequence_set(cursor)
        cursor.space()
        item = _STORE_ITEMS.get(cursor.keyword())
        if item is None:
            cursor.fail("FLAGS")
        cursor.space()
        return Store(tag, by_uid, numbers, *item, cursor.flags())

    return read


def _copy(kind: Callable[[str, bool, SequenceSet, str], Command], by_uid: bool) -> Reader:
    def read(cursor: Cursor, tag: str) -> Command:
        cursor.space()
        numbers = parse_sequence_set(cursor)
        cursor.space()
        return kind(tag, by_uid, numbers, cursor.mailbox())

    return read


def _uid_expunge(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    return Expunge(tag, parse_sequence_set(cursor))


def _uid(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    reader = _UID_COMMANDS.get(cursor.keyword())
    if reader is None:
        cursor.fail("a command that has a UID form")
    return reader(cursor, tag)


_UID_COMMANDS: dict[str, Reader] = {
    "COPY": _copy(Copy, True),
    "EXPUNGE": _uid_expunge,
    "FETCH": _fetch(True),
    "MOVE": _copy(Move, True),
    "SEARCH": _search(True),
    "STORE": _store(True),
}

_BEFORE = State.NOT_AUTHENTICATED
_LOGGED_IN = State.AUTHENTICATED | State.SELECTED
_ANY = _BEFORE | _LOGGED_IN

COMMANDS: dict[str, tuple[State, Reader]] = {
    "CAPABILITY": (_ANY, _plain(Capability)),
    "NOOP": (_ANY, _plain(Noop)),
    "LOGOUT": (_ANY, _plain(Logout)),
    "ID": (_ANY, _id),
    "STARTTLS": (_BEFORE, _plain(StartTls)),
    "AUTHENTICATE": (_BEFORE, _authenticate),
    "LOGIN": (_BEFORE, _login),
    "SELECT": (_LOGGED_IN, _on_mailbox(lambda tag, name: Select(tag, name, False))),
    "EXAMINE": (_LOGGED_IN, _on_mailbox(lambda tag, name: Select(tag, name, True))),
    "CREATE": (_LOGGED_IN, _create),
    "DELETE": (_LOGGED_IN, _on_mailbox(Delete)),
    "RENAME": (_LOGGED_IN, _rename),
    "SUBSCRIBE": (_LOGGED_IN, _on_mailbox(Subscribe)),
    "UNSUBSCRIBE": (_LOGGED_IN, _on_mailbox(Unsubscribe)),
    "LIST": (_LOGGED_IN, _list(List)),
    "LSUB": (_LOGGED_IN, _list(Lsub)),
    "STATUS": (_LOGGED_IN, _status),
    "APPEND": (_LOGGED_IN, _append),
    "NAMESPACE": (_LOGGED_IN, _plain(Namespace)),
    "IDLE": (_LOGGED_IN, _plain(Idle)),
    "CHECK": (State.SELECTED, _plain(Check)),
    "CLOSE": (State.SELECTED, _plain(Close)),
    "UNSELECT": (State.SELECTED, _plain(Unselect)),
    "EXPUNGE": (State.SELECTED, _plain(Expunge)),
    "SEARCH": (State.SELECTED, _search(False)),
    "FETCH": (State.SELECTED, _fetch(False)),
    "STORE": (State.SELECTED, _store(False)),
    "COPY": (State.SELECTED, _copy(Copy, False)),
    "MOVE": (State.SELECTED, _copy(Move, False)),
    "UID": (State.SELECTED, _uid),
}


def find_reader(cursor: Cursor, state: State) -> tuple[str, Reader]:
    """The name at the cursor and the reader of its arguments. Raises CommandError for an unknown command
    and for one that has no place in this state."""
    name = cursor.keyword()
    row = COMMANDS.get(name)
    if row is None:
        raise CommandError("No such command")
    allowed, reader = row
    if state not in allowed:
        if allowed is _BEFORE:
            raise CommandError("Already logged in")
        raise CommandError("Log in first" if state is _BEFORE else "Select a mailbox first")
    return name, reader
