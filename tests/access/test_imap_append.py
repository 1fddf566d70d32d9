"""APPEND, CATENATE and REPLACE from outside: what is kept, who may do it, and what goes wrong under way
(RFC 3502, 3516, 4314, 4469, 8508, 9208)."""

import os
import re
import tracemalloc
from dataclasses import replace

from imap_house import ALICE, ImapCase, literal_of
from twisted.internet.defer import Deferred, gatherResults

from twisted_mta.access.imap4 import append
from twisted_mta.store.draft import MessageDraft
from twisted_mta.store.errors import StorageFull
from twisted_mta.store.quota import Limits

BINARY = (
    b"Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/x\r\n"
    b"Content-Transfer-Encoding: binary\r\n\r\n%b\r\n--b--\r\n"
)


class AppendCase(ImapCase):
    async def count(self, talk, mailbox):
        found = await talk.say(f"z STATUS {mailbox} (MESSAGES)")
        return int(re.search(r"MESSAGES (\d+)", found[0])[1])

    def left_over(self):
        """The files in tmp, which belong to drafts."""
        return [path for path in (self.root / "mail").glob("*/*/Maildir/tmp/*") if path.is_file()]

    async def append(self, talk, octets, to="INBOX"):
        """Append a message; the last line of the answer."""
        answer = await talk.send(b"a APPEND %b {%d+}\r\n%b\r\n" % (to.encode(), len(octets), octets))
        return answer.decode().split("\r\n")[-2]


class BinaryTests(AppendCase):
    async def test_octets_that_no_line_can_hold(self):
        talk = await self.logged_in("INBOX")
        for number, octets in enumerate((b"\0", b"a\nb\rc\r\n\r", bytes(range(256)) * 1000), 1):
            message = BINARY % octets
            for start in (b"a APPEND INBOX ~{%d+}\r\n%b\r\n", b"a APPEND INBOX {1+}\r\nx ~{%d+}\r\n%b\r\n"):
                answer = await talk.send(start % (len(message), message))
                assert b"a OK [APPENDUID" in answer, answer
            answer = await talk.send(b"b FETCH %d (BINARY.PEEK[1])\r\n" % (3 * number - 2))
            assert octets in answer
            structure = (await talk.say(f"c FETCH {3 * number} BODYSTRUCTURE"))[0]
            assert '("application" "x" NIL NIL NIL "base64"' in structure

    async def test_nul_in_a_header(self):
        talk = await self.logged_in()
        answer = await talk.send(b"a APPEND INBOX {1+}\r\nx ~{14+}\r\nSubject: a\0b\r\n\r\nb NOOP\r\n")
        assert answer.startswith(b"a NO [UNKNOWN-CTE] ") and answer.endswith(b"\r\nb OK NOOP completed\r\n")
        assert await self.count(talk, "INBOX") == 0 and talk.session.appending is None


class TroubleTests(AppendCase):
    async def test_a_disk_that_fills_up_is_told_before_the_next_message(self):
        talk = await self.logged_in()
        write = MessageDraft.write

        async def full(draft, data):
            if b"!" in data:
                raise StorageFull()
            await write(draft, data)

        self.patch(MessageDraft, "write", full)
        for rest in (b"{100}", b"CATENATE (TEXT {100}", b"{4+}\r\nb x\n {4+}\r\n\r\n\r\n\r\n"):
            answer = await talk.send(b"a APPEND INBOX {1+}\r\nx {1+}\r\n! " + rest + b"\r\nc NOOP\r\n")
            assert answer.startswith(b"a NO [OVERQUOTA] ") and answer.endswith(b"\r\nc OK NOOP completed\r\n")
        await self.append(talk, b"!", "Sent")
        answer = await talk.send(b"a APPEND INBOX {1+}\r\nx CATENATE (TEXT {2+}\r\n! URL /INBOX/;UID=1)\r\n")
        assert answer.startswith(b"a NO [OVERQUOTA] ") and answer.count(b"\r\n") == 1
        assert await self.count(talk, "INBOX") == 0 and not self.left_over()

    async def test_a_client_that_goes_in_the_middle(self):
        for rest in (b"", b" {500000}\r\n" + b"x" * 300_000, b" CATENATE (TEXT {3+}\r\nabc", b" {3+}\r\nabc"):
            talk = await self.logged_in()
            await talk.send(b"a APPEND INBOX {200000+}\r\n" + b"x" * 200_000 + rest)
            await talk.hang_up()
        talk = await self.logged_in()
        assert await self.count(talk, "INBOX") == 0
        await self.until(lambda: not self.left_over())

    async def test_a_mailbox_that_is_deleted_meanwhile(self):
        talk, other = await self.logged_in(), await self.logged_in()
        for first in (b"{4}\r\n", b"{4+}\r\nab\r\n {4}\r\n"):
            await talk.say("a CREATE Gone")
            assert (await talk.send(b"b APPEND Gone " + first)).endswith(b"+ Ready for the message\r\n")
            assert await other.say("c DELETE Gone") == ["c OK DELETE completed"]
            assert await talk.send(b"ab\r\n\r\n") == b"b NO [TRYCREATE] No such mailbox\r\n"
        assert not self.left_over()

    async def test_messages_over_the_limit(self):
        self.listener = self.make_listener(limits=replace(self.limits, message=1000))
        talk = await self.logged_in()
        await self.append(talk, b"x" * 600)
        answer = await talk.say('a APPEND INBOX CATENATE (URL "/INBOX/;UID=1" URL "/INBOX/;UID=1" TEXT {5}')
        assert answer == ["a NO [TOOBIG] Messages may have 1000 octets at most"]
        answer = await talk.send(b'a APPEND INBOX CATENATE (URL "/INBOX/;UID=1" TEXT {401}\r\n')
        assert answer == b"a NO [TOOBIG] Messages may have 1000 octets at most\r\n"
        answer = await talk.send(
            b'a APPEND INBOX CATENATE (URL "/INBOX/;UID=1" TEXT {400+}\r\n' + b"x" * 400 + b")\r\n"
        )
        assert b"a OK " in answer and await self.count(talk, "INBOX") == 2

    async def test_uidvalidity_in_urls(self):
        talk = await self.logged_in()
        validity = re.search(r"APPENDUID (\d+) 1", await self.append(talk, b"x"))[1]
        url = f"/INBOX;UIDVALIDITY={validity}/;UID=1"
        assert (await talk.say(f'a APPEND INBOX CATENATE (URL "{url}")'))[-1].startswith("a OK ")

    async def test_more_than_one_command_may_bring(self):
        self.patch(append, "OCTETS", 1000)
        talk = await self.logged_in()
        await self.append(talk, b"x" * 600)
        for rest in (b"{401}", b'CATENATE (URL "/INBOX/;UID=1")', b"{1+}\r\nx CATENATE (TEXT {400}"):
            answer = await talk.send(b"a APPEND INBOX {600+}\r\n" + b"x" * 600 + b" " + rest + b"\r\n")
            assert answer == b"a NO [TOOBIG] A command may bring 1000 octets at most\r\n"
        assert await self.count(talk, "INBOX") == 1 and not self.left_over()


class MemoryTests(AppendCase):
    async def test_parallel_appends(self):
        """A fifth of the size that acceptance 35 names; the memory does not depend on it."""
        size, chunk = 10 * 1024 * 1024, (b"x" * 1022 + b"\r\n") * 64
        talks = [await self.logged_in() for _ in range(20)]

        async def append(talk):
            await talk.send(b"a APPEND INBOX {%d+}\r\n" % size)
            for _ in range(size // len(chunk)):
                await talk.send(chunk)
            return await talk.send(b"\r\n")

        tracemalloc.start()
        try:
            answers = await gatherResults([Deferred.fromCoroutine(append(talk)) for talk in talks])
            assert tracemalloc.get_traced_memory()[1] < 24 * 1024 * 1024
        finally:
            tracemalloc.stop()
        assert all(b"a OK [APPENDUID" in answer for answer in answers)

    async def test_a_thousand_small_ones(self):
        talk = await self.logged_in()
        messages = b" {20000+}\r\n" + (b"x" * 998 + b"\r\n") * 20
        await talk.send(b"a APPEND INBOX")
        tracemalloc.start()
        try:
            for _ in range(200):
                await talk.send(messages)
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
        finally:
            tracemalloc.stop()
        assert (await talk.send(b"\r\n")).endswith(b" 1:200] APPEND completed\r\n")


class RightsTests(AppendCase):
    async def shared(self, rights):
        """bob, and a mailbox of alice's to which he has these rights."""
        alice = await self.logged_in()
        await alice.say("a CREATE Work")
        await alice.say(f"a SETACL Work bob@a.test {rights}")
        return alice, await self.logged_in(user="bob")

    async def test_the_right_to_insert_and_flags(self):
        alice, bob = await self.shared("lr")
        target = '"Other Users/alice@a.test/Work"'
        for literal in ("{4}", "{4+}\r\nab\r\n", "{200000}"):
            assert (await bob.say(f"a APPEND {target} {literal}"))[0].startswith("a NO [NOPERM]")
        await alice.say("a SETACL Work bob@a.test lris")
        answer = await bob.send(f"a APPEND {target} (\\Seen \\Deleted kw) {{4+}}\r\nab\r\n\r\n".encode())
        assert answer.startswith(b"a OK [APPENDUID ")
        await alice.say("s SELECT Work")
        assert "(\\Seen)" in (await alice.say("f FETCH 1 FLAGS"))[0].replace("\\Recent ", "")
        # Who may not read the mailbox learns nothing of it (RFC 9051 §6.3.12).
        await alice.say("a SETACL Work bob@a.test li")
        assert await self.append(bob, b"x", target) == "a OK APPEND completed"

    async def test_what_one_may_not_know_of(self):
        _, bob = await self.shared("s")
        for name in ("alice@a.test/Work", "alice@a.test/Nowhere", "nobody@a.test/Work"):
            for literal in ("{4}", "{4+}\r\nab\r\n"):
                answer = await bob.say(f'a APPEND "Other Users/{name}" {literal}')
                assert answer[0] == "a NO [TRYCREATE] No such mailbox"
            answer = await bob.say(f'a APPEND INBOX CATENATE (URL "/Other%20Users/{name}/;UID=1")')
            assert answer[0] == f"a NO [BADURL /Other%20Users/{name}/;UID=1] No such mailbox"

    async def test_parts_from_shared_mailboxes(self):
        alice, bob = await self.shared("lr")
        await self.append(alice, b"shared", "Work")
        url = "/Other%20Users/alice%40a.test/Work/;UID=1"
        assert (await bob.say(f'a APPEND INBOX CATENATE (URL "{url}")'))[-1].startswith("a OK ")
        await bob.say('s SELECT "Other Users/alice@a.test/Work"')
        assert (await bob.say("a APPEND INBOX CATENATE (URL ;UID=1)"))[-1].startswith("a OK ")
        await bob.say("s SELECT INBOX")
        assert literal_of(await bob.send(b"f FETCH 2 BODY.PEEK[]\r\n")) == b"shared"

    async def test_replacing_in_shared_mailboxes(self):
        alice, bob = await self.shared("lrit")
        await self.append(alice, b"old", "Work")
        await bob.say('s SELECT "Other Users/alice@a.test/Work"')
        assert (await bob.say("a REPLACE 1 INBOX {3}"))[-1].startswith("a NO [NOPERM]")
        await alice.say("a SETACL Work bob@a.test lrite")
        answer = await bob.send(b"a REPLACE 1 INBOX {3+}\r\nnew\r\n")
        assert b"* 1 EXPUNGE\r\n" in answer and answer.endswith(b"a OK REPLACE completed\r\n")
        assert await self.count(alice, "Work") == 0 and await self.count(bob, "INBOX") == 1


class QuotaTests(AppendCase):
    async def test_it_is_told_before_a_large_message_is_asked_for(self):
        self.store.limits_of = lambda name: Limits(300_000, 3)
        talk = await self.logged_in()
        assert (await talk.say("a APPEND INBOX {299000}")) == ["+ Ready for the message"]
        assert b"a OK " in await talk.send(b"x" * 299_000 + b"\r\n")
        assert (await talk.say("b APPEND INBOX {200000}"))[0].startswith("b NO [OVERQUOTA]")
        assert (await self.append(talk, b"x" * 2000)).startswith("a NO [OVERQUOTA]")
        answer = await talk.send(
            b"c APPEND INBOX {500+}\r\n" + b"x" * 500 + b" {600+}\r\n" + b"x" * 600 + b"\r\n"
        )
        assert answer.startswith(b"c NO [OVERQUOTA]") and await self.count(talk, "INBOX") == 1
        await talk.say("s SELECT INBOX")
        assert (await talk.say("d REPLACE 1 INBOX {298000}")) == ["+ Ready for the message"]
        answer = await talk.send(b"x" * 298_000 + b"\r\n")
        assert answer.endswith(b"* 1 EXPUNGE\r\nd OK REPLACE completed\r\n")
        assert (await talk.say("e REPLACE 1 INBOX {300001}"))[0].startswith("e NO [OVERQUOTA]")
        assert not self.left_over()


class ReplaceTests(AppendCase):
    async def test_another_session_sees_both_at_once(self):
        talk, other = await self.logged_in("Drafts"), await self.logged_in("Drafts")
        await self.append(talk, b"old", "Drafts")
        await other.say("a NOOP")
        answer = await talk.send(b"a UID REPLACE 1 Drafts (\\Draft) {3+}\r\nnew\r\n")
        assert re.fullmatch(
            rb"\* OK \[APPENDUID \d+ 2\] The new message is there\r\n"
            rb"\* 2 EXISTS\r\n\* 1 RECENT\r\n\* 1 EXPUNGE\r\na OK REPLACE completed\r\n",
            answer,
        )
        assert [line for line in await other.say("b NOOP") if "RECENT" not in line] == [
            *("* 1 EXPUNGE", "* 1 EXISTS", "b OK NOOP completed")
        ]

    async def test_one_that_another_session_has_expunged(self):
        talk, other = await self.logged_in("INBOX"), await self.logged_in("INBOX")
        await self.append(talk, b"old")
        await other.say("a NOOP")
        assert (await talk.say("a REPLACE 1 INBOX {3}")) == ["+ Ready for the message"]
        await other.say("b STORE 1 +FLAGS (\\Deleted)")
        await other.say("b EXPUNGE")
        answer = await talk.send(b"new\r\n")
        assert b"a NO [EXPUNGEISSUED] No such message\r\n" in answer
        answer = await talk.send(b"a REPLACE 1 INBOX {3+}\r\nnew\r\nb NOOP\r\n")
        assert b"b OK NOOP completed\r\n" in answer and await self.count(talk, "INBOX") == 0
        assert not self.left_over() and os.listdir(self.root / "mail")
        assert (await self.store.account(ALICE)).name == ALICE
