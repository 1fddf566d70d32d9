"""Clients that resynchronise (RFC 7162 §3.2.5), and sessions that must all come to see the same."""

import random
import re

from imap_house import ImapCase

from twisted_mta.protocol.imap4.grammar import Cursor
from twisted_mta.protocol.imap4.sequence_set import parse_sequence_set

MESSAGE = b"Subject: one\r\n\r\nbody\r\n"


def uids_of(text):
    """The UIDs of a set without "*"."""
    return {
        uid
        for low, high in parse_sequence_set(Cursor(text.encode())).resolve(0)
        for uid in range(low, high + 1)
    }


class QresyncCase(ImapCase):
    async def synchronizing(self):
        talk = await self.logged_in()
        assert (await talk.say("q ENABLE QRESYNC"))[0] == "* ENABLED QRESYNC"
        return talk

    async def deliver_some(self, count):
        for _ in range(count):
            await self.deliver(MESSAGE)

    @staticmethod
    def code(lines, name):
        return next(int(found[1]) for line in lines if (found := re.search(rf"\[{name} (\d+)\]", line)))

    async def select(self, talk, parameter=""):
        """UIDVALIDITY, HIGHESTMODSEQ, and what was told of changes."""
        lines = await talk.say(f"s SELECT INBOX{parameter}")
        assert lines[-1].startswith("s OK"), lines
        told = [line for line in lines if "VANISHED" in line or "FETCH" in line]
        return self.code(lines, "UIDVALIDITY"), self.code(lines, "HIGHESTMODSEQ"), told


class SelectTests(QresyncCase):
    async def setUp(self):
        await super().setUp()
        await self.deliver_some(10)
        self.client = await self.synchronizing()
        self.validity, self.modseq, _ = await self.select(self.client)
        await self.client.say("u UNSELECT")
        other = await self.logged_in("INBOX")
        await other.say("a STORE 2:4,8 +FLAGS.SILENT (\\Deleted)")
        await other.say("b EXPUNGE")
        await other.say("c UID STORE 1,9 +FLAGS.SILENT (\\Flagged)")

    def flagged(self, number, uid):
        return f"* {number} FETCH (UID {uid} FLAGS (\\Flagged) MODSEQ ({self.modseq + 3}))"

    async def resynchronize(self, more=""):
        return (await self.select(self.client, f" (QRESYNC ({self.validity} {self.modseq}{more}))"))[2]

    async def test_what_has_changed(self):
        told = await self.resynchronize()
        assert told == ["* VANISHED (EARLIER) 2:4,8", self.flagged(1, 1), self.flagged(5, 9)]

    async def test_of_known_uids_alone(self):
        assert await self.resynchronize(" 3:7,9") == ["* VANISHED (EARLIER) 3:4", self.flagged(5, 9)]

    async def test_with_a_sample_of_what_is_known(self):
        """Up to a number that still has its UID nothing has vanished that the client does not know of."""
        changes = [self.flagged(1, 1), self.flagged(5, 9)]
        assert await self.resynchronize(" 1:10 (1,2 1,5)") == ["* VANISHED (EARLIER) 8", *changes]
        assert await self.resynchronize(" (2,5 5,9)") == changes
        assert await self.resynchronize(" 1:10 (1:2,9 1:2,9)") == ["* VANISHED (EARLIER) 2:4,8", *changes]
        assert await self.resynchronize(" 1:10 (1:4294967295 1:4294967295)") == [
            "* VANISHED (EARLIER) 2:4,8",
            *changes,
        ]

    async def test_another_uidvalidity(self):
        """Then nothing of it counts (§3.2.5)."""
        parameter = f" (QRESYNC ({self.validity + 1} {self.modseq} 1:10))"
        assert (await self.select(self.client, parameter))[2] == []

    async def test_nothing_has_changed(self):
        now = (await self.select(self.client))[1]
        parameter = f" (QRESYNC ({self.validity} {now}))"
        assert (await self.select(self.client, parameter))[2] == []

    async def test_what_is_remembered_no_more(self):
        """Then every UID that is not there has vanished, and only these (§3.2.6)."""
        mailbox = await self.store.account("alice@a.test")
        opened = await mailbox.open("INBOX")
        self.addCleanup(opened.close)

        async def forgotten(modseq):
            return None

        self.patch(type(opened), "vanished_since", lambda self, modseq: forgotten(modseq))
        changes = [self.flagged(1, 1), self.flagged(5, 9)]
        assert await self.resynchronize() == ["* VANISHED (EARLIER) 2:4,8", *changes]
        assert await self.resynchronize(" 3,5:4000000000") == ["* VANISHED (EARLIER) 3,8", self.flagged(5, 9)]
        assert await self.resynchronize(" 1:10 (5 9)") == changes


class Client:
    """What a synchronising client believes: its UIDs in order, and their flags."""

    def __init__(self, talk):
        self.talk = talk
        self.validity = self.modseq = 0
        self.uids = []
        self.flags = {}

    def hear(self, lines):
        for line in lines:
            if found := re.fullmatch(r"\* VANISHED (\(EARLIER\) )?([\d:,]+)", line):
                gone = uids_of(found[2])
                unknown = gone - set(self.uids)  # told of by EXISTS, or not at all
                self.uids = [uid for uid in self.uids if uid not in gone]
                for uid in sorted(unknown, reverse=True) if not found[1] else ():
                    above = (n for n, known in enumerate(self.uids) if known is not None and known > uid)
                    place = next(above, len(self.uids)) - 1
                    assert self.uids[place] is None, line
                    del self.uids[place]
                self.flags = {uid: flags for uid, flags in self.flags.items() if uid not in gone}
            elif found := re.fullmatch(r"\* (\d+) EXISTS", line):
                assert int(found[1]) >= len(self.uids), line
                self.uids += [None] * (int(found[1]) - len(self.uids))
            elif found := re.fullmatch(
                r"\* (\d+) FETCH \(UID (\d+)(?: FLAGS \((.*?)\))? MODSEQ \((\d+)\)\)", line
            ):
                assert self.uids[int(found[1]) - 1] in (None, int(found[2])), line
                self.uids[int(found[1]) - 1] = int(found[2])
                if found[3] is not None:
                    self.flags[int(found[2])] = set(found[3].split()) - {"\\Recent"}
                self.modseq = max(self.modseq, int(found[4]))
        for line in lines:
            if found := re.search(r"\[HIGHESTMODSEQ (\d+)\]", line):
                self.modseq = int(found[1])


class ConvergenceTests(QresyncCase):
    """Two clients synchronise, lose their connections and come back, while others change the mailbox."""

    timeout = 120

    async def test_everybody_comes_to_see_the_same(self):
        source = random.Random(7)
        await self.deliver_some(5)
        clients = [Client(await self.synchronizing()) for _ in range(2)]
        for client in clients:
            await self.open(client)
        other = await self.logged_in("INBOX")
        for _ in range(150):
            await self.change(source, other)
            client = source.choice(clients)
            match source.randrange(4):
                case 0:
                    await client.talk.hang_up()
                    client.talk = await self.synchronizing()
                    await self.open(client)
                case 1 if client.uids:
                    number = source.randint(1, len(client.uids))
                    sign = source.choice("+-")
                    client.hear(await client.talk.say(f"a STORE {number} {sign}FLAGS (\\Answered)"))
                case 2:
                    client.hear(await client.talk.say("a UID FETCH 1:* (FLAGS MODSEQ)"))
                case _:
                    client.hear(await client.talk.say("a NOOP"))
        truth = await self.truth()
        for client in clients:
            client.hear(await client.talk.say("a NOOP"))
            client.hear(await client.talk.say("b UID FETCH 1:* (FLAGS MODSEQ)"))
            assert dict.fromkeys(client.uids) == dict.fromkeys(truth)
            assert client.flags == truth
            await client.talk.hang_up()
            client.talk = await self.synchronizing()
            await self.open(client)  # nothing new is told to one who knows everything
            assert client.flags == truth

    async def open(self, client):
        """SELECT with what the client knows; then what is new, by UID."""
        known = client.uids[: client.uids.index(None)] if None in client.uids else client.uids
        client.uids = []
        parameter = f" (QRESYNC ({client.validity} {client.modseq} 1:{known[-1]}))" if known else ""
        lines = await client.talk.say(f"s SELECT INBOX{parameter}")
        believed = {uid: flags for uid, flags in client.flags.items() if uid in known}
        gone = {uid for line in lines if "VANISHED" in line for uid in uids_of(line.rsplit(" ", 1)[1])}
        client.flags = {uid: flags for uid, flags in believed.items() if uid not in gone}
        client.uids = sorted(client.flags)
        client.hear([line for line in lines if "VANISHED" not in line])
        client.validity = self.code(lines, "UIDVALIDITY")
        client.hear(await client.talk.say(f"f UID FETCH {max(known, default=0) + 1}:* (FLAGS MODSEQ)"))
        assert None not in client.uids

    async def change(self, source, other):
        uids = re.findall(r"UID (\d+)", " ".join(await other.say("x UID FETCH 1:* (UID)")))
        match source.randrange(3):
            case 0:
                await self.deliver_some(source.randint(1, 3))
            case 1 if uids:
                await other.say(f"y UID STORE {source.choice(uids)} {source.choice('+-')}FLAGS (\\Flagged)")
            case 2 if uids:
                for uid in source.sample(uids, min(2, len(uids))):
                    await other.say(f"y UID STORE {uid} +FLAGS.SILENT (\\Deleted)")
                await other.say("z EXPUNGE")

    async def truth(self):
        lines = await (await self.logged_in("INBOX")).say("t UID FETCH 1:* (FLAGS)")
        found = (re.search(r"UID (\d+) FLAGS \((.*?)\)", line) for line in lines[:-1])
        return {int(each[1]): set(each[2].split()) - {"\\Recent"} for each in found if each}
