"""Warnings about a mailbox that gets full: one for each time a level is reached, in words, whatever fits."""

from types import SimpleNamespace

import pytest
import test_mda_store
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from twisted_mta.interfaces import MailboxEvent
from twisted_mta.journey.bus import Journey
from twisted_mta.message.content import Content
from twisted_mta.message.headers import values
from twisted_mta.store.quota import Limits, Usage
from twisted_mta.transfer.mda.quota_warnings import QuotaWarnings, WarningEvents, used_percent

_KIB = 1024


def mail(size):
    head = b"Subject: x\r\n\r\n"
    return Content(b"", head + b"x" * (size - len(head) - 2) + b"\r\n")


class WarningTests(TestCase):
    async def setUp(self):
        self.limits = Limits(octets=100 * _KIB)
        await test_mda_store.StoreTests.setUp(self)
        self.number = 0
        self.events = []
        self.journey = Journey()
        self.journey.add_reader(self.events.append)
        self.restart()

    async def open_store(self):
        return await test_mda_store.StoreTests.open_store(self, limits_of=lambda account: self.limits)

    def restart(self, levels=(95, 80)):
        self.warnings = QuotaWarnings(
            self.store,
            levels=levels,
            hostname="mx.a.test",
            journey=self.journey,
            reactor=reactor,
            seconds=reactor.seconds,
        )

    async def put(self, size):
        self.number += 1
        await self.store.deliver("alice@a.test", mail(size), unique=f"Q{self.number}", arrived=1.0)
        await self.warnings.look("alice@a.test", f"Q{self.number}")

    async def subjects(self):
        mailbox = await (await self.store.account("alice@a.test")).open("INBOX")
        contents = await mailbox.read(list(mailbox.uids))
        await mailbox.close()
        return [
            value.decode() for content in contents for value in values(content, b"Subject") if value != b"x"
        ]

    async def test_one_for_each_level(self):
        await self.put(70 * _KIB)
        assert await self.subjects() == []
        await self.put(12 * _KIB)
        assert await self.subjects() == ["Your mailbox is 82 % full"]
        await self.put(2 * _KIB)
        self.restart()  # what was told is remembered
        await self.put(2 * _KIB)
        assert len(await self.subjects()) == 1
        await self.put(10 * _KIB)
        assert await self.subjects() == ["Your mailbox is 82 % full", "Your mailbox is 96 % full"]
        assert [(event.stage, event.facts["percent"]) for event in self.events] == [
            ("quota-warned", 82),
            ("quota-warned", 96),
        ]

    async def test_what_comes_by_imap_counts_too(self):
        heard = []
        events = WarningEvents(self.warnings, SimpleNamespace(url="sieve://a", happened=heard.append))
        draft = await self.store.draft("alice@a.test")
        await draft.write(b"".join(mail(82 * _KIB).chunks()))
        await draft.end_message(frozenset(), None)
        await draft.commit("INBOX")
        for cause in ("FLAG", "APPEND", "COPY"):
            events.happened(MailboxEvent(cause, "alice@a.test", "INBOX", (1,), "alice@a.test"))
            while self.warnings._looking:
                await deferLater(reactor, 0.001)
            assert len(await self.subjects()) == (cause != "FLAG")
        assert [event.cause for event in heard] == ["FLAG", "APPEND", "COPY"] and events.url == "sieve://a"

    async def test_what_comes_while_it_is_looked_counts_too(self):
        await self.store.deliver("alice@a.test", mail(82 * _KIB), unique="Q0", arrived=1.0)
        first = Deferred.fromCoroutine(self.warnings.look("alice@a.test", "Q0"))
        await self.put(14 * _KIB)
        await first
        assert (await self.subjects())[-1] == "Your mailbox is 96 % full"

    async def test_the_highest_level_that_is_reached_is_told(self):
        await self.put(99 * _KIB)
        assert await self.subjects() == ["Your mailbox is 99 % full"]

    async def test_a_warning_has_room_where_no_mail_has(self):
        await self.put(100 * _KIB)
        assert await self.subjects() == ["Your mailbox is 100 % full"]
        assert await self.store.is_full("alice@a.test")

    async def test_filling_up_again_is_worth_another(self):
        await self.put(90 * _KIB)
        self.limits = Limits(octets=1000 * _KIB)  # room was made
        await self.put(1 * _KIB)
        self.restart()
        await self.put(1 * _KIB)
        self.limits = Limits(octets=100 * _KIB)
        await self.put(1 * _KIB)
        assert len(await self.subjects()) == 2

    async def test_numbers_of_messages(self):
        self.limits = Limits(messages=5)
        for _ in range(4):
            await self.put(100)
        assert await self.subjects() == ["Your mailbox is 80 % full"]
        (text,) = [c for c in await self.inbox("alice@a.test") if b"Subject: x" not in c]
        assert b"4 of 5 messages are there." in text

    async def test_nobody_is_warned_of_what_has_no_end(self):
        self.limits = Limits()
        await self.put(200 * _KIB)
        self.limits = Limits(octets=100 * _KIB)
        self.restart(levels=())
        await self.warnings.look("alice@a.test", "Q9")
        assert await self.subjects() == []

    inbox = test_mda_store.StoreTests.inbox

    async def test_in_plain_words(self):
        await self.put(96 * _KIB)
        (text,) = [c for c in await self.inbox("alice@a.test") if b"Subject: x" not in c]
        assert len(text) < 2 * _KIB
        assert values(text, b"Auto-Submitted") == [b"auto-generated"]
        assert values(text, b"To") == [b"<alice@a.test>"]
        assert b"    96 KB of 100 KB are used." in text
        assert b"To make room, delete mail" in text

    async def test_trouble_is_no_trouble_for_the_delivery(self):
        self.limits = Limits(octets=100 * _KIB)
        await self.store.stop()
        await self.warnings.look("alice@a.test", "Q0")
        self.flushLoggedErrors()


@pytest.mark.parametrize(
    ("octets", "messages", "limits", "percent"),
    [
        (0, 0, Limits(10, 10), 0),
        (7, 0, Limits(8, 10), 87),
        (1, 9, Limits(10, 10), 90),
        (20, 0, Limits(10, None), 200),
        (0, 0, Limits(0, None), 100),
        (5, 5, Limits(None, None), 0),
    ],
)
def test_percent(octets, messages, limits, percent):
    assert used_percent(Usage(octets, messages), limits) == percent
