"""Annotations that somebody else has changed, told after ENABLE METADATA (RFC 5464 §4.4)."""

from imap_house import ALICE, ImapCase

from twisted_mta.store.quota import Bounds


class MetadataChangesTests(ImapCase):
    async def enabled(self):
        talk = await self.logged_in()
        assert await talk.say("e ENABLE METADATA") == ["* ENABLED METADATA", "e OK ENABLE completed"]
        return talk

    async def told(self, talk):
        await self.until(lambda: talk.transport.value().endswith(b"\r\n"))
        return talk.said().decode("ascii")

    async def test_the_names_of_what_others_have_set(self):
        talk, other = await self.enabled(), await self.logged_in()
        await other.say('a SETMETADATA INBOX (/shared/comment "Rain" /private/comment "Sun")')
        assert await self.told(talk) == "* METADATA INBOX /shared/comment /private/comment\r\n"
        await other.say("a SETMETADATA INBOX (/private/comment NIL)")
        assert await self.told(talk) == "* METADATA INBOX /private/comment\r\n"
        await other.say('a SETMETADATA "" (/private/comment "x")')
        assert await self.told(talk) == '* METADATA "" /private/comment\r\n'

    async def test_nobody_is_told_of_their_own(self):
        talk, other = await self.enabled(), await self.logged_in()
        assert await talk.say('a SETMETADATA INBOX (/private/comment "x")') == ["a OK SETMETADATA completed"]
        await other.say('a SETMETADATA Drafts (/private/comment "y")')
        assert await self.told(talk) == "* METADATA Drafts /private/comment\r\n"

    async def test_a_friend_changes_what_is_shared(self):
        talk, friend = await self.enabled(), await self.logged_in(user="bob")
        await talk.say("a SETACL Drafts bob lrw")
        await friend.say('b SETMETADATA "Other Users/alice@a.test/Drafts" (/shared/comment "hi")')
        assert await self.told(talk) == "* METADATA Drafts /shared/comment\r\n"

    async def test_notify_takes_its_place(self):
        talk, other = await self.enabled(), await self.logged_in()
        await talk.say("a NOTIFY SET (MAILBOXES Sent (MailboxMetadataChange))")
        await other.say('a SETMETADATA INBOX (/private/comment "y")')
        await other.say('a SETMETADATA Sent (/private/comment "y")')
        assert await self.told(talk) == "* METADATA Sent /private/comment\r\n"

    async def test_it_ends_with_the_login(self):
        talk, other = await self.enabled(), await self.logged_in()
        await talk.say("a UNAUTHENTICATE")
        await talk.say("a LOGIN alice secret")
        await other.say('a SETMETADATA INBOX (/private/comment "y")')
        assert await talk.say("a NOOP") == ["a OK NOOP completed"]

    async def test_there_is_an_end(self):
        talk = await self.logged_in()
        account = await self.store.account(ALICE)
        account.home.bounds = Bounds(mailboxes=len(await account.list_mailboxes()) + 1, annotations=300)
        assert (await talk.say("a CREATE One"))[-1].startswith("a OK")
        refused = ["a NO [LIMIT] There are 7 mailboxes, and there can be no more"]
        assert await talk.say("a CREATE Two") == refused
        assert await talk.say("a RENAME INBOX Two") == refused
        assert (await talk.say("a RENAME One Two"))[-1].startswith("a OK")
        assert (await talk.say('a SETMETADATA Two (/private/comment "x")'))[-1].startswith("a OK")
        assert (await talk.say(f'a SETMETADATA "" (/private/comment "{"x" * 100}")'))[-1] == (
            "a NO [METADATA TOOMANY] Too many annotations"
        )
