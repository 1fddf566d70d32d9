"""Room for large messages in hand."""

from store_case import ALICE, ARRIVED, StoreCase
from twisted.internet.defer import CancelledError, Deferred

from twisted_mta.message.content import Content
from twisted_mta.store.portions import CAPACITY, LARGE, Portions


class Holder:
    """Takes a portion, holds it until `let_go`."""

    def __init__(self, portions, account, octets):
        self.holds = False
        self._end = Deferred()
        self.done = Deferred.fromCoroutine(self._hold(portions.portion(account, octets)))

    async def _hold(self, portion):
        async with portion:
            self.holds = True
            await self._end
        self.holds = False

    def let_go(self, result=None):
        (self._end.errback if isinstance(result, Exception) else self._end.callback)(result)


def hold(portions, *wanted):
    return [Holder(portions, account, octets * LARGE) for account, octets in wanted]


def holding(holders):
    return "".join("x" if holder.holds else "-" for holder in holders)


def test_in_order_and_one_too_large_alone():
    portions = Portions(10 * LARGE)
    holders = hold(portions, ("a", 6), ("b", 6), ("c", 1), ("d", 99), ("e", 1))
    assert holding(holders) == "x----"  # who comes later does not overtake
    holders[0].let_go()
    assert holding(holders) == "-xx--"
    holders[1].let_go()
    assert holding(holders) == "--x--"
    holders[2].let_go()
    assert holding(holders) == "---x-"
    holders[3].let_go()
    assert holding(holders) == "----x"


def test_small_messages_do_not_wait():
    portions = Portions(LARGE)
    (large,) = hold(portions, ("a", 1))
    small = Holder(portions, "b", LARGE - 1)
    assert large.holds and small.holds
    small.let_go()
    assert not Holder(portions, "b", LARGE).holds


def test_one_account_cannot_take_everything():
    portions = Portions(10 * LARGE)
    holders = hold(portions, ("a", 4), ("a", 4), ("a", 1), ("b", 5))
    assert holding(holders) == "x-xx"
    holders[0].let_go()
    assert holding(holders) == "-xxx"


def test_given_back_on_every_way_out():
    portions = Portions(LARGE)
    first, second, third = hold(portions, ("a", 1), ("b", 1), ("c", 1))
    second.done.cancel()
    second.done.addErrback(lambda failure: failure.trap(CancelledError))
    first.let_go(ValueError())
    first.done.addErrback(lambda failure: failure.trap(ValueError))
    assert holding([first, second, third])[2] == "x"
    third.let_go()
    assert hold(portions, ("d", 1))[0].holds


def test_a_thousand_who_are_gone_when_their_turn_comes():
    portions = Portions(LARGE)
    (first,) = hold(portions, ("a", 1))
    waiting = hold(portions, *[(str(number), 1) for number in range(1000)])
    for holder in waiting:
        holder.let_go()
    first.let_go()
    assert hold(portions, ("a", 1))[0].holds


class LargeMessageTests(StoreCase):
    """What is found out of large messages waits for room, and takes no more than one at a time."""

    async def test_whoever_asks_waits(self):
        await self.deliver_large(2)
        await self.deliver(1)
        mailbox, _ = await self.open()
        (other,) = hold(self.store.portions, ("bob@a.test", CAPACITY // LARGE))
        for question in (
            mailbox.structures(mailbox.uids),
            mailbox.previews(mailbox.uids),
            mailbox.matching(mailbox.uids, lambda data: True),
        ):
            asked = Deferred.fromCoroutine(question)
            small = await mailbox.previews(mailbox.uids[2:])
            assert small == ["x" * 40] and not asked.called
            other.let_go()
            assert len(await asked) == 3
            (other,) = hold(self.store.portions, ("bob@a.test", CAPACITY // LARGE))

    async def test_whoever_has_room_is_given_the_message(self):
        await self.deliver_large(1)
        mailbox, _ = await self.open()
        async with self.store.portions.portion(ALICE, CAPACITY):
            (octets,) = await mailbox.read(mailbox.uids)
            assert len(octets) == mailbox.size(1) > LARGE

    async def deliver_large(self, count):
        content = Content(b"", b"Subject: large\r\n\r\n" + b"0123456789\r\n" * (LARGE // 10))
        for number in range(count):
            await self.store.deliver(ALICE, content, unique=f"large{number}", arrived=ARRIVED)
