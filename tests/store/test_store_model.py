"""Sessions, deliveries and other programs on two mailboxes: every watcher's view converges to the truth."""

import os
import random

from store_case import ALICE, StoreCase, message, number_of
from twisted.internet.defer import Deferred, gatherResults

from twisted_mta.message.content import Content
from twisted_mta.store.folder import Folder
from twisted_mta.store.keyword_file import read_keywords

ROUNDS = 25
FLAGS = ("\\Seen", "\\Flagged", "\\Deleted", "\\Answered", "\\Draft", "$Work", "later")


class Session:
    """What a client knows: only by what it is told."""

    def __init__(self, mailbox):
        self.mailbox = mailbox
        self.flags = {uid: mailbox.flags(uid) for uid in mailbox.uids}
        self.modseq = mailbox.highest_modseq
        mailbox.watch(self.changed)

    def changed(self, change):
        assert change.modseq >= self.modseq
        self.modseq = change.modseq
        for uid in change.expunged:
            del self.flags[uid]
        for uid in change.added:
            assert uid > max(self.flags, default=0)
            self.flags[uid] = self.mailbox.flags(uid)
        for uid in change.flags:
            assert uid in self.flags
            self.flags[uid] = self.mailbox.flags(uid)
            assert self.mailbox.modseq(uid) == change.modseq


class ModelTests(StoreCase):
    async def test_views_converge(self):
        for seed in range(3):
            await self.converge(random.Random(seed))

    async def converge(self, rng):
        mailbox = await self.account.open("INBOX")
        other = await self.account.open("Archive")
        sessions = [Session(mailbox) for _ in range(4)] + [Session(other)]
        self.next = getattr(self, "next", 0)
        self.present = getattr(self, "present", set())
        for _ in range(ROUNDS):
            waiting = [
                Deferred.fromCoroutine(self.act(rng, *rng.choice([(mailbox, "Archive"), (other, "INBOX")])))
                for _ in range(rng.randrange(1, 7))
            ]
            for _ in range(rng.randrange(3)):
                self.interfere(rng)
            if rng.random() < 0.3:
                sessions.append(Session(rng.choice([mailbox, other])))
            await gatherResults(waiting)
        # What hid behind the times of our own work would be found by a refresh some seconds later.
        await mailbox._visit(Folder.scan)
        await other._visit(Folder.scan)
        await self.account.tidy()
        await self.agree(mailbox, other, sessions)
        await mailbox.close()
        await other.close()

    async def act(self, rng, mailbox, target):
        uids = list(mailbox.uids)
        some = rng.sample(uids, min(len(uids), rng.randrange(5)))
        flags = frozenset(rng.sample(FLAGS, rng.randrange(1, 4)))
        what = rng.randrange(8)
        if what <= 2:
            self.next += 1
            self.present.add(self.next)
            content = Content(b"", message(self.next))
            await self.store.deliver(
                ALICE, content, unique=f"m{self.next}", arrived=1.0, mailbox=mailbox.name
            )
        elif what == 3:
            await mailbox.set_flags(some, rng.choice(["add", "remove", "replace"]), flags)
        elif what == 4:
            for octets in await mailbox.read(some[:1]):
                if octets is not None and await mailbox.expunge(some[:1]):
                    self.present.discard(number_of(octets))
        elif what == 5:
            await mailbox.move(some, target)
        elif what == 6:
            mailbox.claim_recent()
        else:
            await mailbox.refresh()

    def interfere(self, rng):
        """Another program: drops a message, renames or moves a file."""
        maildir = self.maildir(rng.choice(["", ".Archive"]))
        what = rng.randrange(4)
        if what == 0:
            self.next += 1
            self.present.add(self.next)
            path = maildir / "tmp" / "drop"
            path.write_bytes(message(self.next).replace(b"\r\n", b"\n"))
            os.rename(path, maildir / "new" / f"{self.next}.drop.h")
        else:
            sub = rng.choice(["new", "cur"])
            names = sorted(os.listdir(maildir / sub))
            for name in rng.sample(names, min(1, len(names))):
                letters = "".join(sorted(rng.sample("DFRST", rng.randrange(4))))
                try:
                    os.rename(maildir / sub / name, maildir / "cur" / f"{name.split(':')[0]}:2,{letters}")
                except FileNotFoundError:
                    pass  # the store was quicker

    async def agree(self, mailbox, other, sessions):
        for session in sessions:
            truth = {uid: session.mailbox.flags(uid) for uid in session.mailbox.uids}
            assert session.flags == truth
        numbers = []
        for each, directory in ((mailbox, ""), (other, ".Archive")):
            uids = list(each.uids)
            octets = await each.read(uids)
            assert None not in octets
            assert uids == list(each.uids)
            numbers += map(number_of, octets)
            assert len(self.files(directory)) == len(each.uids)
            letters = dict(
                zip("DFRST", ("\\Draft", "\\Flagged", "\\Answered", "\\Seen", "\\Deleted"), strict=True)
            )
            letters |= read_keywords(str(self.maildir(directory)))
            on_disk = sorted(
                sorted(letters[letter] for letter in name.partition(":2,")[2])
                for name in self.files(directory)
            )
            assert on_disk == sorted(sorted(each.flags(uid)) for uid in each.uids)
            status = await self.account.status(each.name)
            assert status.messages == len(each.uids) and status.highest_modseq == each.highest_modseq
            assert status.uid_next == each.uid_next
            assert status.unseen == sum("\\Seen" not in each.flags(uid) for uid in each.uids)
        assert sorted(numbers) == sorted(self.present)
