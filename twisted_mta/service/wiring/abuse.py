"""What is done against abuse, made from the configuration. The order of all checks stands in
`trust/judgement.py`."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

from twisted_mta.interfaces import IDirectory, IMailboxEvents, IResolver
from twisted_mta.journey.bus import Journey
from twisted_mta.service.options.config import Config
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.junk.learning import Learning
from twisted_mta.transfer.mda.junk.personal import JunkRules, OwnOpinion
from twisted_mta.transfer.mda.junk.recipients_lists import RecipientsLists
from twisted_mta.transfer.mda.junk.rejects import MAILBOX, RejectRules, Rejects
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
from twisted_mta.trust.abuse.senders import SenderLists
from twisted_mta.trust.abuse.traps import Traps
from twisted_mta.trust.check import Check, PersonalCheck
from twisted_mta.trust.judgement import Keep


class AgainstAbuse:
    """Checks for the judgement: `any_recipient`, `recipient`, `content`; `personal` ones for delivery; `keep`
    for what is refused, None when nothing is put by. `parts` are started when the store is."""

    def __init__(
        self,
        config: Config,
        *,
        resolver: IResolver,
        directory: IDirectory,
        store: MessageStore,
        known_sender: KnownSender,
        journey: Journey,
        reactor: Any,
    ) -> None:
        options, seconds = config.abuse, reactor.seconds
        self._config = config
        self._told: dict[str, Any] = {"service": config.hostname, "journey": journey, "reactor": reactor}
        self._store = store
        lists = SenderLists()
        traps = Traps(options.traps.addresses, disgrace=options.traps.disgrace, seconds=seconds)
        dnsbl = DnsLists(dns_lists(config), resolver=resolver, seconds=seconds)
        rules = options.greylist
        greylist = Greylist(GreylistRules(rules.delay, rules.window, rules.trust), seconds=seconds)
        rejects = Rejects(
            store,
            directory=directory,
            lists=lists,
            **self._told,
            rules=RejectRules(options.rejects.keep, options.rejects.messages, options.rejects.size),
        )
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
        self.personal: list[PersonalCheck] = [_own_opinion(config, store, lists, reactor)]
        self.keep: Keep | None = rejects.keep if options.rejects.keep else None
        memories = {
            "greylisted": greylist.waiting,
            "came-back": greylist.trusted,
            "trapped": traps.caught,
            "rejects": rejects.accounts,
        }
        self._senders = SenderStore(
            Path(config.data_dir) / DATABASE, memories=memories, lists=lists, reactor=reactor
        )
        self.parts: list[tuple[str, SenderStore | Rejects]] = [("senders", self._senders)]
        if self.keep is not None:
            self.parts.append(("rejects", rejects))

    def events(self, following: IMailboxEvents) -> IMailboxEvents:
        """Who wants to know what is done to mailboxes: those that learn, and `following`."""
        if not self._config.abuse.junk.learn:
            return following
        return Learning(
            self._store, following=following, rejects=MAILBOX, allow=self._senders.put, **self._told
        )


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
