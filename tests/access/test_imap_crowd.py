"""A full house: those who have not logged in and say nothing make room, those who have stay."""

from __future__ import annotations

from imap_house import ImapCase


class CrowdTests(ImapCase):
    async def test_who_has_logged_in_stays_however_long_they_say_nothing(self):
        self.listener._max_connections = 3
        reader = await self.logged_in("INBOX")
        await reader.say("a IDLE")
        crowd = [self.talk() for _ in range(2)]
        assert self.talk().closed
        self.clock.advance(11)
        newcomer = self.talk()
        assert not newcomer.closed and newcomer.said().startswith(b"* OK")
        assert [talk.closed for talk in crowd] == [True, True] and not reader.closed
        assert crowd[0].said().endswith(b"* BYE Login took too long\r\n")
