"""Programs that keep a copy of the mailboxes: mbsync both ways to a fixpoint, mutt with its header cache.

The programs are told everything by the server and by nobody else, so what they hold in the end shows what
they were told.
"""

import os
import random
import re

from imap_house import ALICE
from programs import program
from test_imap_clients import ClientCase
from twisted.internet.defer import Deferred, gatherResults

ROUNDS = 40 if os.environ.get("SOAK") else 3
LETTERS = {"D": "\\Draft", "F": "\\Flagged", "R": "\\Answered", "S": "\\Seen", "T": "\\Deleted"}
FLAGS = sorted(set(LETTERS.values()) - {"\\Deleted"})


def message(identity):
    return (
        b"From: eve@far.test\r\nDate: Fri, 21 Nov 1997 09:55:06 -0600\r\nSubject: identity %d\r\n"
        b"Message-ID: <%d@far.test>\r\n\r\nidentity %d\r\n" % (identity, identity, identity)
    )


def identity_of(octets):
    (number,) = set(re.findall(rb"identity (\d+)", octets))
    return int(number)


class MirrorTests(ClientCase):
    """mbsync between the server and a Maildir, as people use it."""

    timeout = 600
    allow_cleartext = True  # for the other client, in memory

    async def setUp(self):
        await super().setUp()
        self.count = 0
        self.mirror = self.root / "mirror"
        self.mirror.mkdir()
        self.settings = self.root / "mbsyncrc"
        self.settings.write_text(
            "\n".join(
                [
                    f"IMAPAccount a\nHost localhost\nPort {self.tls_port}\nUser alice@a.test\nPass secret",
                    f"SSLType IMAPS\nCertificateFile {self.root}/tls/certificate.pem\n",
                    "IMAPStore far\nAccount a\n",
                    f"MaildirStore near\nPath {self.mirror}/\nInbox {self.mirror}/INBOX",
                    "SubFolders Verbatim\n",
                    "Channel all\nFar :far:\nNear :near:\nPatterns *\nCreate Both\nRemove Both",
                    "Expunge Both\nSync All\nSyncState *\nCopyArrivalDate yes\n",
                ]
            )
        )

    async def sync(self):
        return await self.run_program("mbsync", "-c", str(self.settings), "-a", HOME=str(self.root))

    def new(self):
        self.count += 1
        return self.count

    # Both sides

    def near(self):
        """{mailbox: {identity: flags}} of the local tree."""
        found = {}
        for directory in sorted(self.mirror.rglob("cur")):
            name = str(directory.parent.relative_to(self.mirror))
            files = [path for sub in ("new", "cur") for path in (directory.parent / sub).iterdir()]
            found[name] = {}
            for path in files:
                letters = path.name.partition(":2,")[2]
                identity = identity_of(path.read_bytes())
                assert identity not in found[name], (name, identity)
                found[name][identity] = {LETTERS[letter] for letter in letters}
        return found

    async def far(self):
        """The same of the server's mailboxes."""
        found = {}
        for info in await (await self.store.account(ALICE)).list_mailboxes():
            messages = (await self.contents(info.name)).values()
            found[info.name] = {identity_of(octets): flags for flags, octets in messages}
            assert len(found[info.name]) == len(messages)
        return found

    async def standing(self):
        """What would be another one after any command that changes something."""
        account = await self.store.account(ALICE)
        marks = []
        for info in await account.list_mailboxes():
            status = await account.status(info.name)
            marks.append((info.name, status.uid_validity, status.uid_next, status.highest_modseq))
        files = sorted(str(path) for path in self.mirror.rglob("*") if path.parent.name in ("new", "cur"))
        return marks, files

    # What happens on them

    def change_near(self, rng):
        boxes = sorted(path.parent for path in self.mirror.rglob("cur"))
        for _ in range(rng.randint(1, 4)):
            (rng.choice(boxes) / "new" / f"{self.new()}.near.host").write_bytes(
                message(self.count).replace(b"\r\n", b"\n")
            )
        files = sorted(path for box in boxes for path in (box / "cur").iterdir())
        for path in rng.sample(files, min(6, len(files))):
            letters = "".join(sorted(rng.sample("DFRST", rng.randrange(4))))
            path.rename(path.with_name(f"{path.name.partition(':')[0]}:2,{letters}"))
        files = sorted(path for box in boxes for path in (box / "cur").iterdir())
        for path in rng.sample(files, min(2, len(files))):
            path.unlink()
        if rng.random() < 0.5:
            for sub in ("tmp", "new", "cur"):
                (self.mirror / f"near{self.new()}" / sub).mkdir(parents=True)

    async def change_far(self, rng):
        talk = await self.logged_in()
        if rng.random() < 0.5:
            await talk.say(f"c CREATE far{self.new()}")
        names = [info.name for info in await (await self.store.account(ALICE)).list_mailboxes()]
        for _ in range(rng.randint(1, 4)):
            await self.deliver(message(self.new()), mailbox=rng.choice(names))
        for name in rng.sample(names, 2):
            await talk.say(f"s SELECT {name}")
            await talk.say(f"f UID STORE 1:* {rng.choice('+-')}FLAGS.SILENT ({rng.choice(FLAGS)})")
            await talk.say("d STORE 1 +FLAGS.SILENT (\\Deleted)")
            await talk.say("e EXPUNGE")
            await talk.say(f"m MOVE 1 {rng.choice(names)}")
        await talk.hang_up()

    # The tests

    async def test_changes_on_both_sides(self):
        rng = random.Random(18)
        await gatherResults([Deferred.fromCoroutine(self.deliver(message(self.new()))) for _ in range(20)])
        await self.sync()
        for _ in range(ROUNDS):
            self.change_near(rng)
            await self.change_far(rng)
            await self.sync()
            await self.sync()  # what had two meanings is settled by now
            assert self.near() == await self.far()
            before = await self.standing()
            await self.sync()
            assert await self.standing() == before

    async def test_while_others_are_at_work(self):
        """Deliveries and another client do not wait for mbsync. Afterwards one more run makes all equal."""
        rng = random.Random(19)
        await gatherResults([Deferred.fromCoroutine(self.deliver(message(self.new()))) for _ in range(10)])
        await self.sync()
        for _ in range(ROUNDS):
            self.change_near(rng)
            await gatherResults(
                [Deferred.fromCoroutine(each) for each in (self.sync(), self.change_far(rng), self.more())]
            )
        await self.sync()
        await self.sync()
        assert self.near() == await self.far()
        before = await self.standing()
        await self.sync()
        assert await self.standing() == before

    async def more(self):
        for _ in range(5):
            await self.deliver(message(self.new()))


class HeaderCacheTests(ClientCase):
    """mutt keeps headers between two runs and brings them up to date by QRESYNC or CONDSTORE."""

    allow_cleartext = True  # for the other client, in memory

    async def index(self, pattern, *settings):
        """The identities of the messages that mutt finds by a pattern."""
        found = self.root / "found"
        found.write_bytes(b"")
        lines = [
            f"set folder=imaps://alice%40a.test@127.0.0.1:{self.tls_port}/ spoolfile=+INBOX",
            'set imap_pass="secret" imap_keepalive=0 ssl_verify_host=no ssl_verify_dates=no',
            f'set certificate_file="{self.root}/tls/certificate.pem" tmpdir="{self.root}" history=0',
            f'set header_cache="{self.root}/headers" message_cachedir="" record="" sort=mailbox-order',
            "set quit=yes delete=no move=no mark_old=no wait_key=no confirmappend=no",
            "set resolve=no sleep_time=0 read_inc=0 beep=no auto_tag=yes pipe_split=yes pipe_decode=no",
            *settings,
            f'macro index X "<tag-pattern>{pattern}<enter><pipe-message>cat >> {found}<enter><quit>"',
            'push "X"',
        ]
        (self.root / "muttrc").write_text("\n".join(lines))
        await self.run_program(
            "script", "-qec", f"{program('mutt')} -n -F {self.root / 'muttrc'} -f +INBOX", "/dev/null",
            TERM="xterm", HOME=str(self.root),
        )  # fmt: skip
        return [int(number) for number in re.findall(rb"Subject: identity (\d+)", found.read_bytes())]

    async def brought_up_to_date(self, *settings):
        for identity in range(1, 13):
            await self.deliver(message(identity))
        other = await self.logged_in("INBOX")
        await other.say("a STORE 2,9 +FLAGS.SILENT (\\Flagged)")
        assert await self.index("~F", *settings) == [2, 9]
        await other.say("b STORE 1,3:4,12 +FLAGS.SILENT (\\Deleted)")
        await other.say("c EXPUNGE")
        await other.say("d UID STORE 9 -FLAGS.SILENT (\\Flagged)")
        await other.say("e UID STORE 5,11 +FLAGS.SILENT (\\Flagged)")
        await self.deliver(message(13))
        assert await self.index("~F", *settings) == [2, 5, 11]
        assert await self.index("~A", *settings) == [2, *range(5, 12), 13]

    async def test_by_qresync(self):
        await self.brought_up_to_date("set imap_qresync=yes imap_condstore=yes")

    async def test_by_condstore(self):
        await self.brought_up_to_date("set imap_qresync=no imap_condstore=yes")

    async def test_by_comparing(self):
        await self.brought_up_to_date("set imap_qresync=no imap_condstore=no")


class CurlUrlTests(ClientCase):
    """IMAP URLs (RFC 5092) and commands of the user's own, one connection each."""

    async def curl(self, path, *arguments):
        return await self.run_program(
            "curl", "-s", "-S", "-k", "--user", "alice@a.test:secret",
            f"imaps://127.0.0.1:{self.tls_port}/{path}", *arguments,
        )  # fmt: skip

    async def test_move_status_and_uidvalidity(self):
        for identity in range(1, 4):
            await self.deliver(message(identity))
        assert b"[COPYUID " in await self.verbose("INBOX", "-X", "UID MOVE 2 Archive")
        answer = await self.curl("INBOX", "-X", "STATUS Archive (MESSAGES UIDVALIDITY)")
        validity = int(re.search(rb"UIDVALIDITY (\d+)", answer)[1])
        assert b"MESSAGES 1" in answer
        assert await self.curl(f"Archive;UIDVALIDITY={validity};UID=1") == message(2)
        assert (
            await self.curl("INBOX;UID=3;SECTION=HEADER.FIELDS%20(SUBJECT)") == b"Subject: identity 3\r\n\r\n"
        )
        search = await self.curl("INBOX", "-X", "UID SEARCH RETURN (ALL) SUBJECT identity")
        assert re.search(rb"\* ESEARCH \(TAG \"\w+\"\) UID ALL 1,3\r\n", search), search

    async def test_upload_twice_and_sort(self):
        for identity in (7, 6):
            upload = self.root / f"{identity}.eml"
            upload.write_bytes(message(identity))
            await self.curl("Archive", "-T", str(upload))
        assert await self.curl("Archive", "-X", "SORT (SUBJECT) UTF-8 ALL") == b"* SORT 2 1\r\n"
        assert {identity_of(octets) for _, octets in (await self.contents("Archive")).values()} == {6, 7}

    async def verbose(self, path, *arguments):
        """What curl shows of the dialog."""
        trace = self.root / "trace"
        await self.curl(path, *arguments, "--trace-ascii", str(trace))
        return trace.read_bytes()
