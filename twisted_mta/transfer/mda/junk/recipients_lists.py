"""The lists of senders of those whom a message is for, asked before it is refused: what all of its recipients
allow, filters and lists of others cannot keep away. What its sender's own domain wants refused is refused all
the same.
"""

from __future__ import annotations

from twisted_mta.interfaces import IDirectory
from twisted_mta.trust.abuse.checks import sender_of
from twisted_mta.trust.abuse.senders import SenderLists
from twisted_mta.trust.check import Incoming, Verdict

_NOTHING = Verdict()


class RecipientsLists:
    """A Check of the content."""

    name = "recipients"
    seconds = 5.0
    otherwise = _NOTHING

    def __init__(self, lists: SenderLists, directory: IDirectory) -> None:
        self._lists = lists
        self._directory = directory

    async def judge(self, message: Incoming) -> Verdict:
        """Speaks for the message when every recipient does."""
        sender = sender_of(message)
        accounts: dict[str, None] = {}
        for forward_path in message.forward_paths:
            if not self._directory.is_local(forward_path.domain):
                return _NOTHING
            resolution = await self._directory.resolve(forward_path)
            account = resolution.account if resolution is not None else ""
            if not account or self._lists.word(account, sender)[0] != "allow":
                return _NOTHING
            accounts[account] = None
        if not accounts:
            return _NOTHING
        return Verdict("allow", None, f"{', '.join(list(accounts)[:3])} wants mail from this sender")
