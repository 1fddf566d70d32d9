"""POP3 sessions on real sockets over the real store: logins, removal, other sessions, trouble."""

import errno
import os
import poplib

from mail_reader import untrusting
from pop3_house import Line, Pop3Case
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from twisted_mta.access.pop3.login_delay import LoginDelay
from twisted_mta.message.status import MailError
from twisted_mta.store.streaming import MessageStream
from twisted_mta.wire.login import LoginLimits

FIRST = b"Subject: one\r\n\r\n.first\r\n"
SECOND = b"Subject: two\r\n\r\nsecond\r\n"
LOGIN = b"USER alice@a.test\r\nPASS secret\r\n"


def lines(response):
    """The octets of poplib's answer to RETR or TOP."""
    return b"".join(line + b"\r\n" for line in response[1])


def log_in(port):
    client = poplib.POP3("127.0.0.1", port, timeout=30)
    client.user("alice@a.test")
    client.pass_("secret")
    return client


class SessionTests(Pop3Case):
    async def setUp(self):
        await super().setUp()
        self.streams = []
        begin = MessageStream.__init__

        def counted(stream, *arguments):
            begin(stream, *arguments)
            self.streams.append(stream)

        self.patch(MessageStream, "__init__", counted)

    async def two_messages(self):
        return [await self.deliver(FIRST), await self.deliver(SECOND)]

    async def with_client(self, work):
        """What `work(client)` returns in a thread, the client being logged in as alice."""

        def run():
            client = log_in(self.port)
            try:
                return work(client)
            finally:
                client.close()

        return await deferToThread(run)

    async def with_line(self, work, port=None):
        def run():
            line = Line(port or self.port)
            try:
                assert line.line() == b"+OK mx.a.test POP3 server ready\r\n"
                return work(line)
            finally:
                line.close()

        return await deferToThread(run)

    async def sizes(self):
        return await self.with_client(lambda client: [entry.split()[1] for entry in client.list()[1]])

    async def test_a_whole_session(self):
        await self.two_messages()

        def work(client):
            assert client.stat() == (2, len(FIRST) + len(SECOND))
            assert client.list()[1] == [b"1 %d" % len(FIRST), b"2 %d" % len(SECOND)]
            assert lines(client.retr(1)) == FIRST
            assert lines(client.top(2, 0)) == b"Subject: two\r\n\r\n"
            ids = client.uidl()[1]
            client.dele(1)
            client.quit()
            return ids

        ids = await self.with_client(work)
        assert ids == [b"%d 1700000000.Q%d-1.mx.a.test" % (number, number) for number in (1, 2)]
        assert await self.with_client(lambda client: client.uidl()[1]) == [b"1 " + ids[1].split()[1]]
        await self.until(lambda: len(self.events) == 4)
        assert self.stages == ["login", "logout", "login", "logout"]
        assert self.events[1].facts["retrieved"] == 1 and self.events[1].facts["removed"] == 1

    async def test_marks_count_only_with_quit(self):
        await self.two_messages()
        await self.with_client(lambda client: client.dele(1))
        await self.until(lambda: not self.listener.connections)
        assert len(await self.sizes()) == 2

    async def test_all_at_once(self):
        await self.two_messages()

        def work(line):
            line.send(LOGIN + b"STAT\r\nRETR 1\r\nTOP 2 1\r\nDELE 2\r\nRETR 2\r\nQUIT\r\n")
            return line.rest()

        assert await self.with_line(work) == (
            b"+OK Send PASS\r\n"
            b"+OK 2 messages (%d octets)\r\n"
            b"+OK 2 %d\r\n"
            b"+OK %d octets\r\nSubject: one\r\n\r\n..first\r\n.\r\n"
            b"+OK Top of message follows\r\nSubject: two\r\n\r\nsecond\r\n.\r\n"
            b"+OK Message 2 marked as deleted\r\n"
            b"-ERR No such message\r\n"
            b"+OK Bye\r\n"
        ) % (*[len(FIRST + SECOND)] * 2, len(FIRST))

    async def test_stls(self):
        await self.two_messages()

        def run():
            client = poplib.POP3("127.0.0.1", self.port, timeout=30)
            assert "STLS" in client.capa()
            client.stls(untrusting())
            assert "STLS" not in client.capa()
            client.user("alice@a.test")
            client.pass_("secret")
            answer = lines(client.retr(1))
            client.quit()
            return answer

        assert await deferToThread(run) == FIRST

    async def test_implicit_tls_and_a_large_message(self):
        message = b"Subject: large\r\n\r\n" + b".x\r\n" * 1_000_000
        await self.deliver(message)

        def run():
            client = poplib.POP3_SSL("127.0.0.1", self.tls_port, timeout=30, context=untrusting())
            client.user("alice@a.test")
            client.pass_("secret")
            answer = lines(client.retr(1))
            client.quit()
            return answer

        assert await deferToThread(run) == message

    async def test_no_password_outside_tls_unless_allowed(self):
        _, port = self.listen(allow_cleartext=False)

        def work(line):
            return [line.say(b"USER alice@a.test"), line.say(b"AUTH PLAIN AGEAYQ==")]

        answers = await self.with_line(work, port)
        assert answers == [b"-ERR Passwords are taken inside TLS only\r\n"] * 2

    async def test_what_is_pipelined_behind_stls_is_never_answered(self):
        def work(line):
            line.send(b"STLS\r\nUSER alice@a.test\r\n")
            return line.rest()

        assert await self.with_line(work) == b"-ERR Nothing may follow STLS before the handshake\r\n"

    async def test_three_failures_end_the_connection(self):
        def work(line):
            for _ in range(3):
                line.send(b"USER alice@a.test\r\nPASS wrong\r\n")
            line.send(LOGIN)
            return line.rest()

        answer = await self.with_line(work)
        assert answer == b"+OK Send PASS\r\n-ERR [AUTH] Authentication failed\r\n" * 3
        assert self.stages == ["login-failed"] * 3

    async def test_a_failure_is_answered_late(self):
        _, port = self.listen(login=LoginLimits(delay=3600.0))
        line = Line(port)
        self.addCleanup(line.close)
        await deferToThread(line.line)
        line.send(b"USER alice@a.test\r\nPASS wrong\r\n")
        assert await deferToThread(line.line) == b"+OK Send PASS\r\n"
        await self.until(lambda: "login-failed" in self.stages)
        (waiting,) = [call for call in reactor.getDelayedCalls() if call.getTime() - reactor.seconds() > 3000]
        waiting.reset(0)
        assert await deferToThread(line.line) == b"-ERR [AUTH] Authentication failed\r\n"

    async def test_the_maildrop_is_a_snapshot(self):
        await self.two_messages()
        line = Line(self.port)
        self.addCleanup(line.close)
        await deferToThread(lambda: [line.line(), line.send(LOGIN), line.line(), line.line()])
        await self.deliver(b"Subject: three\r\n\r\n")
        mailbox = await (await self.store.account("alice@a.test")).open("INBOX")
        await mailbox.expunge([mailbox.uids[0]])
        await mailbox.close()

        def work():
            first = line.say(b"STAT"), line.say(b"LIST 1"), line.say(b"RETR 1"), line.say(b"LIST 3")
            assert line.say(b"RETR 2") == b"+OK %d octets\r\n" % len(SECOND)
            while line.line() != b".\r\n":
                pass
            return first, line.say(b"DELE 1"), line.say(b"QUIT")

        first, removed, bye = await deferToThread(work)
        assert first == (
            b"+OK 2 %d\r\n" % len(FIRST + SECOND),
            b"+OK 1 %d\r\n" % len(FIRST),
            b"-ERR Message has been removed meanwhile\r\n",
            b"-ERR No such message\r\n",
        )
        assert removed.startswith(b"+OK") and bye == b"+OK Bye\r\n"

    async def test_others_see_messages_go_at_quit_and_not_before(self):
        uids = await self.two_messages()
        mailbox = await (await self.store.account("alice@a.test")).open("INBOX")
        changes = []
        mailbox.watch(changes.append)
        await self.with_client(lambda client: [client.dele(1), client.rset(), client.dele(2), client.noop()])
        assert changes == []
        await self.with_client(lambda client: [client.dele(2), client.quit()])
        assert [change.expunged for change in changes] == [(uids[1],)]
        assert list(mailbox.uids) == uids[:1]
        mailbox.unwatch(changes.append)
        await mailbox.close()

    async def test_two_sessions_at_a_time(self):
        await self.two_messages()

        def work(client):
            other = log_in(self.port)
            client.dele(1)
            client.quit()
            answer = lines(other.retr(2))
            other.dele(1)
            assert other.quit() == b"+OK Bye"
            return answer

        assert await self.with_client(work) == SECOND

    async def test_autologout_says_nothing_and_removes_nothing(self):
        await self.two_messages()
        line = Line(self.port)
        self.addCleanup(line.close)
        await deferToThread(lambda: [line.line(), line.send(LOGIN + b"DELE 1\r\n")])
        assert len(await deferToThread(lambda: [line.line() for _ in range(3)])) == 3
        self.clock.advance(599)
        assert len(self.listener.connections) == 1
        self.clock.advance(10)
        assert await deferToThread(line.rest) == b""
        await self.until(lambda: not self.listener.connections)
        assert len(await self.sizes()) == 2

    async def test_any_command_keeps_a_session(self):
        line = Line(self.port)
        self.addCleanup(line.close)
        await deferToThread(lambda: [line.line(), line.send(LOGIN), line.line(), line.line()])
        for _ in range(3):
            self.clock.advance(500)
            assert await deferToThread(line.say, b"NOOP") == b"+OK Nothing done\r\n"
        self.clock.advance(610)
        assert await deferToThread(line.rest) == b""

    async def test_who_does_not_log_in_is_soon_gone(self):
        line = Line(self.port)
        self.addCleanup(line.close)
        await deferToThread(line.line)
        for _ in range(2):
            self.clock.advance(29)
            assert await deferToThread(line.say, b"LANG en") == b"+OK en Language is English\r\n"
        self.clock.advance(5)
        assert await deferToThread(line.rest) == b""

    async def test_two_logins_may_have_to_lie_apart(self):
        delay = LoginDelay(self.clock.seconds, 60)
        _, port = self.listen(delay=delay)

        def work(line):
            line.send(LOGIN)
            return [line.line(), line.line()][1]

        assert (await self.with_line(work, port)).startswith(b"+OK 0 messages")
        self.clock.advance(59)
        assert await self.with_line(work, port) == (
            b"-ERR [LOGIN-DELAY] 60 seconds must lie between two logins\r\n"
        )
        self.clock.advance(1)
        assert (await self.with_line(work, port)).startswith(b"+OK 0 messages")

    async def test_a_client_that_does_not_read_is_cut_off(self):
        await self.deliver(b"Subject: large\r\n\r\n" + b"x" * 78 + b"\r\n" * 10_000_000)
        line = Line(self.port)
        self.addCleanup(line.close)
        await deferToThread(lambda: [line.line(), line.send(LOGIN + b"RETR 1\r\n")])
        await self.until(lambda: any(connection._outflow.full for connection in self.listener.connections))
        (connection,) = self.listener.connections
        buffered = len(connection.transport.dataBuffer) + connection.transport._tempDataLen
        assert buffered < 1_000_000
        self.clock.advance(700)
        await self.until(lambda: not self.listener.connections)

    async def begin_long(self):
        """A client that has begun to fetch a long message; the message."""
        message = b"Subject: long\r\n\r\n" + b".x" * 39 + b"\r\n" + (b"." * 70 + b"\r\n") * 130_000
        await self.deliver(message)
        line = Line(self.port)
        self.addCleanup(line.close)
        await deferToThread(lambda: [line.line(), line.send(LOGIN + b"RETR 1\r\n")])
        await self.until(lambda: any(connection.clogged for connection in self.listener.connections))
        return line, message

    async def test_a_long_message_is_read_no_faster_than_the_client_takes_it(self):
        line, message = await self.begin_long()
        stream = next(iter(self.streams))
        assert os.lseek(stream._file, 0, os.SEEK_CUR) < len(message) // 3
        line.close()
        await self.until(lambda: not self.listener.connections)
        await self.until(lambda: stream._file < 0)

    async def test_a_message_that_is_removed_while_it_is_fetched_comes_whole(self):
        line, message = await self.begin_long()
        mailbox = await (await self.store.account("alice@a.test")).open("INBOX")
        await mailbox.expunge(list(mailbox.uids))
        await mailbox.close()

        def rest():
            line.send(b"RETR 1\r\nQUIT\r\n")
            return line.rest()

        answer = (await deferToThread(rest)).split(b"octets\r\n", 1)[1]
        content, _, after = answer.partition(b"\r\n.\r\n")
        assert content.replace(b"\r\n..", b"\r\n.") + b"\r\n" == message
        assert after == b"-ERR Message has been removed meanwhile\r\n+OK Bye\r\n"

    async def test_what_cannot_be_read_to_its_end_is_not_taken_for_whole(self):
        line, _ = await self.begin_long()

        def fail(stream):
            raise OSError(errno.EIO, "broken")

        self.patch(MessageStream, "read", fail)
        assert not (await deferToThread(line.rest)).endswith(b"\r\n.\r\n")
        await self.until(lambda: not self.listener.connections)

    async def test_internationalised_headers(self):
        header, body = "Subject: grün\r\n".encode(), "\r\nö\r\n".encode()
        await self.deliver(header + body)
        await self.deliver(header + body + b"x\r\n" * 100_000)

        def work(utf8):
            client = poplib.POP3("127.0.0.1", self.port, timeout=30)
            if utf8:
                client.utf8()
            client.user("alice@a.test")
            client.pass_("secret")
            answers = [lines(client.retr(1)), lines(client.retr(2)), lines(client.top(2, 1))]
            client.quit()
            return answers

        instead = b"Subject: =?utf-8?b?Z3LDvG4=?=\r\n"
        for utf8, shown in ((True, header), (False, instead)):
            answers = await deferToThread(work, utf8)
            assert answers == [shown + body, shown + body + b"x\r\n" * 100_000, shown + body]

    async def test_the_top_of_a_long_message(self):
        await self.deliver(b"Subject: long\r\n\r\n" + b"x\r\n" * 500_000)
        answers = await self.with_client(lambda client: [lines(client.top(1, n)) for n in (0, 2, 400_000)])
        assert [len(answer) for answer in answers] == [17, 23, 17 + 3 * 400_000]

    async def test_the_server_stops(self):
        await self.two_messages()
        line = Line(self.port)
        self.addCleanup(line.close)
        await deferToThread(lambda: [line.line(), line.send(LOGIN + b"DELE 1\r\n")])
        await deferToThread(lambda: [line.line() for _ in range(3)])
        await self.listener.end_all()
        assert await deferToThread(line.rest) == b"-ERR [SYS/TEMP] Server is stopping\r\n"
        assert len(await self.sizes()) == 2

    async def test_trouble_in_the_store_is_temporary_and_told_without_detail(self):
        def refuse(name):
            raise MailError(452, "4.3.1", "Disk full")

        def break_(name):
            raise ZeroDivisionError("secret detail")

        def work(line):
            line.send(LOGIN)
            line.line()
            return line.line()

        self.patch(self.store, "account", refuse)
        assert await self.with_line(work) == b"-ERR [SYS/TEMP] Disk full\r\n"
        self.patch(self.store, "account", break_)
        answer = await self.with_line(work)
        assert answer.startswith(b"-ERR [SYS/TEMP] ") and b"secret" not in answer
        assert len(self.flushLoggedErrors(ZeroDivisionError)) == 1

    async def test_junk_ends_with_a_word_and_harms_nobody(self):
        await self.two_messages()

        def work(line):
            line.send(b"\0\xff\r\n" * 20)
            return line.rest()

        answer = await self.with_line(work)
        assert answer.count(b"-ERR") == 10 and answer.endswith(b"too many errors, bye\r\n")
        assert len(await self.sizes()) == 2

    async def test_the_mailbox_is_let_go_of_however_a_session_ends(self):
        await self.two_messages()
        closed = []

        account = await self.store.account("alice@a.test")
        mailbox = await account.open("INBOX")
        close = type(mailbox).close

        async def counted(self):
            closed.append(self)
            await close(self)

        self.patch(type(mailbox), "close", counted)
        await self.with_client(lambda client: client.quit())
        await self.with_client(lambda client: client.noop())
        await self.until(lambda: len(closed) == 2)
        await mailbox.close()
