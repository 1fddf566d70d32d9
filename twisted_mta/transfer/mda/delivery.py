"""Local delivery: the deliverer for our own domains (RFC 5321 §4.4, "final delivery").

Each recipient is looked up at the moment of delivery. An account gets the message into its INBOX under a
`Return-Path:` and a `Delivered-To:` field; an alias is replaced by what it leads to, through the queue, so
that every end has attempts of its own.

`Delivered-To:` breaks the loops that leave this host and come back: what an address has had before is
neither delivered nor expanded again. An account's copy bears its mark, and the relay puts that of an alias
on what leaves for its members (`transfer/mta/relay/relay.py`), so that a message passes an alias once on
each of its ways. Copies for members here need none: they are for accounts, which send nothing on.

A `Return-Path:` that the content brings along is left where it is: RFC 5321 §4.4 allows to remove it,
but ours is above it and readers take the first; the content itself stays as it was signed.

An account is delivered to under one address, that of its own: other names of it, such as postmaster@, or all
in a domain that stands for another, become that one through the queue, which has each address once. A list
posts to its members (`lists.py`), and what is sent to a rewritten sender of ours goes back to that sender
(`srs.py`).

An account's Sieve script decides where its copy goes (`sieve/filtering.py`). Other addresses it names take
the recipient's place through the queue, as the members of an alias do; its own among them is the INBOX.
Where no script decides, what was judged to be junk goes to the account's mailbox for that, which is made when
it is missing; the account itself may think otherwise (`trust/check.py`, PersonalCheck).

What its sender wanted to be delivered by some time or not at all is not delivered later (RFC 2852 §4); what
an earlier attempt has put into a mailbox, and could not record, was in time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_mta.interfaces import IDeliverer, IDirectory, Resolution
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.headers import values
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.message.status import MailError, unexpected
from twisted_mta.sieve.mail import SieveEnvelope
from twisted_mta.store.errors import BadMailboxName, CannotDo, NoSuchMailbox
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.aliases import AliasLimits, expand, local_address
from twisted_mta.transfer.mda.lists import MailingLists
from twisted_mta.transfer.mda.quota_warnings import QuotaWarnings
from twisted_mta.transfer.mda.sieve.decision import INBOX, JUNK, KEEP, Decision, Filing
from twisted_mta.transfer.mda.sieve.filing import mailbox_for
from twisted_mta.transfer.mda.sieve.filtering import Filters
from twisted_mta.transfer.mda.srs import ReversePaths
from twisted_mta.transfer.reading import read
from twisted_mta.trust.check import PersonalCheck

_TOO_LATE = Outcome(Action.FAILED, "5.4.7", "The time for delivery that the sender gave is over")
_IN_MAILBOX = Outcome(Action.DELIVERED, "2.0.0", "Delivered to mailbox")


@dataclass(slots=True)
class _Copy:
    """One copy of the message, and the places of those whom it is for among the recipients of the call:
    several recipients may turn out to be one."""

    account: str
    delivered_to: str
    address: Address  # of the first of its recipients, with its detail
    number: int  # the same
    places: list[int] = field(default_factory=list)


@implementer(IDeliverer)
class LocalDelivery:
    """The MDA. `reactor` provides IReactorTime, and IReactorThreads to read the header of a message that is
    in a file. None is of the parts that are not wanted."""

    log = Logger(namespace="twisted_mta.mda")

    def __init__(
        self,
        *,
        directory: IDirectory,
        store: MessageStore,
        journey: Journey,
        reactor: Any,
        filters: Filters | None = None,
        lists: MailingLists | None = None,
        returns: ReversePaths | None = None,
        warnings: QuotaWarnings | None = None,
        alias_limits: AliasLimits = AliasLimits(),
        personal: Sequence[PersonalCheck] = (),
    ) -> None:
        self._directory = directory
        self._store = store
        self._journey = journey
        self._reactor = reactor
        self._filters = filters
        self._lists = lists
        self._returns = returns
        self._warnings = warnings
        self._alias_limits = alias_limits
        self._personal = personal

    async def deliver(self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]) -> list[Outcome]:
        """See IDeliverer. All copies are given to the store at once, so that it may sync them together."""
        by = message.parameters.deliver_by
        if by is not None and not by.notify and self._reactor.seconds() >= by.when:
            return [await self._too_late(message, recipient, recipients) for recipient in recipients]
        try:
            been = await read(message.content, delivered_to, reactor=self._reactor)
        except Exception as error:
            return [self._failure(message, recipients[0].forward_path, error)] * len(recipients)
        outcomes: dict[int, Outcome] = {}
        copies: dict[str, _Copy] = {}
        for place, recipient in enumerate(recipients):
            try:
                found = await self._look_up(message, recipient, been)
            except Exception as error:
                found = self._failure(message, recipient.forward_path, error)
            if isinstance(found, Outcome):
                outcomes[place] = found
            else:
                copies.setdefault(found.delivered_to, found).places.append(place)
        if copies:
            outcomes.update(await self._deliver_copies(message, recipients, list(copies.values())))
        return [outcomes[place] for place in range(len(recipients))]

    async def _too_late(
        self, message: QueuedMessage, recipient: QueuedRecipient, together: Sequence[QueuedRecipient]
    ) -> Outcome:
        """`together`: all of the call, since one copy may have been for several of them."""
        to = recipient.forward_path
        if not message.recovered:
            return _TOO_LATE
        try:
            found = await self._directory.resolve(to)
            if found is None or not found.account:
                return _TOO_LATE
            unique = [message.copy_for(each.number) for each in together]
            if not await self._store.was_delivered(found.account, unique, message.arrived):
                return _TOO_LATE
        except Exception as error:
            return self._failure(message, to, error)
        self._tell(message, [to], "delivered", account=found.account)
        return _IN_MAILBOX

    async def _look_up(
        self, message: QueuedMessage, recipient: QueuedRecipient, been: frozenset[str]
    ) -> _Copy | Outcome:
        """Where a recipient's mail goes, or what to do instead of delivering it. `been`: the addresses that
        the message was delivered to before. Raises MailError."""
        address = recipient.forward_path
        if self._returns is not None and (sender := await self._returns.back(address)) is not None:
            return self._expanded(message, address, (sender,))
        resolution = await self._directory.resolve(address)
        if resolution is None:
            return Outcome(Action.FAILED, "5.1.1", "No such mailbox here")
        end = local_address(address, resolution)
        if end.key != address.key and await self._leads_to(end, resolution):
            return self._expanded(message, address, (end,))  # it may be a recipient already, or become one
        if resolution.account:
            _refuse_loop(str(end), been)
            return _Copy(resolution.account, str(end), address, recipient.number)
        if resolution.mailing_list is not None:
            _refuse_loop(str(resolution.mailing_list.address), been)
            if self._lists is None:
                return Outcome(Action.DELAYED, "4.3.5", "Mailing lists are not served at the moment")
            return await self._lists.take(message, address, resolution)
        _refuse_loop(str(address), been)
        members = await expand(self._directory, address, resolution.aliases, self._alias_limits)
        return self._expanded(message, address, members)

    async def _leads_to(self, address: Address, there: Resolution) -> bool:
        """Whether mail to this address ends where it ends already: the name of an account need not be an
        address."""
        found = await self._directory.resolve(address)
        return found is not None and (found.account, found.mailing_list) == (
            there.account,
            there.mailing_list,
        )

    def _expanded(self, message: QueuedMessage, address: Address, members: tuple[Address, ...]) -> Outcome:
        self._journey.tell("expanded", message.queue_id, to=address, members=members)
        return Outcome(Action.EXPANDED, "2.1.5", "Expanded", expansion=members)

    async def _deliver_copies(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient], copies: Sequence[_Copy]
    ) -> dict[int, Outcome]:
        """Outcomes by place."""
        deliveries = [
            self._deliver_copy(message, copy, [recipients[place].forward_path for place in copy.places])
            for copy in copies
        ]
        if len(deliveries) == 1:  # as most often
            results = [await deliveries[0]]
        else:
            results = await gatherResults(map(Deferred.fromCoroutine, deliveries))
        outcomes: dict[int, Outcome] = {}
        for copy, outcome in zip(copies, results, strict=True):
            outcomes.update(dict.fromkeys(copy.places, outcome))
        return outcomes

    async def _deliver_copy(
        self, message: QueuedMessage, copy: _Copy, forward_paths: Sequence[Address]
    ) -> Outcome:
        try:
            junk = await self._why_junk(message, copy.account)
            decided = await self._decide(message, copy, junk)
            if decided.redirects:
                decided = await self._without_circle(copy, decided)
            if decided.refusal:
                return Outcome(Action.FAILED, "5.7.1", decided.refusal)
            head = f"Return-Path: <{message.reverse_path or ''}>\r\nDelivered-To: {copy.delivered_to}\r\n"
            content = (decided.content or message.content).with_head(head.encode())
            for filing in decided.filings:
                mailbox = await self._file(message, copy, content, filing)
                facts = {"mailbox": mailbox, "junk": junk} if junk else {"mailbox": mailbox}
                self._tell(message, forward_paths, "delivered", account=copy.account, **facts)
            if decided.filings and self._warnings is not None:
                await self._warnings.look(copy.account, message.queue_id)
            changed = False
            if self._filters is not None:
                if decided.redirects:
                    changed = await self._filters.send_on(
                        copy.account, copy.delivered_to, message, copy.number, decided
                    )
                await self._filters.follow_up(copy.account, copy.delivered_to, message, decided)
        except Exception as error:
            return self._failure(message, copy.delivered_to, error)
        if decided.redirects:
            self._tell(message, forward_paths, "redirected", account=copy.account, members=decided.redirects)
            if changed:
                return Outcome(Action.DELIVERED, "2.1.5", "Redirected, as changed by the recipient's rules")
            return Outcome(Action.EXPANDED, "2.1.5", "Redirected", expansion=decided.redirects)
        if not decided.filings:
            self._tell(message, forward_paths, "discarded", account=copy.account)
            return Outcome(Action.DELIVERED, "2.0.0", "Discarded by the recipient's rules")
        return _IN_MAILBOX

    def _tell(
        self, message: QueuedMessage, forward_paths: Sequence[Address], stage: str, **facts: object
    ) -> None:
        for forward_path in forward_paths:
            self._journey.tell(stage, message.queue_id, to=forward_path, **facts)

    async def _why_junk(self, message: QueuedMessage, account: str) -> str:
        """Why the message is junk for this account, "" when it is not."""
        why = message.parameters.junk
        for check in self._personal:
            try:
                verdict = await check.judge(account, message)
            except (OSError, sqlite3.Error) as error:
                said = {"queue_id": message.queue_id, "name": check.name, "error": str(error)}
                self.log.error("{queue_id}: {name} cannot be asked: {error}", **said)
                continue
            except Exception:
                self.log.failure("{queue_id}: {name} failed", queue_id=message.queue_id, name=check.name)
                continue
            if verdict.action == "allow":
                return ""
            if verdict.action == "junk":
                why = why or verdict.why or check.name
        return why

    async def _decide(self, message: QueuedMessage, copy: _Copy, junk: str) -> Decision:
        default = JUNK if junk else KEEP
        if self._filters is None or not self._filters.has_script(copy.account):
            return default
        envelope = SieveEnvelope(str(message.reverse_path or ""), str(copy.address), message.account)
        return await self._filters.decide(
            copy.account, message.content, envelope, message.queue_id, default=default
        )

    async def _without_circle(self, copy: _Copy, decided: Decision) -> Decision:
        """Who sends mail on to himself keeps it: in the queue it has been there already, and would end."""
        onward = []
        for address in decided.redirects:
            found = None
            if self._directory.is_local(address.domain):
                found = await self._directory.resolve(address)
            if found is None or found.account != copy.account:
                onward.append(address)
        if len(onward) == len(decided.redirects):
            return decided
        kept = {filing.mailbox: filing for filing in (*KEEP.filings, *decided.filings)}
        return replace(decided, redirects=tuple(onward), filings=tuple(kept.values()))

    async def _file(self, message: QueuedMessage, copy: _Copy, content: Content, filing: Filing) -> str:
        """Into the mailbox that is meant, or else into the INBOX; its name. Raises MailError."""
        try:
            mailbox = await mailbox_for(
                self._store,
                copy.account,
                filing.mailbox,
                create=filing.create,
                special_use=filing.special_use,
            )
            await self._store_copy(message, copy, content, mailbox, filing.flags)
            return mailbox
        except (NoSuchMailbox, BadMailboxName, CannotDo) as error:
            if filing.mailbox == INBOX:
                raise
            reason = f"{filing.mailbox}: {error}"
            if self._filters is not None:
                await self._filters.failed(copy.account, message.queue_id, reason)
            else:
                self._journey.tell("sieve-failed", message.queue_id, account=copy.account, reason=reason)
        await self._store_copy(message, copy, content, INBOX, frozenset())
        return INBOX

    async def _store_copy(
        self, message: QueuedMessage, copy: _Copy, content: Content, mailbox: str, flags: frozenset[str]
    ) -> None:
        await self._store.deliver(
            copy.account,
            content,
            unique=message.copy_for(copy.number),
            arrived=message.arrived,
            mailbox=mailbox,
            flags=flags,
            recovered=message.recovered,
        )

    def _failure(self, message: QueuedMessage, to: Address | str, error: Exception) -> Outcome:
        """What an exception means for a recipient: only a MailError can be final."""
        if isinstance(error, OSError):  # the message itself cannot be read now
            self.log.error(
                "{queue_id}: cannot be delivered to {to} now: {error}",
                queue_id=message.queue_id,
                to=to,
                error=error,
            )
            error = unexpected()
        elif not isinstance(error, MailError):
            self.log.failure(
                "{queue_id}: unexpected error in a delivery to {to}",
                failure=Failure(error),
                queue_id=message.queue_id,
                to=to,
            )
            error = unexpected()
        action = Action.FAILED if error.permanent else Action.DELAYED
        return Outcome(action, error.status, error.text)


def _refuse_loop(address: str, been: frozenset[str]) -> None:
    if address.lower() in been:
        raise MailError(554, "5.4.6", f"Mail loop: was delivered to {address} before")


def delivered_to(content: Content) -> frozenset[str]:
    """The values of all `Delivered-To:` fields, in lower case. Raises OSError."""
    found = values(content.header(), b"Delivered-To")
    return frozenset(value.decode("latin-1").lower() for value in found)
