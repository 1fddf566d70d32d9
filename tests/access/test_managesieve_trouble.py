"""What ManageSieve says when the disk does not let it have the scripts, or they are too much."""

import os

from imap_house import House, ImapCase, Talk
from twisted.internet import reactor

from twisted_mta.access.managesieve.session import ManageSieveSession, ManageSieveSettings
from twisted_mta.wire.listener import Listener

LOGIN = 'AUTHENTICATE "PLAIN" "AGFsaWNlQGEudGVzdABzZWNyZXQ="'


class TroubleTests(ImapCase):
    async def logged_in(self):
        settings = ManageSieveSettings(hostname="mx.a.test", allow_cleartext=True)
        listener = Listener(
            lambda: ManageSieveSession(
                settings, directory=House(), store=self.store, journey=self.journey, reactor=reactor
            ),
            reactor=self.clock,
        )
        talk = Talk(self, listener)
        self.talks.append(talk)
        talk.said()
        assert (await talk.say(LOGIN))[-1].startswith("OK")
        return talk

    async def test_it_is_temporary_and_no_accident(self):
        """A directory stands where a file has to be: what reads and writes gets an error of the system."""
        talk = await self.logged_in()
        os.makedirs(self.store.home("alice@a.test") / "sieve" / "main.sieve" / "full")
        for command in ('GETSCRIPT "main"', 'PUTSCRIPT "main" {5+}\r\nkeep;'):
            assert (await talk.say(command))[-1].startswith("NO (TRYLATER)")
        assert (await talk.say("NOOP"))[-1].startswith("OK")
        assert self.flushLoggedErrors() == []

    async def test_a_script_of_too_many_commands_is_no_script(self):
        talk = await self.logged_in()
        script = "keep;" * 10_001
        for command in ("CHECKSCRIPT", 'PUTSCRIPT "main"'):
            (said,) = await talk.say(f"{command} {{{len(script)}+}}\r\n{script}")
            assert said.startswith("NO ") and "a script may have 10,000 commands and tests" in said
        assert await talk.say("LISTSCRIPTS") == ["OK"]
