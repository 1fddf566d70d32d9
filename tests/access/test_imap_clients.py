"""IMAP with the programs people use: Python's imaplib, curl, mutt and mbsync, on real sockets."""

import imaplib
import os
import time

from imap_house import ALICE, ImapCase
from mail_reader import untrusting
from programs import program
from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue

FIRST = (
    b"From: eve@far.test\r\nTo: alice@a.test\r\nSubject: one\r\nMessage-ID: <1@far.test>\r\n"
    b"Date: Fri, 21 Nov 1997 09:55:06 -0600\r\n\r\nfirst\r\n"
)
SECOND = (
    b"From: eve@far.test\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMessage-ID: <2@far.test>\r\n"
    b"Date: Fri, 21 Nov 1997 10:55:06 -0600\r\n\r\n8-bit: \xe4\r\n"
)


class ClientCase(ImapCase):
    allow_cleartext = False

    async def setUp(self):
        await super().setUp()
        _, self.port = self.listen()
        _, self.tls_port = self.listen(implicit_tls=True)

    async def run_program(self, name, *arguments, **environment):
        """Its output, once it has ended well."""
        output, errors, status = await getProcessOutputAndValue(
            program(name), arguments, env={**os.environ, **environment}, reactor=reactor
        )
        assert status == 0, (status, output, errors)
        return output

    async def contents(self, mailbox="INBOX"):
        """{UID: (flags, octets)} of a mailbox, from the store."""
        opened = await (await self.store.account(ALICE)).open(mailbox)
        try:
            await opened.refresh()
            uids = list(opened.uids)
            return {
                uid: (set(opened.flags(uid)), octets)
                for uid, octets in zip(uids, await opened.read(uids), strict=True)
            }
        finally:
            await opened.close()


class ImaplibTests(ClientCase):
    def client(self):
        client = imaplib.IMAP4("127.0.0.1", self.port, timeout=30)
        assert "LOGINDISABLED" in client.capabilities
        client.starttls(untrusting())
        client.login("alice@a.test", "secret")
        return client

    async def test_a_day_at_the_office(self):
        await self.deliver(FIRST)
        await self.deliver(SECOND)

        def work():
            client = self.client()
            assert client.select()[1] == [b"2"]
            assert client.search(None, "UNSEEN")[1] == [b"1 2"]
            assert client.uid("SEARCH", "CHARSET", "UTF-8", "SUBJECT", '"one"')[1] == [b"1"]
            assert client.fetch("1", "(RFC822)")[1][0][1] == FIRST
            assert b"\\Seen" in client.fetch("1", "(FLAGS)")[1][0]
            client.store("2", "+FLAGS", r"(\Flagged Later)")
            assert client.create("Projects/Würde".encode("utf-7").replace(b"+", b"&").decode())[0] == "OK"
            client.create('"Old Mail"')
            assert client.uid("COPY", "1:2", '"Old Mail"')[0] == "OK"
            assert client.uid("MOVE", "2", "Trash")[0] == "OK"
            assert client.response("EXPUNGE")[1] == [b"2"]
            when = imaplib.Time2Internaldate(time.gmtime(1_000_000_000))
            status, answer = client.append(
                "Drafts", r"(\Draft)", when, b"Subject: draft\n\nwith bare line ends\n"
            )
            assert status == "OK" and b"APPENDUID" in answer[0]
            client.store("1", "+FLAGS", r"(\Deleted)")
            assert client.expunge()[1] == [b"1"]
            names = [line.decode().rpartition('"/" ')[2] for line in client.list()[1]]
            assert '"Old Mail"' in names and "INBOX" in names
            assert client.status('"Old Mail"', "(MESSAGES UNSEEN)")[1] == [
                b'"Old Mail" (MESSAGES 2 UNSEEN 1)'
            ]
            assert client.namespace()[1] == [b'(("" "/")) (("Other Users/" "/")) NIL']
            client.close()
            client.logout()

        await deferToThread(work)
        assert await self.contents() == {}
        assert [flags for flags, _ in (await self.contents("Old Mail")).values()] == [
            {"\\Seen"},
            {"\\Flagged", "Later"},
        ]
        assert list((await self.contents("Drafts")).values()) == [
            ({"\\Draft"}, b"Subject: draft\r\n\r\nwith bare line ends\r\n")
        ]

    async def test_idle_hears_of_a_delivery(self):
        def begin():
            client = imaplib.IMAP4_SSL("127.0.0.1", self.tls_port, ssl_context=untrusting(), timeout=30)
            client.authenticate("PLAIN", lambda _: b"\0alice@a.test\0secret")
            client.select()
            client.send(b"i IDLE\r\n")
            assert client.readline() == b"+ idling\r\n"
            return client

        client = await deferToThread(begin)
        await self.deliver(FIRST)
        assert await deferToThread(client.readline) == b"* 1 EXISTS\r\n"
        assert await deferToThread(client.readline) == b"* 1 RECENT\r\n"
        client.shutdown()

    async def test_a_hundred_commands_at_once(self):
        await self.deliver(FIRST)

        def work():
            client = self.client()
            client.select()
            client.send(b"".join(b"p%d FETCH 1 (BODY.PEEK[])\r\n" % number for number in range(100)))
            lines = []
            while not lines or not lines[-1].startswith(b"p99 "):
                lines.append(client.readline())
            client.shutdown()
            return lines

        lines = await deferToThread(work)
        assert [line.split()[0] for line in lines if line[:1] == b"p"] == [
            b"p%d" % number for number in range(100)
        ]


class CurlTests(ClientCase):
    async def curl(self, path, *arguments, tls=True):
        url = f"imaps://127.0.0.1:{self.tls_port}/" if tls else f"imap://127.0.0.1:{self.port}/"
        login = ("--user", "alice@a.test:secret", *(() if tls else ("--ssl-reqd",)))
        return await self.run_program("curl", "-s", "-S", "-k", *login, url + path, *arguments)

    async def test_fetch_search_append_store(self):
        await self.deliver(FIRST)
        await self.deliver(SECOND)
        assert await self.curl("INBOX;MAILINDEX=1") == FIRST
        assert await self.curl("INBOX;UID=2", tls=False) == SECOND
        assert await self.curl("INBOX;UID=1;SECTION=TEXT") == b"first\r\n"
        assert await self.curl("INBOX?SUBJECT%20one") == b"* SEARCH 1\r\n"
        assert b'"/" INBOX' in await self.curl("")
        upload = self.root / "upload.eml"
        upload.write_bytes(FIRST)
        await self.curl("Drafts", "-T", str(upload))
        await self.curl("INBOX", "-X", "STORE 1 +FLAGS (\\Deleted)")
        await self.curl("INBOX", "-X", "EXPUNGE")
        assert list(await self.contents()) == [2]
        assert [octets for _, octets in (await self.contents("Drafts")).values()] == [FIRST]


class MuttTests(ClientCase):
    async def mutt(self, *commands, mailbox="INBOX"):
        """Run mutt on a mailbox with keys pressed by themselves; it ends with the last of them."""
        settings = self.root / "muttrc"
        settings.write_text(
            "\n".join(
                [
                    f"set folder=imaps://alice%40a.test@127.0.0.1:{self.tls_port}/ spoolfile=+INBOX",
                    'set imap_pass="secret" imap_keepalive=0 ssl_verify_host=no ssl_verify_dates=no',
                    f'set certificate_file="{self.root}/tls/certificate.pem"',
                    f'set header_cache="" message_cachedir="" tmpdir="{self.root}" record="" history=0',
                    "set quit=yes delete=yes move=no mark_old=no wait_key=no confirmappend=no",
                    "set resolve=no sleep_time=0 read_inc=0 beep=no",
                    *commands,
                ]
            )
        )
        return await self.run_program(
            "script", "-qec", f"{program('mutt')} -n -F {settings} -f +{mailbox}", "/dev/null",
            TERM="xterm", HOME=str(self.root),
        )  # fmt: skip

    async def test_read_flag_copy_delete(self):
        await self.deliver(FIRST)
        await self.deliver(SECOND)
        await self.mutt(
            'macro index X "<first-entry><flag-message><copy-message>=Archive<enter>'
            f"<search>~s Gr<enter><pipe-message>cat > {self.root}/seen<enter>"
            '<delete-message><sync-mailbox><quit>"',
            'push "X"',
        )
        assert (self.root / "seen").read_bytes().endswith(b"\n8-bit: \xe4\n")
        (kept,) = (await self.contents()).values()
        assert kept == ({"\\Flagged"}, FIRST)
        assert [octets for _, octets in (await self.contents("Archive")).values()] == [FIRST]


class MbsyncTests(ClientCase):
    async def sync(self):
        settings = self.root / "mbsyncrc"
        mirror = self.root / "mirror"
        mirror.mkdir(exist_ok=True)
        settings.write_text(
            f"""
            IMAPAccount a
            Host localhost
            Port {self.tls_port}
            User alice@a.test
            Pass secret
            SSLType IMAPS
            CertificateFile {self.root}/tls/certificate.pem

            IMAPStore far
            Account a

            MaildirStore near
            Path {mirror}/
            Inbox {mirror}/INBOX
            SubFolders Verbatim

            Channel all
            Far :far:
            Near :near:
            Patterns * !Trash
            Create Both
            Remove Both
            Expunge Both
            Sync All
            SyncState *
            CopyArrivalDate yes
            """.replace("            ", "")
        )
        return await self.run_program("mbsync", "-c", str(settings), "-a", HOME=str(self.root))

    def files(self):
        mirror = self.root / "mirror"
        return sorted(
            str(path.relative_to(mirror))
            for path in mirror.rglob("*")
            if path.is_file() and path.parent.name in ("new", "cur")
        )

    async def test_two_way_sync_to_a_fixpoint(self):
        for number in range(30):
            await self.deliver(FIRST.replace(b"one", b"number %d" % number).replace(b"<1@", b"<%d@" % number))
        await self.deliver(SECOND)
        await self.sync()
        near = self.files()
        assert len(near) == 31
        mirror = self.root / "mirror"
        # Near: a new message, a flag, a deletion, a new mailbox. Far: a flag, a deletion, a delivery.
        (mirror / "INBOX" / "new" / "1.near.host").write_bytes(b"Subject: near\n\nfrom the near side\n")
        flagged, removed = (mirror / name for name in near[:2])
        flagged.rename(mirror / "INBOX" / "cur" / (flagged.name.partition(":")[0] + ":2,F"))
        removed.rename(mirror / "INBOX" / "cur" / (removed.name.partition(":")[0] + ":2,T"))
        inbox = await (await self.store.account(ALICE)).open("INBOX")
        await inbox.set_flags([31], "add", frozenset({"\\Answered"}))
        await inbox.expunge([30])
        await inbox.close()
        await self.deliver(FIRST.replace(b"one", b"late"))
        await self.sync()
        far = await self.contents()
        assert len(far) == len(self.files()) == 31  # 31 + near + late - the two that are gone
        assert sum("\\Flagged" in flags for flags, _ in far.values()) == 1
        assert any(octets.endswith(b"\r\n\r\nfrom the near side\r\n") for _, octets in far.values())
        assert sum(":2," in name and "R" in name.partition(":2,")[2] for name in self.files()) == 1
        before = self.files(), far
        await self.sync()
        assert (self.files(), await self.contents()) == before
