"""Through queue, dispatcher and local delivery: who gets a message by several ways gets it once, lists post
to their members, and rewritten senders are the way back."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from dispatch_house import Deliverer
from queue_house import InlineQueue, WallClock, now
from twisted.internet.defer import Deferred
from zope.interface import implementer

from twisted_mta.directory.address_book import AddressBook
from twisted_mta.interfaces import IDirectory, Resolution
from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.envelope import Envelope, EnvelopeRecipient, MailParameters
from twisted_mta.message.headers import values
from twisted_mta.message.mailing_list import MailingList
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage
from twisted_mta.message.status import MailError
from twisted_mta.transfer.mda.delivery import LocalDelivery
from twisted_mta.transfer.mda.lists import MailingLists
from twisted_mta.transfer.mda.membership import refuse_stranger
from twisted_mta.transfer.mda.srs import ReversePaths
from twisted_mta.transfer.mta.bounce import Bounces
from twisted_mta.transfer.mta.dispatch import Dispatcher

A = Address.parse
BODY = b"From: Bob <bob@a.test>\r\nSubject: hello\r\n\r\nhello\r\n"
ALIASES = {
    "sales@a.test": ["alice@a.test", "inner@a.test", "eve@far.test"],
    "inner@a.test": ["bob@a.test", "Alice@a.test", "sales2@also.test"],
    "sales2@a.test": ["alice@also.test", "eve@FAR.test"],
    "staff@a.test": ["team@a.test", "bob@a.test"],
}


@implementer(IDirectory)
class Directory:
    def __init__(self, lists: list[MailingList]) -> None:
        aliases = {alias: tuple(map(A, targets)) for alias, targets in ALIASES.items()}
        self.book = AddressBook(
            ["alice@a.test", "bob@a.test"],
            aliases,
            domain_aliases={"also.test": "a.test"},
            lists={each.address.key: each for each in lists},
        )

    def is_local(self, domain: str) -> bool:
        return domain in ("a.test", "also.test")

    async def resolve(self, address: Address) -> Any:
        return self.book.resolve(address)


class Shelf:
    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes]] = []

    async def deliver(self, account: str, content: Any, **how: Any) -> int:
        self.taken.append((account, b"".join(content.chunks())))
        return len(self.taken)


class Threads:
    """A reactor whose threads are done at once."""

    def getThreadPool(self) -> Any:
        return self

    def callInThreadWithCallback(self, done: Any, function: Any, *arguments: Any, **named: Any) -> None:
        done(True, function(*arguments, **named))

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        function(*arguments)


class Town:
    def __init__(self, directory: Path, *lists: MailingList) -> None:
        self.clock, self.remote, self.shelf = WallClock(), Deliverer(), Shelf()
        self.remote.always = Outcome(Action.RELAYED, "2.0.0", "ok")
        self.events: list[Any] = []
        self.left: list[tuple[str, str]] = []
        journey = Journey()
        journey.add_reader(self.events.append)
        self.queue = InlineQueue(directory, self.clock)
        now(self.queue.start())
        self.directory = Directory(list(lists))
        self.returns = ReversePaths(
            (b"key",), "a.test", is_ours=self.directory.is_local, book=None, seconds=self.clock.seconds  # type: ignore[arg-type]
        )  # fmt: skip

        async def leave(mailing_list: Address, member: Address) -> None:
            self.left.append((str(mailing_list), str(member)))

        threads: Any = Threads()
        self.lists = MailingLists(
            self.queue,
            in_queue=self.queue.has_envelope,
            directory=self.directory,  # type: ignore[arg-type]
            leave=leave,
            key=b"key",
            hostname="mx.a.test",
            journey=journey,
            reactor=threads,
            seconds=self.clock.seconds,
        )
        local = LocalDelivery(
            directory=self.directory,  # type: ignore[arg-type]
            store=self.shelf,  # type: ignore[arg-type]
            journey=journey,
            reactor=threads,
            lists=self.lists,
            returns=self.returns,
        )
        self.dispatcher = Dispatcher(
            self.queue,
            directory=self.directory,  # type: ignore[arg-type]
            local=local,
            remote=self.remote,
            bounces=Bounces(self.queue, hostname="mx.a.test", postmaster=A("postmaster@a.test")),
            journey=journey,
            clock=self.clock,
        )
        now(self.dispatcher.start())

    def send(self, *to: str, by: str = "bob@a.test", content: bytes = BODY, **parameters: Any) -> None:
        draft = self.queue.draft()
        now(draft.write(content))
        recipients = tuple(EnvelopeRecipient(A(path)) for path in to)
        sender = A(by) if by else None
        now(draft.commit(Envelope(sender, recipients, MailParameters(**parameters))))

    @property
    def copies(self) -> list[str]:
        return sorted(account for account, _ in self.shelf.taken)

    @property
    def sent(self) -> list[str]:
        """To other hosts, one after the other."""
        return [path for attempt in self.remote.attempts for path in attempt.to]

    @property
    def stages(self) -> list[str]:
        return [event.stage for event in self.events]


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return Town(tmp_path)


@pytest.mark.parametrize(
    "to",
    [
        ["alice@a.test", "bob@a.test", "sales@a.test"],
        ["sales@a.test", "inner@a.test", "sales2@a.test", "bob@also.test"],
        ["sales@also.test", "Alice@also.test", "alice@a.test", "abuse@also.test", "BOB@a.test"],
        ["eve@far.test", "sales2@also.test", "inner@a.test", "postmaster@a.test"],
    ],
)
def test_everybody_once_by_whatever_ways(town: Town, to: list[str]) -> None:
    town.send(*to)
    assert town.copies == ["alice@a.test", "bob@a.test"]
    assert [path.lower() for path in town.sent] == ["eve@far.test"]
    marks = [values(octets, b"Delivered-To") for _, octets in town.shelf.taken]
    assert sorted(marks) == [[b"alice@a.test"], [b"bob@a.test"]]


def test_a_detail_in_a_domain_that_stands_for_another(town: Town) -> None:
    town.send("Alice+X@also.test", "alice+x@a.test")
    ((account, octets),) = town.shelf.taken
    assert account == "alice@a.test" and values(octets, b"Delivered-To") == [b"alice+x@a.test"]


def test_nobody_in_a_domain_that_stands_for_another(town: Town) -> None:
    town.send("nobody@also.test", by="eve@far.test")
    (report,) = town.remote.take()
    assert report.to == ["eve@far.test"] and b"nobody@also.test" in report.text


def test_an_account_whose_name_is_no_address(town: Town) -> None:
    resolve = town.directory.resolve

    async def elsewhere(address: Address) -> Any:
        """As an LDAP server may have it."""
        return Resolution(account="u4711@a.test") if address.local == "dora" else await resolve(address)

    town.directory.resolve = elsewhere  # type: ignore[method-assign]
    town.send("dora@a.test", "alice@a.test")
    assert town.copies == ["alice@a.test", "u4711@a.test"]


TEAM = MailingList(
    A("team@a.test"), A("alice@a.test"), tuple(map(A, ("alice@a.test", "bob@a.test", "Eve@far.test")))
)


def test_a_post_goes_to_every_member_in_one_message(tmp_path: Path) -> None:
    town = Town(tmp_path, TEAM)
    town.send("team@a.test", "bob@also.test", body="8BITMIME")
    assert town.copies == ["alice@a.test", "bob@a.test", "bob@a.test"]  # the last was written to by name
    (abroad,) = town.remote.attempts
    assert abroad.to == ["Eve@far.test"]
    assert str(abroad.message.reverse_path) == "team-bounces@a.test"
    assert replace(abroad.message.parameters, envid="") == MailParameters(body="8BITMIME")
    assert abroad.text == TEAM.post(BODY[: BODY.index(b"hello\r\n\r\n") + 9]) + b"hello\r\n"
    (post,) = [octets for account, octets in town.shelf.taken if account == "alice@a.test"]
    assert post.startswith(b"Return-Path: <team-bounces@a.test>\r\n")
    assert values(post, b"Delivered-To")[1] == b"team@a.test"
    (posted,) = [event for event in town.events if event.stage == "posted"]
    assert posted.facts["child"] == abroad.message.queue_id


def test_what_a_crash_has_left_in_the_queue_is_not_posted_again(tmp_path: Path) -> None:
    town = Town(tmp_path, TEAM)
    town.remote.always = Outcome(Action.DELAYED, "4.0.0", "later")
    town.send("team@a.test")
    (abroad,) = town.remote.attempts
    again = QueuedMessage(
        abroad.message.parameters.envid.partition(".")[0], A("bob@a.test"), 0.0, Content(b"", BODY)
    )
    found = town.directory.book.resolve(A("team@a.test"))
    for recovered, posts in ((True, 1), (False, 2)):
        now(town.lists.take(replace(again, recovered=recovered), A("team@a.test"), found))
        assert town.stages.count("posted") == posts
    # Of another list, or another message, it says nothing.
    other = replace(found, mailing_list=replace(TEAM, address=A("other@a.test")))
    now(town.lists.take(replace(again, recovered=True), A("other@a.test"), other))
    now(town.lists.take(replace(again, queue_id="0" * 13, recovered=True), A("team@a.test"), found))
    assert town.stages.count("posted") == 4


def test_what_an_accident_has_left_in_the_queue_is_not_posted_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    town = Town(tmp_path, TEAM)
    town.remote.always = Outcome(Action.DELAYED, "4.0.0", "later")
    with monkeypatch.context() as accident:
        accident.delattr(town.lists, "_journey")  # what is told when the post is in the queue
        town.send("team@a.test")
    assert town.stages.count("deferred") == 2  # the list, and its member abroad
    town.clock.advance(300)
    assert len({attempt.message.queue_id for attempt in town.remote.attempts}) == 1
    assert town.copies == ["alice@a.test", "bob@a.test"]


def test_a_list_is_posted_to_once_by_whatever_ways(tmp_path: Path) -> None:
    town = Town(tmp_path, TEAM)
    town.send("staff@a.test", "Team@also.test", "team+x@a.test", "team@a.test")
    assert town.stages.count("posted") == 1
    assert town.sent == ["Eve@far.test"]


def test_a_post_with_a_body_in_a_file(tmp_path: Path) -> None:
    town = Town(tmp_path, TEAM)
    body = BODY + b"0123456789abcdef\r\n" * 20_000
    town.remote.always = None
    town.send("team@a.test", content=body)
    (abroad,) = town.remote.attempts
    assert abroad.message.content.path is not None
    assert abroad.text.endswith(b"hello\r\n\r\n" + body.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    ("posting", "sender", "may"),
    [
        ("members", "bob@a.test", True),
        ("members", "Bob+x@also.test", True),  # the same account
        ("members", "eve@FAR.test", True),
        ("members", "mallory@far.test", False),
        ("members", "", False),
        ("owner", "alice@a.test", True),
        ("owner", "bob@a.test", False),
        ("anyone", "mallory@far.test", True),
        ("anyone", "", False),
    ],
)
def test_who_may_write(tmp_path: Path, posting: Any, sender: str, may: bool) -> None:
    town = Town(tmp_path, replace(TEAM, posting=posting))
    town.send("team@a.test", by=sender)
    assert ("posted" in town.stages) is may
    assert ("failed" in town.stages or "bounced" in town.stages or "double-bounce" in town.stages) is not may
    found = town.directory.book.resolve(A("team@a.test"))
    try:
        now(refuse_stranger(town.directory, found.mailing_list, A(sender) if sender else None))  # at RCPT
    except MailError as error:
        assert (error.code, error.status, may) == (550, "5.7.2", False)
    else:
        assert may


@pytest.mark.parametrize(
    "field",
    [
        b"Delivered-To: Team@a.test",
        b"List-Id: The team <TEAM.a.test>",
        b"Auto-Submitted: auto-replied (vacation)",
    ],
)
def test_nothing_goes_round(tmp_path: Path, field: bytes) -> None:
    town = Town(tmp_path, TEAM)
    town.send("team@a.test", content=field + b"\r\n" + BODY)
    assert "posted" not in town.stages and town.sent == []
    assert town.copies == ["bob@a.test"]  # the report
    assert b"5.4.6" in town.shelf.taken[0][1] or b"5.7.2" in town.shelf.taken[0][1]


def test_what_cannot_be_delivered_is_for_the_owner(tmp_path: Path) -> None:
    town = Town(tmp_path, TEAM)
    town.remote.always = Outcome(Action.FAILED, "5.1.1", "550 5.1.1 no such user", "mx.far.test")
    town.send("team@a.test")
    (report,) = [octets for account, octets in town.shelf.taken if octets.startswith(b"Return-Path: <>")]
    assert values(report.partition(b"\r\n\r\n")[0], b"Delivered-To") == [b"alice@a.test"]
    assert b"Eve@far.test" in report


def test_a_list_is_a_member_of_another(tmp_path: Path) -> None:
    outer = MailingList(A("outer@a.test"), A("bob@a.test"), (A("Team@also.test"), A("bob@a.test")))
    town = Town(tmp_path, TEAM, outer)
    town.send("outer@a.test", by="bob@a.test")
    assert town.stages.count("posted") == 2 and "failed" not in town.stages
    assert town.sent == ["Eve@far.test"]
    for sender in ("outer@a.test", "outer-owner@a.test", "team-bounces@a.test", "x-bounces@a.test"):
        with pytest.raises(MailError):
            now(refuse_stranger(town.directory, TEAM, A(sender), queued=True))  # type: ignore[arg-type]
    with pytest.raises(MailError):  # said by somebody else
        now(refuse_stranger(town.directory, TEAM, A("outer-bounces@a.test")))  # type: ignore[arg-type]


def test_nobody_is_in_the_list(tmp_path: Path) -> None:
    town = Town(tmp_path, replace(TEAM, members=()))
    town.send("team@a.test", by="alice@a.test")
    assert town.copies == [] and town.sent == [] and "done" in town.stages


def questions(town: Town) -> list[tuple[str, bytes]]:
    """What was sent to members about leaving: the address that confirms, and the whole mail."""
    mails = [octets for _, octets in town.shelf.taken] + [attempt.text for attempt in town.remote.attempts]
    found = [(re.search(rb"From: .*<(team-leave=[^>]+)>", mail), mail) for mail in mails]
    return [(match[1].decode(), mail) for match, mail in found if match]


def test_leaving_takes_a_confirmation(tmp_path: Path) -> None:
    town = Town(tmp_path, TEAM)
    town.send("team-leave@a.test", by="Eve@far.test")
    ((confirm, mail),) = questions(town)
    (attempt,) = town.remote.take()
    assert attempt.to == ["Eve@far.test"] and attempt.message.reverse_path is None
    assert values(mail, b"Auto-Submitted") == [b"auto-replied"]
    town.send("team-leave@a.test", by="Eve@far.test")
    assert town.remote.take() == []  # asked a moment ago
    town.send(confirm, by="bob@a.test")  # somebody else's
    town.send(confirm.replace("team-leave=", "team-leave=x"), by="Eve@far.test")
    assert town.left == []
    town.remote.take()
    town.send(confirm.upper(), by="Eve@far.test")
    assert town.left == [("team@a.test", "Eve@far.test")]
    (goodbye,) = town.remote.take()
    assert b"You have left the list" in goodbye.text
    town.clock.advance(8 * 86400.0)
    town.send(confirm, by="Eve@far.test")
    assert len(town.left) == 1  # that question is too old
    town.send("team-leave@a.test", by="Eve@far.test")
    assert len(questions(town)) == 1


def test_many_questions_at_once_are_one(tmp_path: Path) -> None:
    town = Town(tmp_path, TEAM)
    asked: list[Any] = []
    # Held here: a coroutine that nobody can wake any more is collected at some time, which ends it.
    sent: Deferred[None] = Deferred()

    async def slow(*about: Any) -> None:
        asked.append(about)
        await sent

    town.lists._send = slow  # type: ignore[method-assign]
    found = town.directory.book.resolve(A("team-leave@a.test"))
    message = QueuedMessage("Q1", A("Eve@far.test"), 0.0, Content(b"", BODY))
    outcomes: list[Outcome] = []
    for _ in range(3):
        taken = Deferred.fromCoroutine(town.lists.take(message, A("team-leave@a.test"), found))
        taken.addCallback(outcomes.append)
    assert len(asked) == 1 and len(outcomes) == 2
    sent.callback(None)
    assert [outcome.action for outcome in outcomes] == [Action.DELIVERED] * 3


def test_only_members_can_leave(tmp_path: Path) -> None:
    town = Town(tmp_path, TEAM)
    for sender in ("mallory@far.test", "", "alice+x@also.test"):
        town.send("team-leave@a.test", by=sender)
    ((_, mail),) = questions(town)
    assert values(mail, b"To") == [b"<alice@a.test>"]


def test_the_way_back_of_a_rewritten_sender(town: Town) -> None:
    rewritten = now(town.returns.forward(A("Eve@far.test")))
    town.send(str(rewritten), by="")
    (attempt,) = town.remote.take()
    assert attempt.to == ["Eve@far.test"] and attempt.message.reverse_path is None
    assert attempt.recipients[0].original_path == rewritten
    town.send(str(rewritten).replace("far.test", "near.test"), by="")
    assert town.sent == [] and town.stages[-2:] == ["double-bounce", "done"]


def test_a_request_for_a_receipt_stays_on_every_way(tmp_path: Path) -> None:
    """RFC 8098 §2: it is for the reader's mail program, and nobody on the way answers it."""
    town = Town(tmp_path, TEAM)
    asking = (
        b"Disposition-Notification-To: Bob <bob@a.test>\r\n"
        b"Disposition-Notification-Options: signed-receipt-protocol=optional,pkcs7-signature\r\n"
        b"Original-Recipient: rfc822;sales@a.test\r\n"
    )
    town.send("sales@a.test", "team@a.test", content=asking + BODY)
    copies = [octets for _, octets in town.shelf.taken] + [attempt.text for attempt in town.remote.attempts]
    assert len(copies) == 6 and all(asking in copy for copy in copies)
    assert town.stages.count("made") == 1  # the post, and no receipt
