"""What is done against abuse, made from the configuration. The order of all checks stands in
`trust/judgement.py`."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted_mta.interfaces import IDirectory, IMailboxEvents, IResolver
from twisted_mta.journey.bus import Journey
from twisted_mta.service.options.config import Config
from twisted_mta.steady import steady_seconds
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.junk.learning import Learning
from twisted_mta.transfer.mda.junk.personal import JunkRules, OwnOpinion
from twisted_mta.transfer.mda.junk.recipients_lists import RecipientsLists
from twisted_mta.transfer.mda.junk.rejects import MAILBOX, RejectRules, Rejects, keep_what_is_wanted
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
from twisted_mta.trust.check import Check, PersonalCheck
from twisted_mta.trust.judgement import Keep


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
        dnsbl = DnsLists(dns_lists(config), resolver=resolver, seconds=steady_seconds(reactor))
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
    """What accounts think of their mail: `personal` checks for delivery; `keep` puts by what is refused.
    `parts` are started when the store is."""

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
        options = config.abuse.rejects
        rules = RejectRules(options.keep, options.messages)
        rejects = Rejects(store, directory=directory, **self._told, rules=rules)
        self.personal: list[PersonalCheck] = [_own_opinion(config, store, senders.lists, reactor)]
        self.keep: Keep = rejects.keep
        self.parts: list[tuple[str, Rejects]] = [("rejects", rejects)] if options.keep else []
        senders.memories["rejects"] = rejects.accounts

    def events(self, following: IMailboxEvents) -> IMailboxEvents:
        """Who wants to know what is done to mailboxes: those that learn, and `following`."""
        if not self._config.abuse.junk.learn:
            return following
        return Learning(
            self._store, following=following, rejects=MAILBOX, allow=self._senders.store.put, **self._told
        )


def keeping(
    config: Config, lists: SenderLists, *, keep: Keep, in_thread: Callable[..., Awaitable[int]]
) -> Keep | None:
    """What is done with mail that is refused: `keep`, if it is worth it; None when nothing is put by."""
    options = config.abuse.rejects
    if not options.keep:
        return None
    return partial(keep_what_is_wanted, keep=keep, lists=lists, octets=options.size, in_thread=in_thread)


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
