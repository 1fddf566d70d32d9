"""One content, several messages: what is known of it, its ids (RFC 8474), and its end."""

import os
import re
from datetime import UTC, date, datetime

from store_case import ALICE, ARRIVED, StoreCase
from twisted.internet import reactor

from twisted_mta.message.content import Content
from twisted_mta.store import contents
from twisted_mta.store.overview_columns import Look
from twisted_mta.store.store import MessageStore

OBJECT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,254}")


def mail(number, *, references="", subject="", text="Good morning"):
    """A message with CRLF ends and the Message-ID <number@a.test>."""
    fields = [
        "Date: Tue, 1 Jul 2025 10:00:00 +0200",
        "From: =?utf-8?q?J=C3=BCrgen?= <j@a.test>",
        "To: alice@a.test",
        f"Subject: {subject or number}",
        f"Message-ID: <{number}@a.test>",
    ]
    if references:
        fields.append(f"References: {references}")
    return ("\r\n".join([*fields, "", text, ""])).encode()


class EmailCase(StoreCase):
    async def start_store(self, *args):
        self.rendered = []

        def render(data, root):
            self.rendered.append(data)
            return b"%d octets" % len(data)

        self.store = MessageStore(
            self.root / "mail", reactor=reactor, hostname="h", render=render, indexing=False
        )
        await self.store.start()
        self.account = await self.store.account(ALICE)

    async def put(self, data, mailbox="INBOX"):
        """Deliver it; its UID."""
        self.count = getattr(self, "count", 0) + 1
        return await self.store.deliver(
            ALICE, Content(b"", data), unique=f"m{self.count}", arrived=ARRIVED, mailbox=mailbox
        )

    def rows(self, table):
        """How many rows a table of the index has; to be asked in the lane."""
        return self.account.visit(lambda home: home.index._one(f"SELECT count(*) FROM {table}")[0])


class KnowledgeTests(EmailCase):
    async def test_what_is_known_of_a_message(self):
        await self.put(mail(1, subject="Re: [list] Tea", references="<0@a.test>"))
        mailbox, _ = await self.open()
        assert await mailbox.structures([1, 9]) == [b"%d octets" % mailbox.size(1), None]
        assert await mailbox.previews([9, 1]) == [None, "Good morning"]
        fields = ("sent", "sent_day", "base_subject", "is_reply", "from_", "message_id", "references")
        looks = [Look(field) for field in fields]
        learned = await mailbox.overviews([1, 9], looks)
        assert list(learned.uids) == [1] and list(learned.places) == [0]
        values = tuple(value for (value,) in learned.values)
        sent, sent_day, base_subject, is_reply, from_, *_ = values
        assert sent == datetime(2025, 7, 1, 8, tzinfo=UTC).timestamp()
        assert sent_day == date(2025, 7, 1).toordinal()
        assert base_subject.lower() == "tea" and is_reply and "Jürgen" in from_
        assert values[5:] == ("1@a.test", ("0@a.test",))
        await mailbox.refresh()  # behind the keeping, in the lane
        self.rendered.clear()
        self.account.upkeep.overviews.forget(mailbox.overview_columns)
        assert (await mailbox.overviews([1], looks)).values == learned.values
        assert await mailbox.structures([1]) == [b"%d octets" % mailbox.size(1)]
        assert await mailbox.previews([1]) == ["Good morning"]
        assert self.rendered == []

    async def test_structures_are_kept_though_nothing_else_was_asked(self):
        await self.put(mail(1))
        mailbox, _ = await self.open()
        for _ in range(2):
            assert await mailbox.structures([1]) == [b"%d octets" % mailbox.size(1)]
            await mailbox.refresh()
        assert len(self.rendered) == 1 and await self.rows("emails") == 0
        await mailbox.thread_ids([1])
        assert await self.rows("emails") == 1 == await self.rows("structures")

    async def test_fields_that_are_none_are_refused(self):
        await self.put(mail(1))
        mailbox, _ = await self.open()
        with self.assertRaises(ValueError):
            await mailbox.overviews([1], [Look("subject FROM emails --")])

    async def test_copies_share_what_is_known_and_their_ids(self):
        await self.put(mail(1))
        inbox, _ = await self.open()
        await inbox.structures([1])
        await inbox.copy([1, 1], "Archive")
        await inbox.copy([1], "INBOX")
        archive, _ = await self.open("Archive")
        await inbox.move([1], "Trash")
        trash, _ = await self.open("Trash")
        held = [(inbox, 2), (archive, 1), (trash, 1)]
        assert len({mailbox.email_id(uid) for mailbox, uid in held}) == 1
        for mailbox, uid in held:
            assert await mailbox.structures([uid]) == [b"%d octets" % mailbox.size(uid)]
            assert await mailbox.cached("n", [uid], lambda data: self.rendered.append(data) or b"x") == [b"x"]
            await mailbox.refresh()
        assert len(self.rendered) == 2
        threads = {(await mailbox.thread_ids([uid]))[0] for mailbox, uid in held}
        assert len(threads) == 1

    async def test_thousands_at_once(self):
        self.patch(contents, "SLICE", 7)
        for number in range(30):
            await self.put(mail(number))
        mailbox, _ = await self.open()
        known = await mailbox.overviews(mailbox.uids, [Look("message_id")])
        assert list(known.uids) == list(mailbox.uids)
        assert known.values == [[f"{uid - 1}@a.test" for uid in mailbox.uids]]
        await mailbox.refresh()
        assert (await mailbox.overviews([3, 17], [Look("subject")])).values == [["2", "16"]]
        assert len(self.rendered) == 30
        assert len(set(await mailbox.thread_ids(mailbox.uids))) == 30

    async def test_a_message_that_goes_while_it_is_learned_leaves_nothing(self):
        await self.put(mail(1))
        mailbox, _ = await self.open()
        keep, held = mailbox._later, []
        mailbox._later = held.append
        await mailbox.structures([1])
        await mailbox.previews([1])
        await mailbox.expunge([1])
        for work in held:
            keep(work)
        assert len(held) == 2
        assert await self.rows("emails") == 0 == await self.rows("structures")
        assert await self.rows("message_ids") == 0


class ThreadTests(EmailCase):
    async def threads(self, *mails):
        """The THREADIDs of these messages, delivered and asked for one after the other."""
        found = []
        for data in mails:
            uid = await self.put(data)
            mailbox = await self.account.open("INBOX")
            found += await mailbox.thread_ids([uid])
            await mailbox.close()
        return found

    async def test_a_conversation_is_one_thread(self):
        one, answer, other, late = await self.threads(
            mail(1),
            mail(2, references="<1@a.test>"),
            mail(3),
            mail(4, references="<1@a.test> <2@a.test>"),
        )
        assert one == answer == late != other

    async def test_the_answer_may_come_before_what_it_answers(self):
        answer, one, cousin = await self.threads(
            mail(2, references="<0@a.test> <1@a.test>"), mail(1), mail(7, references="<0@a.test>")
        )
        assert answer == one == cousin

    async def test_a_thread_once_told_stays(self):
        one, two, both = await self.threads(mail(1), mail(2), mail(3, references="<2@a.test> <1@a.test>"))
        assert one != two and both == one
        mailbox, _ = await self.open()
        assert await mailbox.thread_ids([3, 2, 1, 9]) == [one, two, one, None]
        await self.restart_store()
        mailbox, _ = await self.open()
        assert await mailbox.thread_ids([1, 2, 3]) == [one, two, one]

    async def test_messages_without_ids_stand_alone(self):
        plain = b"Subject: x\r\n\r\nx\r\n"
        one, two = await self.threads(plain, plain)
        assert one != two


class ObjectIdTests(EmailCase):
    async def test_ids_are_what_rfc_8474_wants(self):
        await self.put(mail(1))
        mailbox, _ = await self.open()
        (thread,) = await mailbox.thread_ids([1])
        ids = [mailbox.object_id, mailbox.email_id(1), thread]
        assert all(map(OBJECT_ID.fullmatch, ids)) and len(set(ids)) == 3
        assert (await self.account.status("INBOX")).object_id == mailbox.object_id
        infos = {info.name: info.object_id for info in await self.account.list_mailboxes()}
        assert infos["INBOX"] == mailbox.object_id and len(set(infos.values())) == len(infos)

    async def test_a_mailbox_keeps_its_id_when_it_is_renamed_and_nobody_else_gets_it(self):
        await self.account.create("a")
        before = (await self.account.status("a")).object_id
        await self.account.rename("a", "b")
        assert (await self.account.status("b")).object_id == before
        await self.account.create("a")
        assert (await self.account.status("a")).object_id != before
        await self.account.delete("b")
        await self.account.create("b")
        assert (await self.account.status("b")).object_id != before

    async def test_ids_outlive_a_restart_and_never_mean_something_else(self):
        await self.put(mail(1))
        ids = await self.ids()
        await self.restart_store()
        assert await self.ids() == ids
        await self.store.stop()
        os.unlink(self.home / "index.sqlite")
        await self.start_store()
        assert not set(await self.ids()) & set(ids)

    async def ids(self):
        mailbox = await self.account.open("INBOX")
        (thread,) = await mailbox.thread_ids([1])
        found = [mailbox.object_id, mailbox.email_id(1), thread]
        await mailbox.close()
        return found

    async def test_an_email_number_is_never_given_twice(self):
        await self.put(mail(1))
        mailbox, _ = await self.open()
        told = {mailbox.email_id(1)}
        await mailbox.expunge([1])
        await self.account.tidy()
        await self.put(mail(2))
        told.add(mailbox.email_id(2))
        assert len(told) == 2


class CollectionTests(EmailCase):
    async def test_an_email_goes_with_its_last_message(self):
        for number in range(4):
            await self.put(mail(number))
        inbox, _ = await self.open()
        await inbox.previews(inbox.uids)
        await inbox.cached("n", inbox.uids, lambda data: b"x")
        await inbox.copy([1], "Archive")
        await inbox.expunge([1, 2])
        assert await self.rows("emails") == 4
        await self.account.tidy()
        for table in ("emails", "structures", "renderings", "message_ids"):
            assert await self.rows(table) == 3
        assert await self.rows("loose") == 0
        await self.account.delete("Archive")
        await self.account.tidy()
        assert await self.rows("emails") == 2

    async def test_a_thread_that_has_messages_left_is_still_found(self):
        await self.put(mail(1))
        await self.put(mail(2, references="<1@a.test>"))
        mailbox, _ = await self.open()
        one, two = await mailbox.thread_ids([1, 2])
        await mailbox.expunge([1])
        await self.account.tidy()
        await self.put(mail(3, references="<1@a.test>"))
        assert await mailbox.thread_ids([3]) == [one] == [two]

    async def test_names_that_cannot_follow_hold_up_nothing(self):
        await self.put(mail(1))
        mailbox, _ = await self.open()
        await mailbox.previews([1])
        await self.account.create("Elsewhere")
        await mailbox.move([1], "Elsewhere")
        other, _ = await self.open("Elsewhere")
        await other.set_flags([1], "add", frozenset({"\\Seen"}))
        await self.account.delete("Elsewhere")
        await self.account.tidy()
        assert await self.rows("emails") == 0

    async def test_what_a_crash_left_is_collected_after_the_next_start(self):
        await self.put(mail(1))
        mailbox, _ = await self.open()
        await mailbox.previews([1])
        await mailbox.expunge([1])
        await self.restart_store()
        assert await self.rows("emails") == 1
        self.store._upkeep._tick()
        await self.account.visit(lambda home: None)
        while await self.rows("loose"):
            pass
        assert await self.rows("emails") == 0


class SaveDateTests(EmailCase):
    async def test_when_a_message_came_into_its_mailbox(self):
        await self.put(mail(1))
        draft = await self.store.draft(ALICE)
        await draft.write(mail(2))
        await draft.end_message(frozenset(), 5.0)
        await draft.commit("INBOX")
        inbox, _ = await self.open()
        first, appended = inbox.save_date(1), inbox.save_date(2)
        assert inbox.internal_date(2) == 5.0 and appended >= first > ARRIVED
        await inbox.copy([2], "Archive")
        await inbox.move([2], "Trash")
        for name in ("Archive", "Trash"):
            mailbox, _ = await self.open(name)
            assert mailbox.internal_date(1) == 5.0 and mailbox.save_date(1) >= appended
            await mailbox.set_flags([1], "add", frozenset({"\\Seen"}))
            saved = mailbox.save_date(1)
            await mailbox.close()
        await self.restart_store()
        trash, _ = await self.open("Trash")
        assert trash.save_date(1) == saved

    async def test_a_message_that_another_program_put_there(self):
        path = self.maildir("new") / "1.a.h"
        path.write_bytes(b"x\n")
        os.utime(path, (5, 5))
        inbox, _ = await self.open()
        assert inbox.internal_date(1) == 5 and abs(inbox.save_date(1) - path.stat().st_ctime) < 1
