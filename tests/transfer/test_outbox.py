"""The Outbox and the copies in Sent over the real store: what is sent, what stays, what a crash leaves."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.transfer.smtp_session import Directory, Intake
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.encoded_word import decode
from twisted_mta.message.envelope import Envelope, EnvelopeRecipient
from twisted_mta.message.headers import first_value
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.message.status import MailError
from twisted_mta.protocol.smtp.extensions import SmtpLimits
from twisted_mta.store.errors import NoSuchMessage
from twisted_mta.store.quota import UNLIMITED, Limits
from twisted_mta.store.store import MessageStore
from twisted_mta.transfer.msa.allowances import UNCOUNTED
from twisted_mta.transfer.msa.composition import compose
from twisted_mta.transfer.msa.intents import Intent
from twisted_mta.transfer.msa.outbox import Outbox, OutboxPolicy
from twisted_mta.transfer.msa.sent import SentCopies, with_copy

ALICE, CAROL = "alice@a.test", Address("carol", "c.test")
CLAIM = b"Authentication-Results: mx.a.test; dmarc=pass header.from=c.test\r\n"
DRAFT = b"From: alice@a.test\r\nTo: carol@c.test\r\nSubject: x\r\n\r\nx\r\n"


class Killed(BaseException):
    """kill -9, as far as what runs can notice it."""


class Local:
    """The deliverer behind."""

    def __init__(self):
        self.delivered = []

    async def deliver(self, message, recipients):
        self.delivered += [recipient.forward_path for recipient in recipients]
        return [Outcome(Action.DELIVERED, "2.0.0", "") for _ in recipients]


class OutboxCase(TestCase):
    async def setUp(self):
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name)
        self.limits = UNLIMITED
        self.store = MessageStore(
            self.path / "mail", reactor=reactor, hostname="mx.a.test", limits_of=lambda account: self.limits
        )
        await self.store.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.store.stop()))
        self.intake, self.queued, self.full = Intake(), set(), set()
        self.told = []
        self.journey = Journey()
        self.journey.add_reader(self.told.append)
        self.local = Local()
        self.sent = SentCopies(
            self.local, store=self.store, journey=self.journey, reactor=reactor, outbox="Outbox"
        )
        await (await self.store.account(ALICE)).create("Outbox")
        self.outbox = await self.started()

    async def started(self):
        """A process on the same files."""

        async def in_queue(queue_id):
            return queue_id in self.queued

        async def has_recipient(account, orcpt):
            return (account, orcpt) in self.queued

        async def is_full(account, octets=0):
            return account in self.full

        outbox = Outbox(
            self.path / "outbox.sqlite",
            policy=OutboxPolicy(
                outbox="Outbox",
                hostname="mx.a.test",
                postmaster=Address("postmaster", "a.test"),
                limits=SmtpLimits(),
            ),
            store=self.store,
            directory=Directory(),
            intake=self.intake,
            in_queue=in_queue,
            has_recipient=has_recipient,
            counting=UNCOUNTED,
            sent=self.sent,
            is_full=is_full,
            returns=None,
            journey=self.journey,
            reactor=reactor,
        )
        await outbox.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(outbox.stop()))
        return outbox

    async def restarted(self):
        await self.outbox.stop()
        self.outbox = await self.started()
        await self.until(lambda: not self.outbox._due)

    async def until(self, ready):
        while not ready():
            await deferLater(reactor, 0.001)

    async def put(self, content=DRAFT, mailbox="Outbox"):
        """A message that lies in the mailbox: (uid_validity, uid)."""
        draft = await self.store.draft(ALICE)
        await draft.write(content)
        await draft.end_message(frozenset(), None)
        uid_validity, (uid,) = await draft.commit(mailbox)
        return uid_validity, uid

    async def contents(self, mailbox):
        """The messages there, with their flags."""
        opened = await (await self.store.account(ALICE)).open(mailbox)
        try:
            found = await opened.read(list(opened.uids))
            return [(data, set(opened.flags(uid))) for data, uid in zip(found, opened.uids, strict=True)]
        finally:
            await opened.close()

    async def deliver(self, recipients, content=Content(b"", DRAFT), **how):
        """What the queue does with these recipients of a message of Alice's."""
        queued = [
            QueuedRecipient(70 + number, each.forward_path, notify=each.notify, orcpt=each.orcpt)
            for number, each in enumerate(recipients)
        ]
        how = {"account": ALICE, **how}
        message = QueuedMessage("Q1", Address.parse(ALICE), 1234.5, content, **how)
        return [outcome.action for outcome in await self.sent.deliver(message, queued)]


class OutboxTests(OutboxCase):
    async def test_from_the_outbox_into_the_queue_and_then_into_sent(self):
        await self.outbox.submit(
            ALICE, *await self.put(DRAFT.replace(b"Subject", b"Bcc: d@c.test\r\n" + CLAIM + b"Subject"))
        )
        ((envelope, head, body),) = self.intake.stored
        assert envelope.reverse_path == Address.parse(ALICE) and envelope.account == ALICE
        assert [str(path) for path in envelope.forward_paths[:-1]] == ["carol@c.test", "d@c.test"]
        assert body == DRAFT and b"Message-ID: <" in head
        assert await self.deliver(envelope.recipients) == [Action.DELIVERED] * 3
        assert self.local.delivered == [CAROL, Address("d", "c.test")]
        ((content, flags),) = await self.contents("Sent")
        assert b"Bcc: d@c.test" in content and flags == {"\\Seen", "$Submitted"}
        assert await self.contents("Outbox") == []
        assert await self.deliver(envelope.recipients[-1:], recovered=True) == [Action.DELIVERED]
        assert len(await self.contents("Sent")) == 1

    async def test_refusals_leave_it_where_it_is(self):
        self.full = {"bob@a.test"}
        for content, code in (
            (DRAFT.replace(b"From: alice", b"From: bob"), 553),
            (DRAFT.replace(b"carol@c", b"nobody@a"), 550),
            (DRAFT.replace(b"carol@c", b"bob@a"), 452),
            (DRAFT.replace(b"carol@c.test", b"carol@[192.0.2.1]"), 550),
            (b" " + DRAFT, 554),
            (DRAFT + b"x\r.\r\n", 554),
            (DRAFT.replace(b"From", b"From: alice@a.test\r\nFrom"), 554),
            (b"Received: x\r\n" * 100 + DRAFT, 554),
            (b"X: " + b"x" * 300_000 + b"\r\n" + DRAFT, 552),
        ):
            with self.assertRaises(MailError) as caught:
                await self.outbox.submit(ALICE, *await self.put(content))
            assert caught.exception.code == code, content[:100]
        self.intake.commit_error = MailError(452, "4.3.1", "Insufficient system storage")
        with self.assertRaises(MailError):
            await self.outbox.submit(ALICE, *await self.put())
        assert not self.intake.stored and len(await self.contents("Outbox")) == 10
        await self.restarted()
        assert not self.intake.stored  # what was refused is not tried again by itself

    async def test_what_lies_there_already_is_not_sent(self):
        await self.put()
        await self.restarted()
        uid_validity, uid = await self.put()
        with self.assertRaises(NoSuchMessage):
            await self.outbox.submit(ALICE, uid_validity + 1, uid)
        with self.assertRaises(NoSuchMessage):
            await self.outbox.submit(ALICE, uid_validity, uid + 1)
        assert not self.intake.stored

    async def test_later_in_their_order_and_each_by_itself(self):
        messages = [await self.put(DRAFT.replace(b"Subject: x", b"Subject: %d" % n)) for n in range(3)]
        bad = await self.put(
            DRAFT.replace(b"carol@c", b"nobody@a").replace(b"Subject: x", b"Subject: gr\xc3\xbcn")
        )
        uids = [uid for _, uid in [messages[0], bad, *messages[1:]]]
        await self.outbox.submit_later(ALICE, bad[0], uids)
        await self.until(lambda: not self.outbox._due)
        assert [body.split(b"Subject: ")[1][:1] for _, _, body in self.intake.stored] == [b"0", b"1", b"2"]
        marked = [flags for content, flags in await self.contents("Outbox") if b"nobody" in content]
        assert marked == [{"$SubmitFailed"}]
        ((notice, _),) = await self.contents("INBOX")
        assert decode(first_value(notice, b"Subject")) == "Not sent: grün"
        assert b"<nobody@a.test> No such mailbox here" in notice


class CrashTests(OutboxCase):
    async def killed(self, where):
        """submit_later and a crash: "promised", before the "queue", or "queued"."""
        uid_validity, uid = await self.put()

        async def commit(envelope, head=b""):
            if where == "queued":
                self.intake.stored.append((envelope, head, DRAFT))
                self.queued.add("Q1")
            raise Killed

        if where == "promised":
            self.outbox._stopping = True
        else:
            draft = self.intake.draft()
            draft.commit = commit
            self.intake.draft = lambda: draft
        self.outbox._intents.strike_out = self.gone
        await self.outbox.submit_later(ALICE, uid_validity, [uid])
        await self.until(lambda: not self.outbox._due)
        self.intake.__dict__.pop("draft", None)
        self.flushLoggedErrors(Killed)
        await self.restarted()
        return envelope_of(self.intake.stored)

    async def gone(self, intent):
        """Whatever a process that was killed would have done."""

    async def test_what_was_promised_is_sent(self):
        await self.killed("promised")
        assert len(self.intake.stored) == 1

    async def test_what_did_not_get_into_the_queue_is_sent(self):
        await self.killed("queue")
        assert len(self.intake.stored) == 1

    async def test_what_the_queue_has_is_not_sent_again(self):
        envelope = await self.killed("queued")
        assert len(self.intake.stored) == 1
        assert await self.deliver(envelope.recipients, recovered=True) == [Action.DELIVERED] * 2
        assert len(await self.contents("Sent")) == 1 and await self.contents("Outbox") == []

    async def test_what_came_and_was_not_promised_is_told(self):
        await self.put()  # by a script, some time ago
        await self.outbox.came(await self.outbox.expect(ALICE))
        await self.put()
        await self.outbox.expect(ALICE)
        await self.put(DRAFT.replace(b"Subject: x", b"Subject: left"))
        await self.restarted()
        for _ in range(2):
            assert [flags for _, flags in await self.contents("Outbox")] == [set(), set(), {"$SubmitFailed"}]
            ((notice, _),) = await self.contents("INBOX")
            assert decode(first_value(notice, b"Subject")) == "Not sent: left"
            assert not self.intake.stored
            await self.restarted()

    async def test_what_came_and_is_on_its_way_is_not_told(self):
        await self.outbox.expect(ALICE)
        uid_validity, uid = await self.put()
        self.queued.add((ALICE, f"x-sent;move.{uid_validity}.{uid}"))
        await self.restarted()
        await self.outbox.expect(ALICE)
        _, promised = await self.put()
        await self.outbox._intents.add([Intent(ALICE, uid_validity, promised)])
        await self.restarted()
        assert len(self.intake.stored) == 1 and await self.contents("INBOX") == []

    async def test_what_had_been_moved_is_not_sent_again(self):
        envelope = await self.killed("queued")
        await self.deliver(envelope.recipients, recovered=True)
        self.queued.clear()  # it is done, and the intent was not struck out
        uid_validity, uid = map(int, envelope.recipients[-1].orcpt.split(".")[1:])
        await self.outbox._intents.add([Intent(ALICE, uid_validity, uid, "Q1")])
        await self.restarted()
        assert len(self.intake.stored) == 1


def envelope_of(stored):
    return stored[0][0]


class SentTests(OutboxCase):
    envelope = with_copy(Envelope(Address.parse(ALICE), (EnvelopeRecipient(CAROL),), account=ALICE))

    async def test_one_copy_however_often_the_queue_tries(self):
        for recovered in (False, True, True):
            assert await self.deliver(self.envelope.recipients, recovered=recovered) == [Action.DELIVERED] * 2
        assert await self.contents("Sent") == [(DRAFT, {"\\Seen"})]

    async def test_over_quota_the_copy_waits_and_the_message_goes(self):
        self.limits = Limits(octets=10)
        assert await self.deliver(self.envelope.recipients) == [Action.DELIVERED, Action.DELAYED]
        assert self.local.delivered == [CAROL] and await self.contents("Sent") == []
        self.limits = UNLIMITED
        assert await self.deliver(self.envelope.recipients[-1:]) == [Action.DELIVERED]
        assert await self.contents("Sent") == [(DRAFT, {"\\Seen"})]

    async def test_the_mailbox_is_the_one_with_the_special_use_and_made_when_it_is_missing(self):
        account = await self.store.account(ALICE)
        await account.rename("Sent", "Gesendet")
        await self.deliver(self.envelope.recipients)
        assert len(await self.contents("Gesendet")) == 1
        await account.delete("Gesendet")
        await self.deliver(self.envelope.recipients)
        assert len(await self.contents("Sent")) == 1
        uses = {info.name: " ".join(info.special_uses) for info in await account.list_mailboxes()}
        assert uses["Sent"] == "\\Sent"

    async def test_nobody_else_can_name_it(self):
        (copy,) = self.envelope.recipients[-1:]
        await self.deliver([copy], account="")
        await self.deliver([replace(copy, orcpt="")])
        await self.deliver([copy], account="eve@b.test")
        assert self.local.delivered == [copy.forward_path] * 3 and await self.contents("Sent") == []

    async def test_what_a_client_has_put_there_is_enough(self):
        content = b"Message-ID: <1@laptop>\r\n" + DRAFT
        await self.put(content, "Sent")
        await self.deliver(self.envelope.recipients, content=Content(b"Received: x\r\n", content))
        assert await self.contents("Sent") == [(content, set())]

    async def test_what_a_client_has_put_there_meanwhile_is_enough(self):
        """Ours found no room; the client has made some, and its own is there when the queue tries again."""
        content = b"Message-ID: <1@laptop>\r\n" + DRAFT
        copy = self.envelope.recipients[-1:]
        self.limits = Limits(octets=10)
        assert await self.deliver(copy, content=Content(b"", content)) == [Action.DELAYED]
        self.limits = UNLIMITED
        await self.put(content, "Sent")
        again = await self.deliver(copy, content=Content(b"", content), recovered=True)
        assert again == [Action.DELIVERED] and await self.contents("Sent") == [(content, set())]

    async def test_what_a_client_puts_there_afterwards_takes_its_place(self):
        content = b"Message-ID: <1@laptop>\r\n" + DRAFT
        await self.deliver(self.envelope.recipients, content=Content(b"", content))
        _, other = await self.put(content.replace(b"1@", b"2@"), "Sent")
        _, uid = await self.put(b"Bcc: x\r\n" + content, "Sent")
        await self.sent.appended(ALICE, "Drafts", [uid])
        await self.sent.appended("bob@a.test", "Sent", [uid])
        assert len(await self.contents("Sent")) == 3
        await self.sent.appended(ALICE, "Sent", [other, uid])
        assert [content[:6] for content, _ in await self.contents("Sent")] == [b"Messag", b"Bcc: x"]

    async def test_so_it_does_after_a_crash(self):
        """The first copy was made and not recorded; the next process finds it and knows it for its own."""
        content = b"Message-ID: <1@laptop>\r\n" + DRAFT
        copy = self.envelope.recipients[-1:]
        await self.deliver(copy, content=Content(b"", content))
        self.sent._copies.clear()
        await self.deliver(copy, content=Content(b"", content), recovered=True)
        _, uid = await self.put(b"Bcc: x\r\n" + content, "Sent")
        await self.sent.appended(ALICE, "Sent", [uid])
        assert [content[:6] for content, _ in await self.contents("Sent")] == [b"Bcc: x"]

    async def test_a_spooled_message(self):
        path = self.path / "spool"
        path.write_bytes(DRAFT + b"x" * 300_000 + b"\r\n")
        await self.deliver(self.envelope.recipients, content=Content(b"Received: x\r\n", path=path))
        ((content, _),) = await self.contents("Sent")
        assert content == b"Received: x\r\n" + path.read_bytes()


class EnvelopeTests(TestCase):
    def composed(self, header, most=100):
        return compose(ALICE, header, most, ascii_body=True)

    def test_the_envelope_is_that_of_the_header(self):
        envelope = self.composed(
            b'To: A group: "x, y" <a@c.test>, b@c.test;, (comment) A@c.test\r\n'
            b"Cc: =?utf-8?q?N=40?= <d@c.test>\r\nBcc: a@c.test,\r\n\te@c.test\r\n"
            b"Sender: sales@a.test\r\nFrom: alice@a.test, sales@a.test\r\n\r\n"
        )
        assert str(envelope.reverse_path) == "sales@a.test"
        local_parts = [path.local for path in envelope.forward_paths]
        assert local_parts == ["a", "b", "A", "d", "e"] and not envelope.parameters.smtputf8

    def test_internationalised_addresses(self):
        envelope = self.composed("To: jürgen@bücher.test\r\n".encode())
        assert str(envelope.forward_paths[0]) == "jürgen@xn--bcher-kva.test"
        assert envelope.parameters.smtputf8 and envelope.reverse_path == Address.parse(ALICE)

    def test_what_readers_could_disagree_about(self):
        for header in (
            b"To: a@c.test <b@c.test>\r\n",
            b"To: (a@c.test\r\n",
            b"To: a b\r\n",
            b"",
            b"To: x:;\r\n",
        ):
            with self.assertRaises(MailError):
                self.composed(header)
        with self.assertRaises(MailError):
            self.composed(b"To: a@c.test, b@c.test\r\n", most=1)
