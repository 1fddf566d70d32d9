"""mbsync and mutt at work on the files of a running store."""

import os

from programs import program
from store_case import StoreCase, message, number_of
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.utils import getProcessOutputAndValue


class ProgramTests(StoreCase):
    async def run_program(self, name, *arguments):
        environment = {**os.environ, "HOME": str(self.root), "TERM": "vt100"}
        output, errors, status = await getProcessOutputAndValue(
            program(name), arguments, env=environment, reactor=reactor
        )
        assert status == 0, (status, output, errors)

    async def in_terminal(self, name, *arguments):
        ended = Deferred()
        process = ProcessProtocol()
        process.processEnded = lambda reason: ended.callback(reason.value.exitCode)
        environment = {**os.environ, "HOME": str(self.root), "TERM": "vt100"}
        path = program(name)
        reactor.spawnProcess(process, path, [path, *arguments], environment, usePTY=True)
        assert await ended == 0

    async def mbsync(self):
        copy = self.root / "copy"
        copy.mkdir(exist_ok=True)
        (self.root / "none").mkdir(exist_ok=True)
        settings = self.root / "mbsyncrc"
        settings.write_text(
            f"MaildirStore ours\nInbox {self.maildir()}\nPath {self.root}/none/\n\n"
            f"MaildirStore theirs\nInbox {copy / 'INBOX'}\nPath {copy}/\n\n"
            "Channel both\nFar :ours:\nNear :theirs:\nCreate Near\nExpunge Both\n"
            f"SyncState {self.root}/state\n"
        )
        await self.run_program("mbsync", "-q", "-c", str(settings), "both")
        return copy / "INBOX"

    async def test_mbsync_in_both_directions(self):
        program("mbsync")
        await self.deliver(1, 2, 3)
        mailbox, _ = await self.open()
        await mailbox.set_flags([2], "add", frozenset({"\\Flagged", "kept"}))
        await self.account.tidy()
        copy = await self.mbsync()
        theirs = {self.number(copy / sub / name): (sub, name) for sub, name in self.listed(copy)}
        assert sorted(theirs) == [1, 2, 3] and theirs[2][1].endswith("F")
        # They: one seen, one removed, one new. We: one answered.
        sub, name = theirs[1]
        os.rename(copy / sub / name, copy / "cur" / f"{name.split(':')[0]}:2,S")
        sub, name = theirs[3]
        os.rename(copy / sub / name, copy / "cur" / f"{name.split(':')[0]}:2,ST")
        (copy / "new" / "1700000009.x.h").write_bytes(message(9).replace(b"\r\n", b"\n"))
        await mailbox.set_flags([2], "add", frozenset({"\\Answered"}))
        await self.account.tidy()
        copy = await self.mbsync()
        await mailbox.refresh()
        assert sorted((await self.numbers("INBOX")).values()) == [1, 2, 9]
        assert mailbox.flags(1) == {"\\Seen"}
        assert mailbox.flags(2) == {"\\Flagged", "\\Answered", "kept"}
        theirs = {self.number(copy / sub / name): name for sub, name in self.listed(copy)}
        assert sorted(theirs) == [1, 2, 9] and theirs[2].endswith("FR")
        before = self.files()
        await self.mbsync()
        assert self.files() == before

    async def test_mutt_reads_and_marks(self):
        program("mutt")
        await self.deliver(1, 2)
        mailbox, _ = await self.open()
        settings = self.root / "muttrc"
        settings.write_text(
            f"set folder={self.root} quit=yes delete=yes move=no wait_key=no\n"
            'push "<set-flag>!<next-entry><delete-message><sync-mailbox><quit>"\n'
        )
        await self.in_terminal("mutt", "-n", "-F", str(settings), "-f", str(self.maildir()))
        await mailbox.refresh()
        (uid,) = mailbox.uids
        assert "\\Flagged" in mailbox.flags(uid)
        (octets,) = await mailbox.read([uid])
        assert number_of(octets) in (1, 2)

    def listed(self, directory):
        return [(sub, name) for sub in ("new", "cur") for name in os.listdir(directory / sub)]

    def number(self, path):
        """mbsync adds a field of its own to the header."""
        lines = path.read_bytes().split(b"\n")
        return int(next(line for line in lines if line.startswith(b"Subject")).split(b":")[1])
