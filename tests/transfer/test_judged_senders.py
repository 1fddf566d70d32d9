"""The checks against abuse within the judgement: what SPF says at RCPT, and what allowed senders may."""

from __future__ import annotations

import pytest
from dictionary_resolver import DictionaryResolver
from smtp_session import NOW
from street import BODY, FROM_THERE, HEADER, TEXTS, Street
from twisted.internet.defer import Deferred

from twisted_mta.interfaces import Found
from twisted_mta.trust.abuse.checks import SPF_SECONDS, GreylistCheck, SenderListCheck, TrapCheck
from twisted_mta.trust.abuse.greylist import Greylist, GreylistRules
from twisted_mta.trust.abuse.proven import is_disowned
from twisted_mta.trust.abuse.senders import SenderEntry, SenderLists
from twisted_mta.trust.abuse.traps import Traps

NETWORK = "192.0.2.0/24"


class Slow(DictionaryResolver):
    """Of evil.test it says nothing until it is allowed to."""

    def __init__(self) -> None:
        super().__init__(texts={**TEXTS, "evil.test": [f"v=spf1 ip4:{FROM_THERE} -all"]})
        self.waiting: Deferred[None] = Deferred()

    async def txt(self, name: str) -> Found[str] | None:
        if name == "evil.test":
            await self.waiting
        return await super().txt(name)


class TestSpfAtRcpt:
    def street(self) -> Street:
        self.traps = Traps(["trap@a.test"], disgrace=3600, seconds=lambda: NOW)
        self.greylist = Greylist(GreylistRules(), seconds=lambda: NOW)
        self.resolver = Slow()
        checks = {
            "any_recipient": [TrapCheck(self.traps, SenderLists())],
            "recipient": [GreylistCheck(self.greylist, "all")],
        }
        street = Street(resolver=self.resolver, checks=checks)
        street.say("EHLO out.evil.test", "MAIL FROM:<x@evil.test>")
        return street

    def test_it_is_waited_for_where_it_matters(self) -> None:
        street = self.street()
        assert street.say("RCPT TO:<trap@a.test>") == []
        self.resolver.waiting.callback(None)
        assert street.said().startswith(b"550 5.7.1 Nobody has this address")
        assert self.traps.left("evil.test") and not self.traps.left(NETWORK)

    def test_who_makes_it_slow_is_answered_for_by_nobody(self) -> None:
        """And is neither spared a trap nor greylisting, however long the DNS takes."""
        street = self.street()
        street.say("RCPT TO:<trap@a.test>")
        street.clock.advance(SPF_SECONDS + 0.1)
        assert street.said().startswith(b"550 5.7.1 Nobody has this address")
        assert self.traps.left(NETWORK) and not self.traps.left("evil.test")
        street.say("RCPT TO:<alice@a.test>")  # its network is in disgrace: this need not be found out first
        street.clock.advance(SPF_SECONDS + 0.1)
        assert street.said().startswith(b"450 4.7.1 192.0.2.0/24 has written to an address")
        self.traps.caught.drop(NETWORK)
        street.say("RCPT TO:<alice@a.test>")
        street.clock.advance(SPF_SECONDS + 0.1)
        assert street.said().startswith(b"451 4.7.1 We have not had mail from 192.0.2.0/24 before")

    def test_who_is_not_odd_waits_for_nothing(self) -> None:
        check = GreylistCheck(Greylist(GreylistRules(), seconds=lambda: NOW))
        street = Street(resolver=Slow(), checks={"recipient": [check]})
        street.say("EHLO out.evil.test", "MAIL FROM:<x@evil.test>")
        assert street.say("RCPT TO:<alice@a.test>")[-1].startswith("250")


class TestAllowedSenders:
    """Mail of an allowed list, as SPF says, in the name of b.test, which wants such mail refused."""

    def mail(self, *allowed: str, header: bytes = HEADER, **rules: str) -> tuple[Street, str]:
        lists = SenderLists(SenderEntry("", subject, "allow") for subject in allowed)
        checks = {
            "recipient": [SenderListCheck(lists, "recipient")],
            "content": [SenderListCheck(lists, "content")],
        }
        street = Street(checks=checks, **rules)
        return street, street.mail(header + BODY, sender="bounces@lists.test")

    @pytest.mark.parametrize("subject", ["lists.test", "bounces@lists.test", "b.test", "ann@b.test"])
    def test_nobody_is_allowed_to_write_as_somebody_who_disowns_it(self, subject: str) -> None:
        street, said = self.mail(subject)
        assert said.startswith("250") and street.junk.startswith("nothing proves that b.test sent it")
        assert is_disowned(street.head.encode(), "mx.a.test")

    def test_an_allowed_network_may_unless_the_server_refuses_such_mail(self) -> None:
        street, said = self.mail(NETWORK)
        assert said.startswith("250") and not street.junk
        assert self.mail(NETWORK, dmarc="enforce")[1].startswith("550 5.7.26")

    @pytest.mark.parametrize("author", ["nothing.test", "watch.test", "lists.test"])
    def test_in_all_other_names_it_may(self, author: str) -> None:
        other = HEADER.replace(b"b.test", author.encode())
        street, said = self.mail("lists.test", header=other)
        assert said.startswith("250") and not street.junk
        assert "x-senders=pass policy.entry=lists.test" in street.head
        assert not is_disowned(street.head.encode(), "mx.a.test")

    def test_where_policies_are_only_recorded_nobody_is_disowned(self) -> None:
        street, _ = self.mail("lists.test", dmarc="record")
        assert "x-senders=pass" in street.head and not street.junk
