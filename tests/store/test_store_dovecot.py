"""Dovecot at work on the files of a running store: a session of its IMAP server, and ours, on one mailbox."""

import os
import pwd
import re
import subprocess

import pytest
from programs import program
from store_case import StoreCase, message
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

PLACES = ("/usr/lib/dovecot/imap", "/usr/libexec/dovecot/imap")


def imap_program():
    program("dovecot")
    for place in PLACES:
        if os.path.exists(place):
            return place
    pytest.skip("Dovecot without its IMAP server")


class DovecotSession:
    """Dovecot's IMAP server as a process of its own, logged in. `owner`: who it is to be."""

    def __init__(self, directory, maildir, owner):
        settings = directory / "dovecot.conf"
        settings.write_text(
            f"base_dir = {directory}/run\nlog_path = {directory}/dovecot.log\nssl = no\n"
            f"mail_location = maildir:{maildir}\nfirst_valid_uid = 1\nfirst_valid_gid = 1\n"
        )
        settings.chmod(0o644)  # whatever the umask is
        self._number = 0
        self._process = subprocess.Popen(
            [imap_program(), "-c", settings],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"HOME": str(directory), "USER": "alice", "PATH": os.environ["PATH"]},
            **({"user": owner.pw_uid, "group": owner.pw_gid} if owner else {}),
        )
        greeting = self._process.stdout.readline()
        assert greeting.startswith(b"* PREAUTH"), greeting

    def command(self, line):
        """What it answers, as one text."""
        self._number += 1
        tag = b"t%d " % self._number
        self._process.stdin.write(tag + line.encode() + b"\r\n")
        self._process.stdin.flush()
        answer = []
        while not answer or not answer[-1].startswith(tag):
            answer.append(self._process.stdout.readline())
            assert answer[-1], "Dovecot has gone"
        assert answer[-1].startswith(tag + b"OK"), answer
        return b"".join(answer).decode()

    def messages(self):
        """Number of the message -> its flags."""
        answer = self.command("NOOP") + self.command(
            "UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])"
        )
        pattern = r"FLAGS \(([^)]*)\) BODY\[[^]]*\] \{\d+\}\r\nSubject: (\d+)"
        return {
            int(number): set(flags.split()) - {"\\Recent"} for flags, number in re.findall(pattern, answer)
        }

    def uid(self, number):
        """The UID that it gives to the message."""
        answer = self.command(f"UID SEARCH SUBJECT {number}")
        return re.search(r"SEARCH (\d+)", answer)[1]

    def end(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class DovecotTests(StoreCase):
    timeout = 120

    async def start(self):
        await super().start()
        await self.account.list_mailboxes()
        owner = self.hand_over() if os.getuid() == 0 else None
        self.dovecot = DovecotSession(self.root, self.maildir(), owner)
        self.addCleanup(lambda: self.dovecot.end())
        if owner:
            self.become(owner)
        self.dovecot.command("SELECT INBOX")

    def hand_over(self):
        """Dovecot refuses to work for root: both servers work for nobody."""
        owner = pwd.getpwnam("nobody")
        for path in (self.root, *self.root.rglob("*")):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        return owner

    def become(self, owner):
        os.setegid(owner.pw_gid)
        os.seteuid(owner.pw_uid)
        self.addCleanup(lambda: (os.seteuid(0), os.setegid(0)))

    async def ours(self, mailbox):
        """As `DovecotSession.messages`, of our own."""
        await mailbox.refresh()
        octets = await mailbox.read(mailbox.uids)
        numbers = [int(each.split(b"\r\n")[0].split(b":")[1]) for each in octets]
        return {number: set(mailbox.flags(uid)) for number, uid in zip(numbers, mailbox.uids, strict=True)}

    async def until(self, mailbox, expected):
        """Both see that; each looks again after a while when a directory's time tells it nothing."""
        while await self.ours(mailbox) != expected or self.dovecot.messages() != expected:
            await deferLater(reactor, 0.05)

    async def test_both_see_what_each_does(self):
        await self.deliver(1, 2, 3)
        mailbox, _ = await self.open()
        await self.until(mailbox, {1: set(), 2: set(), 3: set()})

        await mailbox.set_flags([1, 2], "add", frozenset({"\\Seen", "ours", "$Junk"}))
        ours = {"\\Seen", "ours", "$Junk"}
        await self.until(mailbox, {1: ours, 2: ours, 3: set()})

        self.dovecot.command(f"UID STORE {self.dovecot.uid(2)} -FLAGS (\\Seen ours)")
        self.dovecot.command(f"UID STORE {self.dovecot.uid(3)} +FLAGS (\\Flagged theirs $Junk)")
        theirs = {"\\Flagged", "theirs", "$Junk"}
        await self.until(mailbox, {1: ours, 2: {"$Junk"}, 3: theirs})

        await mailbox.set_flags(mailbox.uids, "add", frozenset({"theirs", "both"}))
        both = {"theirs", "both"}
        await self.until(mailbox, {1: ours | both, 2: {"$Junk"} | both, 3: theirs | both})

        text = message(4).decode()
        self.dovecot.command(f"APPEND INBOX (\\Answered theirs new) {{{len(text)}+}}\r\n{text}")
        await self.deliver(5)
        four = {"\\Answered", "theirs", "new"}
        await self.until(mailbox, {1: ours | both, 2: {"$Junk"} | both, 3: theirs | both, 4: four, 5: set()})

        self.dovecot.command(f"UID STORE {self.dovecot.uid(1)} +FLAGS (\\Deleted)")
        self.dovecot.command("EXPUNGE")
        await mailbox.expunge([2])
        await self.until(mailbox, {3: theirs | both, 4: four, 5: set()})

        names = dict(
            line.split()[::-1] for line in (self.maildir() / "dovecot-keywords").read_text().splitlines()
        )
        assert names.keys() == {"$Junk", "ours", "theirs", "both", "new"}
        assert len(set(names.values())) == 5

    async def test_both_work_at_the_same_time(self):
        """Neither waits for the other; in the end both have all that either has done."""
        await self.deliver(*range(30, 50))
        mailbox, _ = await self.open()
        expected = {number: set() for number in range(30, 50)}
        await self.until(mailbox, expected)
        numbers = dict(zip(await self.ours(mailbox), mailbox.uids, strict=True))
        for number in range(30, 50, 2):
            uid = self.dovecot.uid(number)
            working = Deferred.fromCoroutine(
                mailbox.set_flags([numbers[number], numbers[number + 1]], "add", frozenset({f"k{number}"}))
            )
            self.dovecot.command(f"UID STORE {uid} +FLAGS (\\Seen d{number})")
            await working
            expected[number] = {f"k{number}", "\\Seen", f"d{number}"}
            expected[number + 1] = {f"k{number}"}
        await self.until(mailbox, expected)

    async def test_a_maildir_of_dovecot_is_taken_over(self):
        await self.deliver(1, 2, 3)
        self.dovecot.command("NOOP")
        self.dovecot.command(f"UID STORE {self.dovecot.uid(1)} +FLAGS (\\Deleted)")
        self.dovecot.command("EXPUNGE")
        self.dovecot.command(f"UID STORE {self.dovecot.uid(3)} +FLAGS (\\Seen word)")
        self.dovecot.command('CREATE "Lists.python"')
        self.dovecot.command('SUBSCRIBE "Lists.python"')
        answer = self.dovecot.command("STATUS INBOX (UIDVALIDITY UIDNEXT)")
        validity, following = (int(re.search(rf"{each} (\d+)", answer)[1]) for each in ("VALIDITY", "NEXT"))
        uids = {number: int(self.dovecot.uid(number)) for number in (2, 3)}
        await self.store.stop()
        for path in self.home.iterdir():
            if path.is_file():
                path.unlink()
        await self.start_store()
        mailbox, _ = await self.open()
        assert (mailbox.uid_validity, mailbox.uid_next) == (validity, following)
        assert await self.numbers("INBOX") == {uid: number for number, uid in uids.items()}
        assert mailbox.flags(uids[3]) == {"\\Seen", "word"}
        assert await self.account.subscriptions() == ["Lists/python"]
