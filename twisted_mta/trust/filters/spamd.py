"""SpamAssassin's spamd, asked with SYMBOLS (spamd/PROTOCOL of SpamAssassin, SPAMC/1.5).

What it calls spam is put into Junk: SpamAssassin gives points and leaves it to others what follows. It learns
of the client from a Received field, so that it is shown the one that this server would write, and the reverse
path in a Return-Path.
"""

from __future__ import annotations

import re
from typing import Any

from twisted_mta.message.content import Content
from twisted_mta.message.received import protocol_keyword, received_field
from twisted_mta.trust.check import Incoming, Verdict
from twisted_mta.trust.filters.conversation import Conversation
from twisted_mta.trust.filters.daemon import Daemon
from twisted_mta.trust.filters.filtering import DaemonCheck, FilterRules
from twisted_mta.trust.filters.pieces import pieces
from twisted_mta.trust.filters.unavailable import Unavailable
from twisted_mta.trust.filters.words import one_line, points

MAX_ANSWER = 64 * 1024  # octets

_STATUS = re.compile(rb"SPAMD/[0-9.]{1,8} ([0-9]{1,5}) ([^\r\n]{0,200})\r\n")
_SPAM = re.compile(
    rb"\r\nSpam:[ \t]*(True|False|Yes|No)[ \t]*;[ \t]*(-?[0-9]{1,6}(?:\.[0-9]{1,6})?)[ \t]*/[ \t]*"
    rb"(-?[0-9]{1,6}(?:\.[0-9]{1,6})?)[ \t]*\r\n",
    re.IGNORECASE,
)


class Spamd(DaemonCheck):
    """`hostname` is ours. `user`: whose preferences the daemon is to go by, "" for its own."""

    def __init__(
        self, daemon: Daemon, rules: FilterRules, *, hostname: str, user: str = "", reactor: Any
    ) -> None:
        super().__init__("spamd", daemon, rules)
        self._hostname = hostname
        self._user = user
        self._reactor = reactor

    async def ask(self, conversation: Conversation, message: Incoming, content: Content) -> Verdict:
        """See DaemonCheck."""
        front = self._front(message)
        head = f"SYMBOLS SPAMC/1.5\r\nContent-length: {len(front) + len(content)}\r\n"
        if self._user:
            head += f"User: {self._user}\r\n"
        await conversation.write(head.encode() + b"\r\n" + front)
        async for piece in pieces(content, reactor=self._reactor):
            if not conversation.quiet:
                break
            await conversation.write(piece)
        conversation.end()  # it reads lines, and waits for the end of one that has none
        answer = b""
        while data := await conversation.read():
            answer += data
            if len(answer) > MAX_ANSWER:
                raise Unavailable("the answer is too long")
        return self.verdict(answer)

    def _front(self, message: Incoming) -> bytes:
        """What stands in front of a message that has been delivered."""
        received = received_field(
            helo=message.helo,
            client_host=message.name,
            client_address=message.address,
            by=self._hostname,
            protocol=protocol_keyword(extended=True, tls=bool(message.tls), authenticated=False),
            queue_id=message.queue_id,
            for_path=None,
            date=self._reactor.seconds(),
        )
        return f"Return-Path: <{message.reverse_path or ''}>\r\n".encode() + received

    def verdict(self, answer: bytes) -> Verdict:
        """What its answer comes to. Raises Unavailable when it is none."""
        status = _STATUS.match(answer)
        head, _, content = answer.partition(b"\r\n\r\n")
        if status is None:
            raise Unavailable("the answer is none of spamd" if answer else "no answer")
        if int(status[1]):
            raise Unavailable(f"it says: {one_line(status[2])}")
        spam = _SPAM.search(head + b"\r\n")
        if spam is None:
            raise Unavailable("the answer says nothing of spam")
        score, required = (points(float(spam[place])) for place in (2, 3))
        is_spam = spam[1].lower() in (b"true", b"yes")
        symbols = one_line(content.strip())
        finding = self.finding(
            "fail" if is_spam else "pass", score=f"{score:.2f}", required=f"{required:.2f}", symbols=symbols
        )
        return Verdict(
            "junk" if is_spam else "accept",
            None,
            one_line(f"SpamAssassin: {score:.2f} points, {symbols}").rstrip(", ") if is_spam else "",
            [finding],
            score * self.rules.weight,
        )
