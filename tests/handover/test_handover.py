"""What the two processes do for each other, over a connection in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from queue_house import InlineQueue, WallClock, envelope
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from zope.interface import implementer

from twisted_mta.handover import link
from twisted_mta.handover.counterpart import (
    LONGEST_PATH,
    Counterpart,
    MailboxProcess,
    PathTooLong,
    QueueProcess,
)
from twisted_mta.handover.frames import Frame, Kind, encode
from twisted_mta.handover.link import Away, Link, Served
from twisted_mta.handover.mailboxes import AWAY, NOT_ASKED, Mailboxes, serve_mailboxes
from twisted_mta.handover.queue import PIECE, RemoteQueue, serve_queue
from twisted_mta.interfaces import IDeliverer
from twisted_mta.message.address import Address
from twisted_mta.message.content import Content
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient
from twisted_mta.message.status import MailError
from twisted_mta.service.wiring.handover import LOOK_AGAIN, GoOn
from twisted_mta.trust.check import Incoming
from twisted_mta.trust.finding import Finding

ALICE = Address("alice", "a.test")


class Transport(StringTransport):
    """Can be cut."""

    def abortConnection(self) -> None:
        self.disconnecting = True


class Wire:
    """Two processes and a connection between them. What one of them writes is carried over by `carry`,
    `step` octets at a time (0: all there is)."""

    def __init__(self, step: int = 0) -> None:
        self.clock = WallClock()
        self.step = step
        self.queue_side: Counterpart = MailboxProcess(Path("data/handover"), reactor=self.clock)
        self.mailbox_side: Counterpart = QueueProcess(Path("data/handover"), reactor=self.clock)
        self.ends: list[Link] = []

    def connect(self) -> Wire:
        self.ends = [side._make() for side in (self.queue_side, self.mailbox_side)]
        for end in self.ends:
            end.makeConnection(Transport())
        return self.carry()

    def carry(self) -> Wire:
        """Until nobody has anything to say, or somebody has hung up."""
        moved = True
        while moved and self.ends:
            moved = False
            for end, other in zip(self.ends, self.ends[::-1], strict=True):
                said = end.transport.value()
                end.transport.clear()
                moved = moved or bool(said)
                step = self.step or len(said) or 1
                for start in range(0, len(said), step):
                    other.dataReceived(said[start : start + step])
            if any(end.transport.disconnecting for end in self.ends):
                self.cut()
        return self

    def cut(self) -> None:
        """The connection is over, for both."""
        ends, self.ends = self.ends, []
        for end in ends:
            end.connectionLost()


def got(result: Any) -> Any:
    """What a coroutine or Deferred has come to; raises what it has raised."""
    deferred = result if isinstance(result, Deferred) else Deferred.fromCoroutine(result)
    found: list[Any] = []
    deferred.addBoth(found.append)
    assert found, "not finished"
    if hasattr(found[0], "raiseException"):
        found[0].raiseException()
    return found[0]


def begun(coroutine: Any) -> Deferred[Any]:
    return Deferred.fromCoroutine(coroutine)


@implementer(IDeliverer)
class Deliverer:
    """Does as the test says."""

    def __init__(self) -> None:
        self.messages: list[QueuedMessage] = []
        self.gate: Deferred[None] | None = None

    async def deliver(self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]) -> list[Outcome]:
        self.messages.append(message)
        if self.gate is not None:
            await self.gate
        return [
            Outcome(Action.EXPANDED, "2.1.5", "Expanded", expansion=(recipient.forward_path,))
            for recipient in recipients
        ]


async def limited(account: str) -> bool:
    return account == "alice@a.test"


async def roomy(account: str, octets: int) -> bool:
    return octets > 1000


def message(queue_id: str, path: Path | None = None) -> QueuedMessage:
    return QueuedMessage(queue_id, None, 1.5, Content(b"A: b\r\n", b"\r\n\xff", path))


class House:
    """Mailboxes and a queue, each on its side."""

    def __init__(self, directory: Path, step: int = 0) -> None:
        self.wire = Wire(step)
        self.local = Deliverer()
        self.kept: list[tuple[Incoming, str]] = []
        self.queue = InlineQueue(directory, self.wire.clock)
        got(self.queue.start())
        self.added: list[Any] = []
        self.queue.watch(self.added.extend, lambda interventions: None)
        self.mailboxes = Mailboxes(self.wire.queue_side, reactor=self.wire.clock, has_limits=limited)
        serve_mailboxes(self.wire.mailbox_side, local=self.local, is_full=roomy, keep=self.keep)
        self.remote = RemoteQueue(self.wire.mailbox_side)
        serve_queue(
            self.wire.queue_side,
            ways={"own": self.queue},
            new_id=self.queue.new_id,
            is_queued=self.is_queued,
            has_envelope=self.queue.has_envelope,
            has_recipient=self.queue.has_recipient,
        )

    async def keep(self, refused: Incoming, why: str) -> None:
        self.kept.append((refused, why))

    async def is_queued(self, queue_id: str) -> bool:
        return any(new.queued().queue_id == queue_id for new in self.added)

    def deliver(self, queue_id: str) -> Deferred[list[Outcome]]:
        asked = begun(self.mailboxes.deliver(message(queue_id), [QueuedRecipient(1, ALICE)]))
        self.wire.carry()
        return asked

    def done(self, coroutine: Any) -> Any:
        asked = begun(coroutine)
        self.wire.carry()
        return got(asked)


@pytest.fixture(params=[0, 1], ids=["whole", "by octet"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> House:
    return House(tmp_path / "queue", request.param)


def test_a_delivery_goes_over_as_it_is(house: House, tmp_path: Path) -> None:
    house.wire.connect()
    recipients = [QueuedRecipient(n, Address("ü", "a.test"), notify=frozenset(["NEVER"])) for n in (1, 2**60)]
    sent = message("Q1", tmp_path / "spool")
    outcomes = house.done(house.mailboxes.deliver(sent, recipients))
    assert house.local.messages == [sent]
    assert [outcome.expansion for outcome in outcomes] == [(Address("ü", "a.test"),)] * 2


def test_without_the_other_process_mail_is_put_off_and_nobody_is_full(house: House) -> None:
    assert got(house.mailboxes.deliver(message("Q1"), [QueuedRecipient(1, ALICE)] * 2)) == [AWAY] * 2
    assert house.mailboxes.put_off == 2
    assert got(house.mailboxes.is_full("alice@a.test", 5000)) is False
    with pytest.raises(Away):
        got(house.mailboxes.keep(Incoming("", content=Content(b"")), "spam"))


def test_what_an_ended_connection_leaves_in_doubt_may_have_been_delivered(house: House) -> None:
    house.wire.connect()
    got(house.deliver("Q2"))
    house.local.gate = Deferred()
    lost = house.deliver("Q3")
    house.wire.cut()
    assert got(lost) == [AWAY]
    house.local.gate.callback(None)
    house.local.gate = None
    house.wire.connect()
    for queue_id in ("Q1", "Q3", "Q4"):
        got(house.deliver(queue_id))
    seen = [(each.queue_id, each.recovered) for each in house.local.messages]
    assert seen == [("Q2", False), ("Q3", False), ("Q1", True), ("Q3", True), ("Q4", False)]


def test_a_delivery_that_goes_on_is_waited_for_by_the_next_one(house: House) -> None:
    house.wire.connect()
    house.local.gate = gate = Deferred()
    house.deliver("Q1")
    house.wire.cut()  # the process with the queue has been killed; the other one is still at it
    house.wire.connect()
    again = house.deliver("Q1")
    assert [each.recovered for each in house.local.messages] == [False]
    house.local.gate = None
    gate.callback(None)
    house.wire.carry()
    assert got(again)[0].action is Action.EXPANDED
    assert [each.recovered for each in house.local.messages] == [False, True]
    got(house.deliver("Q1"))  # nobody is waited for any more


def test_room_is_asked_for_where_there_is_a_limit(house: House) -> None:
    house.wire.connect()
    assert house.done(house.mailboxes.is_full("alice@a.test", 1001)) is True
    assert house.done(house.mailboxes.is_full("alice@a.test", 1000)) is False
    assert got(house.mailboxes.is_full("bob@a.test", 1001)) is False  # nobody was asked


def test_who_does_not_answer_has_room(house: House) -> None:
    house.wire.connect()
    asked = begun(house.mailboxes.is_full("alice@a.test", 1001))
    house.wire.clock.advance(5.0)
    assert got(asked) is False
    house.wire.carry()  # the answer comes too late, and nothing happens
    assert got(house.mailboxes.is_full("alice@a.test", 1001)) is False  # the next ones do not wait
    house.wire.clock.advance(NOT_ASKED)
    assert house.done(house.mailboxes.is_full("alice@a.test", 1001)) is True


def test_what_is_refused_is_put_by_with_its_reasons(house: House) -> None:
    house.wire.connect()
    refused = Incoming(
        "192.0.2.1",
        reverse_path=ALICE,
        forward_paths=(ALICE,),
        queue_id="Q1",
        content=Content(b"A: b\r\n\r\n"),
        findings=(Finding("dmarc", "fail", {"header.from": "a.test"}, "why", 0.5),),
    )
    house.done(house.mailboxes.keep(refused, "spam"))
    assert house.kept == [(refused, "spam")]


def test_a_small_message_enters_the_queue(house: House) -> None:
    house.wire.connect()
    draft = house.remote.intake("own").draft()
    got(draft.write(b"A: b\r\n\r\ntext\r\n"))
    assert draft.size == 14
    house.done(draft.commit(envelope("bob@b.test"), b"Head: er\r\n"))
    (new,) = house.added
    assert new.queued().queue_id == draft.queue_id
    assert new.content == Content(b"Head: er\r\n", b"A: b\r\n\r\ntext\r\n")
    assert house.done(house.remote.is_queued(draft.queue_id))
    assert not house.done(house.remote.is_queued("elsewhere"))


def test_a_large_message_goes_over_in_pieces_that_are_waited_for(tmp_path: Path) -> None:
    house = House(tmp_path / "queue")
    house.wire.connect()
    draft = house.remote.intake("own").draft()
    data = bytes(range(256)) * (PIECE // 256)
    writing = begun(draft.write(data * 3 + b"end"))
    assert not writing.called
    house.wire.carry()
    got(writing)
    house.done(draft.commit(envelope("bob@b.test")))
    (new,) = house.added
    assert new.content.path is not None
    assert new.content.path.read_bytes() == data * 3 + b"end"


def test_what_is_given_up_leaves_nothing(tmp_path: Path) -> None:
    house = House(tmp_path / "queue")
    house.wire.connect()
    first, second = (house.remote.intake("own").draft() for _ in range(2))
    for draft in (first, second):
        writing = begun(draft.write(bytes(2 * PIECE + 1)))
        house.wire.carry()
        got(writing)
    spool = house.queue.spool.directory
    assert len(list(spool.iterdir())) == 2
    first.abort()
    house.wire.carry()
    assert [path.name for path in spool.iterdir()] == [second.queue_id]
    house.wire.cut()
    assert not list(spool.iterdir())
    house.wire.connect()
    with pytest.raises(Away):
        got(second.write(bytes(PIECE)))  # not to another process, which has nothing of it
    third = house.remote.intake("own").draft()
    third.abort()
    with pytest.raises(MailError):
        got(third.write(b"x"))


def test_a_refusal_arrives_as_it_is(house: House) -> None:
    house.wire.connect()

    async def refuse(argument: str) -> None:
        raise MailError(552, "5.3.4", argument)

    async def fail(argument: str) -> None:
        raise ValueError(argument)

    house.wire.queue_side.serves |= {"refuse": Served(str, refuse)}
    with pytest.raises(MailError, match=r"552 5\.3\.4 too large"):
        house.done(house.wire.mailbox_side.ask("refuse", "too large"))
    house.wire.queue_side.serves |= {"refuse": Served(str, lambda argument: refuse("\ud800"))}
    with pytest.raises(MailError, match=r"552 5\.3\.4 \?"):
        house.done(house.wire.mailbox_side.ask("refuse", ""))


def test_only_a_side_that_is_about_to_end_is_away(house: House) -> None:
    """A refusal may bear the same status, 4.3.2: too much to do is not the end."""
    house.wire.connect()

    async def busy(argument: str) -> None:
        raise MailError(451, "4.3.2", "Too many messages are coming in, try again later")

    async def away(argument: str) -> None:
        raise Away()

    house.wire.queue_side.serves |= {"busy": Served(str, busy), "away": Served(str, away)}
    with pytest.raises(MailError, match="Too many messages") as refused:
        house.done(house.wire.mailbox_side.ask("busy", ""))
    assert not isinstance(refused.value, Away)
    with pytest.raises(Away):
        house.done(house.wire.mailbox_side.ask("away", ""))


def test_while_the_queue_is_away_nothing_is_promised(house: House) -> None:
    draft = house.remote.intake("own").draft()
    with pytest.raises(Away):
        got(draft.write(b"x"))
    with pytest.raises(Away):
        got(draft.commit(envelope("bob@b.test")))


def test_after_an_ended_connection_the_queue_is_asked(house: House) -> None:
    house.wire.connect()
    drafts = [house.remote.intake("own").draft() for _ in range(2)]
    commits = []
    for draft in drafts:
        got(draft.write(b"A: b\r\n\r\n"))
    commits.append(begun(drafts[0].commit(envelope("bob@b.test"))))
    queue_end, mailbox_end = house.wire.ends
    queue_end.dataReceived(mailbox_end.transport.value())  # it is in the queue; the answer is lost
    mailbox_end.transport.clear()
    commits.append(begun(drafts[1].commit(envelope("bob@b.test"))))  # this one is not
    house.wire.cut()
    assert not any(commit.called for commit in commits)
    house.wire.connect()
    got(commits[0])
    with pytest.raises(Away):
        got(commits[1])
    assert len(house.added) == 1


def test_a_queue_that_does_not_come_back_has_nothing(house: House) -> None:
    house.wire.connect()
    draft = house.remote.intake("own").draft()
    commit = begun(draft.commit(envelope("bob@b.test")))
    house.wire.cut()
    house.wire.clock.advance(10.0)
    with pytest.raises(Away):
        got(commit)


def test_questions_may_wait_until_the_queue_is_there(house: House) -> None:
    asked = begun(house.remote.is_queued_at_last("Q1"))
    assert not asked.called
    house.wire.connect()
    assert got(asked) is False


def test_what_an_ended_connection_is_putting_into_the_queue_is_waited_for(tmp_path: Path) -> None:
    house = House(tmp_path / "queue")
    house.wire.connect()
    draft = house.remote.intake("own").draft()
    got(draft.write(b"A: b\r\n\r\n"))
    stalled: list[Deferred[None]] = []
    add, disk = house.queue._intake.add, Deferred[None]()

    async def slowly(new: Any) -> None:
        stalled.append(disk)
        await disk
        await add(new)

    house.queue._intake.add = slowly
    begun(draft.commit(envelope("bob@b.test"))).addErrback(lambda failure: failure.trap(Away))
    house.wire.carry()
    assert stalled
    house.wire.cut()  # the process with the mailboxes has been killed
    house.wire.connect()
    asked = begun(house.remote.is_queued_at_last(draft.queue_id))
    house.wire.carry()
    assert not asked.called
    disk.callback(None)
    house.wire.carry()
    assert got(asked) is True


def test_for_a_process_that_hangs_only_so_much_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(link, "MOST_UNANSWERED", 1000)
    house = House(tmp_path / "queue")
    house.wire.connect()
    waiting = [begun(house.wire.queue_side.ask("deliver", b"x" * 600)) for _ in range(2)]
    with pytest.raises(Away):
        got(house.wire.queue_side.ask("deliver", b"x"))
    house.wire.carry()
    for each in waiting:
        with pytest.raises(MailError):
            got(each)
    assert got(house.deliver("Q1"))[0].action is Action.EXPANDED


def test_who_leaves_does_nothing_more_and_ends_what_is_under_way(house: House) -> None:
    house.wire.connect()
    house.local.gate = Deferred()
    under_way = house.deliver("Q1")
    stopping = begun(house.wire.mailbox_side._hang_up())
    assert got(house.deliver("Q2")) == [AWAY]
    assert not stopping.called
    house.local.gate.callback(None)
    house.wire.carry()
    assert got(under_way)[0].action is Action.EXPANDED
    assert stopping.called
    assert not house.wire.queue_side.is_there


def test_another_release_is_not_talked_to(house: House) -> None:
    with capturedLogs() as told:
        for _ in range(2):
            end = house.wire.queue_side._make()
            end.makeConnection(Transport())
            end.dataReceived(encode(Frame(Kind.GREETING, 0, b"twisted_mta 99 handover 99")))
            assert end.transport.disconnecting
            end.connectionLost()
            assert not house.wire.queue_side.is_there
    assert ["another release" in each["why"] for each in told] == [True]  # once, not with each attempt
    house.wire.connect()
    assert house.wire.queue_side.is_there


@pytest.mark.parametrize(
    "octets",
    [
        encode(Frame(Kind.ANSWER, 5, b"\xc0")),
        encode(Frame(Kind.CALL, 5, b"\x07unknown\xc0")),
        b"\xff" * 10,
    ],
)
def test_nonsense_ends_the_connection(house: House, octets: bytes) -> None:
    house.wire.connect()
    house.wire.ends[0].dataReceived(octets)
    house.wire.carry()
    assert not house.wire.queue_side.is_there and not house.wire.mailbox_side.is_there


def test_who_connects_anew_takes_the_place_of_who_was_there(house: House) -> None:
    house.wire.connect()
    before = house.wire.ends
    house.wire.connect()
    assert all(end.transport.disconnecting for end in before)
    for end in before:
        end.connectionLost()
    assert house.done(house.mailboxes.is_full("alice@a.test", 1001)) is True
    assert got(begun(house.remote.intake("own").draft().write(b"x"))) is None


def test_a_name_that_no_socket_can_have(tmp_path: Path) -> None:
    longest = Path("/" + "x" * (LONGEST_PATH - 1))
    QueueProcess(longest, reactor=None)
    with pytest.raises(PathTooLong, match="give data_dir a shorter one"):
        QueueProcess(Path(f"{longest}x"), reactor=None)


class Tried:
    """A dispatcher that is told to go on. `fault`: raised then."""

    def __init__(self) -> None:
        self.times = 0
        self.fault: Exception | None = None

    async def retry(self, diagnostic: str) -> int:
        assert diagnostic == AWAY.text
        self.times += 1
        if self.fault is not None:
            raise self.fault
        return 1


def test_what_was_put_off_is_tried_as_soon_as_somebody_is_there(tmp_path: Path) -> None:
    house, tried = House(tmp_path / "queue"), Tried()
    GoOn(house.wire.queue_side, house.mailboxes, tried, reactor=house.wire.clock)
    assert got(house.deliver("Q1")) == [AWAY]
    house.wire.connect()
    assert tried.times == 1
    house.wire.clock.advance(LOOK_AGAIN)  # what was being put off at that moment
    assert tried.times == 2
    house.wire.clock.advance(LOOK_AGAIN)
    assert tried.times == 2
    house.wire.cut()
    house.wire.connect()  # nothing was put off meanwhile
    assert tried.times == 2


def test_nothing_is_tried_when_this_process_stops(tmp_path: Path) -> None:
    house, tried = House(tmp_path / "queue"), Tried()
    GoOn(house.wire.queue_side, house.mailboxes, tried, reactor=house.wire.clock)
    house.wire.connect()
    got(house.wire.queue_side._hang_up())
    house.wire.cut()
    house.wire.clock.advance(LOOK_AGAIN)  # the queue is not open any more
    assert tried.times == 1


def test_a_queue_that_cannot_be_written_is_tried_again_with_the_next_connection(tmp_path: Path) -> None:
    house, tried = House(tmp_path / "queue"), Tried()
    GoOn(house.wire.queue_side, house.mailboxes, tried, reactor=house.wire.clock)
    house.wire.connect()
    tried.fault = MailError(451, "4.3.0", "the disk is full")
    with capturedLogs() as told:
        house.wire.clock.advance(LOOK_AGAIN)
    assert told and all("log_failure" not in each for each in told)
    times = tried.times
    house.wire.cut()
    tried.fault = None
    house.wire.connect()
    assert tried.times == times + 1


def test_what_is_at_the_place_of_the_socket(tmp_path: Path) -> None:
    process = QueueProcess(tmp_path / "missing" / "handover", reactor=reactor)
    with pytest.raises(OSError, match="handover"):
        got(process.start())
    (tmp_path / "handover").mkdir()
    process = QueueProcess(tmp_path / "handover", reactor=reactor)
    with pytest.raises(OSError, match="handover"):
        got(process.start())
