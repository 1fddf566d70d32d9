"""What UIDL tells over the real store (RFC 1939 §7): the same id for a message for ever, whatever becomes of
the index, of its flags and of its file's fields."""

import os
import poplib
import sqlite3

from pop3_house import Line, Pop3Case
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from twisted_mta.store import contents
from twisted_mta.store.index.reader import Reader
from twisted_mta.store.store import MessageStore

LOGIN = b"USER alice@a.test\r\nPASS secret\r\n"


def text(number):
    return b"Subject: %d\r\n\r\n" % number


class UniqueIdTests(Pop3Case):
    async def ids(self, port=None):
        """The message, by its subject -> its unique id, as a new session is told."""

        def work():
            client = poplib.POP3("127.0.0.1", port or self.port, timeout=30)
            client.user("alice@a.test")
            client.pass_("secret")
            listing = [line.split() for line in client.uidl()[1]]
            one_by_one = [client.uidl(int(number)).split()[1:] for number, _ in listing]
            assert one_by_one == listing
            found = {client.retr(int(number))[1][0]: unique for number, unique in listing}
            client.quit()
            return found

        return await deferToThread(work)

    @property
    def home(self):
        return self.root / "mail" / "a.test" / "alice"

    async def inbox(self):
        mailbox = await (await self.store.account("alice@a.test")).open("INBOX")
        self.addCleanup(mailbox.close)
        return mailbox

    async def restart(self, harm=lambda index: None):
        """A new start of the store, the index having suffered harm meanwhile."""
        await self.store.stop()
        harm(self.home / "index.sqlite")
        self.store = MessageStore(self.root / "mail", reactor=reactor, hostname="mx.a.test")
        await self.store.start()

    async def logged_in(self):
        line = Line(self.port)
        self.addCleanup(line.close)
        await deferToThread(lambda: [line.line(), line.send(LOGIN), line.line(), line.line()])
        return line

    async def test_ids_outlive_the_index(self):
        for number in range(5):
            await self.deliver(text(number))
        new = self.home / "Maildir" / "new"
        (new / "1700000001.M1P2.elsewhere,S=12,W=14").write_bytes(b"Subject: 5\n\n")
        (new / ("1700000002." + "long" * 20)).write_bytes(b"Subject: 6\n\n")
        (new / "1700000003.gr\u00fcn").write_bytes(b"Subject: 7\n\n")
        mailbox = await self.inbox()
        await mailbox.expunge([mailbox.uids[1]])
        before, validity = await self.ids(), mailbox.uid_validity
        assert len(set(before.values())) == len(before) == 7
        assert before[b"Subject: 5"] == b"1700000001.M1P2.elsewhere"
        assert all(len(unique) <= 70 for unique in before.values())

        def lose(index):
            for path in index.parent.glob("index.sqlite*"):
                path.unlink()

        await self.restart(lose)
        assert await self.ids() == before
        assert (await self.inbox()).uid_validity != validity
        await self.deliver(text(8))
        await self.restart(lambda index: os.truncate(index, index.stat().st_size // 2))
        after = await self.ids()
        assert {subject: after[subject] for subject in before} == before
        assert len(set(after.values())) == len(after) == 8

    async def test_ids_outlive_flags_and_what_other_programs_add_to_names(self):
        for number in range(2):
            await self.deliver(text(number))
        before = await self.ids()
        mailbox = await self.inbox()
        await mailbox.set_flags(mailbox.uids, "add", frozenset({"\\Seen", "$Work"}))
        await mailbox.account.tidy()
        cur = self.home / "Maildir" / "cur"
        files = sorted(cur.iterdir())
        assert len(files) == 2 and all(":2," in path.name and path.name.endswith("Sa") for path in files)
        assert await self.ids() == before
        for number, path in enumerate(files, 1):  # as mbsync does
            path.rename(cur / path.name.replace(":2,", f",U={number}:2,F"))
        assert await self.ids() == before
        await mailbox.refresh()
        assert "\\Flagged" in mailbox.flags(mailbox.uids[0])

    async def test_what_goes_before_it_is_asked_about_keeps_its_number(self):
        self.patch(contents, "LOOKED_UP", 2)
        for number in range(3):
            await self.deliver(text(number))
        line = await self.logged_in()
        mailbox = await self.inbox()
        uids = list(mailbox.uids)
        await mailbox.expunge(uids[:1])
        first = b"1 removed.%d.%d\r\n" % (mailbox.uid_validity, uids[0])

        def listing():
            line.send(b"UIDL\r\n")
            return [line.line() for _ in range(5)]

        told = await deferToThread(listing)
        assert told[1:] == [
            first,
            b"2 1700000000.Q2-1.mx.a.test\r\n",
            b"3 1700000000.Q3-1.mx.a.test\r\n",
            b".\r\n",
        ]
        await mailbox.expunge(uids[1:])  # what has been told stays
        await self.deliver(text(3))
        assert await deferToThread(listing) == told
        assert await deferToThread(line.say, b"UIDL 1") == b"+OK " + first
        assert (await deferToThread(line.say, b"UIDL 4")).startswith(b"-ERR")

    async def test_of_a_lost_index_nothing_is_told(self):
        """Its messages have not gone, so a client must not be told so."""
        await self.deliver(text(0))
        line = await self.logged_in()
        os.truncate(self.home / "index.sqlite", 0)
        assert (await deferToThread(line.say, b"UIDL")).startswith(b"-ERR [SYS/")
        assert await self.ids() == {b"Subject: 0": b"1700000000.Q1-1.mx.a.test"}

    async def test_trouble_with_the_disk_is_temporary(self):
        await self.deliver(text(0))
        line = await self.logged_in()

        def fail(*arguments):
            raise sqlite3.OperationalError("disk I/O error")

        trouble = self.patch(Reader, "names", fail)
        assert (await deferToThread(line.say, b"UIDL 1")).startswith(b"-ERR [SYS/TEMP]")
        trouble.restore()
        assert await deferToThread(line.say, b"UIDL 1") == b"+OK 1 1700000000.Q1-1.mx.a.test\r\n"

    async def test_the_other_forms(self):
        await self.deliver(text(0))
        _, plain = self.listen(unique_ids="plain")
        _, dovecot = self.listen(unique_ids="dovecot")
        mailbox = await self.inbox()
        pair = mailbox.uid_validity, mailbox.uids[0]
        assert list((await self.ids(plain)).values()) == [b"%d.%d" % pair]
        assert list((await self.ids(dovecot)).values()) == [b"%08x%08x" % pair[::-1]]

    async def test_an_empty_maildrop_has_no_ids(self):
        assert await self.ids() == {}
