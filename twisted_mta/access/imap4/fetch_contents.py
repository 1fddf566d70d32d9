"""What a FETCH needs of the messages themselves: what the store knows of their contents, and their texts."""

from __future__ import annotations

from collections.abc import Sequence

from twisted_mta.access.imap4.fetch_response import LookedUp
from twisted_mta.access.imap4.message_cache import SMALL, MessageCache
from twisted_mta.protocol.imap4 import responses
from twisted_mta.protocol.imap4.bodystructure import render_basic_body, split_structures
from twisted_mta.protocol.imap4.fetch_items import Attribute, Binary, Body
from twisted_mta.protocol.imap4.sections import Sections
from twisted_mta.store.mailbox import Mailbox

_BASIC_BODY = "imap-body"  # a kind of rendering in the store; a changed format needs a new name
_STRUCTURES = {Attribute.ENVELOPE, Attribute.BODYSTRUCTURE}
_PREVIEWS = {Attribute.PREVIEW, Attribute.LAZY_PREVIEW}
_ALL = {*_STRUCTURES, *_PREVIEWS, Attribute.BODY, Attribute.THREADID}


class Lookup:
    """What the store knows for some data items; false when it need not be asked."""

    def __init__(self, mailbox: Mailbox, items: Sequence[Attribute]) -> None:
        self._mailbox = mailbox
        self._items = frozenset(items) & _ALL

    def __bool__(self) -> bool:
        return bool(self._items)

    async def find(self, uids: Sequence[int]) -> LookedUp:
        """For each of the items, by UID, what goes into the response; without messages that are gone."""
        items, mailbox = self._items, self._mailbox
        found: dict[Attribute, dict[int, bytes]] = {}
        if items & _STRUCTURES:
            pairs = {
                uid: split_structures(rendered)
                for uid, rendered in zip(uids, await mailbox.structures(uids), strict=True)
                if rendered is not None
            }
            found[Attribute.ENVELOPE] = {uid: pair[0] for uid, pair in pairs.items()}
            found[Attribute.BODYSTRUCTURE] = {uid: pair[1] for uid, pair in pairs.items()}
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


class Reader:
    """Reads messages for some of their texts, through the cache. `bulk`: there are so many to be read that
    to keep them would only push out what somebody else may ask for.

    When nothing but headers is asked for, these alone are kept: then a whole mailbox of them has room.
    """

    def __init__(
        self, cache: MessageCache, mailbox: Mailbox, items: Sequence[Body | Binary], bulk: bool
    ) -> None:
        self._cache = cache
        self._mailbox = mailbox
        self._items = items
        self._keeps_small = not bulk
        self._in_pieces = any(item.partial for item in items)
        self.headers_only = all(isinstance(item, Body) and item.is_header for item in items)

    async def read(self, uids: Sequence[int]) -> dict[int, Sections]:
        """The messages by UID, without those that are gone."""
        columns, account = self._mailbox.columns, self._mailbox.account
        kind = account.name, account.epoch, self.headers_only
        emails = {columns.uids[place]: columns.emails[place] for place in columns.positions(uids)}
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
        if octets <= SMALL:
            return self.headers_only or self._keeps_small
        return self._in_pieces and asked_for == 1

    def _see(self, data: bytes) -> Sections:
        """In a thread: a message, with whatever takes time done."""
        message = Sections(data)
        if self.headers_only:
            return message.header()
        message.prepare(self._items)
        return message
