"""MESSAGELIMIT (RFC 9738), with a limit that a mailbox of four messages meets."""

from imap_house import ImapCase

from twisted_mta.access.imap4.access import ImapLimits
from twisted_mta.wire.login import LoginLimits


class MessageLimitTests(ImapCase):
    limits = ImapLimits(messages=2, login=LoginLimits(delay=0.0))

    async def selected(self):
        await self.deliver_many(4)
        talk = await self.logged_in("INBOX")
        assert " MESSAGELIMIT=2 " in (await talk.say("a CAPABILITY"))[0] + " "
        await talk.say("a CREATE Archive")
        return talk

    async def test_fetch_is_of_the_newest(self):
        talk = await self.selected()
        lines = await talk.say("a FETCH 1:* (UID)")
        assert lines == [
            "* 3 FETCH (UID 3)",
            "* 4 FETCH (UID 4)",
            "a OK [MESSAGELIMIT 2 3] FETCH completed",
        ]
        assert await talk.say("a UID FETCH 1:2 (UID)") == [
            "* 1 FETCH (UID 1)",
            "* 2 FETCH (UID 2)",
            "a OK FETCH completed",
        ]

    async def test_changedsince_counts_what_is_looked_at(self):
        talk = await self.selected()
        await talk.say("a STORE 1 +FLAGS.SILENT (\\Seen)")
        lines = await talk.say("a UID FETCH 1:* (FLAGS) (CHANGEDSINCE 5)")
        assert lines[-1] == "a OK [MESSAGELIMIT 2 3] FETCH completed"

    async def test_a_partial_range_is_refused_when_it_is_too_wide(self):
        talk = await self.selected()
        assert (await talk.say("a UID FETCH 1:* (UID) (PARTIAL -1:-3)")) == [
            "a NO [MESSAGELIMIT 2] Too many messages"
        ]
        lines = await talk.say("a UID FETCH 1:* (UID) (PARTIAL 1:2)")
        assert lines[-1] == "a OK FETCH completed"

    async def test_search(self):
        talk = await self.selected()
        assert await talk.say("a UID SEARCH ALL") == [
            "* SEARCH 3 4",
            "a OK [MESSAGELIMIT 2 3] SEARCH completed",
        ]
        assert await talk.say("a SEARCH SUBJECT 1 UID 1:3") == [
            "* SEARCH",
            "a OK [MESSAGELIMIT 2 2] SEARCH completed",
        ]
        assert await talk.say("a SEARCH 1:3 UID 1:2,4 ALL") == ["* SEARCH 1 2", "a OK SEARCH completed"]

    async def test_the_rest_is_reached_with_uidbefore(self):
        talk = await self.selected()
        assert await talk.say("a UID SEARCH UIDBEFORE 3") == ["* SEARCH 1 2", "a OK SEARCH completed"]
        assert await talk.say("a UID SEARCH UIDAFTER 3") == ["* SEARCH 4", "a OK SEARCH completed"]
        assert await talk.say("a UID SEARCH UIDBEFORE 1") == [
            "* SEARCH",
            "a OK [MESSAGELIMIT 2 3] SEARCH completed",
        ]
        for nonsense in ("UIDAFTER 0", "UIDAFTER *", "UIDBEFORE 1:2", "UIDBEFORE"):
            assert (await talk.say(f"a SEARCH {nonsense}"))[-1].startswith("a BAD ")

    async def test_store(self):
        talk = await self.selected()
        assert await talk.say("a STORE 1:* +FLAGS (\\Seen)") == [
            "* 3 FETCH (FLAGS (\\Recent \\Seen))",
            "* 4 FETCH (FLAGS (\\Recent \\Seen))",
            "a OK [MESSAGELIMIT 2 3] STORE completed",
        ]
        lines = await talk.say("a STORE 1:* (UNCHANGEDSINCE 1) +FLAGS (\\Flagged)")
        assert lines[-2:] == [
            "* NO [MESSAGELIMIT 2 3] Only the newest messages",
            "a OK [MODIFIED 3:4] Conditional STORE failed for some",
        ]

    async def test_copy_is_refused_and_move_is_of_the_newest(self):
        talk = await self.selected()
        assert await talk.say("a COPY 1:* Archive") == ["a NO [MESSAGELIMIT 2 3] Too many messages to copy"]
        lines = await talk.say("a MOVE 1:* Archive")
        assert lines[1:] == ["* 4 EXPUNGE", "* 3 EXPUNGE", "a OK [MESSAGELIMIT 2 3] MOVE completed"]
        assert lines[0].startswith("* OK [COPYUID ")

    async def test_uid_expunge_is_limited_and_expunge_is_not(self):
        talk = await self.selected()
        await talk.say("a STORE 1:2 +FLAGS.SILENT (\\Deleted)")
        await talk.say("a STORE 3:4 +FLAGS.SILENT (\\Deleted)")
        assert await talk.say("a UID EXPUNGE 1:3") == [
            "* 3 EXPUNGE",
            "* 2 EXPUNGE",
            "a OK [MESSAGELIMIT 2 2] EXPUNGE completed",
        ]
        await self.deliver_many(2)
        await talk.say("a NOOP")
        await talk.say("a STORE 3:4 +FLAGS.SILENT (\\Deleted)")
        assert len(await talk.say("a EXPUNGE")) == 5

    async def test_sort_thread_and_append_are_refused(self):
        talk = await self.selected()
        refused = ["a NO [MESSAGELIMIT 2] Too many messages"]
        assert await talk.say("a SORT (DATE) UTF-8 ALL") == refused
        assert await talk.say("a THREAD REFS UTF-8 ALL") == refused
        assert (await talk.say("a SORT (DATE) UTF-8 2:3"))[0] == "* SORT 2 3"
        message = "{3+}\r\nA: "
        assert (await talk.say(f"a APPEND Archive {message} {message}"))[-1].startswith("a OK")
        assert await talk.say(f"a APPEND Archive {message} {message} {message}") == refused
        assert "MESSAGES 2" in (await talk.say("a STATUS Archive (MESSAGES)"))[0]
