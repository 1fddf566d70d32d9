"""LMTP: mail for our mailboxes from a transfer agent that stands in front of this server (RFC 2033).

Whoever may connect may deliver, so the listener belongs on the loopback or on a private network. The reply to
each recipient says that the message is in the queue: there it is as safe as in the mailbox, and mailboxes
that do not exist or are full are refused at RCPT.
"""

from __future__ import annotations

from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.transfer.policy import TransferPolicy
from twisted_mta.transfer.session import TransferSession


class Lmtp(TransferSession[TransferPolicy]):
    """One session with a transfer agent."""

    lmtp = True

    async def check_sender(self, reverse_path: Address | None) -> None:
        """Everybody may be a sender; the agent in front has decided about that."""

    def check_relaying(self, forward_path: Address) -> None:
        raise MailError(550, "5.7.1", f"<{forward_path}> No mail for other domains here")
