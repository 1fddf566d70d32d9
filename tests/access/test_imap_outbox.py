"""The Outbox as IMAP clients see it: what is sent when, and what becomes of that which cannot be."""

import re

from imap_house import ALICE
from test_imap_append import AppendCase
from zope.interface import implementer

from twisted_mta.access.imap4 import outbox
from twisted_mta.interfaces import ISubmitter
from twisted_mta.message.status import MailError

DRAFT = b"From: alice@a.test\r\nTo: bob@a.test\r\n\r\nx\r\n"


@implementer(ISubmitter)
class Submitter:
    """Notes what is sent. `error` is what stands against it."""

    def __init__(self):
        self.sent, self.later, self.appends, self.error, self.closed = [], [], [], None, None
        self.expected, self.story = 0, []

    def is_outbox(self, mailbox):
        return mailbox == "Outbox"

    async def may_submit(self, account):
        if self.closed:
            raise self.closed

    async def expect(self, account):
        self.expected += 1
        self.story.append(f"expect {self.expected}")
        return self.expected

    async def came(self, token):
        self.story.append(f"came {token}")

    async def submit(self, account, uid_validity, uid):
        self.story.append("submit")
        if self.error:
            raise self.error
        self.sent.append((account, uid))

    async def submit_later(self, account, uid_validity, uids):
        self.story.append("later")
        self.later.append((account, *uids))

    async def appended(self, account, mailbox, uids):
        self.appends.append((account, mailbox, *uids))


class OutboxTests(AppendCase):
    async def setUp(self):
        self.submitter = Submitter()
        await super().setUp()

    def make_listener(self, **options):
        return super().make_listener(submitter=self.submitter, **options)

    async def ready(self):
        talk = await self.logged_in("INBOX")
        await talk.say("c CREATE Outbox")
        return talk

    async def test_append_waits_for_it(self):
        talk = await self.ready()
        assert re.match(r"a OK \[APPENDUID \d+ 1\]", await self.append(talk, DRAFT, "Outbox"))
        assert self.submitter.sent == [(ALICE, 1)] and not self.submitter.appends
        assert await self.append(talk, DRAFT, "Sent") and self.submitter.appends == [(ALICE, "Sent", 1)]

    async def test_what_comes_there_is_expected_before(self):
        talk = await self.ready()
        await self.append(talk, DRAFT, "Outbox")
        self.submitter.error = MailError(550, "5.1.1", "No such mailbox here")
        await self.append(talk, DRAFT, "Outbox")
        await self.append(talk, DRAFT, "INBOX")
        await talk.say("a SELECT INBOX")
        assert (await talk.say("b COPY 1 Outbox"))[-1].startswith("b OK")
        await talk.say("c MOVE 1 Outbox")
        await talk.say("d COPY 1 Sent")
        done = ["submit", "submit", "later", "later"]
        expected = [(f"expect {n}", what, f"came {n}") for n, what in enumerate(done, 1)]
        assert self.submitter.story == [step for steps in expected for step in steps]

    async def test_what_cannot_be_sent_is_not_kept(self):
        talk = await self.ready()
        for error, code in (
            (MailError(550, "5.1.1", "No such mailbox here"), "CANNOT"),
            (MailError(452, "4.3.1", "No room"), "UNAVAILABLE"),
        ):
            self.submitter.error = error
            assert await self.append(talk, DRAFT, "Outbox") == f"a NO [{code}] Not sent: {error.text}"
            assert await self.count(talk, "Outbox") == 0
        assert not self.left_over()

    async def test_who_may_not_send_hears_it_before_the_message_comes(self):
        talk = await self.ready()
        self.submitter.closed = MailError(450, "4.7.1", "Enough")
        assert await talk.say("a APPEND Outbox {5000000}") == ["a NO [UNAVAILABLE] Not sent: Enough"]
        assert "OK" in await self.append(talk, DRAFT, "Drafts")

    async def test_one_command_sends_one_message(self):
        talk = await self.ready()
        two = b"a APPEND Outbox {%d+}\r\n%b {%d+}\r\n%b\r\n" % (len(DRAFT), DRAFT, len(DRAFT), DRAFT)
        assert b"a NO [CANNOT] Messages are sent one by one" in await talk.send(two)
        assert await self.count(talk, "Outbox") == 0 and not self.submitter.sent

    async def test_copied_moved_and_replacing_ones_are_sent_later(self):
        talk = await self.ready()
        for _ in range(3):
            await self.append(talk, DRAFT)
        await talk.say("n NOOP")
        assert (await talk.say("a COPY 1 Outbox"))[-1].startswith("a OK [COPYUID")
        assert (await talk.say("a MOVE 1:2 Outbox"))[-1].startswith("a OK")
        await talk.send(b"a REPLACE 1 Outbox {%d+}\r\n%b\r\n" % (len(DRAFT), DRAFT))
        assert self.submitter.later == [(ALICE, 1), (ALICE, 2, 3), (ALICE, 4)]
        assert await self.count(talk, "INBOX") == 0 and await self.count(talk, "Outbox") == 4

    async def test_not_too_many_at_a_time(self):
        self.patch(outbox, "MOST", 1)
        talk = await self.ready()
        for _ in range(2):
            await self.append(talk, DRAFT)
        await talk.say("n NOOP")
        for command in ("COPY", "MOVE"):
            assert (await talk.say(f"a {command} 1:2 Outbox"))[-1].startswith("a NO [LIMIT] No more than 1")
        assert (await talk.say("a COPY 1:2 Drafts"))[-1].startswith("a OK")
        assert await self.count(talk, "Outbox") == 0 and not self.submitter.later

    async def test_others_cannot_send_by_it(self):
        talk = await self.ready()
        await talk.say("g SETACL Outbox bob@a.test lrstwi")
        bob = await self.logged_in("INBOX", user="bob")
        shared = f"Other Users/{ALICE}/Outbox"
        assert "OK" in await self.append(bob, DRAFT, f'"{shared}"')
        await self.append(bob, DRAFT)
        await bob.say("n NOOP")
        assert (await bob.say(f'a COPY 1 "{shared}"'))[-1].startswith("a OK")
        assert not self.submitter.sent and not self.submitter.later
        assert await self.count(talk, "Outbox") == 2
