"""Run by test_store_crash: works on a store until it is killed, and tells every step on standard output.

Lines: `try N`, `done N` for deliveries; `gone N` before a message is removed for good; and
`uid MAILBOX VALIDITY UID N` for every number that a client could have been told.
"""

import random
import sys
from pathlib import Path

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, gatherResults

from twisted_mta.message.content import Content
from twisted_mta.store.store import MessageStore

ACCOUNT = "alice@a.test"


def tell(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def content(number):
    return Content(b"", b"Subject: %d\r\n\r\n" % number + b"x" * 3000 + b"\r\n")


def number_of(octets):
    return int(octets.split(b"\r\n", 1)[0].split(b":")[1])


async def deliver(store, number, recovered=False):
    tell("try", number)
    await store.deliver(ACCOUNT, content(number), unique=f"m{number}", arrived=1.7e9, recovered=recovered)
    tell("done", number)


async def tell_uids(mailbox):
    uids = list(mailbox.uids)
    for uid, octets in zip(uids, await mailbox.read(uids), strict=True):
        if octets is not None:
            tell("uid", mailbox.name.replace("/", "-"), mailbox.uid_validity, uid, number_of(octets))


async def work(store, rng, number):
    account = await store.account(ACCOUNT)
    inbox, trash = await account.open("INBOX"), await account.open("Trash")
    folder = "old"
    while True:
        batch = range(number, number + rng.randrange(1, 12))
        number = batch.stop
        waiting = [Deferred.fromCoroutine(deliver(store, each)) for each in batch]
        if inbox.uids:
            some = rng.sample(list(inbox.uids), min(len(inbox.uids), 4))
            waiting.append(Deferred.fromCoroutine(inbox.set_flags(some, "add", frozenset({"\\Seen", "k"}))))
            waiting.append(Deferred.fromCoroutine(inbox.move(some, "Trash")))
        if len(trash.uids) > 6:
            some = rng.sample(list(trash.uids), 3)
            for octets in await trash.read(some):
                if octets is not None:
                    tell("gone", number_of(octets))
            waiting.append(Deferred.fromCoroutine(trash.expunge(some)))
        if rng.random() < 0.3:
            names = [info.name for info in await account.list_mailboxes()]
            if folder not in names:
                await account.create(folder)
            waiting.append(Deferred.fromCoroutine(inbox.move(list(inbox.uids)[:2], folder)))
            waiting.append(Deferred.fromCoroutine(account.rename(folder, "kept/" + str(number))))
        await gatherResults(waiting)
        await tell_uids(inbox)
        await tell_uids(trash)


async def main(root, seed, number):
    store = MessageStore(Path(root), reactor=reactor, hostname="mx.a.test")
    await store.start()
    rng = random.Random(seed)
    tell("ready")
    await work(store, rng, number)


if __name__ == "__main__":
    root, seed, number = sys.argv[1:]
    task.react(lambda _: Deferred.fromCoroutine(main(root, int(seed), int(number))))
