"""Other programs on the same Maildir: mutt, mbsync, Dovecot and plain delivery agents."""

import os
import shutil

from store_case import ClockedReactor, StoreCase, message

from twisted_mta.store import upkeep
from twisted_mta.store.errors import NoSuchMailbox, StorageFault
from twisted_mta.store.folder import Folder


class OutsideTests(StoreCase):
    def drop(self, name, number, directory=""):
        """What a delivery agent does: tmp, then rename."""
        path = self.maildir(directory) / "tmp" / "drop"
        path.write_bytes(message(number).replace(b"\r\n", b"\n"))
        os.rename(path, self.maildir(directory) / name)

    async def test_names_of_many_programs_are_taken_over_in_order(self):
        self.drop("new/1700000003.V801I2a3M1.host", 3)  # Dovecot
        self.drop("cur/1700000001.12345_1.host,U=7:2,S", 1)  # mbsync
        self.drop("cur/1700000002.R8371.host:2,FRS", 2)  # mutt
        self.drop("new/1700000004.M4P5V6.host,S=53,W=56", 4)  # Courier
        self.drop("cur/1700000005.x.host", 5)  # no letters at all
        self.drop("cur/odd:2,T", 6)
        os.utime(self.maildir("cur") / "odd:2,T", (1_800_000_000, 1_800_000_000))
        (self.maildir("cur") / ".dot").touch()
        (self.maildir("cur") / "a directory").mkdir()
        mailbox, _ = await self.open()
        assert await self.numbers("INBOX") == {1: 1, 2: 2, 3: 3, 4: 4, 5: 5, 6: 6}
        assert mailbox.flags(1) == {"\\Seen"}
        assert mailbox.flags(2) == {"\\Flagged", "\\Answered", "\\Seen"}
        assert mailbox.flags(6) == {"\\Deleted"} and mailbox.internal_date(6) == 1_800_000_000
        assert {mailbox.size(uid) for uid in mailbox.uids} == {56}
        await mailbox.set_flags([5], "add", frozenset({"\\Seen"}))
        await self.account.tidy()
        assert "cur/1700000005.x.host:2,S" in self.files()

    async def test_a_name_that_is_not_utf8_is_passed_over_and_told_once(self):
        reports = []
        self.account.home.report = reports.append
        self.drop("new/1.a.h", 1)
        (self.maildir("cur") / os.fsdecode(b"\xff\xfe.x:2,S")).touch()
        mailbox, _ = await self.open()
        self.drop("new/2.b.h", 2)
        await mailbox.refresh()
        assert await self.numbers("INBOX") == {1: 1, 2: 2}
        (report,) = reports
        assert report.endswith(r"passed over b'cur/\xff\xfe.x:2,S', whose name is not UTF-8")
        report.encode()

    async def test_crlf_files_are_read_in_canonical_form(self):
        (self.maildir("new") / "1.a.h").write_bytes(b"a\r\nb\nc\r\n")
        mailbox, _ = await self.open()
        assert await mailbox.read([1]) == [b"a\r\nb\r\nc\r\n"] and mailbox.size(1) == 9

    async def test_nul_is_read_as_0x80_and_stays_in_the_file(self):
        (self.maildir("new") / "1.a.h").write_bytes(b"a\0\nb\0")
        mailbox, _ = await self.open()
        assert await mailbox.read([1]) == [b"a\x80\r\nb\x80"] and mailbox.size(1) == 6
        assert (self.maildir("new") / "1.a.h").read_bytes() == b"a\0\nb\0"

    async def test_an_open_mailbox_follows(self):
        mailbox, changes = await self.open()
        self.drop("new/1.a.h", 1)
        await mailbox.refresh()
        assert changes[-1].added == (1,)
        os.rename(self.maildir("new") / "1.a.h", self.maildir("cur") / "1.a.h:2,S")
        await mailbox.refresh()
        assert changes[-1].flags == (1,) and mailbox.flags(1) == {"\\Seen"}
        await mailbox.set_flags([1], "add", frozenset({"kept"}))
        await self.account.tidy()
        os.rename(self.maildir("cur") / "1.a.h:2,Sa", self.maildir("cur") / "1.a.h:2,FSa")
        await mailbox.refresh()
        assert mailbox.flags(1) == {"\\Seen", "\\Flagged", "kept"}
        os.unlink(self.maildir("cur") / "1.a.h:2,FSa")
        await mailbox.refresh()
        assert changes[-1].expunged == (1,) and list(mailbox.uids) == []
        count = len(changes)
        await mailbox.refresh()
        assert len(changes) == count
        self.drop("new/1.a.h", 1)  # back from a backup: another message for IMAP
        await mailbox.refresh()
        assert list(mailbox.uids) == [2]

    async def test_our_own_work_does_not_lead_to_a_scan_and_hides_nothing(self):
        scans = []
        scan = Folder.scan
        self.patch(Folder, "scan", lambda folder: (scans.append(folder), scan(folder)))
        mailbox, _ = await self.open()
        scans.clear()
        await self.deliver(*range(1, 50))
        await mailbox.set_flags([1, 2], "add", frozenset({"\\Seen"}))
        await mailbox.expunge([3])
        await mailbox.copy([4], "INBOX")
        await mailbox.refresh()
        assert scans == []
        self.drop("new/1.a.h", 99)  # between two pieces of our own work
        await self.deliver(50)
        await mailbox.set_flags([1], "add", frozenset({"\\Flagged"}))
        await mailbox.refresh()
        assert 99 in (await self.numbers("INBOX")).values()

    async def test_a_second_file_of_the_same_name_is_no_second_message(self):
        """A program that links and unlinks to move a file, or died in between."""
        self.drop("new/1.a.h", 1)
        self.drop("cur/2.b.h:2,S", 2)
        mailbox, changes = await self.open()
        os.link(self.maildir("cur") / "2.b.h:2,S", self.maildir("cur") / "2.b.h:2,FS")
        for _ in range(3):
            await mailbox._visit(Folder.scan)
        assert list(mailbox.uids) == [1, 2] and changes == []
        os.link(self.maildir("new") / "1.a.h", self.maildir("cur") / "1.a.h:2,S")
        await mailbox._visit(Folder.scan)
        assert [change.flags for change in changes] == [(1,)] and mailbox.flags(1) == {"\\Seen"}
        os.unlink(self.maildir("new") / "1.a.h")
        os.unlink(self.maildir("cur") / "2.b.h:2,S")
        await mailbox._visit(Folder.scan)
        assert mailbox.flags(2) == {"\\Seen", "\\Flagged"} and len(changes) == 2
        assert await self.numbers("INBOX") == {1: 1, 2: 2}

    async def test_a_file_that_was_renamed_is_found_again(self):
        await self.deliver(*range(6))
        mailbox, _ = await self.open()
        target, _ = await self.open("Archive")

        def rename(part, info):
            (name,) = [file for file in self.files() if f".m{part}." in file]
            os.rename(self.maildir() / name, self.maildir() / f"cur/{name[4:].split(':')[0]}:2,{info}")

        rename(0, "S")
        assert await mailbox.read([1, 2]) == [message(0), message(1)]
        rename(1, "F")
        assert (await mailbox.set_flags([2], "add", frozenset({"\\Seen"}))).changed == [2]
        assert mailbox.flags(2) == {"\\Seen", "\\Flagged"}
        rename(2, "S")
        assert await mailbox.expunge([3]) == [3]
        rename(3, "FS")
        assert (await mailbox.copy([4], "Archive")).target_uids == (1,)
        assert target.flags(1) == {"\\Seen", "\\Flagged"}
        rename(4, "R")
        assert (await mailbox.move([5], "Archive")).target_uids == (2,)
        (name,) = [file for file in self.files() if ".m5." in file]
        os.unlink(self.maildir() / name)
        assert await mailbox.read([6]) == [None]
        assert await mailbox.expunge([6]) == [] and list(mailbox.uids) == [1, 2, 4]

    async def test_renamed_between_the_look_and_the_work(self):
        """The directory's times betray nothing: the file itself is missing where it was last seen."""
        await self.deliver(1, 2, 3, 4)
        mailbox, _ = await self.open()
        await self.open("Archive")
        for uid, work in (
            (1, lambda: mailbox.set_flags([1], "add", frozenset({"\\Seen"}))),
            (2, lambda: mailbox.expunge([2])),
            (3, lambda: mailbox.move([3], "Archive")),
            (4, lambda: mailbox.copy([4], "Archive")),
        ):
            refresh = Folder.refresh

            def meanwhile(folder, uid=uid, refresh=refresh):
                refresh(folder)
                for name in [file for file in self.files() if f".m{uid}." in file]:
                    os.rename(self.maildir() / name, self.maildir() / f"cur/{name[4:].split(':')[0]}:2,F")

            patch = self.patch(Folder, "refresh", meanwhile)
            await work()
            patch.restore()
        assert mailbox.flags(1) == {"\\Seen", "\\Flagged"}
        assert list(mailbox.uids) == [1, 4]
        assert await self.numbers("Archive") == {1: 3, 2: 4}

    async def test_mailboxes_of_others_come_and_go(self):
        for directory in (".Lists.python", ".Entwürfe", ".&ZeVnLIqe-", ".a..b", ".INBOX", "plain"):
            for sub in ("cur", "new", "tmp"):
                (self.maildir(directory) / sub).mkdir(parents=True)
        (self.maildir(".empty")).mkdir()
        self.drop("new/1.a.h", 7, ".Lists.python")
        names = [info.name for info in await self.account.list_mailboxes()]
        assert {"Lists", "Lists/python", "Entwürfe", "日本語"} < set(names)
        assert len(names) == 6 + 4
        mailbox, changes = await self.open("Lists/python")
        assert await self.numbers("Lists/python") == {1: 7}
        assert await self.deliver(8, mailbox="Entwürfe") == [1]
        await self.refused(NoSuchMailbox, self.account.open("a"))
        await self.refused(NoSuchMailbox, self.account.open("empty"))
        shutil.rmtree(self.maildir(".Lists.python"))
        await self.refused(NoSuchMailbox, mailbox.refresh())
        assert changes[-1].deleted
        assert "Lists" not in [info.name for info in await self.account.list_mailboxes()]

    async def test_a_maildir_that_was_there_first_is_taken_over(self):
        base = self.root / "mail" / "b.test" / "bob" / "Maildir"
        for directory in ("", ".Sent", ".Old"):
            for sub in ("cur", "new", "tmp"):
                (base / directory / sub).mkdir(parents=True)
        (base / ".Sent" / "cur" / "1.a.h:2,S").write_bytes(b"x\n")
        account = await self.store.account("bob@b.test")
        infos = {info.name: info for info in await account.list_mailboxes()}
        assert sorted(infos) == ["INBOX", "Old", "Sent"]
        assert infos["Sent"].special_uses == {"\\Sent"} and infos["Old"].subscribed
        assert (await account.status("Sent")).messages == 1

    async def test_a_maildir_that_is_not_mounted_is_not_taken_for_empty(self):
        await self.deliver(1)
        await self.store.stop()
        os.rename(self.maildir(), self.home / "away")
        with self.assertRaises(StorageFault):
            await self.start_store()
        assert not self.maildir().exists()
        os.rename(self.home / "away", self.maildir())
        self.account = await self.store.account("alice@a.test")
        assert await self.numbers("INBOX") == {1: 1}

    async def test_a_watched_mailbox_notices_by_itself(self):
        await self.store.stop()
        clock = ClockedReactor()
        await self.start_store(clock)
        mailbox, changes = await self.open()
        other = await self.account.open("Sent")
        self.drop("new/1.a.h", 1)
        self.drop("new/1.b.h", 2, ".Sent")
        clock.advance(upkeep.TICK)
        await mailbox._beside(lambda: None)  # behind the look, in a thread
        while not changes:
            await mailbox._account.visit(lambda home: None)
        assert changes[-1].added == (1,) and not other.uids
        await mailbox.close()
        clock.advance(upkeep.TICK)
        assert self.store._upkeep._looking is False
