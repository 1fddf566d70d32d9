"""NOTIFY (RFC 5465 §3.1, grammar in §8). Annotations of messages (AnnotationChange) are not supported."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import LOGGED_IN, Command, Rows
from twisted_mta.protocol.imap4.fetch_items import Item, parse_items
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor

MESSAGE_EVENTS = ("MessageNew", "MessageExpunge", "FlagChange")
EVENTS = (
    *MESSAGE_EVENTS,
    "MailboxName",
    "SubscriptionChange",
    "MailboxMetadataChange",
    "ServerMetadataChange",
)
SELECTED = frozenset({"SELECTED", "SELECTED-DELAYED"})
MAX_GROUPS = 100

_SETS = frozenset({"INBOXES", "PERSONAL", "SUBSCRIBED"})
_NAMED = frozenset({"SUBTREE", "MAILBOXES"})
_BY_WORD = {event.upper(): event for event in EVENTS}


@dataclass(frozen=True, slots=True)
class Group:
    """An event group: which mailboxes, by the filter's name in upper case and perhaps names, and the events;
    none of them for NONE. `items` are to be fetched of each new message of the selected mailbox."""

    filter: str
    mailboxes: tuple[str, ...]
    events: frozenset[str]
    items: tuple[Item, ...] = ()


@dataclass(frozen=True, slots=True)
class Notify(Command):
    """NOTIFY; without groups it is NOTIFY NONE. status: tell at once where all the mailboxes stand."""

    groups: tuple[Group, ...] = ()
    status: bool = False


def _notify(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    word = cursor.keyword()
    if word == "NONE":
        return Notify(tag)
    if word != "SET":
        cursor.fail("SET or NONE")
    cursor.space()
    status = cursor.peek() != b"("
    if status:
        if cursor.keyword() != "STATUS":
            cursor.fail("STATUS or a list of events")
        cursor.space()
    groups = [_group(cursor)]
    while cursor.accept(b" "):
        if len(groups) == MAX_GROUPS:
            raise CommandError("Too many groups of events", condition="NO", code="NOTIFICATIONOVERFLOW")
        groups.append(_group(cursor))
    if sum(group.filter in SELECTED for group in groups) > 1:
        raise CommandError("The selected mailbox can be in one group only")
    return Notify(tag, tuple(groups), status)


def _group(cursor: Cursor) -> Group:
    cursor.expect(b"(")
    chosen = cursor.keyword()
    mailboxes: tuple[str, ...] = ()
    if chosen in _NAMED:
        cursor.space()
        several = cursor.peek() == b"("
        mailboxes = tuple(cursor.parenthesized(cursor.mailbox) if several else [cursor.mailbox()])
    elif chosen not in _SETS | SELECTED:
        cursor.fail("which mailboxes")
    cursor.space()
    group = _with_events(cursor, chosen, mailboxes)
    cursor.expect(b")")
    return group


def _with_events(cursor: Cursor, chosen: str, mailboxes: tuple[str, ...]) -> Group:
    if cursor.peek() != b"(":
        if cursor.keyword() != "NONE":
            cursor.fail("events or NONE")
        return Group(chosen, mailboxes, frozenset())
    items: list[Item] = []
    events = frozenset(cursor.parenthesized(lambda: _event(cursor, items)))
    about_messages = events.intersection(MESSAGE_EVENTS)
    if about_messages and not {"MessageNew", "MessageExpunge"} <= about_messages:
        raise CommandError("MessageNew and MessageExpunge go together")
    if chosen in SELECTED and about_messages != events:
        raise CommandError("Events of the selected mailbox are about messages")
    if chosen not in SELECTED and items:
        raise CommandError("Only messages of the selected mailbox are fetched")
    return Group(chosen, mailboxes, events, tuple(dict.fromkeys(items)))


def _event(cursor: Cursor, items: list[Item]) -> str:
    event = _BY_WORD.get(cursor.keyword())
    if event is None:
        code = f"BADEVENT ({' '.join(EVENTS)})"
        raise CommandError("No such event is told here", condition="NO", code=code)
    if event == "MessageNew" and cursor.accept(b" ("):
        cursor.position -= 1
        items += parse_items(cursor)
    return event


COMMANDS: Rows = {"NOTIFY": (LOGGED_IN, _notify)}
