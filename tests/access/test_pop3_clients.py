"""POP3 with the programs people use: curl, fetchmail, mpop and getmail, over TLS."""

import os

from pop3_house import Pop3Case
from programs import program
from twisted.internet import reactor
from twisted.internet.utils import getProcessOutputAndValue

MESSAGES = [
    b"From: eve@far.test\r\nSubject: one\r\nMessage-ID: <1@far.test>\r\n\r\n.dot\r\n..\r\nlast line\r\n",
    b"From: eve@far.test\r\nSubject: \xfc\r\n\r\n8-bit: \xe4\xf6\xfc\r\n",
    b"From: eve@far.test\r\nSubject: large\r\n\r\n" + b"." * 70 + b"\r\n" * 20_000,
]


class ClientTests(Pop3Case):
    async def setUp(self):
        await super().setUp()
        for message in MESSAGES:
            await self.deliver(message)

    async def run_program(self, name, *arguments, expected=0, **environment):
        """Its output."""
        output, errors, status = await getProcessOutputAndValue(
            program(name), arguments, env={**os.environ, **environment}, reactor=reactor
        )
        assert status == expected, (status, output, errors)
        return output

    async def curl(self, url, *arguments):
        return await self.run_program("curl", "-s", "-S", "-k", "-u", "alice@a.test:secret", url, *arguments)

    async def test_curl_lists_and_fetches(self):
        listing = await self.curl(f"pop3://127.0.0.1:{self.port}/", "--ssl-reqd")
        sizes = [b"%d %d" % (number, len(message)) for number, message in enumerate(MESSAGES, 1)]
        assert listing.splitlines() == sizes
        for number, message in enumerate(MESSAGES, 1):
            assert await self.curl(f"pop3://127.0.0.1:{self.port}/{number}", "--ssl-reqd") == message

    async def test_curl_inside_tls_with_each_mechanism(self):
        for mechanism in ("AUTH=PLAIN", "AUTH=LOGIN"):
            options = ("--login-options", mechanism)
            assert await self.curl(f"pop3s://127.0.0.1:{self.tls_port}/1", *options) == MESSAGES[0]

    async def test_curl_deletes(self):
        await self.curl(f"pop3s://127.0.0.1:{self.tls_port}/2", "-X", "DELE", "-l")
        listing = await self.curl(f"pop3s://127.0.0.1:{self.tls_port}/")
        assert [line.split()[1] for line in listing.splitlines()] == [
            b"%d" % len(MESSAGES[0]),
            b"%d" % len(MESSAGES[2]),
        ]

    async def fetchmail(self, *arguments, expected=0):
        settings = self.root / "fetchmailrc"
        settings.write_text(
            "set no syslog\n"
            f"poll localhost with protocol pop3 and port {self.port}\n"
            '  user "alice@a.test" there with password "secret" is "nobody" here\n'
            '  options ssl no sslcertck sslproto "tls1.2+"\n'.replace("ssl no", "no")
            + f'  mda "cat >> {self.root}/fetched"\n'
        )
        settings.chmod(0o600)
        return await self.run_program(
            "fetchmail", "-f", str(settings), *arguments, expected=expected, FETCHMAILHOME=str(self.root)
        )

    async def test_fetchmail_takes_everything_away(self):
        await self.fetchmail()
        fetched = (self.root / "fetched").read_bytes()
        for message in MESSAGES:
            body = message.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n")
            assert body in fetched
        await self.fetchmail(expected=1)  # there is no mail

    async def test_fetchmail_keeps_mail_and_knows_it_again(self):
        await self.fetchmail("--keep", "--uidl")
        first = (self.root / "fetched").read_bytes()
        await self.fetchmail("--keep", "--uidl", expected=1)
        assert (self.root / "fetched").read_bytes() == first
        await self.deliver(b"Subject: new\r\n\r\nnew\r\n")
        await self.fetchmail("--keep", "--uidl")
        added = (self.root / "fetched").read_bytes()[len(first) :]
        assert added.endswith((b"new\n\n", b"new\n"))
        assert added.count(b"Subject:") == 1

    async def mpop(self, *arguments):
        settings = self.root / "mpoprc"
        settings.write_text(
            "account default\nhost 127.0.0.1\n"
            f"port {self.port}\n"
            "tls on\ntls_starttls on\ntls_certcheck off\nauth on\nuser alice@a.test\npassword secret\n"
            f"delivery mbox {self.root}/mpop.mbox\nuidls_file {self.root}/mpop.uidls\nreceived_header off\n"
        )
        settings.chmod(0o600)
        return await self.run_program("mpop", "-C", str(settings), *arguments)

    async def test_mpop_knows_mail_again_and_takes_it_away(self):
        await self.mpop("--keep=on")
        first = (self.root / "mpop.mbox").read_bytes()
        assert first.count(b"Subject: ") == len(MESSAGES)
        await self.mpop("--keep=on")
        assert (self.root / "mpop.mbox").read_bytes() == first
        await self.deliver(b"Subject: new\r\n\r\nnew\r\n")
        await self.mpop("--keep=off")
        assert (self.root / "mpop.mbox").read_bytes().count(b"Subject: ") == len(MESSAGES) + 1
        account = await self.store.account("alice@a.test")
        assert (await account.status("INBOX")).messages == 0

    async def test_getmail_takes_everything_away(self):
        settings = self.root / "getmailrc"
        settings.write_text(
            "[retriever]\ntype = SimplePOP3SSLRetriever\nserver = 127.0.0.1\n"
            f"port = {self.tls_port}\nusername = alice@a.test\npassword = secret\n"
            "[destination]\ntype = MDA_external\npath = /usr/bin/tee\nallow_root_commands = true\n"
            f"arguments = ('-a', '{self.root}/got')\nignore_stderr = true\n"
            "[options]\ndelete = true\ndelivered_to = false\nreceived = false\n"
        )
        await self.run_program("getmail", "--getmaildir", str(self.root), "--rcfile", str(settings))
        got = (self.root / "got").read_bytes()
        for message in MESSAGES:
            assert message.partition(b"\r\n\r\n")[2].replace(b"\r\n", b"\n") in got
        account = await self.store.account("alice@a.test")
        assert (await account.status("INBOX")).messages == 0
