"""SCRAM in IMAP, whole lines and octet by octet: there is no place for the server's last word but one more
challenge (RFC 9051 §6.2.2)."""

from base64 import b64decode, b64encode

from imap_house import ImapCase

from twisted_mta.protocol.sasl.scram import ScramClient


class ScramTests(ImapCase):
    async def say(self, talk, line, step):
        """The one line of the answer."""
        data = line + b"\r\n"
        said = b""
        for start in range(0, len(data), step):
            said += await talk.send(data[start : start + step])
        (answer,) = said.removesuffix(b"\r\n").split(b"\r\n")
        return answer

    async def begin(self, step, *, password="secret", initial=b""):
        talk = self.talk()
        talk.said()
        client = ScramClient(
            "SCRAM-SHA-256", "alice", password, nonce="abc", binding=None, server_binds=False
        )
        first = b64encode(client.initial)
        if initial:
            answer = await self.say(talk, b"a AUTHENTICATE SCRAM-SHA-256 " + first, step)
        else:
            assert await self.say(talk, b"a AUTHENTICATE SCRAM-SHA-256", step) == b"+ "
            answer = await self.say(talk, first, step)
        proof = client.respond(b64decode(answer.removeprefix(b"+ ")))
        return talk, client, await self.say(talk, b64encode(proof), step)

    async def test_logged_in(self):
        for step in (1, 10_000):
            for initial in (False, True):
                talk, client, final = await self.begin(step, initial=initial)
                client.respond(b64decode(final.removeprefix(b"+ ")))
                assert client.proven
                assert (await self.say(talk, b"", step)).startswith(b"a OK [CAPABILITY ")
                assert talk.session.account.name == "alice@a.test"

    async def test_a_wrong_password(self):
        _, client, answer = await self.begin(10_000, password="wrong")
        assert answer == b"a NO [AUTHENTICATIONFAILED] Authentication failed"
        assert not client.proven

    async def test_a_client_that_does_not_believe_the_server(self):
        talk, _, _ = await self.begin(10_000)
        assert await self.say(talk, b"*", 10_000) == b"a BAD Authentication cancelled"
        assert talk.session.account is None
        assert (await self.say(talk, b"b NOOP", 10_000)).startswith(b"b OK")
