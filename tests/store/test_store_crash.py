"""kill -9 amid deliveries, moves, expunges, renames: nothing lost or doubled, no UID with two meanings."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from store_case import StoreCase
from twisted.internet.defer import Deferred, gatherResults

from twisted_mta.message.content import Content

KILLS = int(os.environ.get("SOAK_KILLS", "5"))
CHILD = Path(__file__).with_name("crash_child.py")


def number_of(octets):
    return int(octets.split(b"\r\n", 1)[0].split(b":")[1])


class Told:
    """Everything that the killed processes have told."""

    def __init__(self):
        self.tried, self.done, self.gone = set(), set(), set()
        self.uids = {}

    def take(self, line):
        what, *words = line.split()
        if what == "uid":
            mailbox, validity, uid, number = words
            self.meaning(mailbox, int(validity), int(uid), int(number))
        elif what != "ready":
            {"try": self.tried, "done": self.done, "gone": self.gone}[what].add(int(words[0]))

    def meaning(self, mailbox, validity, uid, number):
        assert self.uids.setdefault((validity, uid), number) == number, (mailbox, validity, uid, number)


class KillTests(StoreCase):
    timeout = 600

    async def test_kills(self):
        await self.store.stop()
        told = Told()
        rng = random.Random(11)
        for round_ in range(KILLS):
            self.run_and_kill(told, rng, round_)
            await self.start_store()
            await self.redeliver(told)
            await self.check(told)
            await self.store.stop()

    def run_and_kill(self, told, rng, round_):
        number = max(told.tried, default=0) + 1
        command = [sys.executable, str(CHILD), str(self.root / "mail"), str(round_), str(number)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as child:
            lines = rng.randrange(20, 600)
            for line in child.stdout:
                told.take(line)
                lines -= 1
                if lines == 0:
                    child.send_signal(signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL

    async def redeliver(self, told):
        """What the queue does after a crash: everything without a recorded end, once more."""
        open_ends = told.tried - told.done
        await gatherResults([Deferred.fromCoroutine(self.deliver_again(number)) for number in open_ends])
        told.done |= open_ends

    async def deliver_again(self, number):
        content = Content(b"", b"Subject: %d\r\n\r\n" % number + b"x" * 3000 + b"\r\n")
        await self.store.deliver("alice@a.test", content, unique=f"m{number}", arrived=1.7e9, recovered=True)

    async def check(self, told):
        found = Counter()
        for info in await self.account.list_mailboxes():
            if info.selectable:
                mailbox = await self.account.open(info.name)
                octets = await mailbox.read(mailbox.uids)
                assert None not in octets
                found.update(map(number_of, octets))
                for uid, each in zip(mailbox.uids, octets, strict=True):
                    told.meaning(info.name, mailbox.uid_validity, uid, number_of(each))
                assert all(
                    mailbox.size(uid) == len(each) for uid, each in zip(mailbox.uids, octets, strict=True)
                )
                await mailbox.close()
        assert told.done - told.gone <= found.keys()
        assert max(found.values(), default=1) == 1
