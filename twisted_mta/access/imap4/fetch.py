"""FETCH (RFC 3501 §6.4.5).

Works in slices of bounded octets, each followed by a look at whether the client keeps up and a turn for
the others. Items that the index knows touch no file; ENVELOPE and BODYSTRUCTURE are rendered once in a
message's life and kept by the store; only the rest reads messages. A large one waits until there is room
for it among those that other sessions have in hand.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from twisted_mta.access.imap4.command import Rows
from twisted_mta.protocol.imap4 import responses
from twisted_mta.protocol.imap4.bodystructure import render_basic_body, render_structures, split_structures
from twisted_mta.protocol.imap4.commands.fetching import Fetch
from twisted_mta.protocol.imap4.fetch_items import Attribute, Body, Item
from twisted_mta.protocol.imap4.sections import Sections
from twisted_mta.store.errors import NoSuchMessage

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

# How much one slice is at most.
_MESSAGES_KNOWN = 500  # messages of which only the index is asked
_MESSAGES_RENDERED = 250
_MESSAGES_READ = 100
_OCTETS_READ = 1024 * 1024
_PIECE = 256 * 1024  # octets written at a time

_STRUCTURES = "imap-structures"  # kinds of renderings in the store; a changed format needs a new name
_BASIC_BODY = "imap-body"


async def fetch(session: ImapSession, command: Fetch) -> None:
    """FETCH and UID FETCH."""
    view = session.require_view()
    plan = _Plan(session, command)
    complete = True
    for number, positions in enumerate(plan.slices(view.positions(command.set, command.by_uid))):
        if number:
            await session.access.breathe()
        if session.gone:
            return
        complete &= await plan.answer(positions)
    if complete or command.by_uid:
        session.complete(command, "FETCH completed", expunges=command.by_uid)
    else:
        text = "Some of the messages no longer exist"
        session.refuse_command(command, text, "EXPUNGEISSUED", expunges=False)


class _Plan:
    """What one FETCH needs, and how its responses are made. The renderings and messages of the slice in
    hand are kept by UID."""

    def __init__(self, session: ImapSession, command: Fetch) -> None:
        self._session = session
        self._view = session.require_view()
        items: list[Item] = list(command.items)
        if command.by_uid and Attribute.UID not in items:
            items.insert(0, Attribute.UID)
        self._words = [self._rendering(item) for item in items if isinstance(item, Attribute)]
        self._bodies = [item for item in items if isinstance(item, Body)]
        self._asks_parts = any(body.section.part for body in self._bodies)
        self._tells_flags = Attribute.FLAGS in items
        self._marks_seen = not self._view.read_only and not all(body.peek for body in self._bodies)
        self._needs_structures = Attribute.ENVELOPE in items or Attribute.BODYSTRUCTURE in items
        self._needs_basic_body = Attribute.BODY in items
        self._structures: dict[int, tuple[bytes, bytes]] = {}
        self._basic_bodies: dict[int, bytes] = {}
        self._messages: dict[int, Sections] = {}

    # Portions

    def slices(self, ranges: list[range]) -> Iterator[list[int]]:
        """The positions in portions that are bearable at a time."""
        if self._bodies:
            return self._slices_by_size(ranges)
        rendered = self._needs_structures or self._needs_basic_body
        return self._slices_by_number(ranges, _MESSAGES_RENDERED if rendered else _MESSAGES_KNOWN)

    @staticmethod
    def _slices_by_number(ranges: list[range], most: int) -> Iterator[list[int]]:
        positions = itertools.chain.from_iterable(ranges)
        while portion := list(itertools.islice(positions, most)):
            yield portion

    def _slices_by_size(self, ranges: list[range]) -> Iterator[list[int]]:
        portion: list[int] = []
        octets = 0
        for position in itertools.chain.from_iterable(ranges):
            size = self._size(position)
            if portion and (len(portion) >= _MESSAGES_READ or octets + size > _OCTETS_READ):
                yield portion
                portion, octets = [], 0
            portion.append(position)
            octets += size
        if portion:
            yield portion

    def _size(self, position: int) -> int:
        try:
            return self._view.mailbox.size(self._view.uids[position])
        except NoSuchMessage:
            return 0

    # One portion

    async def answer(self, positions: list[int]) -> bool:
        """Write the responses for a portion; False when some of its messages are gone."""
        if not self._bodies:
            return await self._answer(positions)
        session = self._session
        octets = sum(map(self._size, positions))
        async with session.access.store.portions.portion(session.require_account().name, octets):
            try:
                return session.gone or await self._answer(positions)
            finally:
                self._messages = {}

    async def _answer(self, positions: list[int]) -> bool:
        view, engine = self._view, self._session.engine
        uids = [view.uids[position] for position in positions]
        marked = await self._mark_seen(uids) if self._marks_seen else frozenset()
        await self._gather(uids)
        for line in view.flag_names():
            engine.write(line)
        answered = 0
        for position, uid in zip(positions, uids, strict=True):
            try:
                words = [render(uid) for render in self._words]
                if uid in marked and not self._tells_flags:
                    words.append(b"FLAGS " + view.flags(uid))
                message = self._messages[uid] if self._bodies else None
            except (NoSuchMessage, KeyError):
                continue  # gone meanwhile
            answered += 1
            engine.write(b"* %d FETCH (%b" % (position + 1, b" ".join(words)))
            if message is not None:
                await self._write_bodies(message, bool(words))
            engine.write(b")\r\n")
        await self._session.drain()
        return answered == len(positions)

    async def _mark_seen(self, uids: list[int]) -> frozenset[int]:
        """Set \\Seen; the UIDs of the messages that did not have it."""
        mailbox = self._view.mailbox
        unseen = [uid for uid in filter(self._view.exists, uids) if "\\Seen" not in mailbox.flags(uid)]
        if not unseen:
            return frozenset()
        changed = await mailbox.set_flags(unseen, "add", frozenset({"\\Seen"}))
        self._view.told_flags(changed)
        return frozenset(changed)

    async def _gather(self, uids: list[int]) -> None:
        """Get from the store what the responses for these messages need."""
        mailbox = self._view.mailbox
        if self._needs_structures:
            found = await mailbox.cached(_STRUCTURES, uids, render_structures)
            self._structures = {
                uid: split_structures(rendered)
                for uid, rendered in zip(uids, found, strict=True)
                if rendered is not None
            }
        if self._needs_basic_body:
            found = await mailbox.cached(_BASIC_BODY, uids, render_basic_body)
            self._basic_bodies = {
                uid: rendered for uid, rendered in zip(uids, found, strict=True) if rendered is not None
            }
        if self._bodies:
            await self._read(uids)

    async def _read(self, uids: list[int]) -> None:
        """Read the messages. One that is fetched in pieces stays at hand."""
        mailbox, cache = self._view.mailbox, self._session.access.messages
        key = (self._session.require_account().name, mailbox.uid_validity, uids[0])
        in_pieces = len(uids) == 1 and any(body.partial for body in self._bodies)
        message = cache.get(key) if in_pieces else None
        if message is not None:
            self._messages = {uids[0]: message}
            return
        found = await mailbox.examine(uids, self._see)
        self._messages = {uid: seen for uid, seen in zip(uids, found, strict=True) if seen is not None}
        if in_pieces and uids[0] in self._messages:
            cache.put(key, self._messages[uids[0]])

    def _see(self, data: bytes) -> Sections:
        """In a thread: a message, with its structure when parts of it are asked for."""
        return Sections(data, parts=self._asks_parts)

    # One message

    def _rendering(self, attribute: Attribute) -> Callable[[int], bytes]:
        """How an item without text is rendered for a UID. The function raises NoSuchMessage or KeyError."""
        view, mailbox = self._view, self._view.mailbox
        match attribute:
            case Attribute.UID:
                return lambda uid: b"UID %d" % uid
            case Attribute.FLAGS:
                return lambda uid: b"FLAGS " + view.flags(uid)
            case Attribute.INTERNALDATE:
                return lambda uid: b"INTERNALDATE " + responses.date_time(mailbox.internal_date(uid))
            case Attribute.SIZE:
                return lambda uid: b"RFC822.SIZE %d" % mailbox.size(uid)
            case Attribute.ENVELOPE:
                return lambda uid: b"ENVELOPE " + self._structures[uid][0]
            case Attribute.BODYSTRUCTURE:
                return lambda uid: b"BODYSTRUCTURE " + self._structures[uid][1]
            case Attribute.BODY:
                return lambda uid: b"BODY " + self._basic_bodies[uid]

    async def _write_bodies(self, message: Sections, behind_words: bool) -> None:
        """Write the sections one after another, so that no two of them are in memory at a time."""
        engine = self._session.engine
        for body in self._bodies:
            engine.write(b" " + body.label if behind_words else body.label)
            behind_words = True
            octets = message.extract(body.section)
            if octets is None:
                engine.write(b" NIL")
                continue
            if body.partial is not None:
                first, number = body.partial
                octets = octets[first : first + number]
            engine.write(b" {%d}\r\n" % len(octets))
            for offset in range(0, len(octets), _PIECE):
                engine.write(octets[offset : offset + _PIECE])
                if len(octets) > _PIECE:
                    await self._session.drain()


COMMANDS: Rows = {Fetch: fetch}
