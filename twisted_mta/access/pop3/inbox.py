"""A user's INBOX as the maildrop of one POP3 session.

A snapshot, without a lock. RFC 1939 §3 wants an exclusive one, so that numbers stay true and nothing
vanishes under a session. Here numbers belong to the session, every message is named by a UID that is never
used again, and IMAP sessions work on the same mailbox anyway, so a lock would protect nothing; but it would
answer [IN-USE] for minutes to the phone whose last connection died in a tunnel. What vanishes meanwhile is
told as such when it is asked for. Two clients that both download and delete may both get a message.

Flags stay as they are: a message that a POP3 client has fetched is not one that its owner has seen.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from twisted_mta.protocol.pop3.maildrop import Maildrop
from twisted_mta.store.mailbox import Mailbox
from twisted_mta.store.store import MessageStore

_AHEAD_OCTETS = 128 * 1024
_AHEAD_MESSAGES = 32


class Inbox:
    """The open mailbox behind one maildrop. `close` it at the end."""

    def __init__(self, mailbox: Mailbox) -> None:
        uids = array("L", mailbox.uids)
        self._mailbox = mailbox
        self.maildrop = Maildrop(mailbox.uid_validity, uids, array("Q", map(mailbox.size, uids)))
        self._messages = len(uids)
        self._last = 0  # the number read last
        self._ahead: dict[int, bytes | None] = {}

    @classmethod
    async def open(cls, store: MessageStore, account: str) -> Inbox:
        """As it is now, deliveries by other programs included. Raises MailError."""
        mailbox = await (await store.account(account)).open("INBOX")
        try:
            await mailbox.refresh()
            return cls(mailbox)
        except BaseException:
            await mailbox.close()
            raise

    async def read(self, number: int) -> bytes | None:
        """A message with CRLF line ends; None when it is gone. Raises MailError.

        Clients fetch one message after the other, so the next small ones come along in the same visit
        to the store.
        """
        if number not in self._ahead:
            numbers = self._together(number)
            contents = await self._mailbox.read([self.maildrop.uid(n) for n in numbers])
            self._ahead = dict(zip(numbers, contents, strict=True))
        self._last = number
        return self._ahead.pop(number)

    def _together(self, number: int) -> list[int]:
        numbers = [number]
        if number != self._last + 1:
            return numbers
        octets = self.maildrop.size(number)
        for following in range(number + 1, min(number + _AHEAD_MESSAGES, self._messages + 1)):
            octets += self.maildrop.size(following)
            if octets > _AHEAD_OCTETS:
                break
            numbers.append(following)
        return numbers

    async def remove(self, numbers: Sequence[int]) -> None:
        """Remove messages for good; IMAP sessions see them go. Raises MailError."""
        await self._mailbox.expunge([self.maildrop.uid(n) for n in numbers])

    async def close(self) -> None:
        """Let go of the mailbox."""
        await self._mailbox.close()
