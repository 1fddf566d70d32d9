"""Tells the owner of a script, once, that it could not be followed to the end.

Once means: as long as the same script is in use, but again after REMEMBERED. What other mail fails at
meanwhile stands in the log and in `mta trace`. The mail about it goes straight into the INBOX: no script sees
it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.note import Note
from twisted_mta.store.script_memory import ScriptMemory
from twisted_mta.store.scripts import Scripts, Stamp
from twisted_mta.store.store import MessageStore

REMEMBERED = 30 * 86400.0  # seconds
_MOST_REASON = 500  # characters; a reason may repeat what stands in the mail


class Troubles:
    """hostname: for Message-IDs. reactor: provides the thread pool and the wall clock."""

    log = Logger(namespace="twisted_mta.sieve")

    def __init__(self, store: MessageStore, *, hostname: str, reactor: Any) -> None:
        self._store = store
        self._hostname = hostname
        self._reactor = reactor

    async def tell(self, account: str, reason: str, queue_id: str) -> None:
        """About the message with that queue id. Trouble with that is logged, and is no trouble for the
        delivery."""
        try:
            stamp = Scripts(self._store.home(account)).stamp()
            if stamp is not None and await self._is_new(account, stamp):
                await self._store.deliver(
                    account,
                    Content(b"", self._note(account, reason, queue_id).render()),
                    unique=f"{queue_id}-trouble",
                    arrived=self._reactor.seconds(),
                    beyond_quota=True,
                )
        except Exception as error:
            self.log.error("{account}: cannot be told of a script: {error!r}", account=account, error=error)

    async def _is_new(self, account: str, stamp: Stamp) -> bool:
        memory, now = ScriptMemory(self._store.home(account)), self._reactor.seconds()
        new: bool = await deferToThreadPool(
            self._reactor,
            self._reactor.getThreadPool(),
            memory.is_new,
            f"trouble\0{stamp}",
            now + REMEMBERED,
            now,
        )
        return new

    def _note(self, account: str, reason: str, queue_id: str) -> Note:
        to = Address.parse(account, utf8=True)
        text = (
            "Your rules for incoming mail (the Sieve script) could not be followed to the end:\n\n"
            f"    {' '.join(reason.split())[:_MOST_REASON]}\n\n"
            "The message was kept instead, and so is all other mail to which this happens. You are told "
            "once; please correct the rules.\n"
        )
        return Note(
            "Mail system",
            Address("postmaster", to.domain),
            to,
            "Your rules for incoming mail could not be followed",
            text,
            f"{queue_id}.trouble@{self._hostname}",
            self._reactor.seconds(),
        )
