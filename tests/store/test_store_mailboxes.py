"""Mailboxes of an account: listing, creating, deleting, renaming, subscriptions, counts."""

import os

from store_case import ALICE, StoreCase, message

from twisted_mta.store.errors import (
    BadMailboxName,
    CannotDo,
    MailboxExists,
    NoSuchMailbox,
    NoSuchMessage,
    StorageFault,
    TooManyMailboxes,
)
from twisted_mta.store.quota import Bounds


class MailboxesTests(StoreCase):
    async def test_there_is_an_end_to_them(self):
        self.account.home.bounds = Bounds(mailboxes=7)
        await self.account.create("a")
        await self.refused(TooManyMailboxes, self.account.create("b"))
        os.mkdir(self.root / "mail/a.test/alice/Maildir/.b")  # of another program: it is seen
        for name in ("cur", "new", "tmp"):
            os.mkdir(self.root / "mail/a.test/alice/Maildir/.b" / name)
        assert "b" in await self.names()
        for number in range(8):
            await self.account.subscribe(f"Other Users/x/{number}", elsewhere=True)
        error = await self.refused(TooManyMailboxes, self.account.subscribe("a"))
        assert error.text == "There are 14 subscriptions, and there can be no more"
        await self.account.subscribe("INBOX")

    async def names(self):
        return [info.name for info in await self.account.list_mailboxes()]

    async def test_a_new_account(self):
        infos = await self.account.list_mailboxes()
        assert [(info.name, " ".join(info.special_uses)) for info in infos] == [
            ("INBOX", ""),
            ("Archive", "\\Archive"),
            ("Drafts", "\\Drafts"),
            ("Junk", "\\Junk"),
            ("Sent", "\\Sent"),
            ("Trash", "\\Trash"),
        ]
        assert all(info.subscribed and info.selectable for info in infos)
        assert await self.account.subscriptions() == sorted(info.name for info in infos)
        validities = {(await self.account.status(info.name)).uid_validity for info in infos}
        assert len(validities) == 6
        assert os.stat(self.maildir()).st_mode & 0o777 == 0o700
        assert (self.maildir(".Sent") / "maildirfolder").exists()

    async def test_create_makes_a_maildir_and_shows_parents_that_are_none(self):
        await self.account.create("a/b.c/")
        infos = {info.name: info for info in await self.account.list_mailboxes()}
        assert infos["a/b.c"].selectable and not infos["a"].selectable
        assert not infos["a/b.c"].subscribed
        assert sorted(os.listdir(self.maildir(".a.b\\2ec"))) == ["cur", "maildirfolder", "new", "tmp"]
        await self.account.create("a", frozenset({"\\All"}))
        infos = {info.name: info for info in await self.account.list_mailboxes()}
        assert infos["a"].selectable and infos["a"].special_uses == {"\\All"}

    async def test_create_refusals(self):
        await self.account.create("a/b")
        for name in ("a/b", "INBOX", "inbox", "Sent", "a/b/"):
            await self.refused(MailboxExists, self.account.create(name))
        for name in ("", "/", "/etc", "../x", "a//b", "x" * 300, "a\0", "a/b//"):
            await self.refused(BadMailboxName, self.account.create(name))
        assert sorted(os.listdir(self.root / "mail" / "a.test")) == ["alice"]

    async def test_bad_names_are_refused_everywhere(self):
        for name in ("../x", "/etc", "a/", "\0"):
            for ask in (
                self.account.open,
                self.account.status,
                self.account.delete,
                self.account.subscribe,
                self.account.unsubscribe,
            ):
                await self.refused(BadMailboxName, ask(name))
            await self.refused(BadMailboxName, self.account.rename("Sent", name + "/x"))
            await self.refused(BadMailboxName, self.account.rename(name, "x"))
        mailbox, _ = await self.open()
        await self.refused(BadMailboxName, mailbox.copy([1], "../x"))
        await self.refused(NoSuchMailbox, mailbox.copy([1], "Nowhere"))

    async def test_delete_keeps_children_and_never_gives_a_validity_again(self):
        await self.account.create("a")
        await self.account.create("a/b")
        first = (await self.account.status("a")).uid_validity
        await self.deliver(1, mailbox="a")
        await self.account.delete("a")
        infos = {info.name: info.selectable for info in await self.account.list_mailboxes()}
        assert infos["a"] is False and infos["a/b"] is True
        await self.refused(NoSuchMailbox, self.account.require("a"))
        await self.refused(NoSuchMailbox, self.account.status("a"))
        await self.refused(CannotDo, self.account.delete("a"))
        await self.account.create("a")
        status = await self.account.status("a")
        assert status.uid_validity > first and status.messages == 0
        await self.account.delete("a")
        await self.account.delete("a/b")
        assert "a" not in await self.names()
        await self.refused(NoSuchMailbox, self.account.delete("a"))
        await self.refused(CannotDo, self.account.delete("inbox"))
        await self.store.stop()
        assert not [name for name in os.listdir(self.home) if name.startswith("removed")]

    async def test_an_open_mailbox_that_is_deleted_says_so(self):
        await self.account.create("a")
        await self.deliver(1, mailbox="a")
        mailbox, changes = await self.open("a")
        await self.account.delete("a")
        await self.account.create("a")
        await self.deliver(2, mailbox="a")
        assert changes[-1].deleted and mailbox.deleted
        assert list(mailbox.uids) == [1]
        await self.refused(NoSuchMailbox, mailbox.read([1]))
        await self.refused(NoSuchMailbox, mailbox.refresh())
        await self.refused(NoSuchMailbox, mailbox.expunge([1]))
        again, _ = await self.open("a")
        assert again is not mailbox and again.uid_validity > mailbox.uid_validity
        await mailbox.close()
        assert (await self.open("a"))[0] is again

    async def test_rename_takes_the_children_along(self):
        for name in ("a", "a/b", "a/b/c", "ab"):
            await self.account.create(name)
        await self.deliver(1, mailbox="a/b")
        mailbox, changes = await self.open("a/b")
        await self.account.rename("a", "x/y")
        names = await self.names()
        assert [name for name in names if name[0] in "ax"] == ["ab", "x", "x/y", "x/y/b", "x/y/b/c"]
        assert mailbox.name == "x/y/b" and changes == []
        assert await mailbox.read([1]) == [message(1)]
        assert (await mailbox.set_flags([1], "add", frozenset({"\\Seen"}))).changed == [1]
        assert (await self.open("x/y/b"))[0] is mailbox
        await self.account.rename("x", "z")
        assert mailbox.name == "z/y/b"
        assert await self.numbers("z/y/b") == {1: 1}

    async def test_rename_refusals(self):
        await self.account.create("a/b")
        await self.account.create("c")
        await self.refused(NoSuchMailbox, self.account.rename("nowhere", "x"))
        for new in ("c", "Sent", "inbox", "a", "a/b"):
            await self.refused(MailboxExists, self.account.rename("a/b", new))
        await self.refused(CannotDo, self.account.rename("c", "c/d"))
        await self.refused(BadMailboxName, self.account.rename("a", "x" * 254))
        assert {"a/b", "c"} < set(await self.names())

    async def test_rename_of_inbox_moves_its_messages(self):
        await self.account.create("INBOX/child")
        await self.deliver(1, 2)
        mailbox, changes = await self.open()
        await mailbox.set_flags([1], "add", frozenset({"\\Flagged", "kw"}))
        await self.account.rename("Inbox", "old")
        assert list(mailbox.uids) == [] and changes[-1].expunged == (1, 2)
        assert await self.numbers("old") == {1: 1, 2: 2}
        assert (await self.open("old"))[0].flags(1) == {"\\Flagged", "kw"}
        assert "INBOX/child" in await self.names()
        assert await self.deliver(3) == [3]

    async def test_subscriptions_outlive_their_mailbox(self):
        await self.account.create("a/b")
        await self.account.subscribe("a/b")
        await self.account.subscribe("a")
        await self.account.delete("a/b")
        assert {"a", "a/b"} < set(await self.account.subscriptions())
        await self.account.unsubscribe("a/b")
        await self.refused(NoSuchMailbox, self.account.unsubscribe("a/b"))
        await self.refused(NoSuchMailbox, self.account.subscribe("a/b"))
        await self.restart_store()
        assert "a" in await self.account.subscriptions()

    async def test_status(self):
        await self.deliver(1, 2, 3)
        mailbox, _ = await self.open()
        await mailbox.set_flags([1, 2], "add", frozenset({"\\Seen"}))
        await mailbox.set_flags([3], "add", frozenset({"\\Deleted"}))
        assert mailbox.claim_recent() == 1
        await self.deliver(4)
        status = await self.account.status("inbox")
        assert (status.messages, status.recent, status.unseen, status.deleted) == (4, 1, 2, 1)
        assert status.uid_next == 5 == mailbox.uid_next
        assert status.uid_validity == mailbox.uid_validity
        assert status.size == sum(map(mailbox.size, mailbox.uids))
        assert status.highest_modseq == mailbox.highest_modseq
        empty = await self.account.status("Sent")
        assert (empty.messages, empty.unseen, empty.size, empty.uid_next) == (0, 0, 0, 1)

    async def test_everything_is_there_after_a_restart(self):
        await self.deliver(1, 2)
        mailbox, _ = await self.open()
        await mailbox.set_flags([1], "replace", frozenset({"\\Answered", "$A", "b"}))
        await mailbox.expunge([2])
        before = await self.account.status("INBOX")
        await self.restart_store()
        assert await self.account.status("INBOX") == before
        mailbox, _ = await self.open()
        assert mailbox.flags(1) == {"\\Answered", "$A", "b"}
        assert mailbox.keywords == {"$A", "b"}
        assert await self.deliver(3) == [3]

    async def test_a_store_that_has_stopped_refuses(self):
        mailbox, _ = await self.open()
        await self.store.stop()
        await self.refused(StorageFault, self.account.status("INBOX"))
        await self.refused(StorageFault, mailbox.read([1]))
        await self.refused(StorageFault, self.deliver_after_stop())

    async def deliver_after_stop(self):
        from twisted_mta.message.content import Content

        await self.store.deliver("bob@a.test", Content(b"x"), unique="u", arrived=1.0)

    async def test_questions_about_a_message_that_is_gone(self):
        await self.deliver(1)
        mailbox, _ = await self.open()
        for ask in (mailbox.flags, mailbox.modseq, mailbox.size, mailbox.internal_date):
            ask(1)
            for uid in (0, 2, 2**31):
                with self.assertRaises(NoSuchMessage):
                    ask(uid)

    async def test_many_accounts_share_few_open_indexes(self):
        self.store._open_indexes = 3
        from twisted_mta.message.content import Content

        accounts = [f"u{number}@a.test" for number in range(10)]
        mailbox, _ = await self.open()
        for round_ in range(3):
            for account in accounts:
                await self.store.deliver(
                    account, Content(b"", message(round_)), unique=f"m{round_}", arrived=1.0
                )
            await self.deliver(round_)
        for account in accounts:
            assert (await (await self.store.account(account)).status("INBOX")).messages == 3
        assert list(mailbox.uids) == [1, 2, 3]
        descriptors = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is(fd)]
        ours = [name for name in descriptors if name.startswith(str(self.root))]
        assert len([name for name in ours if name.endswith("index.sqlite")]) <= 4


def _is(fd):
    return os.path.islink(f"/proc/self/fd/{fd}")


class OneAccount(StoreCase):
    async def test_the_same_account_and_mailbox_are_shared(self):
        assert await self.store.account(ALICE) is self.account
        one, two = await self.account.open("INBOX"), await self.account.open("inbox")
        assert one is two
        await one.close()
        await self.deliver(1)
        assert list(two.uids) == [1]
        await two.close()
        assert await self.account.open("INBOX") is two
