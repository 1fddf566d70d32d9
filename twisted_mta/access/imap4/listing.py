"""LIST and LSUB (RFC 9051 §6.3.9, RFC 3501 §6.3.8, §6.3.9; RFC 5258, with RFC 3348 and RFC 6154; what
RFC 5819, RFC 8440 and RFC 9590 add to each line).

A level of hierarchy that is no mailbox itself is told of in the basic form whenever it matches, and in the
extended form when a pattern asks for levels, as all do that do not end in `*`: behind that one, the mailboxes
below are told of anyhow (RFC 5258 §3.5).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from twisted.internet.defer import Deferred, gatherResults

from twisted_mta.access.imap4.access_control import rights_line
from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.metadata import metadata_line
from twisted_mta.access.imap4.status import prepare_status, status_line
from twisted_mta.protocol.imap4.commands.listing import List, Lsub, Returned
from twisted_mta.protocol.imap4.mailbox_name import SEPARATOR, list_matcher
from twisted_mta.store.account import MailboxInfo
from twisted_mta.store.errors import NoPermission, NoSuchMailbox, StoreError

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

_INBOX = "INBOX"
_SLICE = 50  # names tried between two turns of the others
_AT_ONCE = 20  # mailboxes asked for their status together: one visit after the other, one turn of the reactor

T = TypeVar("T")
Matcher = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Found:
    """One line of the answer. info: None for a name that there is not, not even as a level. children: there
    are mailboxes below. selected: it meets the selection options itself; below: so does a name below it."""

    name: str
    info: MailboxInfo | None
    children: bool
    subscribed: bool
    selected: bool
    below: bool

    @property
    def exists(self) -> bool:
        """True for a mailbox."""
        return self.info is not None and self.info.selectable


async def list_mailboxes(session: ImapSession, command: List) -> None:
    """LIST. Of each mailbox LIST comes first, then what else was asked for."""
    if command.patterns == ("",) and not command.extended:
        session.engine.write(b'* LIST (\\Noselect) "/" ""\r\n')
        session.complete(command, "LIST completed")
        return
    prepare_status(session, command.returned.status)
    mailboxes = await session.viewpoint.list_mailboxes()
    subscribed = {each.name for each in mailboxes if each.subscribed}
    if "SUBSCRIBED" in command.selection:
        subscribed.update(await session.viewpoint.subscriptions())
    found = await select_names(session, command, mailboxes, subscribed)
    new_form = command.extended or "IMAP4REV2" in session.enabled
    for start in range(0, len(found), _AT_ONCE):
        if start:
            await session.drain()
            await session.access.breathe()
        await _tell(session, command, found[start : start + _AT_ONCE], new_form)
    session.complete(command, "LIST completed")


# What is listed


async def select_names(
    session: ImapSession, command: List, mailboxes: Sequence[MailboxInfo], subscribed: set[str]
) -> list[Found]:
    """The names to tell of, INBOX first, then in alphabetical order."""
    criteria = command.selection & {"SUBSCRIBED", "SPECIAL-USE"}
    recursive = "RECURSIVEMATCH" in command.selection
    infos: dict[str, MailboxInfo | None] = {info.name: info for info in mailboxes}
    if "SUBSCRIBED" in criteria:
        infos.update(dict.fromkeys(subscribed - infos.keys()))
    parents = {above for info in mailboxes for above in levels_above(info.name)}

    def meets(name: str, info: MailboxInfo | None) -> bool:
        if "SPECIAL-USE" in criteria and not (info and info.special_uses):
            return False
        return "SUBSCRIBED" not in criteria or name in subscribed

    matches = matcher(command.reference, command.patterns)
    matching: set[str] = set()
    below: set[str] = set()  # they have a name below them that meets the criteria
    hidden_below: set[str] = set()  # one that no pattern matches
    for number, (name, info) in enumerate(infos.items(), 1):
        if not number % _SLICE:
            await session.access.breathe()
        if matches(name):
            matching.add(name)
        if recursive and meets(name, info):
            above = list(levels_above(name))
            below.update(above)
            if name not in matching:
                hidden_below.update(above)
    for name in hidden_below - infos.keys():
        infos[name] = None
        if matches(name):
            matching.add(name)
    asks_for_levels = matches
    if command.extended or "IMAP4REV2" in session.enabled:
        patterns = tuple(each for each in command.patterns if not each.endswith("*"))
        asks_for_levels = matcher(command.reference, patterns)

    def found(name: str) -> Iterator[Found]:
        info = infos[name]
        if criteria:
            selected = meets(name, info)
        else:
            selected = info is not None and (info.selectable or asks_for_levels(name))
        if selected or name in hidden_below:
            yield Found(name, info, name in parents, name in subscribed, selected, name in below)

    ordered = sorted(matching, key=lambda name: (name != _INBOX, name))
    return [each for name in ordered for each in found(name)]


def matcher(reference: str, patterns: Iterable[str]) -> Matcher:
    """A test for names. INBOX matches in whatever case a pattern has it (RFC 3501 §6.3.8)."""
    whole = [reference + pattern for pattern in patterns]
    matches, matches_inbox = list_matcher(*whole), list_matcher(*[each.upper() for each in whole])
    matches_below = list_matcher(*[_with_inbox(each) for each in whole])

    def test(name: str) -> bool:
        if name == _INBOX:
            return matches_inbox(name)
        return matches_below(name) if name.startswith(_INBOX + SEPARATOR) else matches(name)

    return test


def _with_inbox(pattern: str) -> str:
    inbox_first = pattern[: len(_INBOX)].upper() == _INBOX
    return _INBOX + pattern[len(_INBOX) :] if inbox_first else pattern


def levels_above(name: str) -> Iterator[str]:
    """The names of the levels that a name is below, from the top."""
    position = name.find(SEPARATOR)
    while position >= 0:
        yield name[:position]
        position = name.find(SEPARATOR, position + 1)


# How it is told


async def _tell(session: ImapSession, command: List, found: Sequence[Found], new_form: bool) -> None:
    returned = command.returned
    told_of = []
    if returned.status or returned.metadata or "MYRIGHTS" in returned.options:
        told_of = [each for each in found if each.selected and each.exists]
    behind: dict[str, bytes | StoreError] = {}
    if told_of:
        results = await together([_lines_behind(session, returned, each) for each in told_of])
        behind.update(zip([each.name for each in told_of], results, strict=True))
    told_subscribed = "SUBSCRIBED" in command.selection | returned.options
    criteria = sorted(command.selection & {"SUBSCRIBED", "SPECIAL-USE"})
    for each in found:
        lines = behind.get(each.name, b"")
        words = attributes(each, new_form, closed=isinstance(lines, StoreError))
        if told_subscribed and each.subscribed:
            words.append("\\Subscribed")
        extra = b""
        if each.below and "RECURSIVEMATCH" in command.selection:
            words_below = " ".join(f'"{word}"' for word in criteria)
            extra = f' ("CHILDINFO" ({words_below}))'.encode("ascii")
        session.engine.write(list_line(session, words, each.name, extra))
        if isinstance(lines, bytes):
            session.engine.write(lines)


async def _lines_behind(session: ImapSession, returned: Returned, found: Found) -> bytes:
    """What is told of a mailbox behind its LIST. Trouble with one kind of it costs that line only.

    Raises NoSuchMailbox, NoPermission when its STATUS shows that it cannot be selected."""
    name, rights = found.name, found.info.rights if found.info else frozenset()
    lines = []
    if returned.status and "r" in rights:
        try:
            lines.append(
                await status_line(session, name, returned.status, await session.viewpoint.status(name))
            )
        except (NoSuchMailbox, NoPermission):
            raise
        except StoreError:
            pass  # said already where it happened
    if "MYRIGHTS" in returned.options:
        lines.append(rights_line(session, name, rights))
    if returned.metadata:
        try:
            values = await session.viewpoint.annotations(name, returned.metadata)
            lines.append(
                metadata_line(session, name, [(each, values.get(each)) for each in returned.metadata])
            )
        except StoreError:
            pass  # said already, or nothing for this user's eyes
    return b"".join(lines)


async def together(asked: Sequence[Awaitable[T]]) -> list[T | StoreError]:
    """What comes of all of them, each with its own refusal."""

    async def ask(each: Awaitable[T]) -> T | StoreError:
        try:
            return await each
        except StoreError as error:
            return error

    results: list[T | StoreError] = await gatherResults(
        [Deferred.fromCoroutine(ask(each)) for each in asked], consumeErrors=True
    )
    return results


def attributes(found: Found, new_form: bool, closed: bool = False) -> list[str]:
    """The attributes of a name but `\\Subscribed`. Clients that know the word are told of names
    that are no mailboxes; `closed`: it has turned out that the mailbox cannot be opened (RFC 5819 §2)."""
    words = []
    if not found.exists and (new_form or found.info is None):
        words.append("\\NonExistent")
    if closed or not found.exists or (found.info and "r" not in found.info.rights):
        words.append("\\Noselect")
    words.append("\\HasChildren" if found.children else "\\HasNoChildren")
    if found.info is not None:
        words += sorted(found.info.special_uses)
    return words


def list_line(session: ImapSession, words: Iterable[str], name: str, extra: bytes = b"") -> bytes:
    """An untagged LIST; `extra`: the extended data, with a space in front."""
    told = " ".join(words).encode("ascii")
    return b'* LIST (%b) "/" %b%b\r\n' % (told, session.mailbox_name(name), extra)


def oldname(session: ImapSession, name: str) -> bytes:
    """OLDNAME for `list_line`: what the mailbox was called (RFC 9051 §6.3.9.7)."""
    return b' ("OLDNAME" (%b))' % session.mailbox_name(name)


# LSUB


async def list_subscribed(session: ImapSession, command: Lsub) -> None:
    """LSUB (RFC 3501 §6.3.9). A level that is not subscribed itself is told of, as \\Noselect, when a `%`
    hides subscriptions below it."""
    if command.patterns == ("",):  # as LIST is asked for the separator; RFC 3501 is silent, clients are not
        session.engine.write(b'* LSUB (\\Noselect) "/" ""\r\n')
    names = set(await session.viewpoint.subscriptions())
    matches = matcher(command.reference, command.patterns)
    found = {name for name in names if matches(name)}
    above: set[str] = set()
    if command.patterns and command.patterns[0].endswith("%"):
        above = {level for name in names - found for level in levels_above(name) if matches(level)} - found
    for name in sorted(found | above):
        told = b"\\Noselect" if name in above else b""
        session.engine.write(b'* LSUB (%b) "/" %b\r\n' % (told, session.mailbox_name(name)))
    session.complete(command, "LSUB completed")


COMMANDS: Rows = {List: list_mailboxes, Lsub: list_subscribed}
