"""Searches, sorts, threads and contexts over whole sessions: what no dialog can show."""

import random
from itertools import permutations

from imap_house import ImapCase
from twisted.internet import reactor
from twisted.internet.task import deferLater

from twisted_mta.access.imap4.searching.program import SearchProgram
from twisted_mta.access.imap4.searching.searched import PORTION, Searched
from twisted_mta.protocol.imap4.grammar import Cursor
from twisted_mta.protocol.imap4.search_grammar import parse_program
from twisted_mta.protocol.imap4.search_text import content_test

PIECES = [
    "Straße",
    "STRASSE",
    "café",
    "cafe\u0301",
    "naïve",
    "日本語の件名",
    "re: plan",
    "Plan  B",
    "x, y",
    "a" * 40,
    "Émile",
    "ﬁsh",
    "İstanbul",
    '100% \\ "q" \'n',
]
HEADERS = ["Subject", "From", "To", "Cc", "Bcc", "Reply-To", "Sender", "X-Kind", "List-Id", "Date"]
DATES = ["Fri, 21 Nov 1997 23:30:00 -0600", "1 Jan 2000 00:00:00 +1400", "never", ""]


def made(source):
    """A message of odd pieces, with fields that come twice, are empty or are not there."""
    lines = []
    for name in source.sample(HEADERS, source.randint(2, 9)) + source.choices(HEADERS, k=2):
        value = source.choice(DATES) if name == "Date" else " ".join(source.choices(PIECES, k=2))
        if name in ("From", "To", "Cc", "Bcc", "Reply-To", "Sender"):
            value = f"{value} <{source.choice('abc')}@a.test>"
        raw = source.choice([value, value, ""]).encode()
        if source.random() < 0.5:
            raw = b"=?utf-8?Q?%b?=" % b"".join(b"=%02X" % octet for octet in raw)
        lines.append(name.encode() + b": " + raw + source.choice([b"", b"\r\n more"]))
    text = " ".join(source.choices(PIECES, k=5)).encode()
    return b"\r\n".join([*lines, b"Content-Type: text/plain; charset=utf-8", b"", text, b""])


def criteria(source, depth=2):
    """Search criteria about contents, as a client writes them."""
    kind = source.randrange(9 if depth else 6)
    word = source.choice([*PIECES, "a.test", "an b", "zz", "st", "", " ", "plan"])
    quoted = '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if kind == 0:
        return f"{source.choice(['SUBJECT', 'FROM', 'TO', 'CC', 'BCC'])} {quoted}"
    if kind == 1:
        return f"HEADER {source.choice([*HEADERS, 'X-None'])} {quoted}"
    if kind == 2:
        return f"BODY {quoted}"
    if kind == 3:
        return f"TEXT {quoted}"
    if kind == 4:
        return f"{source.choice(['SENTBEFORE', 'SENTON', 'SENTSINCE'])} 21-Nov-1997"
    if kind == 5:
        return "ALL"
    if kind == 6:
        return f"NOT {criteria(source, depth - 1)}"
    if kind == 7:
        return f"OR {criteria(source, depth - 1)} {criteria(source, depth - 1)}"
    return f"({criteria(source, depth - 1)} {criteria(source, depth - 1)})"


class SearchTests(ImapCase):
    async def test_the_index_and_the_octets_give_one_answer(self):
        source = random.Random(5182)
        messages = [made(source) for _ in range(40)]
        for octets in messages:
            await self.deliver(octets)
        talk = await self.logged_in("INBOX")
        asked = [criteria(source) for _ in range(150)]
        expected = []
        for text in asked:
            test = content_test(parse_program(Cursor(text.encode())).key)
            expected.append([number for number, octets in enumerate(messages, 1) if test(octets)])
        assert sum(0 < len(found) < 40 for found in expected) > 50
        before = [await self.search(talk, text) for text in asked]
        await self.indexed(talk)
        after = [await self.search(talk, text) for text in asked]
        for text, wanted, early, late in zip(asked, expected, before, after, strict=True):
            assert early == wanted, text
            assert late == wanted, text

    async def search(self, talk, text):
        """The numbers that a search finds."""
        found, done = await talk.say(f"t SEARCH CHARSET UTF-8 {text}")
        assert found.startswith("* SEARCH") and done == "t OK SEARCH completed", (text, found, done)
        return [int(number) for number in found.split()[2:]]

    async def indexed(self, talk):
        """Wait until the whole mailbox is in the full text."""
        mailbox = talk.session.view.mailbox
        while (await mailbox.find_text(list(mailbox.uids), "text", "x"))[1]:
            await deferLater(reactor, 0.01)

    async def test_keys_about_flags_and_contents_mix_in_any_order(self):
        for number in range(1, 31):
            await self.deliver(b"Subject: number %d\r\n\r\nbody %d\r\n" % (number, number % 3))
        talk = await self.logged_in("INBOX")
        await talk.say("a STORE 1:10 +FLAGS.SILENT (\\Seen)")
        await talk.say("b STORE 5:20 +FLAGS.SILENT (kind)")
        keys = ["SEEN", "OR UNSEEN HEADER X-None x", "NOT BODY 1", "KEYWORD kind", 'SUBJECT "number"']
        answers = {tuple(await self.search(talk, " ".join(order))) for order in permutations(keys)}
        assert answers == {()}
        keys[1] = "OR UNSEEN BODY 2"
        answers = {tuple(await self.search(talk, " ".join(order))) for order in permutations(keys)}
        assert answers == {(5, 8)}

    async def test_what_is_expunged_meanwhile_is_not_found(self):
        await self.deliver_many(9)
        first, second = await self.logged_in("INBOX"), await self.logged_in("INBOX")
        await second.say("a UID STORE 2,5,9 +FLAGS.SILENT (\\Deleted)")
        await second.say("b EXPUNGE")
        # The client still counts nine messages; the others keep their numbers.
        assert await self.search(first, "ALL") == [1, 3, 4, 6, 7, 8]
        assert await self.search(first, "NOT SUBJECT 4") == [1, 3, 6, 7, 8]
        assert await self.search(first, "LARGER 1 UNSEEN UID 4:8 NOT 7") == [4, 6, 8]
        assert (await first.say("c SORT (REVERSE SUBJECT) UTF-8 ALL"))[0] == "* SORT 8 7 6 4 3 1"
        assert (await first.say("d THREAD REFS UTF-8 1:3"))[0] == "* THREAD (1)(3)"

    async def test_what_is_remembered_is_what_would_be_found_anew(self):
        """Orders and threads are kept until messages come or go; this client hears late of what went."""
        source = random.Random(5256)
        subjects = ["plan", "Re: plan", "", "Zoë", "zoe", "B", "a", "fwd: Zoë"]
        talk, other = await self.logged_in("INBOX"), None
        for step in range(60):
            what = source.choice(["deliver", "deliver", "expunge", "look", "look", "look", "hear"])
            if what == "deliver" or step < 5:
                lines = [f"Subject: {source.choice(subjects)}", f"Message-ID: <{step}@a.test>"]
                if source.random() < 0.5:
                    lines.append(f"References: <{source.randrange(step + 2)}@a.test>")
                if source.random() < 0.5:
                    lines.append(f"Date: {source.randrange(1, 29)} Feb 2001 10:00:00 +0000")
                await self.deliver("\r\n".join([*lines, "", "text", ""]).encode())
            elif what == "expunge":
                other = other or await self.logged_in("INBOX")
                await other.say(f"s STORE {source.randint(1, other.session.view.count)} +FLAGS (\\Deleted)")
                await other.say("e EXPUNGE")
            uid = source.choice(["", "UID "])
            await talk.say("n NOOP" if uid or what == "hear" else "s SEARCH 1:*")
            asked = source.choice(
                [
                    "SORT (SUBJECT) UTF-8 ALL",
                    "SORT (REVERSE SUBJECT DATE) UTF-8 ALL",
                    "SORT (ARRIVAL REVERSE SUBJECT) UTF-8 NOT DELETED",
                    "SORT (SUBJECT) UTF-8 NOT SUBJECT plan",
                    "THREAD REFERENCES UTF-8 ALL",
                    "THREAD REFS UTF-8 ALL",
                    "THREAD ORDEREDSUBJECT UTF-8 NOT SUBJECT plan",
                ]
            )
            found = await talk.say(f"a {uid}{asked}")
            talk.session.view.mailbox.overview_columns.clear()
            anew = await talk.say(f"a {uid}{asked}")
            assert found[0] == anew[0], (step, asked)
            assert (await talk.say(f"a {uid}{asked}"))[0] == found[0]

    async def test_portions(self):
        """A search goes through a mailbox in portions; nothing is lost between two of them."""
        await self.deliver_many(7)
        talk = await self.logged_in("INBOX")
        self.patch(__import__("twisted_mta.access.imap4.searching.searched", fromlist=["x"]), "PORTION", 3)
        assert PORTION > 3
        assert await self.search(talk, "ALL") == [1, 2, 3, 4, 5, 6, 7]
        assert await self.search(talk, "2,4:6 NOT UID 5") == [2, 4, 6]
        assert await self.search(talk, "OR SUBJECT 3 BODY 7") == [3, 7]
        assert await self.search(talk, "UID 3:4,7:900") == [3, 4, 7]

    async def test_nobody_waits_for_a_search_of_the_gone(self):
        await self.deliver_many(3)
        talk = await self.logged_in("INBOX")
        view = talk.session.view
        key = parse_program(Cursor(b"BODY body")).key
        program = SearchProgram(
            Searched(view.mailbox, view), key, breathe=talk.session.access.breathe, gone=lambda: True
        )
        assert (await program.run()).uids == []

    async def test_more_patterns_than_anybody_needs(self):
        await self.deliver(b"Subject: x\r\n\r\n" + b"a" * 1_000_000 + b"\r\n")
        talk = await self.logged_in("INBOX")
        patterns = " ".join(f'BODY "*{"a" * number}*"' for number in range(1, 51))
        assert await self.search(talk, patterns) == []
        many = "OR BODY aaab " * 49 + "BODY aaac"
        assert await self.search(talk, many) == []
        assert await self.search(talk, "NOT " * 90 + "SUBJECT x") == [1]

    async def test_filters_that_multiply(self):
        await self.deliver_many(1)
        talk = await self.logged_in("INBOX")
        for name, inner in (("a", "b"), ("b", "c"), ("c", "d"), ("d", "SEEN")):
            value = " ".join([f"FILTER {inner}" if len(inner) == 1 else inner] * 20)
            done = await talk.say(f's SETMETADATA "" ("/private/filters/values/{name}" "{value}")')
            assert done[-1].startswith("s OK")
        assert await talk.say("t SEARCH FILTER d") == ["* SEARCH", "t OK SEARCH completed"]
        assert (await talk.say("t SEARCH FILTER a"))[-1].startswith("t NO [UNDEFINED-FILTER ")


class SharedMailboxTests(ImapCase):
    async def test_mailboxes_of_others(self):
        """RFC 7377 §2.2: "r" for what is named, "l" as well for what is not; else there is nothing."""
        await self.deliver(b"Subject: hers\r\n\r\n")
        await self.deliver(b"Subject: his\r\n\r\n", account="bob@a.test")
        alice, bob = await self.logged_in(), await self.logged_in(user="bob")
        name = '"Other Users/bob@a.test/INBOX"'
        asked = (
            f"ESEARCH IN (mailboxes {name}) ALL",
            'ESEARCH IN (subtree "Other Users") ALL',
            f"ESEARCH IN (personal subscribed mailboxes ({name} nowhere)) SUBJECT his",
        )
        for rights, found in (("", 0), ("l", 0), ("s", 0), ("lr", 3), ("r", 2)):
            assert (await bob.say(f"g SETACL INBOX alice@a.test {rights or chr(34) * 2}"))[-1][:4] == "g OK"
            lines = [line for text in asked for line in await alice.say(f"a {text}")]
            assert lines.count("a OK ESEARCH completed") == 3
            assert sum(f"MAILBOX {name} " in line for line in lines) == found, (rights, lines)
            assert len(lines) == 3 + found


class ContextTests(ImapCase):
    async def test_new_messages_are_told_after_exists(self):
        await self.deliver(b"From: boss@a.test\r\n\r\n1\r\n")
        talk = await self.logged_in("INBOX")
        await talk.say('a00 SEARCH RETURN (COUNT UPDATE) FROM "boss"')
        await self.deliver(b"From: boss@a.test\r\n\r\n2\r\n")
        await self.deliver(b"From: other@a.test\r\n\r\n3\r\n")
        lines = await self.told(talk, first=b"b NOOP\r\n")
        assert lines.index("* 3 EXISTS") < lines.index('* ESEARCH (TAG "a00") ADDTO (0 2)')

    async def test_what_the_client_wants_to_know_of_new_messages(self):
        """RFC 5465 §7."""
        await self.deliver_many(1)
        talk = await self.logged_in("INBOX")
        await talk.say('a UID SEARCH RETURN (UPDATE (UID BODY[HEADER.FIELDS (SUBJECT)])) FROM "boss"')
        await self.deliver(b"From: boss@a.test\r\nSubject: now\r\n\r\n2\r\n")
        lines = await self.told(talk, first=b"b NOOP\r\n")
        fetched = lines.index("* 2 FETCH (UID 2 BODY[HEADER.FIELDS (SUBJECT)] {16}")
        assert lines.index("* 2 EXISTS") < fetched < lines.index('* ESEARCH (TAG "a") UID ADDTO (0 2)')
        assert not await self.search_seen(talk)

    async def search_seen(self, talk):
        return (await talk.say("x SEARCH SEEN"))[0].split()[2:]

    async def test_idle(self):
        await self.deliver_many(2)
        talk, other = await self.logged_in("INBOX"), await self.logged_in("INBOX")
        await talk.say("a UID SEARCH RETURN (UPDATE) UNDELETED")
        await talk.say("b IDLE")
        await other.say("c STORE 1 +FLAGS.SILENT (\\Deleted)")
        assert '* ESEARCH (TAG "a") UID REMOVEFROM (0 1)' in await self.told(talk)
        await other.say("d EXPUNGE")
        await self.deliver(b"Subject: new\r\n\r\n")
        lines = await self.told(talk, b"ADDTO")
        assert lines.index("* 2 EXISTS") < lines.index('* ESEARCH (TAG "a") UID ADDTO (0 3)')
        assert (await talk.say("DONE"))[-1] == "b OK IDLE completed"

    async def told(self, talk, until=b"ESEARCH", first=b""):
        """What the client is told, if it sends `first`, until a response of that kind, as lines."""
        said = await talk.send(first) if first else b""
        while until not in said:
            await deferLater(reactor, 0.001)
            said += talk.said()
        return said.decode().split("\r\n")[:-1]

    async def test_a_client_that_follows_has_the_result(self):
        """Whatever happens, ADDTO and REMOVEFROM lead to what a new search finds (RFC 5267 §4.3.2)."""
        source = random.Random(5267)
        await self.deliver_many(12)
        talk, other = await self.logged_in("INBOX"), await self.logged_in("INBOX")
        found = await talk.say("u UID SORT RETURN (UPDATE ALL) (REVERSE SUBJECT) UTF-8 UNFLAGGED UNDELETED")
        result = self.numbers(found[0].split(" ALL ")[1])
        for step in range(40):
            number = source.randint(1, 8)
            what = (
                source.choice(["+FLAGS", "-FLAGS"]) + ".SILENT " + source.choice(["\\Flagged", "\\Deleted"])
            )
            who = source.choice([talk, other])
            lines = await who.say(f"s{step} UID STORE {number}:{number + source.randint(0, 4)} {what}")
            if source.random() < 0.2:
                await self.deliver(b"Subject: number %d\r\n\r\nx\r\n" % source.randint(1, 99))
            if source.random() < 0.2:
                lines += await other.say(f"e{step} EXPUNGE")
            lines = [] if who is other else lines
            for _ in range(3):
                lines += await talk.say(f"n{step} NOOP")
            self.follow(result, lines)
        contexts = talk.session.view.contexts
        await self.until(lambda: not any(context.busy for context in contexts.by_tag.values()))
        self.follow(result, await talk.say("n NOOP") + await talk.say("n NOOP"))
        fresh = await talk.say("v UID SORT RETURN (ALL) (REVERSE SUBJECT) UTF-8 UNFLAGGED UNDELETED")
        self.follow(result, fresh[:-2])
        assert result == self.numbers(fresh[-2].split(" ALL ")[1]) if " ALL " in fresh[-2] else result == []

    def follow(self, result, lines):
        """Do to a result what the server tells."""
        for line in lines:
            for word in ("ADDTO", "REMOVEFROM"):
                if line.startswith("* ESEARCH") and f"{word} (" in line:
                    items = line.split(f"{word} (")[1].rstrip(")").split()
                    for place, numbers in zip(map(int, items[::2]), items[1::2], strict=True):
                        uids = self.numbers(numbers)
                        if word == "ADDTO":
                            result[place - 1 : place - 1] = uids
                        else:
                            assert result[place - 1 : place - 1 + len(uids)] == uids
                            del result[place - 1 : place - 1 + len(uids)]

    @staticmethod
    def numbers(text):
        found = []
        for part in text.split(","):
            first, _, last = part.partition(":")
            found += range(int(first), int(last or first) + 1)
        return found
