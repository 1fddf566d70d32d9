"""Where junk is kept: the recipient's mailbox for it, unless the owner's script or taste says otherwise."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory

from smtp_session import Intake
from test_mda_delivery import House
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import MailParameters
from twisted_mta.message.outcome import Action, QueuedMessage, QueuedRecipient
from twisted_mta.store.scripts import Scripts
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.delivery import LocalDelivery
from twisted_mta.transfer.mda.sieve.answers import Answers
from twisted_mta.transfer.mda.sieve.filtering import Filters
from twisted_mta.trust.check import Verdict

BODY = b"From: eve@far.test\r\nTo: alice@a.test\r\nSubject: hello\r\n\r\nhello\r\n"
WHY = "nothing proves that far.test sent it"


class Taste:
    name = "taste"

    def __init__(self, said):
        self.said = said

    async def judge(self, account, message):
        assert account == "alice@a.test"
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


class JunkTests(TestCase):
    async def setUp(self):
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.store = MessageStore(Path(directory.name) / "mail", reactor=reactor, hostname="mx.a.test")
        await self.store.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.store.stop()))
        self.owner = await self.store.account("alice@a.test")
        self.scripts = Scripts(self.store.home("alice@a.test"))
        self.events, self.intake = [], Intake()
        self.journey = Journey()
        self.journey.add_reader(self.events.append)
        self.number = 0

    def use(self, text):
        self.scripts.write("mine", text.encode())
        self.scripts.activate("mine")

    async def deliver(self, junk=WHY, tastes=()):
        """The mailboxes in which the message is afterwards."""
        answers = Answers(self.intake, hostname="mx.a.test", journey=self.journey, seconds=reactor.seconds)
        filters = Filters(
            self.store, answers=answers, hostname="mx.a.test", journey=self.journey, reactor=reactor
        )
        mda = LocalDelivery(
            directory=House(),
            store=self.store,
            journey=self.journey,
            reactor=reactor,
            filters=filters,
            personal=[Taste(said) for said in tastes],
        )
        self.number += 1
        message = QueuedMessage(
            f"Q{self.number}",
            Address.parse("eve@far.test"),
            1234.5,
            Content(b"", BODY),
            MailParameters(junk=junk),
        )
        (outcome,) = await mda.deliver(message, [QueuedRecipient(70, Address.parse("alice@a.test"))])
        assert outcome.action is Action.DELIVERED
        return [
            event.facts["mailbox"]
            for event in self.events
            if event.queue_id == f"Q{self.number}" and event.stage == "delivered"
        ]

    async def test_the_mailbox_is_made_with_its_use(self):
        await self.owner.delete("Junk")
        assert await self.deliver() == ["Junk"]
        (junk,) = [info for info in await self.owner.list_mailboxes() if info.name == "Junk"]
        assert junk.special_uses == {"\\Junk"}
        assert await self.deliver() == ["Junk"]
        assert self.events[-1].facts["junk"] == WHY
        assert await self.deliver(junk="") == ["INBOX"] and "junk" not in self.events[-1].facts

    async def test_it_is_the_mailbox_of_that_use_whatever_its_name(self):
        await self.owner.rename("Junk", "Unerwünscht")
        assert await self.deliver() == ["Unerwünscht"]

    async def test_a_mailbox_of_that_name_will_do(self):
        await self.owner.delete("Junk")
        await self.owner.create("Junk")
        assert await self.deliver() == ["Junk"]

    async def test_a_script_that_does_not_decide(self):
        self.use('require ["fileinto", "copy", "mailbox"]; fileinto :copy :create "All"; stop;')
        assert sorted(await self.deliver()) == ["All", "Junk"]
        assert sorted(await self.deliver(junk="")) == ["All", "INBOX"]

    async def test_a_script_that_decides(self):
        self.use("keep;")
        assert await self.deliver() == ["INBOX"]
        self.use('require ["fileinto", "mailbox"]; fileinto :create "Later";')
        assert await self.deliver() == ["Later"]

    async def test_flags_come_along(self):
        self.use('require "imap4flags"; addflag "\\\\Seen";')
        assert await self.deliver() == ["Junk"]
        mailbox = await self.owner.open("Junk")
        assert "\\Seen" in mailbox.flags(next(iter(mailbox.uids)))
        await mailbox.close()

    async def test_a_script_asks_for_the_value(self):
        self.use(
            'require ["spamtestplus", "relational", "comparator-i;ascii-numeric", "fileinto", "mailbox"];'
            'if spamtest :percent :value "eq" :comparator "i;ascii-numeric" "100"'
            '{ fileinto :create "Spam"; }'
        )
        assert await self.deliver() == ["Spam"]
        assert await self.deliver(junk="") == ["INBOX"]

    async def test_a_script_that_fails(self):
        self.use('require ["variables", "fileinto"]; set "a" "x"; redirect "${a}";')
        assert await self.deliver() == ["Junk"]

    async def test_a_database_that_cannot_be_opened_is_no_accident(self):
        """No descriptors are left, say: one line in the log, and no traceback."""
        for trouble in (
            OSError("Too many open files"),
            sqlite3.OperationalError("unable to open database file"),
        ):
            assert await self.deliver(junk="", tastes=[trouble]) == ["INBOX"]
        assert self.flushLoggedErrors() == []

    async def test_nobody_is_answered_because_of_junk(self):
        self.use('require "vacation"; vacation "Away";')
        assert await self.deliver() == ["Junk"] and not self.intake.stored
        assert await self.deliver(junk="") == ["INBOX"] and len(self.intake.stored) == 1

    async def test_what_the_account_thinks(self):
        assert await self.deliver(tastes=[Verdict("allow")]) == ["INBOX"]
        assert await self.deliver(junk="", tastes=[Verdict("junk", why="like other junk")]) == ["Junk"]
        assert self.events[-1].facts["junk"] == "like other junk"
        assert await self.deliver(tastes=[Verdict("junk"), Verdict("allow")]) == ["INBOX"]
        assert await self.deliver(junk="", tastes=[Verdict()]) == ["INBOX"]

    async def test_a_taste_that_fails_says_nothing(self):
        assert await self.deliver(tastes=[ZeroDivisionError()]) == ["Junk"]
        assert await self.deliver(junk="", tastes=[ZeroDivisionError(), Verdict("junk")]) == ["Junk"]
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 2
