"""A right to read that is taken away while the mailbox is selected (RFC 4314 §5.1.1): nothing of the mailbox
is told any more, whether the client asks or not, until the right is there again."""

from imap_house import ALICE, ImapCase

CLUB = f'"Other Users/{ALICE}/Club"'
SECRET = b"Subject: secret\r\n\r\nxyzzy\r\n"


class RevokedTests(ImapCase):
    timeout = 20

    async def reader(self, *commands):
        """bob, who reads alice's Club and has said these commands; alice, who looks on."""
        self.alice = await self.logged_in()
        for line in ("a CREATE Club", "a SETACL Club bob lrte", "a SELECT Club"):
            assert (await self.alice.say(line))[-1].startswith("a OK")
        await self.deliver(b"Subject: open\r\n\r\nx\r\n", mailbox="Club")
        bob = await self.logged_in(CLUB, user="bob")
        for line in commands:
            await bob.say(line)
        await self.alice.say("a UID SEARCH RETURN (UPDATE) ALL")
        return bob

    async def happen(self):
        """Mail comes and flags change; all who are to be told of it have been."""
        await self.deliver(SECRET, mailbox="Club")
        said = await self.alice.send(b"a STORE 1 +FLAGS.SILENT (\\Flagged)\r\nb NOOP\r\n")
        await self.until(lambda: b"ADDTO" in said + self.alice.transport.value())  # the last to come
        self.alice.said()

    async def revoke(self):
        assert (await self.alice.say("a DELETEACL Club bob"))[-1].startswith("a OK")

    async def grant(self):
        assert (await self.alice.say("a SETACL Club bob lrte"))[-1].startswith("a OK")

    async def said_until(self, talk, words):
        """What the client is told from a NOOP on, until these words are among it."""
        said = await talk.send(b"b NOOP\r\n")
        await self.until(lambda: words in said + talk.transport.value())
        return said + talk.said()

    async def test_notify(self):
        bob = await self.reader(
            "n NOTIFY SET (SELECTED (MessageNew (UID BODY.PEEK[]) MessageExpunge FlagChange))"
        )
        await self.revoke()
        await self.happen()
        assert await bob.say("b NOOP") == ["b OK NOOP completed"]
        await self.grant()
        said = await self.said_until(bob, b"xyzzy")
        assert b"* 2 EXISTS" in said and b"* 1 FETCH (UID 1 FLAGS (\\Flagged \\Recent))" in said

    async def test_search_contexts(self):
        bob = await self.reader("n SEARCH RETURN (UPDATE (UID BODY.PEEK[])) ALL")
        await self.revoke()
        await self.happen()
        assert await bob.say("b NOOP") == ["b OK NOOP completed"]
        await self.grant()
        said = await self.said_until(bob, b"ADDTO (0 2)")
        assert said.index(b"* 2 EXISTS") < said.index(b"xyzzy") < said.index(b"ADDTO (0 2)")

    async def test_idle(self):
        bob = await self.reader()
        await bob.say("i IDLE")
        await self.revoke()
        await self.happen()
        assert await bob.say("DONE") == ["i OK IDLE completed"]
        await self.grant()
        assert "* 2 EXISTS" in await bob.say("b NOOP")

    async def test_what_is_asked_is_refused_and_tells_nothing_beside(self):
        bob = await self.reader()
        await self.revoke()
        await self.happen()
        for command in (
            "FETCH 1:* (UID)",
            "UID SEARCH ALL",
            'ESEARCH IN (selected) RETURN (ALL) TEXT "xyzzy"',
            "ESEARCH RETURN (UPDATE) ALL",
            "EXPUNGE",
            "UID EXPUNGE 1:*",
            "STORE 1 +FLAGS (\\Deleted)",
        ):
            assert await bob.say(f"b {command}") == ["b NO [NOPERM] You may not read this mailbox any more"]
        assert await bob.say("b ENABLE CONDSTORE") == ["* ENABLED CONDSTORE", "b OK ENABLE completed"]
        assert await bob.say("b REPLACE 1 Club {3+}\r\nabc") == [
            "b NO [NOPERM] You may not read this mailbox any more"
        ]

    async def test_other_mailboxes_are_as_before(self):
        bob = await self.reader()
        await self.revoke()
        assert (await bob.say("b ESEARCH IN (selected personal) RETURN (ALL) ALL"))[-1].startswith("b NO")
        assert (await bob.say("b ESEARCH IN (personal) RETURN (ALL) ALL"))[-1].startswith("b OK")
        assert await bob.say("b UNSELECT") == ["b OK UNSELECT completed"]
        assert (await bob.say(f"b SELECT {CLUB}"))[-1].startswith("b NO [NONEXISTENT]")
