"""A conversation of our client with one server, on a real socket."""

from __future__ import annotations

import contextlib

from certificates import authority
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import optionsForClientTLS

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import NO_PARAMETERS, EnvelopeRecipient
from twisted_mta.protocol.smtp.transaction import Transaction
from twisted_mta.transfer.mta.relay import dial
from twisted_mta.transfer.mta.relay.client_session import ClientSession
from twisted_mta.transfer.mta.relay.limits import StageTimeouts
from twisted_mta.transfer.mta.tls.demand import TlsLevel

ALICE = Address("alice", "a.test")


async def chunks(*pieces):
    for piece in pieces:
        yield piece


class Conversation:
    """One session; `bye` must be awaited in the end."""

    def __init__(self, host, **timeouts):
        self.host = host
        self.ended = Deferred()
        self.session = ClientSession(
            "me.test",
            host,
            timeouts=StageTimeouts(**timeouts).by_stage(),
            seconds=reactor.seconds,
            steady=reactor.seconds,
            on_end=lambda session: self.ended.callback(None),
        )

    async def open(self, *, level=TlsLevel.CLEAR, credentials=None, proxy=None):
        """Connect, and go as far as where mail may be sent. Raises Trouble."""
        await dial.connect(reactor, self.host, self.session, proxy=proxy, timeout=20.0)
        creator = optionsForClientTLS("mx.b.test", trustRoot=authority().certificate)
        await self.session.open(level, creator, tls_first=False, credentials=credentials)
        return self

    async def send(self, content, *recipients, sender=ALICE, parameters=NO_PARAMETERS, utf8=False, cut=None):
        """Hand in one message, cut in pieces of `cut` octets; the verdicts, or the obstacle. Recipients are
        addresses as text, or an EnvelopeRecipient."""
        told = [
            EnvelopeRecipient(Address(*to.rsplit("@", 1))) if isinstance(to, str) else to for to in recipients
        ]
        eight_bit = not content.isascii()
        transaction = Transaction(sender, told, len(content), parameters, eight_bit=eight_bit, utf8=utf8)
        if (obstacle := self.session.obstacle(transaction)) is not None:
            return [obstacle]
        step = cut or max(len(content), 1)
        pieces = [content[start : start + step] for start in range(0, len(content), step)]
        travelling = chunks(*self.session.encoding(transaction)(pieces))
        return await self.session.send(transaction, travelling, reset=self.session.messages > 0)

    async def bye(self):
        if not self.ended.called:
            with contextlib.suppress(AttributeError):  # never connected
                self.session.quit()
                await self.ended
