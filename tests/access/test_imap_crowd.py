"""A full house: those who have not logged in and say nothing make room, those who have stay."""

from __future__ import annotations

import gc
import tracemalloc

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

    async def test_idle_sessions_are_small(self):
        """Acceptance 36, two hundred instead of ten thousand (benchmarks/imap_idle.py): with the clients of
        this test, a session costs no more than ten thousand in 250 MB may."""
        await self.deliver(b"Subject: x\r\n\r\n")
        self.listener._max_per_host = 300
        first = [await self.idle() for _ in range(20)]
        gc.collect()
        tracemalloc.start()
        try:
            more = [await self.idle() for _ in range(200)]
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] / len(more) < 16_000
        finally:
            tracemalloc.stop()
        await self.deliver(b"Subject: y\r\n\r\n")
        await self.until(lambda: all(b"* 2 EXISTS" in talk.said() for talk in (first[0], more[-1])))

    async def idle(self):
        talk = await self.logged_in("INBOX")
        await talk.send(b"a IDLE\r\n")
        return talk
