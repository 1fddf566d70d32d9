"""Run by test_crossing: moves messages to and fro between two accounts until it is killed."""

import random
import sys
from pathlib import Path

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred

from twisted_mta.store.store import MessageStore


async def move_some(rng, viewpoint, target):
    opened = await viewpoint.open("INBOX")
    uids = list(opened.mailbox.uids)
    if uids:
        some = rng.sample(uids, rng.randrange(1, min(len(uids), 30) + 1))
        await viewpoint.copy(opened.mailbox, some, target, move=True)
        sys.stdout.write("moved\n")
        sys.stdout.flush()
    await opened.mailbox.close()


async def main(root, seed):
    rng = random.Random(seed)
    store = MessageStore(Path(root), reactor=reactor, hostname="mx.a.test")
    await store.start()
    names = ["alice@a.test", "bob@a.test"]
    while True:
        source, target = rng.sample(names, 2)
        await move_some(rng, await store.viewpoint(source), f"Other Users/{target}/INBOX")


if __name__ == "__main__":
    task.react(lambda _: Deferred.fromCoroutine(main(sys.argv[1], int(sys.argv[2]))))
