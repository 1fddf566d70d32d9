"""A user's INBOX as the maildrop of one POP3 session.

A snapshot, without a lock. RFC 1939 §3 wants an exclusive one, so that numbers stay true and nothing
vanishes under a session. Here numbers belong to the session, every message is named by a UID that is never
used again, and IMAP sessions work on the same mailbox anyway, so a lock would protect nothing; but it would
answer [IN-USE] for minutes to the phone whose last connection died in a tunnel. What vanishes meanwhile is
told as such when it is asked for. Two clients that both download and delete may both get a message.

The snapshot costs nothing: it is the mailbox's own columns, and how much of them there was at login. The
names of files are not among them, and are looked up when UIDL asks for the first time.

Flags stay as they are: a message that a POP3 client has fetched is not one that its owner has seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted_mta.protocol.pop3.maildrop import Maildrop, UniqueIds
from twisted_mta.protocol.pop3.unique_ids import UniqueIdColumn, from_names
from twisted_mta.store import removal
from twisted_mta.store.mailbox import Mailbox
from twisted_mta.store.store import MessageStore
from twisted_mta.store.streaming import MessageStream

LONG = 256 * 1024  # octets from which a message is read piece by piece
_AHEAD_OCTETS = 128 * 1024
_AHEAD_MESSAGES = 32

See = Callable[[bytes], bytes]


class Inbox:
    """The open mailbox behind one maildrop. `close` it at the end."""

    def __init__(self, mailbox: Mailbox, unique_ids: UniqueIds) -> None:
        self._mailbox = mailbox
        columns = mailbox.columns
        self.maildrop = Maildrop(
            mailbox.uid_validity, columns.uids, columns.sizes, columns.octets, unique_ids
        )
        self._last = 0  # the number read last
        self._ahead: dict[int, bytes | None] = {}

    @classmethod
    async def open(cls, store: MessageStore, account: str, unique_ids: UniqueIds) -> Inbox:
        """As it is now, deliveries by other programs included. Raises MailError."""
        return cls(await (await store.account(account)).open("INBOX"), unique_ids)

    async def read(self, number: int, see: See) -> bytes | None:
        """What `see` makes, in a thread, of a message that is not LONG, with CRLF line ends; None when it is
        gone. Raises MailError.

        Clients fetch one message after the other, so the next small ones come along in the same visit
        to the store.
        """
        if number not in self._ahead:
            numbers = self._together(number)
            contents = await self._mailbox.examine([self.maildrop.uid(n) for n in numbers], see)
            self._ahead = dict(zip(numbers, contents, strict=True))
        self._last = number
        return self._ahead.pop(number)

    def _together(self, number: int) -> list[int]:
        numbers = [number]
        if number != self._last + 1:
            return numbers
        octets = self.maildrop.size(number)
        for following in range(number + 1, min(number + _AHEAD_MESSAGES, self.maildrop.messages + 1)):
            octets += self.maildrop.size(following)
            if octets > _AHEAD_OCTETS:
                break
            numbers.append(following)
        return numbers

    async def unique_ids(self) -> UniqueIdColumn:
        """Those of all messages, made of the names of their files. Raises MailError."""
        uids, uid_validity = self.maildrop.uids, self._mailbox.uid_validity
        return await self._mailbox.base_names(uids, lambda names: from_names(names, uid_validity, uids))

    def is_long(self, number: int) -> bool:
        """True for a message to be read with `stream` and `more`."""
        return self.maildrop.size(number) >= LONG

    async def stream(self, number: int, see: See) -> tuple[MessageStream, bytes] | None:
        """A LONG message, and what `see` makes, in a thread, of its beginning; None when it is gone. The
        caller closes it. Raises MailError."""
        self._last, self._ahead = number, {}
        stream = await self._mailbox.stream(self.maildrop.uid(number))
        if stream is None:
            return None
        try:
            return stream, await self._mailbox.more(stream, see)
        except BaseException:
            stream.close()
            raise

    async def more(self, stream: MessageStream) -> bytes:
        """The next octets of it, CRLF; b"" at the end. Raises MailError."""
        return await self._mailbox.more(stream)

    async def remove(self, numbers: Sequence[int]) -> None:
        """Remove messages for good, all or none of them; IMAP sessions see them go. Raises MailError."""
        await removal.remove(self._mailbox, [self.maildrop.uid(n) for n in numbers])

    async def close(self) -> None:
        """Let go of the mailbox."""
        await self._mailbox.close()
