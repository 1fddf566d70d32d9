"""What an account may keep: counted exactly whatever happens, never exceeded, and what is refused how."""

import sqlite3

import pytest
from store_case import ALICE, ARRIVED, Bench, StoreCase, message
from twisted.internet.defer import Deferred, DeferredList
from viewpoint_case import BOB, WORK, ViewpointCase

from twisted_mta.message.content import Content
from twisted_mta.store.errors import OverQuota
from twisted_mta.store.index.schema import MIGRATIONS
from twisted_mta.store.quota import UNLIMITED, Limits, Room, Usage, is_full, stored_usage

SIZE = len(message(1))


@pytest.mark.parametrize(
    ("limits", "full", "fits"),
    [
        (UNLIMITED, False, True),
        (Limits(octets=100), False, True),
        (Limits(octets=99), False, False),
        (Limits(octets=90), True, False),
        (Limits(octets=0), True, False),
        (Limits(messages=4), False, True),
        (Limits(messages=3), True, False),
        (Limits(octets=1000, messages=3), True, False),
    ],
)
def test_what_fits(limits, full, fits):
    usage = Usage(90, 3)
    assert is_full(usage, limits) is full
    room = Room(limits, usage)
    if fits:
        room.take(10)
    else:
        with pytest.raises(OverQuota) as refused:
            room.take(10)
        assert (refused.value.code, refused.value.status) == (452, "4.2.2")


def test_room_gets_less():
    room = Room(Limits(octets=100, messages=5), Usage(0, 0))
    room.take(60, 3)
    with pytest.raises(OverQuota):
        room.take(41)
    with pytest.raises(OverQuota):
        room.take(1, 3)
    room.take(40, 2)


class QuotaCase(StoreCase):
    """Limits for everybody in `self.limits`."""

    limits = UNLIMITED

    async def start(self):
        await super().start()
        self.store.limits_of = lambda account: self.limits

    async def start_store(self, **how):
        await super().start_store(**how)
        self.store.limits_of = lambda account: self.limits

    async def counted(self):
        """The figures, after making sure that they are those of the messages."""
        usage = await self.account.usage()
        octets = messages = 0
        for info in await self.account.list_mailboxes():
            if info.selectable:
                status = await self.account.status(info.name)
                octets, messages = octets + status.size, messages + status.messages
        assert usage == Usage(octets, messages)
        return usage


class CountingTests(QuotaCase):
    async def test_every_way_in_and_out_is_counted(self):
        assert await self.counted() == Usage(0, 0)
        await self.deliver(1, 2, 3)
        assert await self.counted() == Usage(3 * SIZE, 3)
        await self.deliver(3, recovered=True)
        inbox, _ = await self.open()
        await inbox.copy([1, 2], "Sent")
        await inbox.move([3], "Trash")
        assert await self.counted() == Usage(5 * SIZE, 5)
        await inbox.expunge([1])
        await self.account.rename("Trash", "old")
        await self.account.rename("INBOX", "older")
        assert await self.counted() == Usage(4 * SIZE, 4)
        await self.account.delete("Sent")
        assert await self.counted() == Usage(2 * SIZE, 2)
        (self.maildir("cur") / "1.by.another:2,").write_bytes(b"a: b\n\nc\n")
        await inbox.refresh()
        assert await self.counted() == Usage(2 * SIZE + 11, 3)
        (self.maildir("cur") / "1.by.another:2,").unlink()
        await inbox.refresh()
        assert await self.counted() == Usage(2 * SIZE, 2)
        await inbox.close()

    async def test_they_are_right_after_a_restart_and_for_a_new_index(self):
        await self.deliver(1, 2)
        await self.restart_store()
        assert await self.counted() == Usage(2 * SIZE, 2)
        await self.store.stop()
        for each in self.home.glob("index.sqlite*"):
            each.unlink()
        await self.start_store()
        await self.account.status("INBOX")
        assert await self.counted() == Usage(2 * SIZE, 2)
        self.flushLoggedErrors()

    async def test_another_process_can_read_them(self):
        root = self.root / "mail"
        await self.deliver(1, 2)
        assert stored_usage(root, ALICE) == Usage(2 * SIZE, 2)
        await self.store.stop()
        assert stored_usage(root, ALICE) == Usage(2 * SIZE, 2)
        assert stored_usage(root, "nobody@a.test") == Usage(0, 0)
        (self.home / "index.sqlite").write_bytes(b"junk")
        assert stored_usage(root, ALICE) is None
        await self.start_store()
        self.flushLoggedErrors()


def test_an_index_of_the_first_version_is_counted_once(tmp_path):
    bench = Bench(tmp_path / "alice")
    bench.put(1, 2)
    bench.home.close()
    database = sqlite3.connect(tmp_path / "alice" / "index.sqlite")
    (octets, messages) = database.execute("SELECT octets, messages FROM usage").fetchone()
    assert (octets, messages) == (2 * SIZE, 2)
    first = sqlite3.connect(":memory:")
    first.executescript(MIGRATIONS[0])
    columns = "mailbox, uid, name, directory, tail, flags, keywords, size, internal_date, modseq"
    for row in database.execute(f"SELECT {columns} FROM messages"):
        first.execute(f"INSERT INTO messages VALUES ({','.join('?' * 10)})", row)
    first.executescript(MIGRATIONS[1])
    assert first.execute("SELECT octets, messages FROM usage").fetchone() == (2 * SIZE, 2)


class LimitTests(QuotaCase):
    async def append(self, number, mailbox="INBOX", size=40):
        draft = await self.store.draft(ALICE)
        await draft.write(message(number, size))
        await draft.end_message(frozenset(), None)
        return await draft.commit(mailbox)

    async def test_many_at_once_never_pass_the_limit(self):
        size = len(message(100))
        self.limits = Limits(octets=40 * size, messages=1000)
        attempts = [self.append(number, "INBOX" if number % 2 else "Sent") for number in range(100, 150)]
        attempts += [self.deliver_one(number) for number in range(200, 230)]
        results = await DeferredList([*map(Deferred.fromCoroutine, attempts)], consumeErrors=True)
        refused = [failure.value for ok, failure in results if not ok]
        assert len(refused) == 40 and {type(error) for error in refused} == {OverQuota}
        assert await self.counted() == Usage(40 * size, 40)

    async def deliver_one(self, number):
        content = Content(b"", message(number))
        return await self.store.deliver(ALICE, content, unique=f"m{number}", arrived=ARRIVED)

    async def test_messages_are_limited_as_octets_are(self):
        self.limits = Limits(messages=2)
        await self.deliver(1, 2)
        await self.refused(OverQuota, self.append(3))
        inbox, _ = await self.open()
        await self.refused(OverQuota, inbox.copy([1], "Sent"))
        await inbox.move([1], "Sent")
        await inbox.expunge([2])
        await self.append(3)
        assert await self.counted() == Usage(2 * SIZE, 2)
        await inbox.close()

    async def test_a_copy_fits_whole_or_not_at_all(self):
        await self.deliver(1, 2, 3)
        self.limits = Limits(octets=5 * SIZE)
        inbox, _ = await self.open()
        await self.refused(OverQuota, inbox.copy([1, 2, 3], "Sent"))
        assert (await self.account.status("Sent")).messages == 0
        await inbox.copy([1, 2], "Sent")
        assert await self.counted() == Usage(5 * SIZE, 5)
        await inbox.close()

    async def test_what_is_gone_takes_no_room_when_it_is_copied(self):
        await self.deliver(1, 2, 3)
        self.limits = Limits(messages=4)
        inbox, _ = await self.open()
        await inbox.expunge([3])
        assert (await inbox.copy([1, 2, 3], "Sent")).source_uids == (1, 2)
        await inbox.close()

    async def test_a_repeated_delivery_is_no_second_one(self):
        await self.deliver(1)
        self.limits = Limits(messages=1)
        assert await self.deliver(1) == [1]
        assert await self.deliver(1, recovered=True) == [1]

    async def test_a_large_draft(self):
        self.limits = Limits(octets=200_000)
        await self.refused(OverQuota, self.append(1, size=300_000))
        await self.restart_store()  # which waits for the rest of the draft to be gone
        assert list(self.maildir("tmp").iterdir()) == []
        await self.append(2, size=150_000)

    async def test_a_limit_below_what_is_there_only_stops_more(self):
        await self.deliver(1, 2)
        self.limits = Limits(octets=1)
        assert await self.store.is_full(ALICE)
        inbox, _ = await self.open()
        await inbox.set_flags([1], "add", frozenset({"\\Seen"}))
        await inbox.move([1], "Trash")
        await inbox.expunge([2])
        await inbox.close()
        await self.account.delete("Trash")
        assert not await self.store.is_full(ALICE)

    async def test_without_a_limit_nothing_is_asked(self):
        visits = []
        self.account.visit = visits.append
        assert await self.store.is_full(ALICE) is False
        assert visits == []

    async def test_limits_are_renewed_before_they_have_to_be_right(self):
        async def renew():
            self.limits = Limits(messages=0)

        self.store.renew_limits = renew
        assert await self.store.is_full(ALICE)


class SharedTests(ViewpointCase):
    async def test_whose_limits_count_is_the_mailboxes_owner(self):
        limits = {BOB: Limits(messages=1)}
        self.store.limits_of = lambda account: limits.get(account, UNLIMITED)
        await self.bob.set_acl("INBOX", ALICE, "lrite")
        await self.grant("lri")
        his = f"Other Users/{BOB}/INBOX"
        opened = await self.alice.open("Work")
        for move in (False, True):
            await self.refused(OverQuota, self.alice.copy(opened.mailbox, [1], his, move))
        assert [*(self.root / "mail").glob("a.test/*/Maildir/tmp/*")] == []
        assert list(opened.mailbox.uids) == [1]
        await opened.mailbox.close()
        await self.copy_into(WORK)
        assert (await self.alice.status("Work")).messages == 2
        place = await self.alice.require(his, "i")
        await self.refused(OverQuota, self.alice.require_room(place, 10))
        await self.bob.require_room(await self.bob.require(WORK, "i"), 10**12)

    async def test_the_root_is_the_account(self):
        self.store.limits_of = lambda account: Limits(10**6, 7)
        assert await self.bob.quota_roots("INBOX") == await self.bob.quota_roots("none yet") == [BOB]
        await self.grant("r")
        assert await self.bob.quota_roots(WORK) == [ALICE]
        quota = await self.bob.quota(ALICE)
        assert (quota.root, quota.usage, quota.limits) == (ALICE, Usage(SIZE, 1), Limits(10**6, 7))
