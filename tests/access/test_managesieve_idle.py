"""How long ManageSieve sessions stay (RFC 5804 §1.4)."""

from imap_house import House, ImapCase, Talk
from twisted.internet import reactor

from twisted_mta.access.managesieve.session import ManageSieveSession, ManageSieveSettings
from twisted_mta.wire.listener import Listener

LOGIN = 'AUTHENTICATE "PLAIN" "AGFsaWNlQGEudGVzdABzZWNyZXQ="'


class IdleTests(ImapCase):
    async def session(self):
        settings = ManageSieveSettings(hostname="mx.a.test", allow_cleartext=True)
        self.listener = Listener(
            lambda: ManageSieveSession(
                settings, directory=House(), store=self.store, journey=self.journey, reactor=reactor
            ),
            reactor=self.clock,
        )
        talk = Talk(self, self.listener)
        self.talks.append(talk)
        assert talk.said().endswith(b'OK "mx.a.test ManageSieve ready"\r\n')
        return talk

    def later(self, seconds):
        self.clock.advance(seconds)
        self.listener.sweep()

    async def test_who_does_not_log_in_is_soon_gone(self):
        talk = await self.session()
        self.later(40)
        assert (await talk.say("NOOP"))[-1].startswith("OK")
        self.later(25)
        assert talk.closed

    async def test_any_command_keeps_who_is_logged_in(self):
        talk = await self.session()
        assert (await talk.say(LOGIN))[-1].startswith("OK")
        for _ in range(3):
            self.later(1700)
            assert (await talk.say("NOOP"))[-1].startswith("OK")
        self.later(1801)
        assert talk.closed

    async def test_whoever_logs_out_has_a_strangers_time_again(self):
        talk = await self.session()
        await talk.say(LOGIN)
        self.later(1700)
        assert (await talk.say("UNAUTHENTICATE"))[-1].startswith("OK")
        self.later(40)
        assert not talk.closed
        self.later(25)
        assert talk.closed
