"""Carries out what a script has decided about a message that is in a mailbox (RFC 6785 §3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted_mta.interfaces import MailboxEvent
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.outcome import QueuedMessage
from twisted_mta.sieve.actions import AnyAction, FileInto, Keep, Notify, Redirect
from twisted_mta.store.mailbox import Mailbox
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.sieve.allowance import Allowance
from twisted_mta.transfer.mda.sieve.filing import mailbox_for
from twisted_mta.transfer.mda.sieve.filtering import Filters
from twisted_mta.transfer.mda.sieve.onward import Onward

_RECENT = "\\Recent"


class CarryingOut:
    """most: messages of one account that are sent on within an hour. seconds: the wall clock."""

    def __init__(
        self,
        store: MessageStore,
        *,
        filters: Filters,
        onward: Onward,
        journey: Journey,
        seconds: Callable[[], float],
        most: int = 60,
    ) -> None:
        self._store = store
        self._filters = filters
        self._onward = onward
        self._journey = journey
        self._seconds = seconds
        self._allowance = Allowance(seconds, most)

    async def carry_out(
        self,
        event: MailboxEvent,
        mailbox: Mailbox,
        uid: int,
        flags: Sequence[str],
        actions: Sequence[AnyAction],
        content: Content,
        edited: bool,
    ) -> None:
        """For one message. flags: that it has now. content: as the script has left it; edited: has changed
        it. Raises StoreError, MailError."""
        stays = False
        for action in actions:
            match action:
                case Keep(wanted):
                    stays = True
                    await _flag(mailbox, uid, flags, wanted)
                case FileInto(name, wanted, modifiers):
                    target = await mailbox_for(
                        self._store,
                        event.account,
                        name,
                        create="create" in modifiers,
                        special_use=str(modifiers.get("specialuse", "")),
                    )
                    if target == mailbox.name:
                        stays = True
                        await _flag(mailbox, uid, flags, wanted)
                    else:
                        await self._file(
                            event, mailbox, uid, target, flags, wanted, content if edited else None
                        )
                case Redirect(address):
                    to = Address.parse(address, utf8=True)
                    own = to.key == event.account.lower()  # who sends mail on to himself keeps it
                    stays = own or not await self._redirect(event, to, content) or stays
                case Notify():
                    about = QueuedMessage(_unique(mailbox, uid), None, self._seconds(), content)
                    await self._filters.notify(event.account, event.account, action, content.header(), about)
        if not stays:
            await mailbox.set_flags([uid], "add", frozenset({"\\Deleted"}))

    async def _file(
        self,
        event: MailboxEvent,
        mailbox: Mailbox,
        uid: int,
        target: str,
        flags: Sequence[str],
        wanted: Sequence[str],
        changed: Content | None,
    ) -> None:
        if changed is not None:
            await self._store.deliver(
                event.account,
                changed,
                unique=_unique(mailbox, uid),
                arrived=mailbox.internal_date(uid),
                mailbox=target,
                flags=frozenset(wanted) - {_RECENT},
            )
            return
        result = await mailbox.copy([uid], target)
        if set(flags) != set(wanted) and result.target_uids:
            there = await mailbox.account.open(target)
            try:
                await _flag(there, result.target_uids[0], flags, wanted)
            finally:
                await there.close()

    async def _redirect(self, event: MailboxEvent, to: Address, content: Content) -> bool:
        """False when the account has sent enough."""
        if not self._allowance.take(event.account):
            reason = f"more than {self._allowance.most} messages sent on within an hour"
            self._journey.tell("sieve-failed", account=event.account, reason=reason)
            return False
        owner = Address.parse(event.account, utf8=True)
        sent = await self._onward.send(
            content, reverse_path=owner, to=[to], delivered_to=event.account, about=""
        )
        self._journey.tell("redirected", sent, to=to, account=event.account, members=(to,))
        return True


async def _flag(mailbox: Mailbox, uid: int, flags: Sequence[str], wanted: Sequence[str]) -> None:
    """Give a message the flags that are wanted, if it has others."""
    given = frozenset(wanted) - {_RECENT}
    if given != frozenset(flags) - {_RECENT}:
        await mailbox.set_flags([uid], "replace", given)


def _unique(mailbox: Mailbox, uid: int) -> str:
    """A name for what comes of a message as it is now."""
    return f"E{mailbox.uid_validity}-{uid}-{mailbox.modseq(uid)}"
