"""Messages on their way in: with the real writer thread, spool threads and disk."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from queue_house import envelope
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from twisted_mta.interfaces import IDraft, IIntake
from twisted_mta.message.status import MailError
from twisted_mta.queue.database import QueueDatabase
from twisted_mta.queue.ids import decode, encode
from twisted_mta.queue.mailqueue import MailQueue, QueueInUse
from twisted_mta.queue.records import NewMessage, Settlement
from twisted_mta.queue.spool import SpoolFile

SMALL = b"Subject: small\r\n\r\nbody\r\n"
THRESHOLD = 10_000
LARGE = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * 4000 + b"\r\n"


class QueueCase(TestCase):
    """A started queue in a directory of its own."""

    async def setUp(self) -> None:
        directory = TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name) / "queue"
        self.queue = self.make()
        await self.queue.start()

    def make(self) -> MailQueue:
        queue = MailQueue(self.directory, reactor=reactor, threshold=THRESHOLD)
        self.addCleanup(lambda: Deferred.fromCoroutine(queue.stop()))
        return queue

    async def restart(self) -> None:
        await self.queue.stop()
        self.queue = self.make()
        await self.queue.start()

    async def put(self, body: bytes = SMALL, *to: str) -> str:
        draft = self.queue.draft()
        for start in range(0, len(body), 4096):
            await draft.write(body[start : start + 4096])
        await draft.commit(envelope(*(to or ("bob@b.test",))), b"Received: here\r\n")
        return draft.queue_id

    async def text(self, queue_id: str) -> bytes:
        message = await self.queue.message(decode(queue_id))
        assert message is not None
        return b"".join(message.content.chunks())

    def spooled(self) -> list[str]:
        return sorted(os.listdir(self.directory / "spool"))

    async def no_files(self) -> None:
        """Spool files are removed in threads, in no particular order."""
        while self.spooled():
            await self.queue.in_thread(lambda: None)

    async def queued(self) -> set[int]:
        numbers = await self.queue._writer.run(
            lambda db: list(db.numbers(descending=False, by_recipient=False))
        )
        return set(numbers)


class IntakeTest(QueueCase):
    def test_it_is_what_the_seam_says(self) -> None:
        verifyObject(IIntake, self.queue)
        verifyObject(IDraft, self.queue.draft())

    async def test_a_small_message_is_in_the_database(self) -> None:
        queue_id = await self.put()
        self.assertEqual(await self.text(queue_id), b"Received: here\r\n" + SMALL)
        self.assertEqual(self.spooled(), [])

    async def test_a_large_message_is_in_a_spool_file(self) -> None:
        queue_id = await self.put(LARGE)
        self.assertEqual(self.spooled(), [queue_id])
        self.assertEqual(await self.text(queue_id), b"Received: here\r\n" + LARGE)
        self.assertEqual((self.directory / "spool" / queue_id).stat().st_mode & 0o777, 0o600)

    async def test_size_counts_the_body(self) -> None:
        draft = self.queue.draft()
        await draft.write(LARGE)
        await draft.write(SMALL)
        self.assertEqual(draft.size, len(LARGE) + len(SMALL))
        draft.abort()

    async def test_what_has_been_written_can_be_read_before_it_is_committed(self) -> None:
        for body in (SMALL, LARGE):
            draft = self.queue.draft()
            await draft.write(body)
            await draft.write(SMALL)
            content = await draft.content()
            self.assertEqual(b"".join(content.chunks()), body + SMALL)
            self.assertEqual(content.path is not None, body is LARGE)
            await draft.write(b"more\r\n")
            await draft.commit(envelope("bob@b.test"), b"Received: here\r\n")
            self.assertEqual(
                await self.text(draft.queue_id), b"Received: here\r\n" + body + SMALL + b"more\r\n"
            )

    async def test_the_same_address_twice_is_one_recipient(self) -> None:
        added: list[NewMessage] = []
        self.queue.watch(added.extend, lambda interventions: None)
        await self.put(SMALL, "bob@b.test", "cy@c.test", "BOB@b.test")
        await self.queued()
        self.assertEqual([str(r.forward_path) for r in added[0].recipients], ["bob@b.test", "cy@c.test"])

    async def test_senders_are_answered_before_the_message_goes_anywhere(self) -> None:
        order: list[str] = []
        self.queue.watch(lambda messages: order.append("added"), lambda interventions: None)
        await self.put()
        order.append("answered")
        await self.queued()
        self.assertEqual(order, ["answered", "added"])

    async def test_messages_of_this_process_are_not_recovered_and_others_are(self) -> None:
        small, large = await self.put(), await self.put(LARGE)
        for queue_id in (small, large):
            message = await self.queue.message(decode(queue_id))
            assert message is not None
            self.assertFalse(message.recovered)
        await self.restart()
        for queue_id in (small, large):
            message = await self.queue.message(decode(queue_id))
            assert message is not None
            self.assertTrue(message.recovered)
        self.assertGreater(await self.put(), large)

    async def test_abort_leaves_nothing(self) -> None:
        for body in (SMALL, LARGE):
            draft = self.queue.draft()
            await draft.write(body)
            draft.abort()
            draft.abort()
            with self.assertRaises(RuntimeError):
                await draft.commit(envelope("bob@b.test"))
        await self.no_files()
        self.assertEqual(await self.queued(), set())

    async def test_abort_after_commit_does_nothing(self) -> None:
        draft = self.queue.draft()
        await draft.write(LARGE)
        committing = Deferred.fromCoroutine(draft.commit(envelope("bob@b.test")))
        await committing
        draft.abort()
        self.assertEqual(await self.text(draft.queue_id), LARGE)

    async def test_abort_while_the_disk_is_busy(self) -> None:
        draft = self.queue.draft()
        writing = Deferred.fromCoroutine(draft.write(LARGE))
        draft.abort()
        with self.assertRaises(MailError):
            await writing
        await self.no_files()

    async def test_orphans_go_at_the_next_start_and_mail_stays(self) -> None:
        queue_id = await self.put(LARGE)
        orphan = self.directory / "spool" / encode(self.queue.numbers.message())
        orphan.write_bytes(b"never committed")
        (self.directory / "spool" / "README").write_bytes(b"not ours")
        await self.restart()
        self.assertEqual(self.spooled(), sorted([queue_id, "README"]))

    async def test_nobody_else_can_read_it(self) -> None:
        for path in (self.directory, self.directory / "spool"):
            self.assertEqual(path.stat().st_mode & 0o777, 0o700)

    async def test_an_accident_of_the_dispatcher_is_no_accident_of_the_queue(self) -> None:
        self.queue.watch(lambda messages: 1 // 0, lambda interventions: None)
        await gatherResults([Deferred.fromCoroutine(self.put()) for _ in range(5)])
        self.assertEqual(len(await self.queued()), 5)
        self.assertTrue(self.flushLoggedErrors(ZeroDivisionError))

    async def test_only_one_process_delivers(self) -> None:
        with self.assertRaises(QueueInUse):
            await self.make().start()

    async def test_a_queue_that_stops_takes_nothing(self) -> None:
        draft = self.queue.draft()
        await draft.write(SMALL)
        await self.queue.stop()
        with self.assertRaises(MailError) as caught:
            await draft.commit(envelope("bob@b.test"))
        self.assertEqual(caught.exception.code, 451)

    async def test_stop_records_what_was_handed_in(self) -> None:
        commits = [Deferred.fromCoroutine(self.put()) for _ in range(50)]
        await self.queue.stop()
        queue_ids = await gatherResults(commits)
        await self.restart()
        self.assertEqual(await self.queued(), set(map(decode, queue_ids)))


class GroupCommitTest(QueueCase):
    async def test_what_piles_up_is_committed_together(self) -> None:
        sizes: list[int] = []
        commit = QueueDatabase.commit

        def counted(
            database: QueueDatabase, additions: Sequence[NewMessage], settlements: Sequence[Settlement]
        ) -> object:
            sizes.append(len(additions))
            return commit(database, additions, settlements)

        with patch.object(QueueDatabase, "commit", counted):
            await gatherResults([Deferred.fromCoroutine(self.put()) for _ in range(100)])
        self.assertEqual(sum(sizes), 100)
        self.assertLess(len(sizes), 50)

    async def test_one_bad_element_does_not_take_the_others_with_it(self) -> None:
        drafts = [self.queue.draft() for _ in range(20)]
        drafts[7]._number = drafts[3]._number  # an accident: the same number twice
        commits = [Deferred.fromCoroutine(draft.commit(envelope("bob@b.test"))) for draft in drafts]
        failed = []
        for place, committing in enumerate(commits):
            try:
                await committing
            except MailError as error:
                self.assertEqual((error.code, error.status), (451, "4.3.0"))
                failed.append(place)
        self.assertEqual(failed, [7])
        self.assertEqual(len(await self.queued()), 19)
        self.flushLoggedErrors()


class DiskTroubleTest(QueueCase):
    def broken(self, code: int) -> sqlite3.OperationalError:
        error = sqlite3.OperationalError("as if")
        error.sqlite_errorcode = code
        return error

    async def refused(self, body: bytes = SMALL, count: int = 5) -> set[tuple[int, str]]:
        answers = set()
        for committing in [Deferred.fromCoroutine(self.put(body)) for _ in range(count)]:
            try:
                await committing
                answers.add((250, ""))
            except MailError as error:
                answers.add((error.code, error.status))
        return answers

    async def test_a_commit_that_fails_refuses_all_and_recovers(self) -> None:
        for code, answer in (
            (sqlite3.SQLITE_IOERR_FSYNC, (451, "4.3.0")),
            (sqlite3.SQLITE_FULL, (452, "4.3.1")),
            (sqlite3.SQLITE_CANTOPEN, (451, "4.3.0")),
        ):
            before = await self.queued()
            with patch.object(QueueDatabase, "commit", side_effect=self.broken(code)):
                self.assertEqual(await self.refused(), {answer})
            self.assertEqual(await self.queued(), before)
            await self.put()

    async def test_a_database_that_cannot_be_opened_again_is_tried_until_it_can(self) -> None:
        broken = self.broken(sqlite3.SQLITE_CORRUPT)
        with patch("twisted_mta.queue.writer.open_database", side_effect=broken):
            with patch.object(QueueDatabase, "commit", side_effect=broken):
                self.assertEqual(await self.refused(), {(451, "4.3.0")})
            self.assertEqual(await self.refused(), {(451, "4.3.0")})
        await self.put()

    async def test_trouble_is_told_once_when_it_begins_and_once_when_it_is_over(self) -> None:
        with capturedLogs() as events:
            with patch.object(QueueDatabase, "commit", side_effect=self.broken(sqlite3.SQLITE_IOERR_FSYNC)):
                for _ in range(3):
                    await self.refused()
            for _ in range(3):
                await self.put()
            await self.queued()
        self.assertEqual([event["log_level"].name for event in events], ["critical", "info"])

    async def test_a_spool_file_that_cannot_be_written(self) -> None:
        for code, answer in ((errno.ENOSPC, (452, "4.3.1")), (errno.EIO, (451, "4.3.0"))):
            for step in ("write", "finish"):
                with (
                    patch.object(SpoolFile, step, side_effect=OSError(code, "as if")),
                    capturedLogs() as events,
                ):
                    self.assertEqual(await self.refused(LARGE, 1), {answer})
                (event,) = events
                self.assertEqual(event["log_level"].name, "critical")
                self.assertEqual(event["path"].parent, self.directory / "spool")
                self.assertIn("spool/", formatEvent(event))
                self.assertIn(" cannot be written: as if. ", formatEvent(event))
        await self.no_files()
        await self.put(LARGE)

    async def test_a_refused_draft_stays_refused(self) -> None:
        draft = self.queue.draft()
        full = patch.object(SpoolFile, "write", side_effect=OSError(errno.ENOSPC, "as if"))
        with full, self.assertRaises(MailError):
            await draft.write(LARGE)
        for again in (draft.write(SMALL), draft.commit(envelope("bob@b.test"))):
            with self.assertRaises(MailError) as caught:
                await again
            self.assertEqual(caught.exception.code, 452)

    async def test_a_large_message_that_is_not_committed_leaves_no_file(self) -> None:
        with patch.object(QueueDatabase, "commit", side_effect=self.broken(sqlite3.SQLITE_FULL)):
            self.assertEqual(await self.refused(LARGE, 1), {(452, "4.3.1")})
        await self.no_files()
