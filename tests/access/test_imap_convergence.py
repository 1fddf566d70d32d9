"""Every kind of IMAP client, POP3, deliveries and other programs on the same mailboxes: a model of each
client, made only of what the server tells it, comes to agree with the truth; and no UID has two meanings.

A message carries its identity, a number, in its subject and its text. Only every third one may be removed
for good: of the others each copy has to be somewhere at any time.
"""

import os
import random
import re
from collections import Counter

from client_view import ClientView, split_responses
from imap_crowd import KINDS, MAILBOXES, Session, World, identity_of, message, removable
from imap_house import ALICE, House, ImapCase, Talk
from twisted.internet import reactor
from twisted.internet.defer import Deferred, FirstError, gatherResults

from twisted_mta.access.pop3.session import OVERLOAD, Pop3Session, Pop3Settings
from twisted_mta.store.folder import Folder
from twisted_mta.wire.listener import Listener
from twisted_mta.wire.login import LoginLimits

SEEDS, ROUNDS = (40, 120) if os.environ.get("SOAK") else (3, 50)
LETTERS = dict(zip("DFRST", ("\\Draft", "\\Flagged", "\\Answered", "\\Seen", "\\Deleted"), strict=True))


class ConvergenceCase(ImapCase):
    timeout = 3600

    async def setUp(self):
        await super().setUp()
        self.protocols = {}
        self.pop3_listener = Listener(
            lambda: Pop3Session(
                Pop3Settings(
                    hostname="mx.a.test",
                    allow_cleartext=True,
                    login=LoginLimits(delay=0.0),
                    unique_ids="plain",
                ),
                directory=House(),
                store=self.store,
                journey=self.journey,
                reactor=reactor,
            ),
            reactor=self.clock,
            overload=OVERLOAD,
        )

    # Others than IMAP clients

    async def deliver_one(self, rng):
        identity = self.world.new()
        mailbox = rng.choice(["INBOX", "INBOX", "Archive"])
        uid = await self.deliver(message(identity), mailbox=mailbox)
        self.world.called(self.validities[mailbox], uid, identity)

    def maildir(self, mailbox):
        return self.root / "mail" / "a.test" / "alice" / "Maildir" / MAILBOXES[mailbox]

    def interfere(self, rng):
        """Another program delivers, renames for other flags, or removes."""
        mailbox = rng.choice(list(MAILBOXES))
        maildir = self.maildir(mailbox)
        if rng.random() < 0.3:
            identity = self.world.new()
            (maildir / "tmp" / "drop").write_bytes(message(identity).replace(b"\r\n", b"\n"))
            (maildir / "tmp" / "drop").rename(maildir / "new" / f"1{identity}.drop.host")
            return
        files = sorted(path for sub in ("new", "cur") for path in (maildir / sub).iterdir())
        for path in rng.sample(files, min(1, len(files))):
            try:
                may_go = removable(identity_of(path.read_bytes()))
                if may_go and rng.random() < 0.3:
                    path.unlink()
                    continue
                usable = sorted(self.letters(mailbox).keys() - ({"T"} if not may_go else set()))
                letters = "".join(sorted(rng.sample(usable, rng.randrange(4))))
                path.rename(maildir / "cur" / f"{path.name.partition(':')[0]}:2,{letters}")
            except FileNotFoundError:
                pass  # the store was quicker

    async def pop3(self, rng):
        """A POP3 session: every unique-id names the message that this UID is in IMAP."""
        talk = Talk(self, self.pop3_listener)
        self.talks.append(talk)
        talk.said()
        for line in (b"USER alice", b"PASS secret"):
            assert (await talk.send(line + b"\r\n")).startswith(b"+OK")
        listing = (await talk.send(b"UIDL\r\n")).split(b"\r\n")[1:-2]
        for line in rng.sample(listing, min(3, len(listing))):
            number, unique = line.split()
            content = await talk.send(b"RETR %b\r\n" % number)
            if content.startswith(b"-ERR"):
                continue  # gone meanwhile
            identity = identity_of(content)
            validity, _, uid = unique.decode().partition(".")
            self.world.called(int(validity), int(uid), identity)
            if removable(identity) and rng.random() < 0.5:
                assert (await talk.send(b"DELE %b\r\n" % number)).startswith(b"+OK")
        await talk.send(b"QUIT\r\n")
        await talk.hang_up()

    # Truth

    async def truth(self, mailbox):
        """{UID: (flags, mod-sequence)}, from a fresh session; its identities agree with the world's names."""
        talk = await self.logged_in(mailbox, examine=True)
        view = ClientView(("CONDSTORE",))
        said = await talk.send(b"a UID FETCH 1:* (UID FLAGS MODSEQ ENVELOPE BODY.PEEK[])\r\n")
        view.hear(b"* %d EXISTS" % said.count(b" FETCH ("))
        for response in split_responses(said):
            view.hear(response)
        for uid, identity in view.identities.items():
            self.world.called(self.validities[mailbox], uid, identity)
        self.found.update(view.identities.values())
        items = "MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ"
        status = (await talk.say(f"s STATUS {mailbox} ({items})"))[0]
        words = dict(zip(*[iter(re.findall(r"\((.*)\)", status)[0].split())] * 2, strict=True))
        modseqs = [slot.modseq for slot in view.slots]
        assert int(words["MESSAGES"]) == len(view.slots) == len(view.identities)
        assert int(words["UNSEEN"]) == sum("\\Seen" not in slot.flags for slot in view.slots)
        assert int(words["UIDVALIDITY"]) == self.validities[mailbox]
        assert int(words["UIDNEXT"]) > max((slot.uid for slot in view.slots), default=0)
        assert int(words["HIGHESTMODSEQ"]) >= max(modseqs, default=0)
        assert int(words["HIGHESTMODSEQ"]) >= self.highest.get(mailbox, 0)
        self.highest[mailbox] = int(words["HIGHESTMODSEQ"])
        await talk.hang_up()
        expected = Counter((view.identities[slot.uid], slot.flags) for slot in view.slots)
        # File names follow the flags in a moment.
        await self.until(lambda: self.on_disk(mailbox) == expected)
        return {slot.uid: (slot.flags, slot.modseq) for slot in view.slots}

    def on_disk(self, mailbox):
        """Identities and flags, as any other program sees them."""
        letters = self.letters(mailbox)
        return Counter(
            (
                identity_of(path.read_bytes()),
                frozenset(letters[letter] for letter in path.name.partition(":2,")[2]),
            )
            for sub in ("new", "cur")
            for path in (self.maildir(mailbox) / sub).iterdir()
        )

    def letters(self, mailbox):
        """What the letters in the names of files mean; those of keywords as in Dovecot's list."""
        listed = self.maildir(mailbox) / "dovecot-keywords"
        lines = listed.read_text().splitlines() if listed.exists() else []
        return {**LETTERS, **{chr(ord("a") + int(line.split()[0])): line.split()[1] for line in lines}}


class ConvergenceTests(ConvergenceCase):
    async def test_everybody_comes_to_see_the_same(self):
        for seed in range(SEEDS):
            try:
                await self.converge(random.Random(seed))
            except FirstError as error:
                raise AssertionError(f"seed {seed}") from error.subFailure.value
            except Exception as error:
                raise AssertionError(f"seed {seed}") from error

    async def converge(self, rng):
        self.world, self.highest, self.protocols = World(), {}, {}
        await self.empty()
        account = await self.store.account(ALICE)
        opened = {name: await account.open(name) for name in MAILBOXES}
        self.validities = {name: mailbox.uid_validity for name, mailbox in opened.items()}
        kinds = rng.sample(KINDS, 9)
        self.sessions = [
            Session(
                self,
                number,
                kind,
                "Archive" if number % 4 == 3 else "INBOX",
                rng,
                "bob" if number > 6 else "alice",
            )
            for number, kind in enumerate(kinds)
        ]
        for _ in range(6):
            await self.deliver_one(rng)
        for session in self.sessions:
            await session.begin()
        for _ in range(ROUNDS):
            awake = [session for session in self.sessions if not session.asleep]
            work = [session.act() for session in rng.sample(awake, rng.randint(1, min(5, len(awake))))]
            work += [self.deliver_one(rng) for _ in range(rng.randrange(3))]
            if rng.random() < 0.1:
                work.append(self.pop3(rng))
            waiting = [Deferred.fromCoroutine(each) for each in work]
            for _ in range(rng.randrange(3)):
                self.interfere(rng)
            await gatherResults(waiting, consumeErrors=True)
            if rng.random() < 0.12:
                await self.be_quiet(opened)
        await self.be_quiet(opened)
        for session in self.sessions:
            await session.talk.hang_up()
        for mailbox in opened.values():
            await mailbox.close()

    async def be_quiet(self, opened):
        """Nothing happens any more: everybody settles, and agrees."""
        for mailbox in opened.values():
            # What hid behind the times of our own work would be found by a refresh some seconds later.
            await mailbox._visit(Folder.scan)
        await (await self.store.account(ALICE)).tidy()
        self.found = Counter()
        truth = {name: await self.truth(name) for name in MAILBOXES}
        for identity in range(1, self.world.count + 1):
            found, world = self.found[identity], self.world
            assert world.least[identity] <= found <= world.most[identity], (identity, found)
        for session in self.sessions:
            with session.explained():
                await session.settle(truth[session.mailbox])

    async def empty(self):
        """Start over, with mailboxes that have a past, and that bob may work in, too."""
        talk = await self.logged_in()
        for name in MAILBOXES:
            await talk.say(f"a SELECT {name}")
            await talk.say("b STORE 1:* +FLAGS.SILENT (\\Deleted)")
            await talk.say("c EXPUNGE")
            assert (await talk.say(f"d SETACL {name} bob@a.test lrswipkxtecda"))[-1].startswith("d OK")
        await talk.hang_up()


class RenamedMeanwhileTests(ImapCase):
    async def test_a_file_that_was_renamed_unnoticed(self):
        """Another program renames a file within a tick of the clock: it is looked for, and the messages go,
        in two steps, for everybody who has the mailbox open."""
        for number in range(3):
            await self.deliver(message(number))
        talk, other = await self.logged_in("INBOX"), await self.logged_in("INBOX")
        await talk.say("a UID STORE 2:3 +FLAGS (\\Deleted)")
        await other.say("b NOOP")
        await (await self.store.account(ALICE)).tidy()
        cur = self.root / "mail" / "a.test" / "alice" / "Maildir" / "cur"
        times = cur.stat()
        (renamed,) = (path for path in cur.iterdir() if b"identity 2" in path.read_bytes())
        renamed.rename(renamed.with_name(renamed.name.replace(":2,T", ":2,ST")))
        os.utime(cur, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert (await talk.say("c EXPUNGE"))[-1] == "c OK EXPUNGE completed"
        assert await other.say("d NOOP") == ["* 3 EXPUNGE", "* 2 EXPUNGE", "d OK NOOP completed"]
        assert (await other.say("e UID FETCH 1:* UID"))[:-1] == ["* 1 FETCH (UID 1)"]


class OwnMessagesTests(ImapCase):
    """What a client stores itself is not fetched for it (RFC 5465 §5.2), but everything else is."""

    async def setUp(self):
        await super().setUp()
        self.client = await self.logged_in("INBOX")
        await self.client.say("n NOTIFY SET (SELECTED (MessageNew (UID) MessageExpunge))")

    async def told(self):
        await self.until(lambda: self.client.transport.value() and not self.client.session._busy)
        return self.client.said().decode().split("\r\n")[:-1]

    async def test_a_delivery_while_an_append_comes_in(self):
        assert (await self.client.say("a APPEND INBOX {8}"))[0].startswith("+ ")
        await self.deliver(message(1))
        assert await self.told() == ["* 1 EXISTS", "* 1 RECENT", "* 1 FETCH (UID 1)"]
        lines = await self.client.say("a: b\r\n\r\n")
        assert lines[:-1] == ["* 2 EXISTS", "* 2 RECENT"] and "APPENDUID" in lines[-1]
        await self.deliver(message(2))
        assert await self.told() == ["* 3 EXISTS", "* 3 RECENT", "* 3 FETCH (UID 3)"]

    async def test_a_delivery_while_a_replacement_comes_in(self):
        await self.deliver(message(1))
        await self.told()
        assert (await self.client.say("a UID REPLACE 1 INBOX {8}"))[0].startswith("+ ")
        await self.deliver(message(2))
        assert await self.told() == ["* 2 EXISTS", "* 2 RECENT", "* 2 FETCH (UID 2)"]
        lines = await self.client.say("a: b\r\n\r\n")
        assert "APPENDUID" in lines[0] and lines[1:-1] == ["* 3 EXISTS", "* 2 RECENT", "* 1 EXPUNGE"]


class ConditionalStoreTests(ImapCase):
    async def test_one_of_many_wins(self):
        """UNCHANGEDSINCE asks and changes in one: of clients that know the same, one gets through."""
        uid = await self.deliver(message(1))
        talks = [await self.logged_in("INBOX") for _ in range(6)]
        for talk in talks:
            await talk.say("a ENABLE CONDSTORE")
        modseq = int(re.search(r"MODSEQ \((\d+)\)", (await talks[0].say("f FETCH 1 (MODSEQ)"))[-2])[1])
        for turn in range(10):
            waiting = [
                Deferred.fromCoroutine(
                    talk.say(
                        f"b UID STORE {uid} (UNCHANGEDSINCE {modseq}) FLAGS.SILENT (turn{turn}by{number})"
                    )
                )
                for number, talk in enumerate(talks)
            ]
            answers = await gatherResults(waiting)
            winners = [number for number, lines in enumerate(answers) if "[MODIFIED" not in lines[-1]]
            assert len(winners) == 1, answers
            line = (await talks[0].say("f FETCH 1 (FLAGS MODSEQ)"))[-2]
            assert re.search(rf"FLAGS \((\\Recent )?turn{turn}by{winners[0]}( \\Recent)?\)", line), line
            modseq = int(re.search(r"MODSEQ \((\d+)\)", line)[1])
