"""IMAP sessions over the real store, in memory: logins, times, trouble, many at once."""

import random
import re
import tracemalloc

from imap_house import ALICE, House, ImapCase, literal_of
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults

from twisted_mta.access.imap4.access import ImapLimits
from twisted_mta.message.status import MailError
from twisted_mta.store.errors import StorageFull
from twisted_mta.store.portions import Portions
from twisted_mta.wire.login import LoginLimits

MESSAGE = b"From: a@a.test\r\nSubject: one\r\n\r\nbody\r\n"


class LoginTests(ImapCase):
    async def test_the_journey_of_a_session(self):
        talk = await self.logged_in()
        await talk.say("a LOGOUT")
        await talk.hang_up()
        assert self.stages == ["login", "logout"]
        assert self.events[1].facts["account"] == ALICE

    async def test_a_failed_login_is_answered_late(self):
        listener = self.make_listener(limits=ImapLimits(login=LoginLimits(delay=3600.0)))
        talk = self.talk(listener)
        talk.said()
        talk.session.dataReceived(b"a LOGIN alice wrong\r\nb NOOP\r\n")
        await self.until(lambda: "login-failed" in self.stages)
        assert talk.said() == b""
        (waiting,) = [call for call in reactor.getDelayedCalls() if call.getTime() - reactor.seconds() > 3000]
        waiting.reset(0)
        await self.until(lambda: not talk.session._busy)
        assert talk.said().endswith(b"Authentication failed\r\nb OK NOOP completed\r\n")

    async def test_login_takes_too_long(self):
        talk = self.talk()
        self.clock.advance(100)
        await talk.say("a NOOP")
        self.listener.sweep()
        assert not talk.closed
        self.clock.advance(30)
        self.listener.sweep()
        assert talk.closed and talk.said() == b"* BYE Login took too long\r\n"

    async def test_autologout(self):
        talk = await self.logged_in("INBOX")
        await talk.say("a IDLE")
        self.clock.advance(30 * 60)
        self.listener.sweep()
        assert not talk.closed
        assert (await talk.say("DONE"))[-1] == "a OK IDLE completed"
        self.clock.advance(30 * 60)
        self.listener.sweep()
        assert not talk.closed
        self.clock.advance(61)
        self.listener.sweep()
        assert talk.closed and talk.said() == b"* BYE Autologout; idle for too long\r\n"

    async def test_the_server_stops(self):
        talk = await self.logged_in("INBOX")
        self.listener.end_all()
        assert talk.closed and talk.said() == b"* BYE Server is shutting down\r\n"

    async def test_nothing_is_answered_behind_starttls(self):
        listener = self.make_listener(tls_context=object())
        talk = self.talk(listener)
        talk.said()
        answer = await talk.send(b"a STARTTLS\r\nb LOGIN alice secret\r\n")
        assert answer == b"a BAD Nothing may follow STARTTLS before TLS\r\n* BYE Cannot go on\r\n"
        assert talk.closed and not talk.transport.TLS

    async def test_the_index_is_opened_as_soon_as_somebody_is_logged_in(self):
        await self.logged_in()
        home = (await self.store.account(ALICE)).home
        await self.until(lambda: home.is_open)

    async def test_passwords_outside_ascii_and_nul(self):
        talk = self.talk()
        talk.said()
        assert (await talk.send(b'a LOGIN alice "\xc3\xbc"\r\n')).startswith(b"a NO [AUTHENTICATIONFAILED]")
        assert (await talk.send(b'b LOGIN alice "\xfc"\r\n')).startswith(b"b NO [AUTHENTICATIONFAILED]")
        assert await talk.send(b"c LOGIN alice {3+}\r\na\0b\r\n") == b"c BAD NUL is not allowed\r\n"


class TroubleTests(ImapCase):
    async def test_an_accident_is_told_without_detail(self):
        talk = await self.logged_in("INBOX")

        def break_(*args):
            raise ZeroDivisionError("secret detail")

        self.patch(type(talk.session.account), "status", break_)
        (answer,) = await talk.say("a STATUS INBOX (MESSAGES)")
        assert answer.startswith("a NO [SERVERBUG] ") and "secret" not in answer
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1
        assert (await talk.say("b NOOP")) == ["b OK NOOP completed"]

    async def test_a_login_that_cannot_be_checked_now(self):
        async def overloaded(*args, **more):
            raise MailError(454, "4.7.0", "Too many logins at the moment, try again later")

        self.patch(House, "authenticate", overloaded)
        talk = self.talk()
        talk.said()
        answer = await talk.send(b"a LOGIN alice secret\r\n")
        assert answer == b"a NO [UNAVAILABLE] Too many logins at the moment, try again later\r\n"

    async def test_a_full_disk(self):
        talk = await self.logged_in()

        async def full(*args):
            raise StorageFull()

        async def broken(*args):
            raise MailError(451, "4.3.0", "oops")

        draft = await self.store.draft(ALICE)
        for name in ("write", "commit"):
            self.patch(type(draft), name, full)
            answer = await talk.send(b"a APPEND INBOX {4+}\r\nhi\r\n\r\nb NOOP\r\n")
            assert answer.startswith(b"a NO [OVERQUOTA] ") and answer.endswith(b"\r\nb OK NOOP completed\r\n")
        self.patch(self.store, "draft", broken)
        answer = await talk.send(b"a APPEND INBOX {12+}\r\nb LOGOUT\r\n\r\n\r\nc NOOP\r\n")
        assert answer.endswith(b"\r\nc OK NOOP completed\r\n") and answer.count(b"\r\n") == 2
        assert talk.session.appending is None

    async def test_everything_is_let_go_of_however_a_session_ends(self):
        account = await self.store.account(ALICE)
        inbox = await account.open("INBOX")
        closed = []
        close = type(inbox).close

        async def counted(mailbox):
            closed.append(mailbox)
            await close(mailbox)

        self.patch(type(inbox), "close", counted)
        for last in (b"a LOGOUT\r\n", b"a IDLE\r\n", b"a APPEND Sent {100}\r\nabc", b"a NOOP\r\n"):
            talk = await self.logged_in("INBOX")
            await talk.send(last)
            await talk.hang_up()
        assert closed == [inbox] * 4  # APPEND opens none
        assert inbox._watchers == []
        await inbox.close()

    async def test_a_client_that_goes_in_the_middle_of_a_command(self):
        for _ in range(3):
            await self.deliver(MESSAGE)
        talk = await self.logged_in("INBOX")
        talk.session.dataReceived(b"a FETCH 1:* (BODY[])\r\n")
        assert talk.session._busy
        await talk.hang_up()
        assert talk.session.view is None and talk.session.account is None

    async def test_a_client_that_does_not_read(self):
        await self.deliver(b"Subject: big\r\n\r\n" + b"x" * 5_000_000)
        talk = await self.logged_in("INBOX")
        write = talk.transport.write

        def fill(data):
            write(data)
            talk.session._outflow.pauseProducing()

        talk.transport.write = fill
        talk.session.dataReceived(b"a FETCH 1 BODY[]\r\n")
        await self.until(lambda: talk.transport.value())
        assert len(talk.said()) < 300_000 and talk.session._busy
        pieces = 0
        while talk.session._busy:
            talk.session._outflow.resumeProducing()
            await self.until(lambda: talk.session._outflow.full or not talk.session._busy)
            pieces += 1
            assert len(talk.said()) < 300_000
        assert pieces > 10

    async def test_clients_that_do_not_read_share_what_is_in_hand(self):
        self.store.portions = Portions(6_000_000)
        for size in (5_000_000, 100):
            await self.deliver(b"Subject: big\r\n\r\n" + b"x" * size)
        stalled = [await self.logged_in("INBOX") for _ in range(3)]
        for talk in stalled:
            talk.said()
            talk.session._outflow.pauseProducing()
            talk.session.dataReceived(b"a FETCH 1 BODY.PEEK[1]\r\n")
        await self.until(lambda: stalled[0].transport.value())
        other = await self.logged_in("INBOX")
        assert (await other.say("a FETCH 2 (ENVELOPE BODY.PEEK[])"))[-1].startswith("a OK")
        assert not stalled[1].transport.value() and not stalled[2].transport.value()
        gone = Deferred.fromCoroutine(stalled[1].hang_up())  # while it waits
        await stalled[0].hang_up()
        await gone
        await self.until(lambda: stalled[2].transport.value())
        while stalled[2].session._busy:
            stalled[2].session._outflow.resumeProducing()
            await self.until(lambda: stalled[2].session._outflow.full or not stalled[2].session._busy)
        assert stalled[2].said().endswith(b"a OK FETCH completed\r\n")

    async def test_what_is_ready_does_not_wait_for_room(self):
        self.store.portions = portions = Portions(6_000_000)
        for size in (100, 5_000_000):
            await self.deliver(b"Subject: big\r\n\r\n" + b"x" * size)
        talk = await self.logged_in("INBOX")
        async with portions.portion("bob@a.test", 6_000_000):
            talk.session.dataReceived(b"a FETCH 1:2 BODY.PEEK[1]\r\n")
            await self.until(lambda: portions._waiting)
            assert talk.said() == b"* 1 FETCH (BODY[1] {100}\r\n" + b"x" * 100 + b")\r\n"
        await self.until(lambda: not talk.session._busy)
        assert talk.said().endswith(b"a OK FETCH completed\r\n")

    async def test_an_idle_client_that_does_not_read_costs_nothing(self):
        talk = await self.logged_in("INBOX")
        other = await self.logged_in()
        await talk.say("a IDLE")
        talk.session._outflow.pauseProducing()
        for _ in range(20):
            await other.send(b"b APPEND INBOX {4+}\r\nhi\r\n\r\n")
        assert talk.said() == b""
        talk.session._outflow.resumeProducing()
        assert talk.said() == b"* 20 EXISTS\r\n* 20 RECENT\r\n"

    async def test_too_many_bad_commands_but_only_in_a_row(self):
        talk = await self.logged_in()
        for _ in range(30):
            await talk.say("a XYZZY")
            await talk.say("a NOOP")
        assert not talk.closed
        answer = await talk.send(b"junk\r\n" * 30)
        assert answer.endswith(b"* BYE Too many bad commands\r\n") and talk.closed

    async def test_bad_input_harms_nobody(self):
        victim = await self.logged_in("INBOX")
        for junk in (
            b"\0\r\n",
            b"\xff\xfe" * 50_000 + b"\r\n",
            b"a" * 1_000_000 + b" NOOP\r\n",
            b"a FETCH " + b"(" * 100_000 + b"\r\n",
        ):
            talk = await self.logged_in("INBOX")
            answer = await talk.send(junk)
            assert b"BAD" in answer and answer.count(b"\r\n") == 1
            assert (await talk.say("z NOOP")) == ["z OK NOOP completed"]
        assert (await victim.say("z NOOP")) == ["z OK NOOP completed"]

    async def test_sets_of_a_hundred_thousand_ranges(self):
        await self.deliver_many(5)
        talk = await self.logged_in("INBOX")
        ranges = b",".join(b"%d:%d" % (2 * n, 2 * n) for n in range(1, 100_001))
        answer = await talk.send(b"a UID FETCH " + ranges + b" (UID)\r\n")
        assert answer.startswith(b"a NO [LIMIT]") and answer.count(b"\r\n") == 1
        fewer = b",".join(ranges.split(b",")[:19_000])
        answer = await talk.send(b"b UID FETCH " + fewer + b" (UID)\r\n")
        assert answer == b"* 2 FETCH (UID 2)\r\n* 4 FETCH (UID 4)\r\nb OK FETCH completed\r\n"

    async def test_searches_with_two_thousand_keys(self):
        await self.deliver_many(300)
        talk = await self.logged_in("INBOX")
        for key in ("UID 1:*", "NOT UID 5000:*", "OR 1:* SEEN", "UNSEEN"):
            many = " ".join([key] * 600)
            assert (await talk.say(f"a SEARCH {many} 7 BODY body"))[0] == "* SEARCH 7"


class AppendTests(ImapCase):
    async def test_a_large_message_is_never_whole_in_memory(self):
        talk = await self.logged_in()
        size = 24 * 1024 * 1024
        chunk = (b"x" * 1022 + b"\r\n") * 64
        talk.session.dataReceived(b"a APPEND INBOX {%d}\r\n" % size)
        await self.until(lambda: not talk.session._busy)
        tracemalloc.start()
        try:
            for _ in range(size // len(chunk)):
                await talk.send(chunk)
            answer = await talk.send(b"\r\n")
            assert tracemalloc.get_traced_memory()[1] < 6_000_000
        finally:
            tracemalloc.stop()
        assert re.match(rb"a OK \[APPENDUID \d+ 1\] APPEND completed\r\n", answer), answer
        await talk.say("b SELECT INBOX")
        answer = await talk.send(b"c FETCH 1 (RFC822.SIZE BODY.PEEK[]<%d.20>)\r\n" % (size - 8))
        assert answer == (
            b"* 1 FETCH (RFC822.SIZE %d BODY[]<%d> {8}\r\nxxxxxx\r\n)\r\nc OK FETCH completed\r\n"
            % (size, size - 8)
        )

    async def test_what_was_appended_comes_back_octet_by_octet(self):
        talk = await self.logged_in("INBOX")
        contents = [
            b"x",
            b"\r\n",
            b".\r\n..\r\n",
            b"Subject: \xfc\r\n\r\n\xff\xfe no final line end",
            bytes(range(1, 256)).replace(b"\r", b"").replace(b"\n", b""),
        ]
        for number, content in enumerate(contents, 1):
            await talk.send(b"a APPEND INBOX {%d+}\r\n%b\r\n" % (len(content), content))
            answer = await talk.send(b"b FETCH %d (RFC822.SIZE BODY.PEEK[])\r\n" % number)
            assert literal_of(answer) == content and b"RFC822.SIZE %d " % len(content) in answer

    async def test_no_literal_holds_nul(self):
        talk = await self.logged_in("INBOX")
        await talk.send(b"a APPEND INBOX {14+}\r\nSubject: a\0b\r\n\r\n")
        answer = await talk.send(b"b FETCH 1 (BODY.PEEK[] ENVELOPE)\r\n")
        assert b"BODY[] {14}\r\nSubject: a\x80b" in answer and b"\0" not in answer

    async def test_pieces_of_a_message_are_read_once(self):
        await self.deliver(b"Subject: x\r\n\r\n" + bytes(range(32, 96)) * 1000)
        talk = await self.logged_in("INBOX")
        reads = []
        examine = type(talk.session.view.mailbox).examine

        async def counted(mailbox, uids, see):
            reads.append(uids)
            return await examine(mailbox, uids, see)

        self.patch(type(talk.session.view.mailbox), "examine", counted)
        found = b""
        while True:
            piece = literal_of(await talk.send(b"a FETCH 1 BODY.PEEK[TEXT]<%d.5000>\r\n" % len(found)))
            if not piece:
                break
            found += piece
        assert found == bytes(range(32, 96)) * 1000 and len(reads) == 1


class Model:
    """What a client that believes every untagged response knows of the mailbox."""

    def __init__(self, talk):
        self.talk = talk
        self.messages = []  # (UID or None, flags or None) by number

    async def do(self, line, numbers_may_change=True):
        lines = await self.talk.say(line)
        for each in lines[:-1]:
            words = each.split(" ", 3)
            if words[2] == "EXISTS":
                assert int(words[1]) >= len(self.messages)
                self.messages += [[None, None] for _ in range(int(words[1]) - len(self.messages))]
            elif words[2] == "EXPUNGE":
                assert numbers_may_change, lines
                del self.messages[int(words[1]) - 1]
            elif words[2] == "FETCH":
                message = self.messages[int(words[1]) - 1]
                if found := re.search(r"UID (\d+)", words[3]):
                    assert message[0] in (None, int(found[1]))
                    message[0] = int(found[1])
                if found := re.search(r"FLAGS \((.*?)\)", words[3]):
                    message[1] = {flag for flag in found[1].split() if flag != "\\Recent"}
        return lines[-1]


class ManySessionsTests(ImapCase):
    async def test_every_session_comes_to_see_the_same(self):
        """Sessions, deliveries and an expunging stranger work on one mailbox; then all look again."""
        await self.deliver_many(20)
        models = [Model(await self.logged_in("INBOX")) for _ in range(4)]
        for model in models:
            model.messages = [[None, None] for _ in range(20)]
        dice = random.Random(5)

        async def work(model, seed):
            dice = random.Random(seed)
            for step in range(60):
                count = len(model.messages) or 1
                number = dice.randint(1, count)
                command, free = dice.choice(
                    [
                        (f"FETCH {number} (UID FLAGS)", False),
                        (f"STORE {number} +FLAGS (k{dice.randint(1, 3)})", False),
                        (f"STORE {number} -FLAGS.SILENT (k1 \\Seen)", False),
                        (f"STORE {number} +FLAGS.SILENT (\\Deleted)", False),
                        (f"UID STORE {number} FLAGS (\\Flagged)", True),
                        ("SEARCH KEYWORD k1", False),
                        ("NOOP", True),
                        ("EXPUNGE", True),
                        (f"COPY {number} INBOX", True),
                        (f"MOVE {number} INBOX", True),
                    ]
                )
                if "SILENT" in command or command.startswith("UID STORE"):
                    for message in model.messages:
                        message[1] = None  # to be asked for at the end
                answer = await model.do(f"c{step} {command}", free)
                assert re.match(rf"c{step} (OK|NO \[EXPUNGEISSUED\]|BAD No such message)", answer), answer

        async def deliveries():
            for _ in range(40):
                await self.deliver(MESSAGE)

        await gatherResults(
            [Deferred.fromCoroutine(work(model, dice.random())) for model in models]
            + [Deferred.fromCoroutine(deliveries())]
        )
        final = []
        for model in models:
            await model.do("x NOOP")
            silent = [number for number, message in enumerate(model.messages, 1) if message[1] is None]
            for number in silent:
                await model.do(f"y FETCH {number} FLAGS")
            remembered = [message[1] for message in model.messages]
            await model.do("z UID FETCH 1:* (UID FLAGS)")
            assert remembered == [message[1] for message in model.messages]
            uids = [message[0] for message in model.messages]
            assert uids == sorted(uids) and None not in uids
            final.append(model.messages)
        assert all(messages == final[0] for messages in final)

    async def test_recent_belongs_to_one_session(self):
        await self.deliver_many(3)
        first, second = await self.logged_in("INBOX"), await self.logged_in("INBOX")
        looker = await self.logged_in("INBOX", examine=True)
        await self.deliver(MESSAGE)
        assert await looker.say("a SEARCH RECENT") == [
            "* SEARCH",
            "* 4 EXISTS",
            "* 1 RECENT",
            "a OK SEARCH completed",
        ]
        assert await second.say("a NOOP") == ["* 4 EXISTS", "* 1 RECENT", "a OK NOOP completed"]
        assert await first.say("a NOOP") == ["* 4 EXISTS", "* 3 RECENT", "a OK NOOP completed"]
        assert (await first.say("b SEARCH RECENT"))[0] == "* SEARCH 1 2 3"
        assert (await second.say("b SEARCH NEW"))[0] == "* SEARCH 4"
        assert (await looker.say("b SEARCH OLD"))[0] == "* SEARCH 1 2 3"

    async def test_what_others_do_to_the_maildir(self):
        await self.deliver_many(2)
        talk = await self.logged_in("INBOX")
        maildir = self.root / "mail" / "a.test" / "alice" / "Maildir"
        (maildir / "new" / "1.foreign.host").write_bytes(b"Subject: foreign\n\nhello\n")
        # Right behind a change of our own it may take a moment: the directory's time has not moved yet.
        while len(lines := await talk.say("a NOOP")) == 1:
            pass
        assert lines == ["* 3 EXISTS", "* 3 RECENT", "a OK NOOP completed"]
        answer = await talk.send(b"b FETCH 3 (RFC822.SIZE BODY.PEEK[])\r\n")
        assert literal_of(answer) == b"Subject: foreign\r\n\r\nhello\r\n"

    async def test_a_message_whose_file_is_gone(self):
        await self.deliver_many(3)
        talk = await self.logged_in("INBOX")
        maildir = self.root / "mail" / "a.test" / "alice" / "Maildir"
        while files := [*maildir.glob("new/*Q2-1*"), *maildir.glob("cur/*Q2-1*")]:
            for file in files:
                file.unlink(missing_ok=True)  # the store may move it to cur meanwhile
        lines = await talk.say("a FETCH 1:3 BODY.PEEK[TEXT]")
        assert [line.split()[1] for line in lines if "FETCH (" in line] == ["1", "3"]
        assert lines[-1].startswith("a NO [EXPUNGEISSUED]")
        assert (await talk.say("b NOOP"))[0] == "* 2 EXPUNGE"
