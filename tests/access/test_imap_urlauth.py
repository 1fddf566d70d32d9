"""URLAUTH from outside (RFC 4467, RFC 5524): who may read what with which URL."""

import re

from imap_house import ALICE, ImapCase, literal_of

MESSAGE = (
    b"Subject: two parts\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nfirst\r\n--b\r\n"
    b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\nAAECAw==\r\n"
    b"--b--\r\n"
)


class UrlauthCase(ImapCase):
    async def prepared(self):
        await self.deliver(MESSAGE)
        await self.store.account("bob@a.test")
        return await self.logged_in()

    async def url(self, talk, path, rights, user="alice"):
        """An authorized URL, made by the session."""
        found = await talk.say(f'g GENURLAUTH "imap://{user}@a.test/{path};urlauth={rights}" INTERNAL')
        return re.fullmatch(r'\* GENURLAUTH "(.*)"', found[0])[1]

    async def fetched(self, talk, url, extra=""):
        """What URLFETCH gives for it, None for NIL."""
        asked = f'("{url}"{extra})' if extra else f'"{url}"'
        output = await talk.send(f"f URLFETCH {asked}\r\n".encode())
        assert output.startswith(b'* URLFETCH "%b" ' % url.encode()) and output.endswith(
            b"\r\nf OK URLFETCH completed\r\n"
        ), output
        rest = output[len(b"* URLFETCH ") + len(url) + 3 :].removesuffix(b"\r\nf OK URLFETCH completed\r\n")
        if extra or rest == b"NIL":
            return None if rest == b"NIL" else rest
        return literal_of(rest)


class UrlauthTests(UrlauthCase):
    async def test_each_access_identifier(self):
        alice = await self.prepared()
        bob = await self.logged_in(user="bob")
        for rights, for_alice, for_bob in (
            ("authuser", True, True),
            ("anonymous", True, True),
            ("user+bob", False, True),
            ("user+bob%40a.test", False, True),
            ("user+alice", True, False),
            ("user+nobody", False, False),
            ("submit+bob", False, False),
        ):
            url = await self.url(alice, "INBOX/;uid=1", rights)
            assert await self.fetched(alice, url) == (MESSAGE if for_alice else None), rights
            assert await self.fetched(bob, url) == (MESSAGE if for_bob else None), rights

    async def test_servers_that_submit_mail(self):
        alice = await self.prepared()
        url = await self.url(alice, "INBOX/;uid=1", "submit+fred")
        submitter = self.talk(self.make_listener(submitters=frozenset({"bob@a.test"})))
        await submitter.say("l LOGIN bob secret")
        assert await self.fetched(submitter, url) == MESSAGE

    async def test_parts_of_messages(self):
        alice = await self.prepared()
        bob = await self.logged_in(user="bob")
        for path, octets in (
            ("INBOX/;uid=1/;section=1", b"first"),
            ("INBOX/;UID=1/;SECTION=HEADER.FIELDS%20(Subject)", b"Subject: two parts\r\n\r\n"),
            ("INBOX/;uid=1/;partial=9.3", b"two"),
            ("inbox/;uid=1/;section=1/;partial=2", b"rst"),
            ("INBOX/;uid=1/;section=3", None),
            ("INBOX/;uid=2", None),
            ("INBOX;uidvalidity=1/;uid=1", None),
        ):
            url = await self.url(alice, path, "authuser")
            assert await self.fetched(bob, url) == octets, path

    async def test_what_has_been_changed_is_not_valid(self):
        alice = await self.prepared()
        url = await self.url(alice, "INBOX/;uid=1/;section=1", "authuser")
        for altered in (
            url.replace("section=1", "section=2"),
            url.replace("INBOX", "Sent"),
            url.replace("alice", "bob"),
            url.replace("authuser", "anonymous"),
            url.replace(":internal:", ":xsample:"),
            url[:-1] + ("0" if url[-1] != "0" else "1"),
            url[:-8],
            url + "00",
            url.partition(":internal:")[0],
        ):
            assert await self.fetched(alice, altered) is None, altered
        assert await self.fetched(alice, url.replace(":internal:", ":INTERNAL:")) == b"first"

    async def test_urls_that_expire(self):
        alice = await self.prepared()
        for expire, octets in (
            ("2001-01-01T00:00:00Z", None),
            ("2001-01-01T00:00:00.5+01:00", None),
            ("2999-12-31T23:59:59-05:00", MESSAGE),
        ):
            url = await self.url(alice, f"INBOX/;uid=1;expire={expire}", "authuser")
            assert await self.fetched(alice, url) == octets
        url = "imap://alice@a.test/INBOX/;uid=1;expire=2001-13-01T00:00:00Z;urlauth=authuser"
        bad = await alice.say(f'a GENURLAUTH "{url}" INTERNAL')
        assert bad[0].startswith("a BAD [BADURL ")

    async def test_keys(self):
        alice = await self.prepared()
        await self.deliver(MESSAGE, mailbox="Sent")
        inbox = await self.url(alice, "INBOX/;uid=1", "authuser")
        sent = await self.url(alice, "Sent/;uid=1", "authuser")
        assert await self.url(alice, "INBOX/;uid=1", "authuser") == inbox
        await alice.say("a RESETKEY INBOX")
        assert await self.fetched(alice, inbox) is None and await self.fetched(alice, sent) == MESSAGE
        inbox = await self.url(alice, "INBOX/;uid=1", "authuser")
        await alice.say("a RESETKEY")
        assert await self.fetched(alice, inbox) is None and await self.fetched(alice, sent) is None
        for _ in range(2):  # a new mailbox of the same name has another key
            await alice.say("a CREATE Made")
            await self.deliver(MESSAGE, mailbox="Made")
            made = await self.url(alice, "Made/;uid=1", "authuser")
            assert await self.fetched(alice, made) == MESSAGE
            await alice.say("a DELETE Made")
            assert await self.fetched(alice, made) is None

    async def test_nobody_who_is_not_here_gets_an_account(self):
        alice = await self.prepared()
        url = await self.url(alice, "INBOX/;uid=1", "authuser")
        for name in ("nobody", "..", "%2e%2e%2fx", "a%2fb", "x%40y.test", "%ff"):
            assert await self.fetched(alice, url.replace("alice@", f"{name}@")) is None
        domains = self.root / "mail"
        assert sorted(path.name for path in domains.glob("*/*")) == ["alice", "bob"]

    async def test_extended_fetch(self):
        alice = await self.prepared()
        url = await self.url(alice, "INBOX/;uid=1/;section=2", "authuser")
        assert await self.fetched(alice, url, " BODY") == b"(BODY {8}\r\nAAECAw==)"
        assert await self.fetched(alice, url, " BINARY") == b"(BINARY ~{4}\r\n\0\1\2\3)"
        structure = (
            b'(BODYPARTSTRUCTURE ("application" "octet-stream" NIL NIL NIL "base64" 8 NIL NIL NIL NIL))'
        )
        assert await self.fetched(alice, url, " BODYPARTSTRUCTURE") == structure
        both = await self.fetched(alice, url, " BODYPARTSTRUCTURE BINARY")
        assert both == structure + b" (BINARY ~{4}\r\n\0\1\2\3)"
        missing = await self.url(alice, "INBOX/;uid=1/;section=3", "authuser")
        assert await self.fetched(alice, missing, " BODY") is None

    async def test_many_urls(self):
        alice = await self.prepared()
        assert (await alice.say("a URLFETCH" + " x" * 101))[0].startswith("a NO [LIMIT]")
        assert len(await alice.say("a URLFETCH" + " x" * 100)) == 101
        assert await alice.say("b NOOP") == ["b OK NOOP completed"]
        assert (await self.store.account(ALICE)).name == ALICE
