"""Delivery by Sieve scripts into the real store."""

import errno
import os
import re
from functools import partial
from pathlib import Path
from sqlite3 import DatabaseError
from tempfile import TemporaryDirectory
from unittest.mock import patch

from smtp_session import Intake
from test_mda_delivery import House
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.outcome import Action, QueuedMessage, QueuedRecipient
from twisted_mta.store.quota import Bounds
from twisted_mta.store.scripts import Scripts
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.mda.delivery import LocalDelivery
from twisted_mta.transfer.mda.sieve import filing
from twisted_mta.transfer.mda.sieve.answers import Answers
from twisted_mta.transfer.mda.sieve.filtering import Filters
from twisted_mta.transfer.mda.sieve.notifying import Notifying
from twisted_mta.transfer.mda.sieve.onward import Onward
from twisted_mta.transfer.mda.sieve.troubles import Troubles
from twisted_mta.transfer.mda.sieve.verdicts import Verdicts
from twisted_mta.transfer.msa.allowances import NO_LIMITS, Allowances, stored_acquaintance

BODY = b"From: eve@far.test\r\nMessage-ID: <1@far.test>\r\nSubject: hello\r\n\r\nhello\r\n"
HEAD = b"Return-Path: <eve@far.test>\r\nDelivered-To: alice@a.test\r\n"


async def owns(account, address):
    """Alice has a second address."""
    return (account, str(address)) == ("alice@a.test", "sales@a.test")


def failing(number, unreadable, *, read=Scripts.read):
    """Reads all scripts but that one."""

    def reads(scripts, name):
        if name == unreadable:
            raise OSError(number, os.strerror(number))
        return read(scripts, name)

    return reads


class SieveDeliveryTests(TestCase):
    async def setUp(self):
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.store = MessageStore(Path(directory.name) / "mail", reactor=reactor, hostname="mx.a.test")
        await self.store.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.store.stop()))
        await self.store.account("alice@a.test")
        self.scripts = Scripts(self.store.home("alice@a.test"))
        self.events = []
        journey = Journey()
        journey.add_reader(self.events.append)
        self.intake = Intake()
        common = {"hostname": "mx.a.test", "journey": journey, "seconds": reactor.seconds, "owns": owns}
        answers = Answers(self.intake, **common)
        self.common = Scripts(Path(directory.name))
        self.filters = filters = Filters(
            self.store,
            answers=answers,
            hostname="mx.a.test",
            journey=journey,
            reactor=reactor,
            notifying=Notifying(self.intake, **common, most=3),
            onward=Onward(self.intake, journey=journey),
            common=self.common,
            verdicts=Verdicts(b"X-Trust-Spam", 10.0, b"X-Trust-Virus"),
        )
        self.mda = LocalDelivery(
            directory=House(), store=self.store, journey=journey, reactor=reactor, filters=filters
        )
        self.number = 0

    def use(self, text):
        self.scripts.write("mine", text.encode())
        self.scripts.activate("mine")

    async def deliver(self, body=BODY, to="alice@a.test", sender="eve@far.test", recovered=False):
        if not recovered:
            self.number += 1
        path = Address.parse(sender, utf8=True) if sender else None
        message = QueuedMessage(f"Q{self.number}", path, 1234.5, Content(b"", body), recovered=recovered)
        (outcome,) = await self.mda.deliver(message, [QueuedRecipient(70, Address.parse(to))])
        return outcome

    async def mailbox(self, name):
        """The messages of a mailbox with their flags."""
        mailbox = await (await self.store.account("alice@a.test")).open(name)
        uids = list(mailbox.uids)
        contents = await mailbox.read(uids)
        flags = [set(mailbox.flags(uid)) for uid in uids]
        await mailbox.close()
        return list(zip(contents, flags, strict=True))

    def told(self):
        return [event.stage for event in self.events]

    async def test_without_a_script_everything_is_kept(self):
        assert (await self.deliver()).action is Action.DELIVERED
        assert (
            await self.mailbox("INBOX") == [(HEAD + BODY, {"\\Recent"})]
            or len(await self.mailbox("INBOX")) == 1
        )

    async def test_into_a_mailbox_that_is_made_with_flags_and_a_copy_kept(self):
        self.use(
            'require ["fileinto", "mailbox", "copy", "imap4flags"];'
            'if header :contains "subject" "hello"'
            '{ fileinto :copy :create :flags "\\\\Seen work" "Lists/x"; }'
        )
        assert (await self.deliver()).action is Action.DELIVERED
        ((content, flags),) = await self.mailbox("Lists/x")
        assert content == HEAD + BODY and {"\\Seen", "work"} <= flags
        assert len(await self.mailbox("INBOX")) == 1
        await self.deliver(recovered=True)  # after a crash: nothing twice
        assert len(await self.mailbox("INBOX")) == len(await self.mailbox("Lists/x")) == 1

    async def test_a_script_that_cannot_be_read_at_the_moment(self):
        self.scripts.write("part", b'require ["fileinto", "mailbox"]; fileinto :create "Lists/x";')
        self.use('require ["include"]; include :personal "part";')
        for unreadable in ("mine", "part"):
            with patch.object(Scripts, "read", failing(errno.EMFILE, unreadable)):
                assert (await self.deliver()).action is Action.DELAYED
        assert "sieve-failed" not in self.told() and not await self.mailbox("INBOX")
        assert (await self.deliver(recovered=True)).action is Action.DELIVERED
        assert len(await self.mailbox("Lists/x")) == 1 and not await self.mailbox("INBOX")

    async def test_a_script_on_a_bad_disk(self):
        self.use("discard;")
        with patch.object(Scripts, "read", failing(errno.EIO, "mine")):
            assert (await self.deliver()).action is Action.DELIVERED
        assert "sieve-failed" in self.told() and len(await self.mailbox("INBOX")) == 1

    async def test_many_at_once_for_a_mailbox_that_is_made(self):
        self.use('require ["fileinto", "mailbox"]; fileinto :create "Lists/x";')
        deliveries = [Deferred.fromCoroutine(self.deliver()) for _ in range(5)]
        assert [(await each).action for each in deliveries] == [Action.DELIVERED] * 5
        assert len(await self.mailbox("Lists/x")) == 5 and "sieve-failed" not in self.told()

    async def test_a_use_that_no_mailbox_can_have(self):
        required = 'require ["fileinto", "mailbox", "special-use"];'
        self.use(required + 'fileinto :specialuse "\\\\Foo) x" :create "X";')
        assert (await self.deliver()).action is Action.DELIVERED
        owner = await self.store.account("alice@a.test")
        found = {info.name: info.special_uses for info in await owner.list_mailboxes()}
        assert found["X"] == frozenset()
        assert len(await self.mailbox("X")) == 1

    async def test_senders_make_no_mailboxes_without_end(self):
        self.patch(filing, "MOST", len(await (await self.store.account("alice@a.test")).list_mailboxes()) + 2)
        self.use(
            'require ["fileinto", "mailbox", "variables"];'
            'if header :matches "Subject" "*" { fileinto :create "Lists/${1}"; }'
        )
        for number in range(4):
            await self.deliver(BODY.replace(b"Subject: hello", b"Subject: %d" % (number % 3)))
        assert len(await self.mailbox("Lists/0")) == 2 and self.told().count("sieve-failed") == 2
        assert len(await self.mailbox("INBOX")) == 2

    async def test_nor_do_they_where_an_account_has_as_many_as_it_may_have(self):
        owner = await self.store.account("alice@a.test")
        owner.home.bounds = Bounds(mailboxes=len(await owner.list_mailboxes()))
        self.use('require ["fileinto", "mailbox"]; fileinto :create "New";')
        assert (await self.deliver()).action is Action.DELIVERED
        assert len(await self.mailbox("INBOX")) == 1 and "sieve-failed" in self.told()

    async def test_a_mailbox_with_two_uses_has_each_of_them(self):
        await (await self.store.account("alice@a.test")).create("Both", frozenset({"\\Junk", "\\Archive"}))
        self.use(
            'require ["fileinto", "special-use"];'
            'if specialuse_exists "Both" ["\\\\junk", "\\\\Archive"]'
            '{ fileinto :specialuse "\\\\archive" "X"; }'
        )
        await self.deliver()
        assert len(await self.mailbox("Both")) == 1

    async def test_a_mailbox_that_does_not_exist_is_the_inbox(self):
        self.use('require "fileinto"; fileinto "Nowhere";')
        assert (await self.deliver()).action is Action.DELIVERED
        assert len(await self.mailbox("INBOX")) == 1 and "sieve-failed" in self.told()

    async def test_the_mailbox_of_a_use(self):
        self.use('require ["fileinto", "special-use"]; fileinto :specialuse "\\\\Junk" "Spam";')
        await self.deliver()
        owner = await self.store.account("alice@a.test")
        junk = next(info.name for info in await owner.list_mailboxes() if "\\Junk" in info.special_uses)
        assert len(await self.mailbox(junk)) == 1 and not await self.mailbox("INBOX")

    async def test_other_addresses_take_the_recipients_place(self):
        self.use('redirect "bob@a.test"; redirect "eve@far.test";')
        outcome = await self.deliver()
        assert outcome.action is Action.EXPANDED and not await self.mailbox("INBOX")
        assert [str(address) for address in outcome.expansion] == ["bob@a.test", "eve@far.test"]

    async def test_who_sends_mail_on_to_himself_keeps_it(self):
        self.use('redirect "Alice+x@a.test"; redirect "postmaster@a.test";')
        assert (await self.deliver()).action is Action.DELIVERED
        assert len(await self.mailbox("INBOX")) == 1
        self.use('redirect "alice@a.test"; redirect "bob@a.test";')
        outcome = await self.deliver()
        assert list(map(str, outcome.expansion)) == ["bob@a.test"]
        assert len(await self.mailbox("INBOX")) == 2

    async def test_refused_and_discarded(self):
        self.use('require "reject"; reject "Not\r\n today";')
        outcome = await self.deliver()
        assert (outcome.action, outcome.status, outcome.text) == (Action.FAILED, "5.7.1", "Not today")
        self.use("discard;")
        assert (await self.deliver()).action is Action.DELIVERED
        assert not await self.mailbox("INBOX") and self.told() == ["discarded"]

    async def test_a_script_that_fails_or_is_none_keeps_the_message(self):
        self.use('require "variables"; redirect "${x}";')
        assert (await self.deliver()).action is Action.DELIVERED
        self.use("if {")
        assert (await self.deliver()).action is Action.DELIVERED
        assert len(await self.mailbox("INBOX")) == 2
        assert self.told().count("sieve-failed") == 2

    async def test_the_detail_of_the_address_and_a_changed_header(self):
        self.use(
            'require ["subaddress", "envelope", "fileinto", "mailbox", "variables", "editheader"];'
            'if envelope :matches :detail "to" "*" { addheader "X-Detail" "${1}"; fileinto :create "${1}"; }'
        )
        await self.deliver(to="alice+Trips@a.test")
        ((content, _),) = await self.mailbox("Trips")
        assert b"\r\n\r\nhello\r\n" in content and content.partition(b"\r\n\r\n")[0].endswith(
            b"Subject: hello"
        )
        assert b"\r\nX-Detail: Trips\r\nFrom: eve" in content

    async def test_mail_that_came_before(self):
        self.use('require "duplicate"; if duplicate { discard; }')
        await self.deliver()
        await self.deliver()
        assert len(await self.mailbox("INBOX")) == 1
        await self.deliver(BODY.replace(b"<1@", b"<2@"))
        assert len(await self.mailbox("INBOX")) == 2

    async def test_an_answer_once_in_an_interval_and_never_to_programs(self):
        self.use('require "vacation"; vacation :subject "Weg" "Bin dann mal weg, größer";')
        to_me = b"To: Alice <alice@a.test>\r\n" + BODY
        await self.deliver(to_me)
        ((envelope, head, answer),) = self.intake.stored
        assert envelope.reverse_path is None and str(envelope.forward_paths[0]) == "eve@far.test"
        assert b"Auto-Submitted: auto-replied" in answer and b"In-Reply-To: <1@far.test>\r\n" in answer
        assert b"From: alice@a.test\r\n" in answer and b"Subject: Weg\r\n" in answer
        assert b"gr=C3=B6=C3=9Fer" in answer and head == b""
        await self.deliver(to_me)
        await self.deliver(to_me, sender="")
        await self.deliver(to_me, sender="list-request@far.test")
        await self.deliver(BODY, sender="other@far.test")  # not addressed to alice
        await self.deliver(b"List-Id: <x>\r\n" + to_me, sender="other@far.test")
        await self.deliver(b"Auto-Submitted: auto-generated\r\n" + to_me, sender="other@far.test")
        assert len(self.intake.stored) == 1 and len(await self.mailbox("INBOX")) == 7
        await self.deliver(to_me, sender="other@far.test")
        assert len(self.intake.stored) == 2

    async def test_the_answer_of_somebody_who_is_away_too_is_not_answered(self):
        """Acceptance 15: not even where each message is to be answered, and whatever its sender is called."""
        self.use('require "vacation-seconds"; vacation :seconds 0 :from "alice@a.test" "Away";')
        await self.deliver(b"To: alice@a.test\r\n" + BODY)
        ((_, _, answer),) = self.intake.stored
        theirs = answer.replace(b"alice@a.test", b"eve@far.test")
        theirs = re.sub(rb"(?m)^To: [^\r]*", b"To: alice@a.test", theirs)
        for sender in ("", "eve@far.test"):
            await self.deliver(theirs, sender=sender)
        assert len(self.intake.stored) == 1 and len(await self.mailbox("INBOX")) == 3

    async def test_the_answer_is_filed_too(self):
        self.use(
            'require ["vacation", "fcc", "mailbox", "imap4flags", "special-use"];'
            'vacation :fcc "Out" :create :flags "\\\\Seen" "Away";'
        )
        await self.deliver(b"To: alice@a.test\r\n" + BODY)
        ((_, _, answer),) = self.intake.stored
        ((content, flags),) = await self.mailbox("Out")
        assert content == answer and "\\Seen" in flags and len(await self.mailbox("INBOX")) == 1

    async def test_a_copy_for_nowhere_is_in_the_inbox(self):
        self.use('require ["enotify", "fcc"]; notify :fcc "Nowhere" "mailto:bob@far.test"; discard;')
        await self.deliver()
        ((_, _, notice),) = self.intake.stored
        assert [content for content, _ in await self.mailbox("INBOX")] == [notice]
        assert "sieve-failed" in self.told()

    async def test_somebody_is_told_by_mail(self):
        self.use(
            """require ["enotify", "variables"];
            if header :matches "Subject" "[*] *" {
                notify :message "From ${1} list: ${2}" :importance "3"
                    "mailto:0123456789@sms.example.net?to=backup@example.com&body=look%20gr%C3%BC%C3%9Fe&x-a=b";
            }"""
        )
        triggering = (
            b"Return-Path: <knitting-bounces@example.com>\r\n"
            b"Received: from mail.example.com by mail.example.org\r\n"
            b"  for <recipient@example.org>; Wed, 7 Dec 2005 05:08:02 -0500\r\n"
            b"Message-ID: <1234567.89ABCDEF@example.com>\r\nPrecedence: list\r\n"
            b'From: "Jeff Smith" <jeff@hobbies.example.com>\r\n'
            b"Subject: [Knitting] A new sweater\r\n\r\nI just finished a great new sweater!\r\n"
        )
        assert (await self.deliver(triggering, to="alice+knit@a.test")).action is Action.DELIVERED
        ((envelope, head, notice),) = self.intake.stored
        assert str(envelope.reverse_path) == "alice+knit@a.test" and head == b""
        told = ["0123456789@sms.example.net", "backup@example.com"]
        assert [str(address) for address in envelope.forward_paths] == told
        fields, _, text = notice.partition(b"\r\n\r\n")
        assert fields.startswith(
            b'Auto-Submitted: auto-notified; owner-email="alice@a.test"\r\n'
            b"Received: from mail.example.com by mail.example.org\r\n  for <recipient@example.org>;"
        )
        assert b"\r\nMessage-ID: <Q1@mx.a.test>\r\nFrom: alice+knit@a.test\r\n" in fields
        assert b"\r\nTo: 0123456789@sms.example.net,\r\n backup@example.com\r\n" in fields
        assert b"\r\nSubject: From Knitting list: A new sweater\r\n" in fields
        assert b"\r\nX-a: b\r\n" in fields and b"\r\nImportance: low\r\n" in fields
        assert b"1234567.89" not in fields and text == b"look gr=C3=BC=C3=9Fe\r\n"
        assert len(await self.mailbox("INBOX")) == 1 and "notified" in self.told()
        await self.deliver(triggering, to="alice+knit@a.test", recovered=True)
        assert len(self.intake.stored) == 1  # the crash came behind it

    async def test_who_a_notification_is_from(self):
        self.use('require "enotify"; notify :from "Boss <boss@a.test>" "mailto:bob@far.test";')
        await self.deliver(sender="")
        ((envelope, _, notice),) = self.intake.stored
        assert envelope.reverse_path is None and b"\r\nFrom: alice@a.test\r\n" in notice
        assert b"\r\nSubject: hello\r\n" in notice and b"From: eve@far.test\r\nSubject: hello" in notice

    async def test_no_more_strangers_are_answered_than_may_be(self):
        self.filters._answers._allowance.most = 3
        self.use('require "vacation"; vacation "Away";')
        for number in range(5):
            await self.deliver(b"To: alice@a.test\r\n" + BODY, sender=f"eve{number}@far.test")
        assert len(self.intake.stored) == 3 and len(await self.mailbox("INBOX")) == 5
        assert self.told().count("sieve-failed") == 2

    async def test_the_owner_is_told_once(self):
        self.filters._troubles = Troubles(self.store, hostname="mx.a.test", reactor=reactor)
        self.use('require "variables"; if header :matches "Subject" "*" { redirect "${1}"; }')
        for subject in (b"hello", b"one\r\n two", b"three"):
            await self.deliver(BODY.replace(b"hello\r\n\r\n", subject + b"\r\n\r\n"))
        notes = [octets for octets, _ in await self.mailbox("INBOX") if b"auto-generated" in octets]
        assert len(notes) == 1 and len(await self.mailbox("INBOX")) == 4
        assert b"could not be followed" in notes[0] and b"line 1" in notes[0]
        self.use('require "fileinto"; fileinto "Nowhere";')
        for _ in range(2):
            assert (await self.deliver()).action is Action.DELIVERED
        notes = [octets for octets, _ in await self.mailbox("INBOX") if b"auto-generated" in octets]
        assert len(notes) == 2 and b"Nowhere" in notes[1] and len(await self.mailbox("INBOX")) == 7
        assert self.told().count("sieve-failed") == 5

    async def test_the_address_book_is_whom_the_owner_has_written_to(self):
        allowances = Allowances(
            self.store.home("alice@a.test") / "allowances.sqlite",
            reactor=reactor,
            limits_of=lambda account: NO_LIMITS,
            renew_limits=self.store.renew_limits,
        )
        await allowances.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(allowances.stop()))
        self.filters._acquaintance = partial(stored_acquaintance, allowances._database.path)
        self.use(
            'require ["extlists", "imap4flags"];'
            'if address :list "from" ":addrbook:default" { setflag "known"; } else { setflag "stranger"; }'
            'if valid_ext_list "tag:other" { discard; }'
        )
        await self.deliver()
        await (await allowances.tally("alice@a.test")).take([Address.parse("Eve@far.test")])
        await (await allowances.tally("bob@a.test")).take([Address.parse("mallory@far.test")])
        await self.deliver()
        await self.deliver(BODY.replace(b"eve", b"mallory"))
        marks = [flags & {"known", "stranger"} for _, flags in await self.mailbox("INBOX")]
        assert marks == [{"stranger"}, {"known"}, {"stranger"}]

    async def test_loops_of_notifications_end(self):
        self.use('require "enotify"; notify "mailto:alice@a.test";')
        await self.deliver()
        ((envelope, _, notice),) = self.intake.stored
        await self.deliver(notice, sender=str(envelope.reverse_path))
        assert len(self.intake.stored) == 1 and len(await self.mailbox("INBOX")) == 2
        for _ in range(4):
            await self.deliver()
        assert len(self.intake.stored) == 3 and len(await self.mailbox("INBOX")) == 6
        assert self.told().count("sieve-failed") == 2

    async def test_scripts_include_those_of_the_owner_and_of_everybody(self):
        self.use(
            'require ["include", "fileinto"]; include "lists"; include :global "lists";'
            'include :optional "../mine"; include :optional :global "nothing";'
        )
        self.scripts.write("lists", b'require ["fileinto", "mailbox"]; fileinto :create "Mine";')
        self.common.write(
            "lists",
            b'require ["fileinto", "mailbox"]; if mailboxexists "Trash" { fileinto :create "Site"; }',
        )
        assert (await self.deliver()).action is Action.DELIVERED
        assert len(await self.mailbox("Mine")) == len(await self.mailbox("Site")) == 1
        assert not await self.mailbox("INBOX") and "sieve-failed" not in self.told()
        self.scripts.delete("lists")
        assert (await self.deliver()).action is Action.DELIVERED
        assert len(await self.mailbox("INBOX")) == 1 and "sieve-failed" in self.told()

    async def test_the_script_in_use_is_not_included_and_may_get_another_name(self):
        self.use('require ["include", "fileinto"]; fileinto "INBOX"; include "other";')
        self.scripts.write("other", b'require "include"; include "mine";')
        await self.deliver()
        (reason,) = (event.facts["reason"] for event in self.events if event.stage == "sieve-failed")
        assert reason == 'line 1: in the script "other": line 1: the script "mine" includes itself'
        self.scripts.rename("mine", "main")
        self.scripts.write("mine", b'require ["fileinto", "mailbox"]; fileinto :create "Lists/x";')
        await self.deliver()
        assert len(await self.mailbox("Lists/x")) == 1 and self.told().count("sieve-failed") == 1

    async def test_verdicts_about_spam_and_viruses(self):
        self.use(
            'require ["spamtestplus", "virustest", "fileinto", "mailbox", "variables"];'
            'if spamtest :matches "*" { set "a" "${1}"; }'
            'if spamtest :percent :matches "*" { set "b" "${1}"; }'
            'if virustest :matches "*" { set "c" "${1}"; } fileinto :create "t ${a} ${b} ${c}";'
        )
        await self.deliver()
        await self.deliver(
            b"X-Trust-Spam: score=3.7/10, tests=A\r\nX-Trust-Virus: infected: Eicar\r\n" + BODY
        )
        await self.deliver(b"X-Trust-Spam: -2\r\nX-Trust-Virus: 1\r\n" + BODY)
        await self.deliver(b"X-Trust-Spam: much\r\nX-Trust-Virus: perhaps\r\n" + BODY)
        await self.deliver(b"X-Trust-Spam: 1e5\r\nX-Trust-Virus: 0\r\n" + b"X-Trust-Spam: 99\r\n" + BODY)
        assert len(await self.mailbox("t 0 0 0")) == 2
        for name in ("t 4 37 5", "t 1 0 1", "t 2 10 0"):
            assert len(await self.mailbox(name)) == 1

    async def test_what_is_remembered_is_damaged_and_the_message_kept(self):
        self.use('require "duplicate"; if duplicate { discard; }')
        (self.scripts.directory / "memory.sqlite").write_bytes(b"no database " * 1000)
        assert (await self.deliver()).action is Action.DELIVERED
        assert len(await self.mailbox("INBOX")) == 1 and "sieve-failed" in self.told()
        assert self.flushLoggedErrors(DatabaseError)

    async def test_the_link_to_the_script_is_none_or_leads_elsewhere(self):
        self.use("discard;")
        active = self.scripts.directory / "active"
        elsewhere = self.scripts.directory.parent / "other.sieve"
        elsewhere.write_bytes(b"discard;")
        active.unlink()
        active.write_bytes(b"discard;")
        assert (await self.deliver()).action is Action.DELIVERED
        active.unlink()
        active.symlink_to("../other.sieve")
        assert (await self.deliver()).action is Action.DELIVERED
        assert len(await self.mailbox("INBOX")) == 2 and self.told().count("sieve-failed") == 2
        self.scripts.activate("mine")
        await self.deliver()
        assert self.told()[-1] == "discarded"

    async def test_the_last_flags_of_a_mailbox_count(self):
        self.use(
            'require ["fileinto", "imap4flags"]; fileinto :flags "one" "Trash";'
            'fileinto :flags "two" "Trash";'
            'keep :flags "one"; fileinto :flags "two" "inbox";'
        )
        await self.deliver()
        for name in ("Trash", "INBOX"):
            ((_, flags),) = await self.mailbox(name)
            assert "two" in flags and "one" not in flags

    async def test_an_answer_to_each_message_but_to_none_twice(self):
        self.use('require "vacation-seconds"; vacation :seconds 0 "Away";')
        to_me = b"To: alice@a.test\r\n" + BODY
        await self.deliver(to_me)
        await self.deliver(to_me, recovered=True)  # after a crash
        assert len(self.intake.stored) == 1
        await self.deliver(to_me)
        assert len(self.intake.stored) == 2
        await self.deliver(b"List-Archive: <https://far.test/>\r\n" + to_me)
        assert len(self.intake.stored) == 2

    async def test_an_answer_to_an_internationalised_address(self):
        self.use('require "vacation"; vacation "Away";')
        await self.deliver(b"To: alice@a.test\r\n" + BODY, sender="j\u00fcrgen@far.test")
        await self.deliver(b"To: alice@a.test\r\n" + BODY)
        assert [envelope.parameters.smtputf8 for envelope, _, _ in self.intake.stored] == [True, False]

    async def test_an_answer_comes_from_its_owner_only(self):
        for number, (wanted, sender) in enumerate(
            (
                ("Sales <sales@a.test>", b"Sales <sales@a.test>"),
                ("boss@a.test", b"alice@a.test"),
                ("alice@a.test", b"alice@a.test"),
            )
        ):
            self.use(f'require "vacation"; vacation :handle "{number}" :from "{wanted}" "away";')
            body = BODY.replace(b"From:", b"To: alice@a.test\r\nFrom:")
            await self.deliver(body)
            assert b"\r\nFrom: %b\r\n" % sender in b"\r\n" + self.intake.stored[-1][2]

    async def test_what_was_changed_is_what_is_sent_on(self):
        self.use(
            'require "editheader"; addheader "X-Seen" "yes"; redirect "bob@far.test"; redirect "c@far.test";'
        )
        outcome = await self.deliver()
        assert (outcome.action, outcome.expansion) == (Action.DELIVERED, ())
        ((envelope, head, body),) = self.intake.stored
        assert str(envelope.reverse_path) == "eve@far.test"
        assert list(map(str, envelope.forward_paths)) == ["bob@far.test", "c@far.test"]
        assert head + body == b"Delivered-To: alice@a.test\r\nX-Seen: yes\r\n" + BODY
        assert await self.mailbox("INBOX") == [] and "redirected" in self.told()
        await self.deliver(recovered=True)
        assert len(self.intake.stored) == 1  # the crash came behind it

    async def test_annotations_are_asked(self):
        view = await self.store.viewpoint("alice@a.test")
        await view.set_annotations("INBOX", {"/shared/comment": b"home"})
        await view.set_annotations("Archive", {"/private/comment": "gr\u00fcn".encode()})
        self.store.server_annotations = {"/shared/admin": b"mailto:postmaster@a.test"}
        self.use(
            'require ["mboxmetadata", "servermetadata", "imap4flags"];'
            'if metadata "inbox" "/shared/comment" "home" { addflag "a"; }'
            'if metadata :contains "Archive" "/PRIVATE/comment" "gr\u00fcn" { addflag "b"; }'
            'if servermetadata :matches "/shared/admin" "mailto:*" { addflag "c"; }'
            'if metadataexists "INBOX" "/private/comment" { addflag "d"; }'
            'if metadata "Nowhere" "/shared/comment" "" { addflag "e"; }'
            'if servermetadataexists ["/shared/admin", "bad name"] { addflag "f"; }'
            'if metadataexists "INBOX" ["/shared/comment"] { addflag "g"; }'
        )
        await self.deliver()
        ((_, flags),) = await self.mailbox("INBOX")
        assert flags - {"\\Recent"} == {"a", "b", "c", "g"}

    async def test_a_message_without_a_header_or_a_body(self):
        self.use(
            'require ["fileinto", "body", "date", "variables", "vacation", "envelope", "editheader"];'
            'if header :matches "subject" "*" { fileinto "Junk"; }'
            'elsif not exists ["from", "date"] { addheader "X-Odd" "yes"; keep; }'
            'if currentdate :value "ge" "year" "2000" { keep; }'.replace(' :value "ge"', "")
            + 'vacation "away"; if address "from" "x" { discard; }'
        )
        for body in (b"", b"\r\n", b"\r\nonly a body\r\n", b"no header at all", b": x\r\n\r\n"):
            assert (await self.deliver(body)).action is Action.DELIVERED
        contents = [content for content, _ in await self.mailbox("INBOX")]
        assert len(contents) == 5 and all(b"X-Odd: yes\r\n" in content for content in contents)
        assert self.intake.stored == [] and "sieve-failed" not in self.told()
