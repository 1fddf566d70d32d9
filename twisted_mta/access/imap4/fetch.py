"""FETCH (RFC 9051 §6.4.5), with CHANGEDSINCE and VANISHED (RFC 7162 §3.1.4, §3.2.6) and PARTIAL (RFC 9394
§3.3).

Works in slices of bounded octets, each followed by a look at whether the client keeps up and a turn for
the others. Items that the index knows touch no file; what is known of contents is looked up a slice at a
time; only the rest reads messages. A large one waits until there is room for it among those that other
sessions have in hand.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator, Sequence
from typing import TYPE_CHECKING

from twisted_mta.access.imap4 import fetch_response, message_limit, synchronize
from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.fetch_contents import HeaderReader, Lookup, Reader, are_headers, spelled
from twisted_mta.access.imap4.progress import Progress
from twisted_mta.protocol.imap4.commands.fetching import Fetch
from twisted_mta.protocol.imap4.fetch_items import Attribute, Binary, Body, Item
from twisted_mta.protocol.imap4.sections import Sections
from twisted_mta.protocol.imap4.sequence_set import SequenceSet
from twisted_mta.store.portions import LARGE

if TYPE_CHECKING:
    from twisted_mta.access.imap4.session import ImapSession

# How much one slice is at most: messages, and octets of the messages that it is about.
_KNOWN = 4000  # what the mailbox itself knows, whatever the size of the messages
_LOOKED_UP = 1000, 32 * 1024 * 1024
_READ = 500, 1024 * 1024
_READ_HEADERS = 500, 32 * 1024 * 1024
_BULK = 4000  # messages that one FETCH reads, from which on they are not kept at hand
_PIECE = 256 * 1024  # octets written at a time


async def fetch(session: ImapSession, command: Fetch) -> None:
    """FETCH and UID FETCH."""
    view = session.require_view()
    if command.vanished:
        synchronize.require_qresync(session)
    positions = view.chosen(command.set, command.by_uid)
    if command.changed_since is not None or Attribute.MODSEQ in command.items:
        synchronize.enable_condstore(session)
    if command.partial is not None:
        positions = command.partial.of(positions)
        message_limit.refuse_more(session, len(positions))
    positions, limited = message_limit.newest_positions(session, positions)
    if command.changed_since is not None:
        if command.vanished:
            await synchronize.tell_vanished(session, view, command.set, command.changed_since)
        positions = synchronize.changed_since(view, positions, command.changed_since)
    plan = _Plan(session, command, bulk=len(positions) > _BULK)
    progress = Progress(session, command.tag, len(positions))
    answered = reached = 0
    for portion in plan.portions(positions):
        if reached:
            await session.access.breathe()
        if session.gone:
            return
        answered += await plan.answer(portion)
        reached += len(portion)
        progress.tell(reached)
    if plan.unknown_encoding:
        session.refuse_command(
            command, "A part has an unknown encoding", "UNKNOWN-CTE", expunges=command.by_uid
        )
    elif answered == len(positions) or command.by_uid:
        session.complete(command, "FETCH completed", limited, expunges=command.by_uid)
    else:
        text = "Some of the messages no longer exist"
        session.refuse_command(command, text, "EXPUNGEISSUED", expunges=False)


async def tell(session: ImapSession, items: tuple[Item, ...], positions: Sequence[int]) -> None:
    """Untagged responses that no command has asked for (RFC 5465 §5.2), as long as the user may read."""
    view = session.require_view()
    plan = _Plan(session, Fetch("*", False, SequenceSet(()), items))
    for portion in plan.portions(positions):
        if session.gone or not view.readable:
            return
        await plan.answer(portion)
        await session.access.breathe()


class _Plan:
    """What one FETCH needs, and how its responses are made."""

    def __init__(self, session: ImapSession, command: Fetch, *, bulk: bool = False) -> None:
        self._session = session
        self._view = session.require_view()
        items: list[Item] = list(command.items)
        if command.by_uid and Attribute.UID not in items and not self._view.uid_only:
            items.insert(0, Attribute.UID)
        if command.changed_since is not None and Attribute.MODSEQ not in items:
            items.append(Attribute.MODSEQ)
        self._words = tuple(item for item in items if isinstance(item, Attribute))
        self._texts = [item for item in items if not isinstance(item, Attribute)]
        self._marks_seen = not all(text.peek for text in self._texts) and self._view.may("s")
        # A message that becomes \Seen by this tells of it (RFC 9051 §6.4.5, RFC 7162 §3.2.4).
        told = self._view.flag_items(command.by_uid) if self._marks_seen else ()
        self._words_when_marked = (*self._words, *(item for item in told if item not in self._words))
        self._lookup = Lookup(session.access.structures, self._view.mailbox, self._words)
        self._headers_only = are_headers(self._texts)
        self._reader = self._reader_of(self._texts, bulk)
        self.unknown_encoding = False

    def _reader_of(self, texts: Sequence[Body | Binary], bulk: bool) -> Reader | HeaderReader:
        access, mailbox = self._session.access, self._view.mailbox
        if texts and are_headers(texts):
            return HeaderReader(access.headers, mailbox, texts)
        return Reader(access.messages, mailbox, texts, bulk)

    def portions(self, positions: Sequence[int]) -> Iterator[Sequence[int]]:
        """The positions in slices that are bearable at a time."""
        if not self._texts and not self._lookup:
            for start in range(0, len(positions), _KNOWN):
                yield positions[start : start + _KNOWN]
            return
        most, octets = _LOOKED_UP
        if self._texts:
            most, octets = _READ_HEADERS if self._headers_only else _READ
        start = 0
        while start < len(positions):
            portion = self._within(positions[start : start + most], octets)
            yield portion
            start += len(portion)

    def _within(self, positions: Sequence[int], octets: int) -> Sequence[int]:
        """The first of the positions, at least one, as many as have no more octets together."""
        sizes = self._view.mailbox.columns.sizes
        for position, place in zip(*self._view.places(positions), strict=True):
            octets -= sizes[place]
            if octets < 0 and position != positions[0]:
                return positions[: positions.index(position)]
        return positions

    async def answer(self, positions: Sequence[int]) -> int:
        """Write the responses for a slice; how many of its messages were there."""
        if not self._texts:
            return await self._answer_words(positions)
        session, view = self._session, self._view
        sizes = [view.mailbox.columns.sizes[place] for place in view.places(positions)[1]]
        # Of messages whose headers are wanted, one after another is in memory.
        octets = max(sizes, default=0) if self._headers_only else sum(sizes)
        # What is to be found out asks for room itself.
        looked_up = await self._lookup.find([view.uids[position] for position in positions])
        if octets >= LARGE:
            session.flush()  # what has been said so far does not wait for room
        async with session.access.store.portions.portion(session.require_account().name, octets):
            return len(positions) if session.gone else await self._answer_texts(positions, looked_up)

    async def _answer_words(self, positions: Sequence[int]) -> int:
        view, engine = self._view, self._session.engine
        looked_up = await self._lookup.find([view.uids[position] for position in positions])
        for line in view.flag_names():
            engine.write(line)
        there = _among(positions, view.uids, looked_up.values())
        lines = list(fetch_response.responses(view, there, self._words, looked_up))
        engine.write(b"".join(lines))
        await self._session.drain()
        return len(lines)

    async def _answer_texts(self, positions: Sequence[int], looked_up: fetch_response.LookedUp) -> int:
        view, engine = self._view, self._session.engine
        uids = [view.uids[position] for position in positions]
        marked = await self._mark_seen(uids) if self._marks_seen else frozenset()
        messages = await self._reader.read(uids)
        for line in view.flag_names():
            engine.write(line)
        there = view.places(_among(positions, view.uids, [*looked_up.values(), messages]))[0]
        heads = self._heads(there, marked, looked_up)
        ready: list[bytes] = []
        for position, head in zip(there, heads, strict=True):
            message = messages.pop(view.uids[position])
            if isinstance(message, bytes):
                ready += head, message[1:] if head.endswith(b"(") else message
                continue
            if ready:
                await self._write_pieces([b"".join(ready)])
                ready.clear()
            await self._write(head, message)
        await self._write_pieces([b"".join(ready)])
        return len(there)

    def _heads(
        self, positions: Sequence[int], marked: frozenset[int], looked_up: fetch_response.LookedUp
    ) -> list[bytes]:
        """The beginnings of the responses, up to the first text."""
        view = self._view
        if not marked:
            return list(fetch_response.responses(view, positions, self._words, looked_up, end=b""))
        heads: list[bytes] = []
        for position in positions:
            words = self._words_when_marked if view.uids[position] in marked else self._words
            heads += fetch_response.responses(view, [position], words, looked_up, end=b"")
        return heads

    async def _mark_seen(self, uids: list[int]) -> frozenset[int]:
        """Set \\Seen; the UIDs of the messages that did not have it."""
        mailbox = self._view.mailbox
        unseen = [uid for uid in filter(self._view.exists, uids) if "\\Seen" not in mailbox.flags(uid)]
        if not unseen:
            return frozenset()
        changed = (await mailbox.set_flags(unseen, "add", frozenset({"\\Seen"}))).changed
        self._view.told_flags(changed)
        return frozenset(changed)

    # Texts

    async def _write(self, head: bytes, message: Sections) -> None:
        """Write a response with its texts, those of a large message one after another, so that no two of
        them are in memory at a time."""
        begin = b"" if head.endswith(b"(") else b" "
        written, octets_written = [head], 0
        for item in self._texts:
            if isinstance(item, Body):
                octets = message.extract(item.section)
            elif message.is_decodable(item.part):
                octets = message.decoded(item.part)
            else:
                self.unknown_encoding = True
                continue
            written += begin + item.label, *spelled(item, octets)
            octets_written += len(written[-1])
            begin = b" "
            if octets_written > _PIECE:
                await self._write_pieces(written)
                written, octets_written = [], 0
        if begin:
            self._session.engine.write(b"".join(written) + b")\r\n")

    async def _write_pieces(self, text: Sequence[bytes]) -> None:
        for octets in text:
            for offset in range(0, len(octets), _PIECE):
                self._session.engine.write(octets[offset : offset + _PIECE])
                if len(octets) > _PIECE:
                    await self._session.drain()
        await self._session.drain()


def _among(positions: Sequence[int], uids: Sequence[int], found: Collection[Container[int]]) -> Sequence[int]:
    """Those of the positions whose UIDs are in everything that was found."""
    for some in found:
        positions = [position for position in positions if uids[position] in some]
    return positions


COMMANDS: Rows = {Fetch: fetch}
