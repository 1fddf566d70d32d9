"""The index is lost or damaged while there is mail (acceptance 17): everything is found again, and a client
that remembers the mailbox is told by UIDVALIDITY when what it remembers counts no more."""

import os
import re

from client_view import ClientView, split_responses
from imap_house import ImapCase, render_structures
from twisted.internet import reactor

from twisted_mta.store.store import MessageStore

COUNT = 12


def message(identity):
    return b"Subject: identity %d\r\n\r\nidentity %d\r\n" % (identity, identity)


def remove(path):
    path.unlink()


def empty(path):
    os.truncate(path, 0)


def halve(path):
    os.truncate(path, path.stat().st_size // 2)


def overwrite(path, offset=0):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xaa" * (path.stat().st_size - offset))


def overwrite_all_but_the_header(path):
    overwrite(path, 4096)


class LostIndexTests(ImapCase):
    async def setUp(self):
        await super().setUp()
        self.names = {}  # (UIDVALIDITY, UID): identity, for all times
        self.count = 0

    async def new(self, count=1):
        for _ in range(count):
            self.count += 1
            await self.deliver(message(self.count))

    @property
    def index(self):
        return self.root / "mail" / "a.test" / "alice" / "index.sqlite"

    async def restart(self, harm=None):
        await self.hang_up_all()
        self.talks.clear()
        await self.store.stop()
        if harm is not None:
            for suffix in ("-wal", "-shm"):
                self.index.with_name(f"index.sqlite{suffix}").unlink(missing_ok=True)
            harm(self.index)
        self.store = MessageStore(
            self.root / "mail", reactor=reactor, hostname="mx.a.test", render=render_structures
        )
        await self.store.start()
        self.listener = self.make_listener()

    async def synchronize(self, view, select=None):
        """A QRESYNC client comes with what it remembers, and then knows everything."""
        talk = await self.logged_in()
        await talk.say("a ENABLE QRESYNC")
        if view.modseq:
            view.remember()
            known = f"1:{view.slots[-1].uid}"
            said = await talk.send(
                f"s SELECT INBOX (QRESYNC ({view.validity} {view.modseq} {known}))\r\n".encode()
            )
        else:
            said = await talk.send(b"s SELECT INBOX\r\n")
        self.hear(view, said)
        below = max((slot.uid for slot in view.known()), default=0)
        items = "(UID FLAGS MODSEQ ENVELOPE BODY.PEEK[TEXT])"
        self.hear(view, await talk.send(f"f UID FETCH {below + 1}:* {items}\r\n".encode()))
        before = len(view.slots)
        self.hear(view, await talk.send(f"g UID FETCH 1:* {items}\r\n".encode()))
        assert len(view.slots) == before and view.first_unknown() is None
        for uid, identity in view.identities.items():
            assert self.names.setdefault((view.validity, uid), identity) == identity
        here = {view.identities[slot.uid]: slot.flags for slot in view.slots}
        assert len(here) == len(view.slots)
        view.identities.clear()
        return talk, here

    def hear(self, view, said):
        for response in split_responses(said):
            view.hear(response)
        assert re.match(rb"\w OK ", response), said

    async def lost(self, harm):
        """The index suffers harm, twice; before and after there is mail, and the last UIDs are gone."""
        view = ClientView(("QRESYNC",))
        await self.new(COUNT)
        talk, here = await self.synchronize(view)
        validities = [view.validity]
        for _ in range(2):
            first, last = view.slots[0].uid, view.slots[-1].uid
            self.hear(view, await talk.send(b"a UID STORE %d +FLAGS (\\Flagged)\r\n" % first))
            await self.new(2)
            self.hear(view, await talk.send(b"n NOOP\r\n"))
            self.hear(view, await talk.send(b"b UID STORE %d:* +FLAGS (\\Deleted)\r\n" % (last + 1)))
            self.hear(view, await talk.send(b"c EXPUNGE\r\n"))
            self.hear(view, await talk.send(b"d UID FETCH 1:* (UID FLAGS MODSEQ)\r\n"))
            here = {self.names[view.validity, slot.uid]: slot.flags for slot in view.slots}
            await self.restart(harm)
            talk, found = await self.synchronize(view)
            assert found == here
            validities.append(view.validity)
            await self.new(2)
            self.hear(view, await talk.send(b"e NOOP\r\n"))
            self.hear(view, await talk.send(b"f UID FETCH 1:* (UID FLAGS MODSEQ BODY.PEEK[TEXT])\r\n"))
            for uid, identity in view.identities.items():
                assert self.names.setdefault((view.validity, uid), identity) == identity
            view.identities.clear()
        assert validities == sorted(validities)
        await self.restart()
        await self.synchronize(view)
        assert view.validity == validities[-1]
        return len(set(validities)) > 1

    async def test_removed(self):
        assert await self.lost(remove)

    async def test_empty(self):
        assert await self.lost(empty)

    async def test_half_of_it(self):
        await self.lost(halve)

    async def test_overwritten(self):
        assert await self.lost(overwrite)

    async def test_overwritten_but_for_the_header(self):
        await self.lost(overwrite_all_but_the_header)

    async def test_nothing_happened(self):
        """The yardstick: then UIDVALIDITY stays."""
        assert not await self.lost(None)

    async def harmed_while_it_runs(self, harm):
        """Whoever has the mailbox open goes on, or is sent away; after a new start at the latest all mail is
        there, the new mail included, and no UID has two meanings."""
        view = ClientView(("QRESYNC",))
        await self.new(COUNT)
        await self.restart()
        talk, _ = await self.synchronize(view)
        harm(self.index)
        await self.new(2)
        await talk.send(b"a UID STORE 1:* +FLAGS (\\Answered)\r\n")
        await talk.send(b"b NOOP\r\n")
        await self.new(1)
        await self.restart()
        _, here = await self.synchronize(view)
        assert sorted(here) == list(range(1, self.count + 1))
        await self.new(1)
        await self.restart()
        _, here = await self.synchronize(view)
        assert sorted(here) == list(range(1, self.count + 1))

    async def test_removed_while_the_server_runs(self):
        await self.harmed_while_it_runs(remove)

    async def test_emptied_while_the_server_runs(self):
        await self.harmed_while_it_runs(empty)

    async def test_overwritten_while_the_server_runs(self):
        await self.harmed_while_it_runs(overwrite)

    async def test_overwritten_but_for_the_header_while_the_server_runs(self):
        await self.harmed_while_it_runs(overwrite_all_but_the_header)

    async def test_a_session_of_the_lost_index_is_given_nothing_of_the_new_one(self):
        """Numbers of contents begin anew, and what is kept at hand goes by them."""
        await self.new(3)
        olds = [await self.logged_in("INBOX") for _ in range(3)]
        await olds[0].say("a STORE 1 +FLAGS (\\Deleted)")
        await olds[0].say("b EXPUNGE")
        for old in olds:
            await old.say("c NOOP")
        empty(self.index)
        assert (await (await self.logged_in("INBOX")).say("a FETCH 1 BODY.PEEK[]"))[0].startswith("a NO")
        fresh = await self.logged_in("INBOX")
        for old, items in zip(olds, ("ENVELOPE", "BODY.PEEK[]", "BODY.PEEK[HEADER]"), strict=True):
            assert len(await fresh.say(f"d FETCH 1:* {items}")) > 2
            assert (await old.say(f"d FETCH 1 {items}"))[0].startswith("d NO")
