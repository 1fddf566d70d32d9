"""What a mail server said of one recipient, or what ended the conversation (RFC 5321 §4.2.1, RFC 3463).

Left out on purpose: what follows from it for the queue (`attempt.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.protocol.smtp.client_events import Stage
from twisted_mta.protocol.smtp.reply_reader import Reply
from twisted_mta.transfer.mta.stranger import cause


@dataclass(frozen=True, slots=True)
class Verdict:
    """stage: what it was said about. code: the reply code, 0 when there was no reply. status: enhanced status
    code. text: one printable line, the reply as it came where there was one."""

    stage: Stage
    code: int
    status: str
    text: str

    @classmethod
    def of(cls, stage: Stage, reply: Reply) -> Verdict:
        """The reply, taken at its word, but for 552 to RCPT: that says "too many recipients" in old servers
        and is then temporary (RFC 5321 §4.5.3.1.10), unless the enhanced status code says otherwise."""
        if stage is Stage.RECIPIENT and reply.code == 552 and reply.status in ("5.0.0", "5.5.3"):
            return cls(stage, 452, "4.5.3", str(reply))
        return cls(stage, reply.code, reply.status, str(reply))

    @property
    def accepted(self) -> bool:
        """2yz."""
        return 200 <= self.code < 300

    @property
    def permanent(self) -> bool:
        """5yz."""
        return self.code >= 500

    @property
    def broke_off(self) -> bool:
        """Silence in the middle of a message."""
        return not self.code and self.stage in _CONVERSATION

    @property
    def too_many(self) -> bool:
        """The recipient may be accepted in another transaction, with fewer before him."""
        return self.stage is Stage.RECIPIENT and self.code == 452 and self.status in ("4.5.3", "4.0.0")


_CONVERSATION = frozenset({Stage.RESET, Stage.MAIL, Stage.RECIPIENT, Stage.DATA, Stage.CONTENT, Stage.FINAL})


def turned_away(verdict: Verdict) -> bool:
    """Whether it was we who were refused, or could not get there, and not the mail: another host might hand
    it in. That is what a small office meets whose port 25 is blocked, or whose address has no PTR record."""
    if verdict.code == 0:
        return not verdict.broke_off
    if verdict.stage not in _CONVERSATION and verdict.permanent:
        return True
    return verdict.status[1:] == ".7.25" or bool(cause(verdict.code, verdict.text))


class Trouble(Exception):
    """A conversation ended before its time, or never began. `tls`: the same server may be worth a try
    without TLS."""

    def __init__(self, verdict: Verdict, *, tls: bool = False) -> None:
        super().__init__(verdict.text)
        self.verdict = verdict
        self.tls = tls


class Unfit(Exception):
    """A message cannot be given to this server: `verdict` is permanent, but not the word of the server."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.text)
        self.verdict = verdict


def trouble(stage: Stage, status: str, text: str, *, tls: bool = False) -> Trouble:
    """Trouble without a reply: always temporary."""
    return Trouble(Verdict(stage, 0, status, text), tls=tls)
