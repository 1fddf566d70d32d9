"""What is done against abuse, made from the configuration. The order of all checks stands in
`trust/judgement.py`."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThreadPool

from twisted_mta.interfaces import IDirectory, IMailboxEvents, IResolver
from twisted_mta.journey.bus import Journey
from twisted_mta.service.options.config import Config
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.junk.learning import Learning
from twisted_mta.transfer.mda.junk.personal import JunkRules, OwnOpinion
from twisted_mta.transfer.mda.junk.recipients_lists import RecipientsLists
from twisted_mta.transfer.mda.junk.rejects import (
    MAILBOX,
    RejectRules,
    Rejects,
    is_worth_keeping,
)
from twisted_mta.trust.abuse.checks import (
    DnsListCheck,
    GreylistCheck,
    KnownSender,
    SenderListCheck,
    TrapCheck,
)
from twisted_mta.trust.abuse.dnsbl import DnsList, DnsLists
from twisted_mta.trust.abuse.greylist import Greylist, GreylistRules
from twisted_mta.trust.abuse.ledger import DATABASE, SenderStore
from twisted_mta.trust.abuse.memory import Memory
from twisted_mta.trust.abuse.senders import SenderLists
from twisted_mta.trust.abuse.traps import Traps
from twisted_mta.trust.check import Check, Incoming, PersonalCheck
from twisted_mta.trust.judgement import Keep

Worth = Callable[[Incoming, str], Awaitable[bool]]


class KnownSenders:
    """What is remembered of senders, and the lists by hand: one for a process. `memories` by their kinds: who
    has one puts it there before `parts` are started."""

    def __init__(self, config: Config, *, reactor: Any) -> None:
        self.lists = SenderLists()
        self.memories: dict[str, Memory] = {}
        self.store = SenderStore(
            Path(config.data_dir) / DATABASE, memories=self.memories, lists=self.lists, reactor=reactor
        )
        self.parts: list[tuple[str, SenderStore]] = [("senders", self.store)]


class Strangers:
    """Checks for the judgement: `any_recipient`, `recipient`, `content`."""

    def __init__(
        self,
        config: Config,
        *,
        senders: KnownSenders,
        resolver: IResolver,
        directory: IDirectory,
        known_sender: KnownSender,
        reactor: Any,
    ) -> None:
        options, seconds, lists = config.abuse, reactor.seconds, senders.lists
        traps = Traps(options.traps.addresses, disgrace=options.traps.disgrace, seconds=seconds)
        dnsbl = DnsLists(dns_lists(config), resolver=resolver, seconds=seconds)
        rules = options.greylist
        greylist = Greylist(GreylistRules(rules.delay, rules.window, rules.trust), seconds=seconds)
        at_rcpt = DnsListCheck(dnsbl, "recipient", options.dnsbl.reject or None)
        trapping = TrapCheck(traps, lists, known_sender)
        self.any_recipient: list[Check] = [trapping] if options.traps.addresses else []
        self.recipient: list[Check] = [SenderListCheck(lists, "recipient")]
        self.content: list[Check] = [SenderListCheck(lists, "content"), RecipientsLists(lists, directory)]
        if dnsbl:
            self.recipient.append(at_rcpt)
            self.content.append(DnsListCheck(dnsbl, "content", options.dnsbl.reject or None))
        if rules.clients != "off":
            self.recipient.append(
                GreylistCheck(
                    greylist,
                    rules.clients,
                    dnsbl=at_rcpt if dnsbl else None,
                    lists=lists,
                    known_sender=known_sender,
                )
            )
        senders.memories |= {
            "greylisted": greylist.waiting,
            "came-back": greylist.trusted,
            "trapped": traps.caught,
        }


class OwnJunk:
    """What accounts think of their mail: `personal` checks for delivery; `keep` for what is refused, None
    when nothing is put by. `parts` are started when the store is."""

    def __init__(
        self,
        config: Config,
        *,
        senders: KnownSenders,
        directory: IDirectory,
        store: MessageStore,
        journey: Journey,
        reactor: Any,
    ) -> None:
        self._config = config
        self._told: dict[str, Any] = {"service": config.hostname, "journey": journey, "reactor": reactor}
        self._store = store
        self._senders = senders
        rejects = Rejects(
            store, directory=directory, lists=senders.lists, **self._told, rules=_reject_rules(config)
        )
        self.personal: list[PersonalCheck] = [_own_opinion(config, store, senders.lists, reactor)]
        self.keep: Keep | None = rejects.keep if config.abuse.rejects.keep else None
        self.parts: list[tuple[str, Rejects]] = [("rejects", rejects)] if self.keep is not None else []
        senders.memories["rejects"] = rejects.accounts

    def events(self, following: IMailboxEvents) -> IMailboxEvents:
        """Who wants to know what is done to mailboxes: those that learn, and `following`."""
        if not self._config.abuse.junk.learn:
            return following
        return Learning(
            self._store, following=following, rejects=MAILBOX, allow=self._senders.store.put, **self._told
        )


def worth_keeping(config: Config, senders: KnownSenders, reactor: Any) -> Worth | None:
    """Whether what is refused is handed to the process with the mailboxes; None: never."""
    if not config.abuse.rejects.keep:
        return None

    async def in_thread(function: Any) -> int:
        found: int = await deferToThreadPool(reactor, reactor.getThreadPool(), function)
        return found

    octets = _reject_rules(config).octets
    return partial(is_worth_keeping, lists=senders.lists, octets=octets, in_thread=in_thread)


def _reject_rules(config: Config) -> RejectRules:
    options = config.abuse.rejects
    return RejectRules(options.keep, options.messages, options.size)


def _own_opinion(config: Config, store: MessageStore, lists: SenderLists, reactor: Any) -> OwnOpinion:
    junk = config.abuse.junk
    rules = JunkRules(junk.junk, junk.needed) if junk.learn else None
    return OwnOpinion(store, lists=lists, service=config.hostname, reactor=reactor, rules=rules)


def dns_lists(config: Config) -> list[DnsList]:
    """Those that are to be asked."""
    return [
        DnsList(
            zone,
            one.kind,
            one.score,
            tuple(code.network for code in one.codes if isinstance(code.network, ipaddress.IPv4Network)),
        )
        for zone, one in config.abuse.dnsbl.lists.items()
    ]
