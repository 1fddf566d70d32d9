"""The server that mail is fetched from: logged in to, its mailboxes, the messages in them.

Mailboxes are opened with EXAMINE and contents fetched with BODY.PEEK, so nothing changes there (RFC 3501
§6.3.2, §6.4.5). While one batch of messages is being written here, the next is on its way.
"""

from __future__ import annotations

import re
import ssl
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import IO, NamedTuple

from twisted_mta.message.date import parse_internal_date
from twisted_mta.protocol.imap4.client import Content, ContentBegins, Text
from twisted_mta.protocol.imap4.client_responses import Data, Status, Value
from twisted_mta.protocol.imap4.grammar import MAX_MAILBOX
from twisted_mta.service.commands.refused import Refused
from twisted_mta.service.importing.connection import Connection, Denied, Lost, Place
from twisted_mta.service.importing.login import Credentials, log_in, words_of
from twisted_mta.service.importing.state import likeness
from twisted_mta.store.space import require_space

BATCH = 50  # messages asked for in one command
AHEAD = 2  # commands that are under way
IN_MEMORY = 256 * 1024  # octets of a message; a larger one goes through a file
_MOST_USELESS = 100_000  # responses one after the other in which there is no message
MOST_MAILBOXES = 100_000
MOST_MESSAGES = 2_000_000  # in a mailbox
_MOST_COMBINATIONS = 20_000  # of flags
_MOST_NAMESPACES = 100
_IDENTITY = b"UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS (MESSAGE-ID DATE FROM SUBJECT)]"


class Listed(NamedTuple):
    """A mailbox there. name: as it travels. attributes: in lower case."""

    name: bytes
    separator: bytes
    attributes: frozenset[str]
    subscribed: bool


class Message(NamedTuple):
    """One that was fetched; the content is to be closed."""

    uid: int
    flags: list[str]
    date: float | None
    size: int  # octets as the server tells them
    content: IO[bytes]


class OldServer:
    """The server at `place`. scratch: a directory for messages that are under way."""

    def __init__(self, place: Place, credentials: Credentials, context: ssl.SSLContext, scratch: str) -> None:
        self.place = place
        self._credentials = credentials
        self._context = context
        self._scratch = scratch
        self._connection: Connection | None = None
        self._capabilities: frozenset[str] = frozenset()

    @property
    def _open(self) -> Connection:
        if self._connection is None:
            raise Lost("not connected")
        return self._connection

    def close(self) -> None:
        """Hang up. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def log_in(self) -> None:
        """Connect and log in, anew when it was. Raises Lost, Refused."""
        self.close()
        self._connection, self._capabilities = log_in(self.place, self._credentials, self._context)

    # Mailboxes

    def mailboxes(self) -> list[Listed]:
        """Every mailbox, and every parent that is none. Raises Lost, Refused."""
        found: dict[bytes, Listed] = {}
        subscribed: set[bytes] = set()

        def take(data: Data) -> None:
            match data.values:
                case [list(attributes), separator, bytes(name), *_] if data.name in ("LIST", "LSUB"):
                    if len(name) > MAX_MAILBOX:
                        return  # no server makes it, and nobody could keep it
                    words = frozenset(map(str.lower, words_of(attributes)))
                    if data.name == "LSUB" or "\\subscribed" in words:
                        subscribed.add(name)
                    if data.name == "LIST":
                        found[name] = Listed(
                            name, separator if isinstance(separator, bytes) else b"", words, False
                        )
                    if len(found) > MOST_MAILBOXES or len(subscribed) > MOST_MAILBOXES:
                        raise Refused(
                            f"{self.place}: the server lists more than {MOST_MAILBOXES:,} mailboxes"
                        )

        connection = self._open
        try:
            if "LIST-EXTENDED" in self._capabilities:
                uses = b" SPECIAL-USE" if "SPECIAL-USE" in self._capabilities else b""
                connection.run(b'LIST "" "*" RETURN (SUBSCRIBED%b)' % uses, untagged=take)
            else:
                connection.run(b'LIST "" "*"', untagged=take)
                connection.run(b'LSUB "" "*"', untagged=take)
        except Denied as denied:
            raise Refused(f"{self.place}: the server does not list its mailboxes: {denied}") from denied
        return [each._replace(subscribed=each.name in subscribed) for each in found.values()]

    def namespaces(self) -> tuple[list[bytes], list[bytes]]:
        """The prefixes of one's own mailboxes, and of those of others (RFC 2342). Raises Lost, Refused."""
        own: list[bytes] = []
        others: list[bytes] = []

        def take(data: Data) -> None:
            if data.name == "NAMESPACE":
                for number, several in enumerate(data.values[:3]):
                    for each in several if isinstance(several, list) else []:
                        if isinstance(each, list) and each and isinstance(each[0], bytes):
                            prefixes = others if number else own
                            if len(prefixes) < _MOST_NAMESPACES and len(each[0]) <= MAX_MAILBOX:
                                prefixes.append(each[0])

        if "NAMESPACE" in self._capabilities:
            with suppress(Denied):
                self._open.run(b"NAMESPACE", untagged=take)
        return own, others

    def examine(self, name: bytes) -> tuple[int, int]:
        """Open a mailbox to read it: (UIDVALIDITY, number of messages). Raises Lost, Denied, Refused."""
        exists = 0

        def take(data: Data) -> None:
            nonlocal exists
            if data.name == "EXISTS" and data.number is not None:
                exists = data.number

        statuses = self._open.run(b"EXAMINE", Text(name), untagged=take)
        uid_validity = next((_number(each.argument) for each in statuses if each.code == "UIDVALIDITY"), 0)
        if exists > MOST_MESSAGES:
            raise Refused(f"{self.place}: the server tells of {exists:,} messages in one mailbox")
        return uid_validity, exists

    # Messages

    def flags(self, exists: int) -> dict[int, list[str]]:
        """The flags of the messages in the open mailbox, which has so many, by UID. Raises Lost, Denied,
        Refused."""
        found: dict[int, list[str]] = {}
        shared: dict[tuple[str, ...], list[str]] = {}

        def take(data: Data) -> None:
            items = _items(data)
            uid = _number(items.get(b"UID"))
            if uid:
                flags = _flags(items)
                found[uid] = shared.setdefault(tuple(flags), flags)
                if len(found) > exists + 100_000 or len(shared) > _MOST_COMBINATIONS:
                    raise Refused(f"{self.place}: the server tells of more messages, or flags, than can be")

        if exists:
            self._open.run(b"UID FETCH 1:* (UID FLAGS)", untagged=take)
        return found

    def identities(self, uids: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """(UID, what tells the message from others) of messages. Raises Lost, Denied, Refused."""
        for batch in _batches(uids, 10 * BATCH):
            found: dict[int, bytes] = {}

            def take(data: Data, batch: Sequence[int] = batch, found: dict[int, bytes] = found) -> None:
                items = _items(data)
                header = next((items[item] for item in items if item.startswith(b"BODY[HEADER")), None)
                uid = _number(items.get(b"UID"))
                if isinstance(header, bytes) and batch[0] <= uid <= batch[-1]:
                    found[uid] = likeness(header, _number(items.get(b"RFC822.SIZE")))

            self._open.run(b"UID FETCH %b (%b)" % (_set(batch), _IDENTITY), untagged=take)
            yield from ((uid, found[uid]) for uid in batch if uid in found)

    def fetch(self, uids: Sequence[int], refused: Callable[[int, str], None]) -> Iterator[Message]:
        """The messages, in the order in which the server sends them; those that have gone meanwhile are left
        out, and `refused` is told of those that it does not hand out, and why.

        Raises Lost, Refused, OSError."""
        missing: dict[int, str] = {}

        def one_by_one(batch: set[int], why: str) -> None:
            missing.update(dict.fromkeys(batch, why))

        yield from self._fetch(_batches(uids, BATCH), one_by_one)
        alone = [[uid] for uid in sorted(missing)]
        yield from self._fetch(alone, lambda batch, why: refused(next(iter(batch)), why))

    def _fetch(
        self, batches: Iterable[Sequence[int]], denied: Callable[[set[int], str], None]
    ) -> Iterator[Message]:
        """`denied`: told which messages of a batch are missing because the server refused."""
        connection = self._open
        waiting = deque(batches)
        under_way: dict[str, set[int]] = {}
        content: IO[bytes] | None = None
        useless = 0
        try:
            while (waiting or under_way) and useless < _MOST_USELESS:
                while waiting and len(under_way) < AHEAD:
                    batch = waiting.popleft()
                    items = b"(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])"
                    under_way[connection.send(b"UID FETCH", _set(batch), items)] = set(batch)
                event = connection.event()
                if isinstance(event, ContentBegins):
                    require_space(self._scratch, event.size)
                    content = _file(self._scratch)
                elif isinstance(event, Content):
                    assert content is not None
                    content.write(event.data)
                elif isinstance(event, Data):
                    message, content = _message(event, content, under_way), None
                    useless += 1
                    if message is not None:
                        useless = 0
                        yield message
                elif isinstance(event, Status) and event.tag in under_way:
                    left = under_way.pop(event.tag)
                    if event.condition != "OK" and left:
                        denied(left, event.text or event.condition)
        finally:
            if content is not None:
                content.close()
        if useless >= _MOST_USELESS:
            raise Refused(f"{self.place}: the server tells of anything but the messages that are asked for")


def _file(directory: str | None = None) -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(IN_MEMORY, dir=directory)


def _message(data: Data, content: IO[bytes] | None, under_way: dict[str, set[int]]) -> Message | None:
    """The message that is told of; None when it is none that was asked for, or has no content."""
    items = _items(data)
    uid = _number(items.get(b"UID"))
    body = items.get(b"BODY[]")
    wanted = next((uids for uids in under_way.values() if uid in uids), None)
    if wanted is None or (content is None and not isinstance(body, bytes)):
        if content is not None:
            content.close()
        return None
    wanted.discard(uid)
    if content is None:
        content = _file()
        content.write(body if isinstance(body, bytes) else b"")
    content.seek(0)
    date = items.get(b"INTERNALDATE")
    return Message(
        uid,
        _flags(items),
        parse_internal_date(date) if isinstance(date, bytes) else None,
        _number(items.get(b"RFC822.SIZE")),
        content,
    )


def _items(data: Data) -> dict[bytes, Value]:
    """What a FETCH response tells, by the name in upper case; nothing for other responses."""
    match data:
        case Data("FETCH", int(), [list(values)]):
            names = (each.upper() if isinstance(each, bytes) else b"" for each in values[::2])
            return dict(zip(names, values[1::2], strict=False))
    return {}


def _flags(items: dict[bytes, Value]) -> list[str]:
    flags = items.get(b"FLAGS")
    return list(words_of(flags if isinstance(flags, list) else []))


def _number(value: Value) -> int:
    """A number of up to 19 digits; 0 for what is none."""
    return int(value) if isinstance(value, bytes) and re.fullmatch(rb"[0-9]{1,19}", value) else 0


def _batches(uids: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (uids[start : start + size] for start in range(0, len(uids), size))


def _set(uids: Sequence[int]) -> bytes:
    """A sequence set of UIDs in ascending order."""
    ranges: list[list[int]] = []
    for uid in uids:
        if ranges and uid == ranges[-1][1] + 1:
            ranges[-1][1] = uid
        else:
            ranges.append([uid, uid])
    return b",".join(b"%d" % first if first == last else b"%d:%d" % (first, last) for first, last in ranges)
