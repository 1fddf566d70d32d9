"""How much an account may send: counted over 24 hours, remembered over restarts, bounded."""

import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from twisted_mta.message.address import Address
from twisted_mta.message.status import MailError
from twisted_mta.transfer.mda.sieve.allowance import Allowance
from twisted_mta.transfer.msa import allowances
from twisted_mta.transfer.msa.allowances import NO_LIMITS, Allowances, SendingLimits

ALICE = "alice@a.test"
HOUR = 3600.0


class Time:
    """The reactor's threads, and a clock that stands still until it is set."""

    callFromThread = staticmethod(reactor.callFromThread)

    def __init__(self):
        self.now = 1_700_000_000.0

    def seconds(self):
        return self.now


def people(*names):
    return [Address(name, "far.test") for name in names]


class AllowanceTests(TestCase):
    async def setUp(self):
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.path = Path(directory.name) / "allowances.sqlite"
        self.time, self.limits = Time(), SendingLimits(messages=3, recipients=5, newcomers=2)
        self.counting = await self.opened()

    async def opened(self):
        async def renew():
            """The limits are always as new as they are."""

        counting = Allowances(
            self.path, reactor=self.time, limits_of=lambda account: self.limits, renew_limits=renew
        )
        await counting.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(counting.stop()))
        return counting

    async def send(self, *names, account=ALICE):
        """Name the recipients one by one, then send; the code of the refusal, or 250."""
        try:
            tally = await self.counting.tally(account)
            for path in people(*names):
                await tally.add(path)
            await tally.take(people(*names))
        except MailError as error:
            assert error.status == "4.7.1"
            return error.code
        return 250

    async def test_who_was_written_to_by_anybody(self):
        await self.send("bob", account="carol@a.test")
        assert await self.counting.anybody_knows(Address("Bob", "far.test"))
        assert not await self.counting.anybody_knows(Address("eve", "far.test"))

    async def test_messages(self):
        assert [await self.send("bob") for _ in range(5)] == [250, 250, 250, 450, 450]
        assert await self.send("bob", account="bob@a.test") == 250
        self.time.now += 23 * HOUR
        assert await self.send("bob") == 450
        self.time.now += HOUR
        assert await self.send("bob") == 250

    async def test_recipients_of_whom_each_counts_once(self):
        self.limits = SendingLimits(recipients=5)
        assert await self.send("a", "b", "c", "A", "b") == 250
        assert await self.send("a", "b", "c") == 452
        assert await self.send("a", "b") == 250
        assert await self.send("a") == 452

    async def test_people_never_written_to_before(self):
        self.limits = SendingLimits(newcomers=2)
        assert await self.send("a", "b") == 250
        assert await self.send("a", "b") == 250
        assert await self.send("a", "c") == 450
        self.time.now += 24 * HOUR
        assert await self.send("c", "d") == 250
        self.time.now += 240 * HOUR
        assert await self.send("a", "b", "c", "d") == 250  # known for ever

    async def test_a_restart_forgets_nothing(self):
        assert await self.send("a", "b") == 250
        await self.counting.stop()
        self.counting = await self.opened()
        assert await self.send("a", "b", "c") == 450
        assert [await self.send("a") for _ in range(3)] == [250, 250, 450]

    async def test_who_sends_at_the_same_time_shares_what_is_left(self):
        tallies = [await self.counting.tally(ALICE) for _ in range(8)]
        taking = [Deferred.fromCoroutine(tally.take(people("a"))) for tally in tallies]
        refused = []
        for each in taking:
            each.addErrback(refused.append)
        await gatherResults(taking)
        assert len(refused) == 5

    async def test_what_the_queue_has_refused_does_not_count(self):
        for _ in range(5):
            tally = await self.counting.tally(ALICE)
            await tally.take(people("a"))
            await tally.give_back()
            await tally.give_back()
        assert [await self.send("a") for _ in range(4)] == [250, 250, 250, 450]

    async def test_without_limits_people_are_remembered_all_the_same(self):
        self.limits = NO_LIMITS
        assert await self.send(*map(str, range(50))) == 250
        self.limits = SendingLimits(newcomers=0)
        assert await self.send(*map(str, range(50))) == 250
        assert await self.send("somebody") == 450

    async def test_the_latest_are_remembered(self):
        self.limits = SendingLimits(newcomers=100)
        with patch.object(allowances, "KNOWN", 3):
            for name in "abcd":
                assert await self.send(name) == 250
                self.time.now += HOUR
        await self.counting.stop()
        rows = sqlite3.connect(self.path).execute("SELECT COUNT(*), MIN(hour) FROM known").fetchone()
        assert rows == (3, int(1_700_000_000 // HOUR) + 1)

    async def test_what_was_sent_while_the_clock_was_ahead_is_not_held_against_anybody(self):
        self.time.now += 30 * 24 * HOUR
        assert [await self.send("bob") for _ in range(4)] == [250, 250, 250, 450]
        self.time.now -= 30 * 24 * HOUR
        assert [await self.send("bob") for _ in range(4)] == [250, 250, 250, 450]
        self.time.now += 25 * HOUR
        assert await self.send("bob") == 250
        self.time.now += 29 * 24 * HOUR - HOUR
        assert await self.send("bob") == 250

    async def test_a_clock_that_is_behind_for_a_moment_gives_nothing_anew(self):
        assert [await self.send("bob") for _ in range(4)] == [250, 250, 250, 450]
        self.time.now -= 3 * 24 * HOUR
        assert await self.send("bob") == 250
        self.time.now += 3 * 24 * HOUR + 60
        assert await self.send("bob") == 450
        self.time.now += 25 * HOUR
        assert await self.send("bob") == 250

    async def test_what_scripts_have_sent_then_is_not_either(self):
        allowance = Allowance(self.time.seconds, 3)
        assert [allowance.take(ALICE) for _ in range(4)] == [True, True, True, False]
        self.time.now -= 30 * 24 * HOUR
        assert [allowance.take(ALICE) for _ in range(4)] == [True, True, True, False]

    async def test_a_damaged_file_is_put_aside(self):
        await self.counting.stop()
        self.path.write_bytes(b"not a database" * 1000)
        self.counting = await self.opened()
        assert await self.send("a") == 250
        assert self.path.with_name("allowances.sqlite.damaged").exists()
        self.flushLoggedErrors()

    async def test_a_disk_that_refuses_holds_up_no_mail(self):
        with sqlite3.connect(self.path) as other:
            other.execute("DROP TABLE sent")
        other.close()
        assert [await self.send("a") for _ in range(5)] == [250] * 5
