"""Run by test_removal: is killed at every point where a removal touches the disk, and tells what is left.

A line for each point: the numbers of the messages that the account has when it is opened the next time.
"""

import os
import shutil
import signal
import sys

from store_case import Bench, number_of

from twisted_mta.store import removal
from twisted_mta.store.folder import Folder
from twisted_mta.store.lines import to_crlf
from twisted_mta.store.maildir import read_file

CALLS = ("unlink", "replace", "fsync")
ACCOUNT = "mail/a.test/alice"


class Alone:
    """The mailbox and its account, without a lane."""

    def __init__(self, home):
        self.home, self.account, self.number = home, self, home.row("INBOX").id

    async def visit(self, work):
        return work(self.home)

    async def expunge(self, uids):
        for uid in uids:
            Folder.expunge(self.home.folder("INBOX"), [uid])


def arm(point):
    """Die right before the call with this number."""
    left = point

    def dying(call):
        def called(*arguments, **more):
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **more)

        return called

    for name in CALLS:
        setattr(os, name, dying(getattr(os, name)))


def remove(path, uids, point):
    """True when it was killed."""
    child = os.fork()
    if not child:
        alone = Alone(Bench(path).home)
        arm(point)
        try:
            removal.remove(alone, uids).send(None)
        except StopIteration:
            os._exit(0)
        os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), status
    return status != 0


def left(path):
    home = Bench(path).home
    folder = home.folder("INBOX")
    folder.refresh()
    numbers = [number_of(to_crlf(read_file(folder.file(each)))) for each in folder.index.messages(folder.id)]
    home.close()
    assert not [name for name in os.listdir(path) if name.startswith(removal.PREFIX)]
    return numbers


def main(root, uids, lose_index):
    point, killed = 0, True
    while killed:
        copy = f"{root}/copy"
        shutil.copytree(f"{root}/{ACCOUNT}", copy)
        killed = remove(copy, uids, point)
        if lose_index:
            os.unlink(f"{copy}/index.sqlite")
        print(*left(copy), flush=True)
        shutil.rmtree(copy)
        point += 1


if __name__ == "__main__":
    main(sys.argv[1], [int(uid) for uid in sys.argv[2].split(",")], sys.argv[3] == "lose")
