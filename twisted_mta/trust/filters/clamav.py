"""ClamAV's clamd, asked with INSTREAM inside of a session (clamd(8), "COMMANDS").

A virus refuses the message with 554 5.7.0. A message that is larger than the daemon looks at, or than it is
shown, is taken or refused as the rules say.
"""

from __future__ import annotations

import re
from typing import Any

from twisted_mta.message.content import Content
from twisted_mta.message.status import MailError
from twisted_mta.trust.check import Incoming, Verdict
from twisted_mta.trust.filters.conversation import Conversation
from twisted_mta.trust.filters.daemon import Daemon
from twisted_mta.trust.filters.filtering import DaemonCheck, FilterRules
from twisted_mta.trust.filters.pieces import pieces
from twisted_mta.trust.filters.unavailable import Unavailable
from twisted_mta.trust.filters.words import one_line
from twisted_mta.trust.modes import WhenTooLarge

MAX_ANSWER = 4096  # octets

_ANSWER = re.compile(
    rb"(?:[0-9]+: )?(?:(stream: (?:OK|(.*) FOUND))|INSTREAM (size limit) exceeded.*|.*)\Z", re.DOTALL
)


class ClamAv(DaemonCheck):
    """See the module."""

    def __init__(
        self, daemon: Daemon, rules: FilterRules, *, when_too_large: WhenTooLarge = "accept", reactor: Any
    ) -> None:
        self._when_too_large = when_too_large
        super().__init__("clamav", daemon, rules)
        self._reactor = reactor

    def too_large(self) -> Verdict:
        """See DaemonCheck."""
        finding = self.finding("none", reason="too large")
        if self._when_too_large == "accept":
            return Verdict(why="too large to be looked at for viruses", findings=[finding])
        error = MailError(552, "5.3.4", "Message is too large to be looked at for viruses")
        return Verdict("reject", error, "too large to be looked at for viruses", [finding])

    async def ask(self, conversation: Conversation, message: Incoming, content: Content) -> Verdict:
        """See DaemonCheck."""
        if not conversation.begun:
            await conversation.write(b"zIDSESSION\0")
            conversation.begun = True
        await conversation.write(b"zINSTREAM\0")
        try:
            async for piece in pieces(content, reactor=self._reactor):
                if not conversation.quiet:  # it has had enough
                    break
                await conversation.write(len(piece).to_bytes(4) + piece)
            else:
                await conversation.write(b"\0\0\0\0")
                conversation.reusable = True
        except Unavailable:
            if not conversation.heard:
                raise
        return self.verdict(await _answer(conversation))

    def verdict(self, answer: bytes) -> Verdict:
        """What its answer comes to. Raises Unavailable for an error."""
        found = _ANSWER.match(answer)
        assert found is not None  # it matches anything
        decided, virus, limit = found.groups()
        if limit:
            return self.too_large()
        if decided is None:
            raise Unavailable(f"it says: {one_line(answer)}")
        if virus is None:
            return Verdict(findings=[self.finding("pass")])
        name = one_line(virus, 100) or "unnamed"
        error = MailError(554, "5.7.0", f"Message holds a virus: {name}")
        return Verdict("reject", error, f"virus: {name}", [self.finding("fail", virus=name)])


async def _answer(conversation: Conversation) -> bytes:
    answer = b""
    while data := await conversation.read():
        answer += data
        end = answer.find(b"\0")
        if end >= 0:
            return answer[:end]
        if len(answer) > MAX_ANSWER:
            raise Unavailable("the answer has no end")
    if not answer:
        raise Unavailable("no answer")
    return answer.rstrip(b"\r\n")  # of one that is closed at once
