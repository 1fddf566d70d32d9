"""What a FETCH needs of the messages themselves: what the store knows of their contents, and their texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

from twisted_mta.access.imap4.fetch_response import LookedUp
from twisted_mta.access.imap4.message_cache import SMALL, MessageCache, weight
from twisted_mta.protocol.imap4 import responses
from twisted_mta.protocol.imap4.bodystructure import render_basic_body, split_structures
from twisted_mta.protocol.imap4.fetch_items import Attribute, Binary, Body
from twisted_mta.protocol.imap4.sections import Sections
from twisted_mta.store.mailbox import Mailbox

_BASIC_BODY = "imap-body"  # a kind of rendering in the store; a changed format needs a new name
_STRUCTURES = {Attribute.ENVELOPE, Attribute.BODYSTRUCTURE}
_PREVIEWS = {Attribute.PREVIEW, Attribute.LAZY_PREVIEW}
_ALL = {*_STRUCTURES, *_PREVIEWS, Attribute.BODY, Attribute.THREADID}
_FEW = 200  # messages whose structures are kept at hand


class Lookup:
    """What the store knows for some data items; false when it need not be asked."""

    def __init__(self, cache: MessageCache[bytes], mailbox: Mailbox, items: Sequence[Attribute]) -> None:
        self._cache = cache
        self._mailbox = mailbox
        self._items = frozenset(items) & _ALL

    def __bool__(self) -> bool:
        return bool(self._items)

    async def find(self, uids: Sequence[int]) -> LookedUp:
        """For each of the items, by UID, what goes into the response; without messages that are gone."""
        items, mailbox = self._items, self._mailbox
        found: dict[Attribute, dict[int, bytes]] = {}
        if items & _STRUCTURES:
            pairs = [(uid, split_structures(rendered)) for uid, rendered in await self._structures(uids)]
            if Attribute.ENVELOPE in items:
                found[Attribute.ENVELOPE] = {uid: pair[0] for uid, pair in pairs}
            if Attribute.BODYSTRUCTURE in items:
                found[Attribute.BODYSTRUCTURE] = {uid: pair[1] for uid, pair in pairs}
        if Attribute.BODY in items:
            bodies = await mailbox.cached(_BASIC_BODY, uids, render_basic_body)
            found[Attribute.BODY] = {
                uid: body for uid, body in zip(uids, bodies, strict=True) if body is not None
            }
        if Attribute.PREVIEW in items:
            previews = await mailbox.previews(uids)
            found[Attribute.PREVIEW] = {
                uid: responses.string(text.encode())
                for uid, text in zip(uids, previews, strict=True)
                if text is not None
            }
        if Attribute.LAZY_PREVIEW in items:
            previews = await mailbox.previews(uids, only_known=True)
            found[Attribute.LAZY_PREVIEW] = {
                uid: responses.nstring(None if text is None else text.encode())
                for uid, text in zip(uids, previews, strict=True)
            }
        if Attribute.THREADID in items:
            threads = await mailbox.thread_ids(uids)
            found[Attribute.THREADID] = {
                uid: responses.NIL if thread is None else f"({thread})".encode("ascii")
                for uid, thread in zip(uids, threads, strict=True)
            }
        return found

    async def _structures(self, uids: Sequence[int]) -> list[tuple[int, bytes]]:
        """By UID, without those that are gone. What is asked for of a few messages is kept at hand: clients
        look at the newest ones again and again."""
        mailbox, few = self._mailbox, len(uids) <= _FEW
        kind = mailbox.account.name, mailbox.account.epoch
        emails = mailbox.emails(uids) if few else {}
        at_hand = [self._cache.get((kind, email)) for email in emails.values()]
        found = [(uid, each) for uid, each in zip(emails, at_hand, strict=True) if each is not None]
        if len(found) == len(uids):
            return found
        looked_up = zip(uids, await mailbox.structures(uids), strict=True)
        found = [(uid, rendered) for uid, rendered in looked_up if rendered is not None]
        for uid, rendered in found if few else ():
            self._cache.put((kind, emails[uid]), rendered)
        return found


class Reader:
    """Reads messages for some of their texts, through the cache. `bulk`: there are so many to be read that
    to keep them would only push out what somebody else may ask for."""

    def __init__(
        self,
        cache: MessageCache[Sections],
        mailbox: Mailbox,
        items: Sequence[Body | Binary],
        bulk: bool,
    ) -> None:
        self._cache = cache
        self._mailbox = mailbox
        self._items = items
        self._keeps_small = not bulk
        self._in_pieces = any(item.partial for item in items)

    async def read(self, uids: Sequence[int]) -> dict[int, Sections]:
        """The messages by UID, without those that are gone."""
        account = self._mailbox.account
        kind = account.name, account.epoch
        emails = self._mailbox.emails(uids)
        found: dict[int, Sections] = {}
        missing = []
        for uid, email in emails.items():
            message = self._cache.get((kind, email))
            if message is not None and message.is_prepared(self._items):
                found[uid] = message
            else:
                missing.append(uid)
        if missing:
            for uid, read in zip(missing, await self._mailbox.examine(missing, self._see), strict=True):
                if read is not None:
                    found[uid] = read
                    if self._is_kept(len(read), len(uids)):
                        self._cache.put((kind, emails[uid]), read)
        return found

    def _is_kept(self, octets: int, asked_for: int) -> bool:
        return self._keeps_small if octets <= SMALL else self._in_pieces and asked_for == 1

    def _see(self, data: bytes) -> Sections:
        """In a thread: a message, with whatever takes time done."""
        message = Sections(data)
        message.prepare(self._items)
        return message


class HeaderReader:
    """Reads headers for texts that are in them, and no more of the files than that. What is to be sent is
    made in a thread and kept: the headers of a whole mailbox are asked for at a time, and by each client of a
    user, and again at its next start. Of one FETCH no more is kept than there is room for at all: the end of
    a huge mailbox would only push out its beginning, and next time the beginning the end."""

    def __init__(self, cache: MessageCache[bytes], mailbox: Mailbox, items: Sequence[Body]) -> None:
        self._cache = cache
        self._mailbox = mailbox
        self._items = items
        self._most = SMALL // len(items)  # octets of a header whose texts are made all at once
        self._room = cache.capacity  # octets

    async def read(self, uids: Sequence[int]) -> dict[int, bytes | Sections]:
        """By UID, without those that are gone, the rest of the response: a space, and the items to the end.
        Of a large header the header itself."""
        account = self._mailbox.account
        asked = "".join([f"{item.label!r}{item.partial}" for item in self._items])
        kind = f"{account.name} {account.epoch} {asked}"
        emails = self._mailbox.emails(uids)
        found: dict[int, bytes | Sections] = {}
        missing = []
        for uid, email in emails.items():
            text = self._cache.get((kind, email))
            if text is None:
                missing.append(uid)
            else:
                found[uid] = text
        self._room -= weight(*found.values())
        if missing:
            read = await self._mailbox.examine_headers(missing, self._see)
            found.update(read)
            for uid, text_or_header in read.items():
                if isinstance(text_or_header, bytes) and weight(text_or_header) <= self._room:
                    self._cache.put((kind, emails[uid]), text_or_header)
                    self._room -= weight(text_or_header)
        return found

    def _see(self, block: bytes) -> bytes | Sections:
        header = Sections(block)
        if len(block) > self._most:
            return header
        pieces: list[bytes] = []
        for item in self._items:
            pieces += b" ", item.label, *spelled(item, header.extract(item.section))
        return b"".join(pieces) + b")\r\n"


def are_headers(items: Sequence[Body | Binary]) -> TypeGuard[Sequence[Body]]:
    """True when nothing is asked for but what is in the header of the message itself."""
    return all(isinstance(item, Body) and item.is_header for item in items)


def spelled(item: Body | Binary, octets: bytes | None) -> tuple[bytes, ...]:
    """The value of a data item, with the space before it."""
    if isinstance(item, Binary) and item.size:
        return (b" %d" % len(octets or b""),)
    if octets is None:
        return (b" NIL",)
    if item.partial is not None:
        first, number = item.partial
        octets = octets[first : first + number]
    mark = b""
    if b"\0" in octets:
        # Only a literal8 may hold NUL (RFC 3516 §4.3), and only BINARY is answered with one. Elsewhere an
        # octet that is in no text stands for it, so that all offsets stay the same.
        if isinstance(item, Binary):
            mark = b"~"
        else:
            octets = octets.replace(b"\0", b"\x80")
    return b" %b{%d}\r\n" % (mark, len(octets)), octets
