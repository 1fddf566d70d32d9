"""Sends messages on by redirect that are not as they came: what a script has changed (RFC 5293 §6, RFC 5703),
or what lies in a mailbox (RFC 6785 §3.6). They enter the queue as messages of their own.

`Delivered-To:` in front breaks the loops that come back to the account, as for all that leaves by its
address.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from twisted_mta.interfaces import IIntake
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import NO_PARAMETERS, Envelope, EnvelopeRecipient, MailParameters
from twisted_mta.transfer.mda.srs import ReversePaths

_PIECE = 64 * 1024


class Onward:
    """Through the queue. returns: rewrites senders that are not ours; None when none are rewritten."""

    def __init__(self, intake: IIntake, *, journey: Journey, returns: ReversePaths | None = None) -> None:
        self._intake = intake
        self._returns = returns
        self._journey = journey

    async def send(
        self,
        content: Content,
        *,
        reverse_path: Address | None,
        to: Sequence[Address],
        delivered_to: str,
        about: str,
        parameters: MailParameters = NO_PARAMETERS,
    ) -> str:
        """Returns the queue id. about: the id of the message that this was, or "". content: in memory. Raises
        MailError."""
        if self._returns is not None:
            reverse_path = await self._returns.forward_to(reverse_path, to)
        octets = content.head + content.data
        draft = self._intake.draft()
        await draft.write(f"Delivered-To: {delivered_to}\r\n".encode())
        for start in range(0, len(octets), _PIECE):
            await draft.write(octets[start : start + _PIECE])
        if not octets.isascii():
            header = octets.partition(b"\r\n\r\n")[0]
            smtputf8 = parameters.smtputf8 or not header.isascii()
            parameters = replace(parameters, body="8BITMIME", smtputf8=smtputf8)
        if not all(address.is_ascii for address in to) or not delivered_to.isascii():
            parameters = replace(parameters, smtputf8=True)
        recipients = tuple(EnvelopeRecipient(address) for address in to)
        # What was decided when the first message came is done with: neither held again nor reported on.
        parameters = replace(parameters, hold_until=0.0, envid="", tracking="")
        await draft.commit(Envelope(reverse_path, recipients, parameters))
        self._journey.tell("made", draft.queue_id, to=to[0], size=draft.size, about=about)
        return draft.queue_id
