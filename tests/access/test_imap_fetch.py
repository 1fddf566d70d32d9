"""FETCH and STORE from the side: slices, what is kept at hand, who reads slowly, word of progress."""

import tracemalloc

from imap_house import ImapCase, literal_of
from twisted.internet.task import Clock

from twisted_mta.access.imap4.message_cache import MessageCache, weight
from twisted_mta.access.imap4.progress import Progress, Reminders
from twisted_mta.protocol.imap4.sections import Sections
from twisted_mta.store.mailbox import Mailbox

MESSAGE = b"From: a@a.test\r\nSubject: number %d\r\n\r\nbody %d\r\n"


class FetchTests(ImapCase):
    def count_reads(self, method="examine"):
        """How many messages the store has read, from now on."""
        read = []
        original = getattr(Mailbox, method)

        async def counting(self, uids, see):
            read.extend(uids)
            return await original(self, uids, see)

        self.patch(Mailbox, method, counting)
        return read

    async def fill(self, count):
        """Messages in alice's INBOX, put there as another program would: faster than deliveries."""
        talk = await self.logged_in("INBOX")
        await talk.say("a UNSELECT")
        inbox = min(self.root.glob("mail/**/cur"), key=lambda directory: len(directory.parts)).parent
        for number in range(1, count + 1):
            text = MESSAGE.replace(b"%d", b"%d" % number).replace(b"\r\n", b"\n")
            (inbox / f"new/{number:06}.M1.host").write_bytes(text)

    async def test_many_messages_in_slices(self):
        """More than one slice of each kind, with gaps in the UIDs, in ranges and one by one."""
        await self.fill(1250)
        talk = await self.logged_in("INBOX")
        await talk.say("a UID STORE 7,400:500,1100 +FLAGS.SILENT (\\Deleted)")
        await talk.say("b EXPUNGE")
        left = [uid for uid in range(1, 1251) if uid not in (7, 1100, *range(400, 501))]
        for item, value in (
            ("RFC822.SIZE", "RFC822.SIZE"),
            ("ENVELOPE", 'ENVELOPE (NIL "number'),
            ("BODY.PEEK[HEADER.FIELDS (SUBJECT)]", "BODY[HEADER.FIELDS (SUBJECT)] {"),
            ("BODY.PEEK[TEXT]", "BODY[TEXT] {"),
        ):
            for numbers, expected in (
                ("1:*", list(enumerate(left, 1))),
                (",".join(map(str, range(1, len(left) + 1, 2))), list(enumerate(left, 1))[::2]),
            ):
                lines = [
                    line
                    for line in await talk.say(f"c FETCH {numbers} (UID {item})")
                    if line.startswith("* ")
                ]
                assert len(lines) == len(expected)
                for line, (number, uid) in zip(lines, expected, strict=True):
                    assert line.startswith(f"* {number} FETCH (UID {uid} {value}"), line

    async def test_one_reading_for_all(self):
        await self.deliver(MESSAGE)
        await self.deliver(MESSAGE)
        read = self.count_reads()
        for _ in range(3):
            talk = await self.logged_in("INBOX", examine=True)
            for _ in range(2):
                assert literal_of(await talk.send(b"a FETCH 1 BODY.PEEK[]\r\n")) == MESSAGE
                assert b"body" in await talk.send(b"b FETCH 1:2 BODY.PEEK[1]\r\n")
        assert sorted(read) == [1, 2]
        await talk.say("c UNSELECT")
        await talk.say("c SELECT INBOX")
        await talk.say("d COPY 1 Archive")
        await talk.say("e SELECT Archive")
        assert literal_of(await talk.send(b"f FETCH 1 BODY[]\r\n")) == MESSAGE
        assert len(read) == 2  # the copy has the same content

    async def test_headers_are_read_alone_and_once_for_each_question(self):
        await self.deliver(MESSAGE)
        await self.deliver(b"Subject: long\r\n" + b"X: y\r\n" * 12_000 + b"\r\nbody\r\n")
        talk = await self.logged_in("INBOX")
        read, headers = self.count_reads(), self.count_reads("examine_headers")
        header = MESSAGE[: MESSAGE.index(b"body")]
        for _ in range(2):
            assert literal_of(await talk.send(b"a FETCH 1 BODY.PEEK[HEADER]\r\n")) == header
            assert literal_of(await talk.send(b"a FETCH 1 BODY.PEEK[HEADER]<3.7>\r\n")) == header[3:10]
            assert literal_of(await talk.send(b"a FETCH 1 BODY.PEEK[HEADER]<3.8>\r\n")) == header[3:11]
            answer = await talk.send(b"a FETCH 1 (BODY.PEEK[HEADER.FIELDS.NOT (FROM)] RFC822.HEADER)\r\n")
            assert literal_of(answer) == header[header.index(b"Subject") :]
            assert answer.endswith(
                b" RFC822.HEADER {%d}\r\n%b)\r\na OK FETCH completed\r\n" % (len(header), header)
            )
        assert headers == [1, 1, 1, 1]
        answer = await talk.send(b"b FETCH 1:2 BODY.PEEK[HEADER.FIELDS (SUBJECT)]\r\n")
        assert b"* 2 FETCH (BODY[HEADER.FIELDS (SUBJECT)] {17}\r\nSubject: long\r\n\r\n)\r\nb OK" in answer
        large = literal_of(await talk.send(b"b FETCH 2 (FLAGS BODY.PEEK[HEADER])\r\n"))
        assert large.startswith(b"Subject: long\r\nX: y") and large.endswith(b"y\r\n\r\n")
        assert len(large) == 15 + 6 * 12_000 + 2
        assert not read
        answer = await talk.send(b"b FETCH 1 (BODY.PEEK[TEXT] BODY.PEEK[HEADER])\r\n")
        assert literal_of(answer) == b"body %d\r\n"
        assert read == [1]

    async def test_of_headers_beyond_all_room_the_first_stay_at_hand(self):
        """Each of them was pushed out by the others, and nothing was found the next time."""
        await self.fill(20)
        talk = await self.logged_in("INBOX")
        text = b" BODY[HEADER.FIELDS (SUBJECT)] {20}\r\nSubject: number 10\r\n\r\n)\r\n"
        talk.session.access.headers = MessageCache(10 * weight(text))
        headers = self.count_reads("examine_headers")
        await talk.send(b"a FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]\r\n")
        assert len(headers) == 20
        headers.clear()
        for _ in range(2):
            await talk.send(b"b FETCH 1:* BODY.PEEK[HEADER.FIELDS (SUBJECT)]\r\n")
        assert headers == 2 * list(range(11, 21))

    async def test_large_parts_in_pieces(self):
        """A large encoded part is read and decoded once, however many pieces it is fetched in."""
        encoded = (b"QUJD" * 19 + b"\r\n") * 5000
        await self.deliver(b"Content-Transfer-Encoding: base64\r\n\r\n" + encoded)
        talk = await self.logged_in("INBOX")
        read = self.count_reads()
        whole = b""
        while piece := literal_of(await talk.send(b"a FETCH 1 BINARY.PEEK[1]<%d.65536>\r\n" % len(whole))):
            whole += piece
        assert whole == b"ABC" * 19 * 5000
        assert read == [1]
        answer = await talk.send(b"b FETCH 1 BINARY.SIZE[1]\r\n")
        assert b"BINARY.SIZE[1] %d" % len(whole) in answer

    async def test_a_client_that_does_not_read(self):
        """Whatever it asks for, what is made for it stays small."""
        await self.fill(600)
        talk = await self.logged_in("INBOX")
        await talk.say("a FETCH 1:* (ENVELOPE)")
        commands = [
            b"FETCH 1:* (UID FLAGS)",
            b"FETCH 1:* (ENVELOPE BODYSTRUCTURE)",
            b"STORE 1:* +FLAGS (\\Flagged)",
            b"STORE 1:* -FLAGS (\\Flagged)",
        ]
        talk.session._outflow.pauseProducing()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        talk.session.dataReceived(b"".join(b"x %b\r\n" % command for command in commands * 20))
        before = tracemalloc.get_traced_memory()[0]
        await self.until(lambda: talk.transport.value())
        for _ in range(20):
            await talk.session.access.breathe()
        assert len(talk.transport.value()) < 400_000
        assert tracemalloc.get_traced_memory()[0] - before < 2_000_000
        talk.session._outflow.resumeProducing()
        await self.until(lambda: not talk.session._busy)
        assert talk.said().count(b"x OK") == 80


class Told:
    """As much of a session as Progress needs."""

    def __init__(self):
        self.access = self.engine = self
        self.reactor = Clock()
        self.reminders = Reminders(self.reactor)
        self.lines = []
        self.flushed = 0

    def write(self, line):
        self.lines.append(line)

    def flush(self):
        self.flushed += 1


class ProgressTests(ImapCase):
    def test_short_commands_say_nothing(self):
        told = Told()
        progress = Progress(told, "a", 100)
        told.reactor.advance(9)
        progress.tell(99)
        assert told.lines == []

    def test_long_commands_say_how_far_they_are(self):
        told = Told()
        progress = Progress(told, "a1", 1000)
        for done in (100, 200, 300, 400):
            told.reactor.advance(6)
            progress.tell(done)
        assert told.lines == [
            b'* OK [INPROGRESS ("a1" 200 1000)] Still working\r\n',
            b'* OK [INPROGRESS ("a1" 400 1000)] Still working\r\n',
        ]
        assert told.flushed == 2

    async def test_waiting_for_the_store(self):
        told = Told()

        async def work():
            for _ in range(5):
                told.reactor.advance(5)
            return "done"

        assert await Progress(told, "b").during(work()) == "done"
        assert told.lines == [b'* OK [INPROGRESS ("b" NIL NIL)] Still working\r\n'] * 2 and told.flushed == 2
        assert told.reactor.getDelayedCalls() == []


class CacheTests(ImapCase):
    def test_the_oldest_go_first(self):
        cache = MessageCache(10_000)
        for number in range(4):
            cache.put(number, Sections(b"x" * 2000))
        assert cache.get(0) is not None
        cache.put(4, Sections(b"x" * 2000))
        assert [number for number in range(5) if cache.get(number)] == [0, 2, 3, 4]
        cache.put(5, Sections(b"x" * 10_001))
        assert cache.get(5) is None
        for _ in range(100):  # the same one again takes no more room
            cache.put(4, Sections(b"x" * 2000))
        assert [number for number in range(5) if cache.get(number)] == [0, 2, 3, 4]
