"""What people teach by moving mail, over the real sessions and the real store; and refused mail put by."""

from imap_house import ALICE, ImapCase
from twisted.internet import reactor
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from twisted_mta.interfaces import IMailboxEvents, Resolution
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import MailParameters
from twisted_mta.message.outcome import QueuedMessage, QueuedRecipient
from twisted_mta.transfer.mda.delivery import LocalDelivery
from twisted_mta.transfer.mda.junk import rejects
from twisted_mta.transfer.mda.junk.learning import MOST_WAITING, Learning, lesson_of
from twisted_mta.transfer.mda.junk.personal import JunkRules, OwnOpinion
from twisted_mta.transfer.mda.junk.recipients_lists import RecipientsLists
from twisted_mta.transfer.mda.junk.rejects import RejectRules, Rejects, keep_what_is_wanted
from twisted_mta.trust.abuse.reputation import FILE, Reputation
from twisted_mta.trust.abuse.senders import SenderEntry, SenderLists
from twisted_mta.trust.check import Incoming
from twisted_mta.trust.dkim.verify import DkimResult
from twisted_mta.trust.finding import Finding

SERVICE = "mx.a.test"
PROVEN = f"Authentication-Results: {SERVICE}; dkim=pass header.d=far.test\r\n"


def mail(words: str, sender: str = "eve@far.test", proven: bool = False) -> bytes:
    above = PROVEN if proven else ""
    return f"{above}From: <{sender}>\r\nSubject: hello\r\n\r\n{words}\r\n".encode()


def test_what_a_move_teaches():
    uses = {
        name: frozenset({f"\\{use}" for use in name.split("+")})
        for name in ("Junk", "Trash", "Sent", "Drafts", "Archive", "Archive+Junk")
    }
    for source, target, junk in (
        ("INBOX", "Junk", True),
        ("Archive", "Junk", True),
        ("", "Junk", True),  # out of another account's mailbox
        ("Trash", "Junk", True),
        ("Rejects", "Junk", True),
        ("Junk", "INBOX", False),
        ("Junk", "Work", False),
        ("Junk", "Trash", None),  # junk is thrown away, too
        ("Junk", "Junk", None),
        ("Rejects", "INBOX", False),
        ("Rejects", "Trash", None),
        ("INBOX", "Archive", False),
        ("INBOX", "Work", False),
        ("INBOX", "Trash", None),
        ("Work", "INBOX", None),
        ("Sent", "Archive", None),
        ("Drafts", "Junk", None),
        ("", "Archive", None),
        ("INBOX", "Rejects", None),
        ("INBOX", "Archive+Junk", True),
        ("Archive+Junk", "INBOX", False),
    ):
        assert lesson_of(source, target, uses, "Rejects") is junk, (source, target)


@implementer(IMailboxEvents)
class Scripts:
    """Who also wants to know."""

    url = "sieve://mx.a.test"

    def __init__(self):
        self.events = []

    def happened(self, event):
        self.events.append(event)


class JunkMoves(ImapCase):
    async def setUp(self):
        await super().setUp()
        self.scripts = Scripts()
        self.learning = Learning(
            self.store,
            following=self.scripts,
            service=SERVICE,
            journey=self.journey,
            reactor=reactor,
            rejects="Rejects",
            allow=self.allow,
        )
        self.allowed = []
        self.listener = self.make_listener(events=self.learning)
        await self.store.account(ALICE)

    async def allow(self, entry):
        self.allowed.append(entry)

    async def over(self):
        await self.until(lambda: not self.learning._waiting)

    def opinions(self, *entries, **rules):
        return OwnOpinion(
            self.store,
            lists=SenderLists(entries),
            service=SERVICE,
            reactor=reactor,
            rules=JunkRules(**({"needed": 1} | rules)),
        )

    async def judged(self, opinions, data, **more):
        message = QueuedMessage("Q1", Address("eve", "far.test"), 0.0, Content(b"", data), **more)
        return await opinions.judge(ALICE, message)

    def known(self):
        return Reputation(self.store.home(ALICE)).counts()[0]

    async def test_moves_copies_and_changes_of_mind(self):
        uids = [await self.deliver(mail(f"cheap pills {each}")) for each in range(3)]
        talk = await self.logged_in("INBOX")
        await talk.say(f"m UID MOVE {uids[0]}:{uids[1]} Junk")
        await talk.say(f"c UID COPY {uids[2]} Junk")
        await self.over()
        assert self.known() == (3, 0)
        assert [(event.source, event.mailbox) for event in self.scripts.events] == [("INBOX", "Junk")] * 2
        assert self.learning.url == self.scripts.url
        await talk.say("s SELECT Junk")
        await talk.say("m MOVE 1 INBOX")
        await talk.say("m MOVE 1 Trash")
        await self.over()
        assert self.known() == (2, 1)
        told = [event.facts for event in self.events if event.stage == "junk-learned"]
        assert [(facts["messages"], facts["kind"]) for facts in told] == [
            (2, "junk"),
            (1, "junk"),
            (1, "no junk"),
        ]

    async def test_what_was_taught_is_thought_of_the_next_message(self):
        for number in range(20):
            await self.deliver(mail(f"cheap pills in the casino number{number}"))
            await self.deliver(mail(f"agenda for our meeting number{number}", "ann@near.test"))
        talk = await self.logged_in("INBOX")
        await talk.say(f"m UID COPY {','.join(map(str, range(1, 41, 2)))} Junk")
        await talk.say(f"m UID COPY {','.join(map(str, range(2, 41, 2)))} Archive")
        await self.over()
        opinions = self.opinions()
        assert (await self.judged(opinions, mail("cheap pills"))).action == "junk"
        verdict = await self.judged(opinions, mail("our agenda", "ann@near.test"))
        assert verdict.action == "accept" and "like what was put into Junk" in verdict.why
        assert await opinions.junk_score(ALICE, Content(b"", mail("cheap pills"))) > 0.95
        assert (await self.judged(opinions, mail("cheap pills"), account="bob@a.test")).action == "accept"
        assert (await self.judged(self.opinions(needed=21), mail("cheap pills"))).action == "accept"

    async def test_a_proven_sender_that_was_rescued_is_never_junk_again_and_a_forged_one_is(self):
        await self.deliver(mail("cheap pills", proven=True))
        talk = await self.logged_in("INBOX")
        await talk.say("m MOVE 1 Junk")
        await talk.say("s SELECT Junk")
        await talk.say("m MOVE 1 INBOX")
        await self.over()
        verdict = await self.judged(self.opinions(), mail("anything", proven=True))
        assert verdict.action == "allow" and verdict.why == "mail from eve@far.test was kept before"
        assert (await self.judged(self.opinions(), mail("anything"))).action == "accept"

    async def test_where_mail_is_delivered_then(self):
        entries = [SenderEntry(ALICE, "eve@far.test", "allow"), SenderEntry(ALICE, "spam.test", "deny")]
        mda = LocalDelivery(
            directory=House(),
            store=self.store,
            journey=self.journey,
            reactor=reactor,
            personal=[self.opinions(*entries)],
        )
        to = [QueuedRecipient(1, Address("alice", "a.test"))]
        for number, data in enumerate((mail("x", proven=True), mail("x"), mail("x", "spy@spam.test"))):
            message = QueuedMessage(
                f"Q{number}", None, 0.0, Content(b"", data), MailParameters(junk="a filter")
            )
            await mda.deliver(message, to)
        await mda.deliver(QueuedMessage("Q9", None, 0.0, Content(b"", mail("x", "spy@spam.test"))), to)
        told = [event.facts for event in self.events if event.stage == "delivered"]
        assert [facts["mailbox"] for facts in told] == ["INBOX", "Junk", "Junk", "Junk"]
        assert told[3]["junk"] == "spam.test is on the list of senders that alice@a.test denies"

    async def test_who_is_rescued_from_rejects_is_allowed_if_proven(self):
        await (await self.store.account(ALICE)).create("Rejects")
        await self.deliver(mail("one", proven=True), mailbox="Rejects")
        await self.deliver(mail("two", "ann@near.test"), mailbox="Rejects")
        await self.deliver(mail("three", "spy@far.test", proven=True), mailbox="Rejects")
        talk = await self.logged_in("Rejects")
        await talk.say("m MOVE 3 Trash")
        await talk.say("m MOVE 1:2 INBOX")
        await self.over()
        (entry,) = self.allowed
        assert entry[:3] == (ALICE, "eve@far.test", "allow") and entry.note == "rescued from Rejects"
        assert self.known() == (0, 2)

    async def test_an_accounts_own_lists(self):
        entries = [SenderEntry(ALICE, "far.test", "deny"), SenderEntry(ALICE, "eve@far.test", "allow")]
        opinions = self.opinions(*entries)
        assert (await self.judged(opinions, mail("x", proven=True))).action == "allow"
        verdict = await self.judged(opinions, mail("x"))  # it only says so
        assert (verdict.action, verdict.why) == (
            "junk",
            "far.test is on the list of senders that alice@a.test denies",
        )

    async def test_nor_may_an_allowed_list_write_as_somebody_who_disowns_that(self):
        opinions = self.opinions(SenderEntry(ALICE, "far.test", "allow"))
        failed = "; dmarc=fail header.from=bank.test policy.dmarc=reject"
        data = mail("x", "you@bank.test", proven=True).replace(b"; dkim", f"{failed}; dkim".encode())
        for junk, action in (("nothing proves that bank.test sent it", "accept"), ("", "allow")):
            verdict = await self.judged(opinions, data, parameters=MailParameters(junk=junk))
            assert verdict.action == action

    async def test_what_others_do_and_what_is_too_much_teaches_nothing(self):
        owner = await self.logged_in("INBOX")
        await owner.say("a SETACL INBOX bob@a.test lrswite")
        await owner.say("a SETACL Junk bob@a.test lrswi")
        await self.deliver(mail("cheap pills"))
        bob = await self.logged_in(user="bob")
        await bob.say('s SELECT "Other Users/alice@a.test/INBOX"')
        answer = await bob.say('m COPY 1 "Other Users/alice@a.test/Junk"')
        assert answer[-1].startswith("m OK"), answer
        self.learning._count[ALICE] = MOST_WAITING
        await owner.say("n NOOP")
        await owner.say("m COPY 1 Junk")
        await self.over()
        assert len(self.scripts.events) == 2 and not (self.store.home(ALICE) / FILE).exists()


class House:
    """alice@a.test, who is also a@a.test."""

    def is_local(self, domain):
        return domain == "a.test"

    async def resolve(self, address):
        return (
            Resolution(account=ALICE) if address.local in ("alice", "a") else Resolution(aliases=(address,))
        )


class RecipientsListsTests(TestCase):
    async def judged(self, *recipients):
        lists = SenderLists([SenderEntry(ALICE, "far.test", "allow")])
        message = Incoming(
            "192.0.2.7",
            header=b"From: <eve@far.test>\r\n\r\n",
            forward_paths=tuple(map(Address.parse, recipients)),
            dkim=[DkimResult("pass", domain="far.test")],
        )
        return (await RecipientsLists(lists, House()).judge(message)).action

    async def test_all_recipients_have_to_want_it(self):
        assert await self.judged("alice@a.test", "a@a.test") == "allow"
        assert await self.judged("alice@a.test", "list@a.test") == "accept"
        assert await self.judged("alice@a.test", "bob@b.test") == "accept"


class RejectsTests(ImapCase):
    def make(self, **rules):
        return Rejects(
            self.store,
            directory=House(),
            service=SERVICE,
            journey=Journey(),
            reactor=reactor,
            rules=RejectRules(**rules),
        )

    def message(self, number=1, **more):
        facts = {
            "address": "192.0.2.7",
            "reverse_path": Address("eve", "far.test"),
            "forward_paths": (Address("alice", "a.test"), Address("a", "a.test"), Address("list", "a.test")),
            "queue_id": f"Q{number}",
            "header": b"From: <eve@far.test>\r\n\r\n",
            "content": Content(b"", mail(f"number {number}")),
            "findings": (Finding("spf", "fail", {"smtp.mailfrom": "eve@far.test"}),),
        }
        return Incoming(**(facts | more))

    async def put_by(self):
        account = await self.store.account(ALICE)
        if "Rejects" not in [info.name for info in await account.list_mailboxes()]:
            return []
        mailbox = await account.open("Rejects")
        try:
            return await mailbox.read(list(mailbox.uids))
        finally:
            await mailbox.close()

    async def test_refused_mail_is_there_once_with_the_reason_on_top(self):
        await self.make().keep(self.message(), "12.0 points speak against it")
        (kept,) = await self.put_by()
        assert kept.startswith(
            b"Return-Path: <eve@far.test>\r\nDelivered-To: alice@a.test\r\n"
            b"Authentication-Results: mx.a.test;\r\n"
            b'\tx-refused=fail reason="12.0 points speak against it";\r\n'
            b"\tspf=fail smtp.mailfrom=eve@far.test\r\nFrom: <eve@far.test>\r\n"
        )

    async def test_what_is_not_put_by(self):
        await self.make().keep(self.message(forward_paths=(Address("list", "a.test"),)), "why")
        assert await self.put_by() == []

    async def test_what_nobody_wants_is_not_kept(self):
        kept = []

        async def keep(message, why):
            kept.append(why)

        async def in_thread(function):
            return function()

        async def refuse(message, why, *entries, octets=1000):
            lists = SenderLists(entries)
            await keep_what_is_wanted(
                message, why, keep=keep, lists=lists, octets=octets, in_thread=in_thread
            )

        await refuse(self.message(), "Message holds a virus: Eicar")
        await refuse(self.message(), "large", octets=10)
        await refuse(self.message(), "denied", SenderEntry("", "far.test", "deny"))
        await refuse(self.message(content=None), "nothing there yet")
        assert kept == []
        await refuse(self.message(), "why")
        assert kept == ["why"]

    async def test_binary_mail_is_put_by_encoded(self):
        """RFC 3030; what no encoding may change is not put by."""
        binary = MailParameters(body="BINARYMIME")
        for header in (b"Content-Type: image/x\r\n", b"X: \0\r\n"):
            content = Content(b"", header + b"\r\n\0\r\n\n\r")
            await self.make().keep(self.message(content=content, parameters=binary), "why")
        (kept,) = await self.put_by()
        assert kept.endswith(b"Content-Transfer-Encoding: base64\r\n\r\nAA0KCg0=\r\n")

    async def test_the_oldest_goes_and_an_hour_has_an_end(self):
        kept = self.make(most=3)
        for number in range(5):
            await kept.keep(self.message(number), "why")
        assert [data.rpartition(b"number ")[2] for data in await self.put_by()] == [
            b"2\r\n",
            b"3\r\n",
            b"4\r\n",
        ]
        self.patch(rejects, "MOST_IN_AN_HOUR", 5)
        await kept.keep(self.message(9), "why")
        assert len(await self.put_by()) == 3 and b"number 4" in (await self.put_by())[-1]
        await kept._expire_all()
        await kept.keep(self.message(9), "why")
        assert b"number 9" in (await self.put_by())[-1]

    async def test_what_is_too_old_goes_even_after_a_restart(self):
        before = self.make()
        await before.keep(self.message(), "why")
        after = self.make(keep=-1.0)
        after.accounts.settle(before.accounts.take_changes())
        await after._expire_all()
        assert await self.put_by() == []
