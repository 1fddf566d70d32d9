"""Mailing lists: what is posted goes to all members, as one message of the queue (RFC 5321 §3.9.2).

The post is a message of its own, under a reverse-path by which what cannot be delivered reaches the list's
owner. For its author the list is where the mail has arrived (RFC 3461 §5.2.7.3). It is in the queue before
the mail that brought it is done with, under an envelope id that is made of both: what a crash between has
left is found there, and not posted again.

Whoever wants to leave writes to list-leave@ and is asked whether that is so; the answer to that question
ends the membership. The question goes to the member and to nobody else, at most once an hour.

Nothing goes round: what has been here before, by `List-Id` or `Delivered-To`, is refused, and so are reports
and the answers of programs.
"""

from __future__ import annotations

import hmac
from base64 import b32encode
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from hashlib import sha256

from twisted.internet.interfaces import IReactorThreads

from twisted_mta.interfaces import IDirectory, IIntake, Resolution
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import Envelope, EnvelopeRecipient, MailParameters
from twisted_mta.message.mailing_list import BOUNCES, LEAVE, OWNER, MailingList, is_answer, loops
from twisted_mta.message.note import Note
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage
from twisted_mta.message.status import MailError
from twisted_mta.transfer.mda.membership import PROHIBITED, member, refuse_stranger
from twisted_mta.transfer.reading import read

DAY = 86400
_VALID = 7  # days in which a question can be answered
_PAUSE = 3600.0  # seconds until a member is asked again
_MOST_ASKED = 10_000  # members that are remembered to have been asked
_TOKEN = 12  # letters

Leave = Callable[[Address, Address], Awaitable[None]]  # the list, and who is a member no more
InQueue = Callable[[str], Awaitable[bool]]  # whether there is a message with that envelope id


class MailingLists:
    """`posts`: where what others have written goes, when not where all does. `leave`: makes somebody a
    member no more, in the directory. `key`: a secret of the server. `seconds`: the wall clock. `reactor` is
    asked for its thread pool, to read what is in a file."""

    def __init__(
        self,
        intake: IIntake,
        *,
        posts: IIntake | None = None,
        in_queue: InQueue,
        directory: IDirectory,
        leave: Leave,
        key: bytes,
        hostname: str,
        journey: Journey,
        reactor: IReactorThreads,
        seconds: Callable[[], float],
    ) -> None:
        self._intake = intake
        self._posts = posts or intake
        self._in_queue = in_queue
        self._directory = directory
        self._remove = leave
        self._key = key
        self._hostname = hostname
        self._journey = journey
        self._reactor = reactor
        self._seconds = seconds
        self._asked: OrderedDict[str, float] = OrderedDict()

    async def take(self, message: QueuedMessage, to: Address, found: Resolution) -> Outcome:
        """What becomes of a message that is for a list, or for its address by which members leave. Raises
        MailError, OSError."""
        mailing_list = found.mailing_list
        assert mailing_list is not None
        sender = message.reverse_path
        await refuse_stranger(self._directory, mailing_list, sender, leaving=found.leaving, queued=True)
        assert sender is not None
        header = await read(message.content, Content.header, reactor=self._reactor)
        if loops(header, mailing_list):
            raise MailError(554, "5.4.6", f"Mail loop: was posted to {mailing_list.address} before")
        if is_answer(header):
            raise MailError(550, PROHIBITED, f"{mailing_list.address} takes no automatic answers")
        if not found.leaving:
            return await self._post(message, to, mailing_list, header)
        who = await member(self._directory, mailing_list.members, sender)
        assert who is not None
        if found.detail:
            return await self._leave(message, mailing_list, who, found.detail.lower())
        return await self._ask(message, mailing_list, who)

    async def _post(
        self, message: QueuedMessage, to: Address, mailing_list: MailingList, header: bytes
    ) -> Outcome:
        posted = Outcome(Action.DELIVERED, "2.0.0", "Posted to the mailing list")
        envid = _envid(message, mailing_list)
        if not mailing_list.members or (message.recovered and await self._in_queue(envid)):
            return posted
        # Whose name it bears has been made sure of when it was submitted here, or is that of the list.
        known = bool(message.account) or mailing_list.rewrite_from
        draft = (self._intake if known else self._posts).draft()
        try:
            await draft.write(mailing_list.post(header))
            rest = _behind(message.content, len(header))
            while (piece := await self._next(message.content, rest)) is not None:
                await draft.write(piece)
        except BaseException:
            draft.abort()
            raise
        asked = message.parameters
        parameters = MailParameters(
            body=asked.body, smtputf8=asked.smtputf8, require_tls=asked.require_tls, envid=envid
        )
        recipients = tuple(map(EnvelopeRecipient, mailing_list.members))
        await draft.commit(Envelope(mailing_list.role(BOUNCES), recipients, parameters))
        self._tell_made(draft.queue_id, message, mailing_list.members, draft.size)
        self._journey.tell(
            "posted",
            message.queue_id,
            to=to,
            list=mailing_list.address,
            recipients=len(recipients),
            child=draft.queue_id,
        )
        return posted

    async def _ask(self, message: QueuedMessage, mailing_list: MailingList, who: Address) -> Outcome:
        asked = Outcome(Action.DELIVERED, "2.0.0", "The member is asked for confirmation")
        key, now = f"{mailing_list.address.key} {who.key}", self._seconds()
        if 0 <= now - self._asked.get(key, float("-inf")) < _PAUSE:  # a clock that was ahead is no reason
            return asked
        self._asked[key] = now  # others may come while this one is written
        self._asked.move_to_end(key)
        if len(self._asked) > _MOST_ASKED:
            self._asked.popitem(last=False)
        token = self._token(mailing_list, who, int(now // DAY))
        confirm = Address(f"{mailing_list.role(LEAVE).local}={token}", mailing_list.address.domain)
        text = (
            f"Somebody, we think it was you, has written to <{mailing_list.role(LEAVE)}>.\n\n"
            f"If you want to leave the mailing list <{mailing_list.address}>, answer this mail.\n"
            f"The answer may be empty; it has to come from <{who}>.\n\n"
            f"If you want to stay, do nothing.\n\nQuestions reach <{mailing_list.role(OWNER)}>.\n"
        )
        try:
            await self._send(message, confirm, who, f"Leave the list {mailing_list.address}?", text)
        except BaseException:
            self._asked.pop(key, None)
            raise
        return asked

    async def _leave(
        self, message: QueuedMessage, mailing_list: MailingList, who: Address, token: str
    ) -> Outcome:
        today = int(self._seconds() // DAY)
        good = [self._token(mailing_list, who, day) for day in range(today, today - _VALID - 1, -1)]
        if not any(hmac.compare_digest(each.encode(), token.encode()) for each in good):
            raise MailError(
                550, "5.7.1", f"This confirmation is not valid; write to {mailing_list.role(LEAVE)}"
            )
        await self._remove(mailing_list.address, who)
        self._journey.tell("left", message.queue_id, to=mailing_list.address, member=who)
        text = f"You are not a member of the mailing list <{mailing_list.address}> any more.\n"
        sender = mailing_list.role(OWNER)
        await self._send(message, sender, who, f"You have left the list {mailing_list.address}", text)
        return Outcome(Action.DELIVERED, "2.0.0", "Not a member any more")

    async def _send(
        self, about: QueuedMessage, sender: Address, to: Address, subject: str, text: str
    ) -> None:
        draft = self._intake.draft()
        message_id = f"{draft.queue_id}@{self._hostname}"
        note = Note("Mailing list", sender, to, subject, text, message_id, self._seconds(), "auto-replied")
        octets = note.render()
        await draft.write(octets)
        parameters = MailParameters(smtputf8=not octets.isascii())
        await draft.commit(Envelope(None, (EnvelopeRecipient(to),), parameters))
        self._tell_made(draft.queue_id, about, (to,), draft.size)

    def _token(self, mailing_list: MailingList, who: Address, day: int) -> str:
        text = f"leave\0{mailing_list.address.key}\0{who.key}\0{day}"
        return b32encode(hmac.digest(self._key, text.encode(), sha256))[:_TOKEN].decode("ascii").lower()

    def _tell_made(self, queue_id: str, about: QueuedMessage, to: tuple[Address, ...], size: int) -> None:
        self._journey.tell("made", queue_id, to=to, size=size, about=about.queue_id)

    async def _next(self, content: Content, pieces: Iterator[bytes]) -> bytes | None:
        return await read(content, lambda _: next(pieces, None), reactor=self._reactor)


def _envid(message: QueuedMessage, mailing_list: MailingList) -> str:
    """Of the post that the message is to this list."""
    return f"{message.queue_id}.{sha256(mailing_list.address.key.encode()).hexdigest()[:16]}"


def _behind(content: Content, skipped: int) -> Iterator[bytes]:
    """The octets behind the first `skipped` ones, in pieces. Raises OSError."""
    for chunk in content.chunks():
        piece = chunk[skipped:]
        skipped = max(0, skipped - len(chunk))
        if piece:
            yield piece
