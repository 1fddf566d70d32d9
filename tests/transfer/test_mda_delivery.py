"""Local delivery: one outcome per recipient, trace fields, loops, one copy each, failures."""

from pathlib import Path
from tempfile import TemporaryDirectory

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twisted_mta.interfaces import IDeliverer, IDirectory, Resolution
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import DeliverBy, MailParameters
from twisted_mta.message.outcome import Action, QueuedMessage, QueuedRecipient
from twisted_mta.message.status import MailError
from twisted_mta.store.errors import StorageFault
from twisted_mta.transfer.mda.delivery import LocalDelivery, delivered_to

BODY = b"Subject: hello\r\n\r\nhello\r\n"


@implementer(IDirectory)
class House:
    """alice@ and bob@a.test; list@ is both and eve@far.test; loop@ is itself; broken@ raises."""

    def is_local(self, domain):
        return domain == "a.test"

    async def resolve(self, address):
        user, _, detail = address.local.lower().partition("+")
        if user in ("alice", "bob", "postmaster"):
            account = "alice@a.test" if user == "postmaster" else f"{user}@a.test"
            return Resolution(account=account, detail=detail)
        if user == "list":
            members = ("Alice@a.test", "bob@a.test", "eve@far.test")
            return Resolution(aliases=tuple(map(Address.parse, members)))
        if user == "loop":
            return Resolution(aliases=(address,))
        if user == "broken":
            raise RuntimeError("no directory today")
        return None

    async def authenticate(self, login, password, peer="", service=""):
        return None

    async def owns(self, account, address):
        return False


class Shelf:
    """A store that keeps what it is given, or raises what it is told to for an account."""

    def __init__(self):
        self.taken = []
        self.trouble = {}
        self.waiting = None  # a list of Deferreds while deliveries are held

    async def deliver(self, account, content, **how):
        if self.waiting is not None:
            held = Deferred()
            self.waiting.append(held)
            await held
        if account in self.trouble:
            raise self.trouble[account]
        self.taken.append((account, b"".join(content.chunks()), how))
        return len(self.taken)

    async def was_delivered(self, account, unique, arrived):
        if account in self.trouble:
            raise self.trouble[account]
        return any(to == account and how["unique"] in unique for to, _, how in self.taken)


class DeliveryTests(TestCase):
    def setUp(self):
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.store = Shelf()
        self.events = []
        journey = Journey()
        journey.add_reader(self.events.append)
        self.mda = LocalDelivery(directory=House(), store=self.store, journey=journey, reactor=reactor)

    def deliver(self, *paths, content=Content(b"", BODY), reverse_path="eve@far.test", recovered=False):
        message = QueuedMessage(
            "Q1",
            Address.parse(reverse_path) if reverse_path else None,
            1234.5,
            content,
            recovered=recovered,
        )
        recipients = [QueuedRecipient(70 + n, Address.parse(path)) for n, path in enumerate(paths)]
        return self.mda.deliver(message, recipients)

    async def test_an_account(self):
        (outcome,) = await self.deliver("Alice@a.test")
        assert (outcome.action, outcome.status) == (Action.DELIVERED, "2.0.0")
        ((account, octets, how),) = self.store.taken
        assert account == "alice@a.test"
        assert octets == b"Return-Path: <eve@far.test>\r\nDelivered-To: alice@a.test\r\n" + BODY
        assert how == {
            "unique": "Q1-70",
            "arrived": 1234.5,
            "mailbox": "INBOX",
            "flags": frozenset(),
            "recovered": False,
        }
        (event,) = self.events
        assert (event.stage, event.queue_id) == ("delivered", "Q1")
        assert {name: str(value) for name, value in event.facts.items()} == {
            "to": "Alice@a.test",
            "account": "alice@a.test",
            "mailbox": "INBOX",
        }

    async def test_the_null_reverse_path(self):
        await self.deliver("alice@a.test", reverse_path="")
        assert self.store.taken[0][1].startswith(b"Return-Path: <>\r\n")

    async def test_quoted_reverse_path(self):
        await self.deliver("alice@a.test", reverse_path='"a b"@far.test')
        assert self.store.taken[0][1].startswith(b'Return-Path: <"a b"@far.test>\r\n')

    async def test_detail_goes_to_the_inbox_and_is_named(self):
        await self.deliver("Alice+Lists@a.test")
        account, octets, how = self.store.taken[0]
        assert (account, how["mailbox"]) == ("alice@a.test", "INBOX")
        assert b"\r\nDelivered-To: alice+lists@a.test\r\n" in octets

    async def test_an_alias_is_expanded_in_full(self):
        (outcome,) = await self.deliver("list@a.test")
        assert outcome.action is Action.EXPANDED
        assert [str(address) for address in outcome.expansion] == [
            "alice@a.test",
            "bob@a.test",
            "eve@far.test",
        ]
        assert self.store.taken == []

    async def test_outcomes_keep_the_order_of_the_recipients(self):
        outcomes = await self.deliver(
            "nobody@a.test", "bob@a.test", "loop@a.test", "alice@a.test", "list@a.test"
        )
        assert [(outcome.action, outcome.status) for outcome in outcomes] == [
            (Action.FAILED, "5.1.1"),
            (Action.DELIVERED, "2.0.0"),
            (Action.FAILED, "5.4.6"),
            (Action.DELIVERED, "2.0.0"),
            (Action.EXPANDED, "2.1.5"),
        ]

    async def test_one_copy_for_the_same_account_by_several_names(self):
        outcomes = await self.deliver("postmaster@a.test", "alice@a.test", "ALICE@a.test")
        assert [outcome.action for outcome in outcomes[1:]] == [Action.DELIVERED] * 2
        # The queue knows whether alice@a.test is a recipient already.
        assert outcomes[0].expansion == (Address.parse("alice@a.test"),)
        assert len(self.store.taken) == 1
        assert [str(event.facts["to"]) for event in self.events] == [
            "postmaster@a.test",
            "alice@a.test",
            "ALICE@a.test",
        ]

    async def test_a_copy_for_each_detail(self):
        await self.deliver("alice+a@a.test", "alice+b@a.test")
        assert len({how["unique"] for _, _, how in self.store.taken}) == 2

    async def test_what_was_to_come_by_some_time_or_not_at_all(self):
        """DELIVERBY, by-mode R (RFC 2852 §4)."""
        now = reactor.seconds()
        for when, notify, action in [
            (now - 1, False, Action.FAILED),
            (now - 1, True, Action.DELIVERED),
            (now + 3600, False, Action.DELIVERED),
        ]:
            parameters = MailParameters(deliver_by=DeliverBy(when, notify=notify))
            message = QueuedMessage("Q1", None, 1234.5, Content(b"", BODY), parameters)
            (outcome,) = await self.mda.deliver(message, [QueuedRecipient(70, Address.parse("bob@a.test"))])
            assert outcome.action is action
            if action is Action.FAILED:
                assert outcome.status == "5.4.7" and self.store.taken == []

    async def test_what_lies_in_the_mailbox_came_in_time(self):
        """An attempt before a crash has delivered it, and the time is over now."""
        await self.deliver("bob@a.test")
        parameters = MailParameters(deliver_by=DeliverBy(reactor.seconds() - 1, notify=False))
        message = QueuedMessage("Q1", None, 1234.5, Content(b"", BODY), parameters, recovered=True)
        paths = ["bob@a.test", "alice@a.test", "nobody@a.test", "list@a.test"]
        recipients = [QueuedRecipient(70 + n, Address.parse(path)) for n, path in enumerate(paths)]
        outcomes = await self.mda.deliver(message, recipients)
        assert [outcome.status for outcome in outcomes] == ["2.0.0", "5.4.7", "5.4.7", "5.4.7"]
        assert [outcome.action for outcome in outcomes[:2]] == [Action.DELIVERED, Action.FAILED]
        self.store.trouble["bob@a.test"] = StorageFault()
        (outcome,) = await self.mda.deliver(message, recipients[:1])
        assert outcome.action is Action.DELAYED and len(self.store.taken) == 1

    async def test_a_recovered_message_says_so(self):
        await self.deliver("alice@a.test", recovered=True)
        assert self.store.taken[0][2]["recovered"] is True

    async def test_all_copies_are_in_the_store_s_hands_at_once(self):
        self.store.waiting = []
        done = Deferred.fromCoroutine(self.deliver("alice@a.test", "bob@a.test"))
        assert len(self.store.waiting) == 2
        for held in self.store.waiting:
            held.callback(None)
        assert [outcome.action for outcome in await done] == [Action.DELIVERED] * 2

    async def test_temporary_and_permanent_refusals_of_the_store(self):
        self.store.trouble = {
            "alice@a.test": MailError(452, "4.3.1", "Disk full"),
            "bob@a.test": MailError(552, "5.2.2", "Over quota"),
        }
        outcomes = await self.deliver("alice@a.test", "bob@a.test")
        assert [(outcome.action, outcome.status, outcome.text) for outcome in outcomes] == [
            (Action.DELAYED, "4.3.1", "Disk full"),
            (Action.FAILED, "5.2.2", "Over quota"),
        ]

    async def test_the_unexpected_is_temporary_and_concerns_one_recipient(self):
        self.store.trouble = {"alice@a.test": ZeroDivisionError("secret detail")}
        outcomes = await self.deliver("alice@a.test", "broken@a.test", "bob@a.test")
        assert [(outcome.action, outcome.status) for outcome in outcomes] == [
            (Action.DELAYED, "4.3.0"),
            (Action.DELAYED, "4.3.0"),
            (Action.DELIVERED, "2.0.0"),
        ]
        assert not any("secret" in outcome.text for outcome in outcomes)
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        assert len(self.flushLoggedErrors(RuntimeError)) == 1

    async def test_what_was_delivered_here_before_is_a_loop(self):
        content = Content(b"Received: x\r\n", b"delivered-to:\r\n  Alice@A.test\r\n" + BODY)
        outcomes = await self.deliver("alice@a.test", "bob@a.test", content=content)
        assert [(outcome.action, outcome.status) for outcome in outcomes] == [
            (Action.FAILED, "5.4.6"),
            (Action.DELIVERED, "2.0.0"),
        ]

    async def test_what_has_passed_an_alias_before_is_not_expanded_again(self):
        content = Content(b"Delivered-To: List@A.test\r\n", BODY)
        outcomes = await self.deliver("list@a.test", "alice@a.test", content=content)
        assert [(outcome.action, outcome.status) for outcome in outcomes] == [
            (Action.FAILED, "5.4.6"),
            (Action.DELIVERED, "2.0.0"),
        ]

    async def test_a_spooled_message(self):
        path = self.directory / "spool"
        path.write_bytes(b"Delivered-To: bob@a.test\r\n" + BODY + b"x" * 300_000)
        content = Content(b"Received: x\r\n", path=path)
        outcomes = await self.deliver("alice@a.test", "bob@a.test", content=content)
        assert [outcome.action for outcome in outcomes] == [Action.DELIVERED, Action.FAILED]
        assert self.store.taken[0][1].endswith(b"x" * 300_000)

    async def test_a_spool_file_that_cannot_be_read_is_temporary(self):
        content = Content(b"", path=self.directory / "none")
        with capturedLogs() as said:
            outcomes = await self.deliver("alice@a.test", "bob@a.test", content=content)
        assert [(outcome.action, outcome.status) for outcome in outcomes] == [(Action.DELAYED, "4.3.0")] * 2
        (line,) = [formatEvent(event) for event in said if event["log_level"] is LogLevel.error]
        assert "cannot be delivered" in line and str(self.directory / "none") in line

    def test_is_a_deliverer(self):
        verifyObject(IDeliverer, self.mda)


def test_delivered_to_reads_the_header_only():
    content = Content(
        b"", b"Delivered-To: a@b.test\r\nX: y\r\nDelivered-To: <c>\r\n\r\nDelivered-To: no@b.test\r\n"
    )
    assert delivered_to(content) == {"a@b.test", "<c>"}


def test_delivered_to_does_not_read_a_large_file_whole(tmp_path):
    path = tmp_path / "spool"
    with path.open("wb") as file:
        file.write(BODY)
        file.truncate(10**12)  # sparse; reading it whole would never end
    assert delivered_to(Content(b"", path=path)) == frozenset()


def test_delivered_to_stops_where_a_header_is_too_long(tmp_path):
    path = tmp_path / "spool"
    path.write_bytes(b"Delivered-To: a@b.test\r\n" + b"x" * 3_000_000)
    assert delivered_to(Content(b"", path=path)) == {"a@b.test"}
