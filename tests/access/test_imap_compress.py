"""COMPRESS (RFC 4978): both directions, bombs, the end of it by UNAUTHENTICATE (RFC 8437)."""

import resource
import zlib

from imap_house import ImapCase


class Deflated:
    """A client's side of the compression, over a talk."""

    def __init__(self, talk):
        self.talk = talk
        self._out = zlib.compressobj(9, zlib.DEFLATED, -15)
        self._in = zlib.decompressobj(-15)

    def pack(self, data, flush=zlib.Z_SYNC_FLUSH):
        return self._out.compress(data) + self._out.flush(flush)

    def unpack(self, data):
        return self._in.decompress(data)

    async def send(self, data):
        return self.unpack(await self.talk.send(self.pack(data)))


class CompressTests(ImapCase):
    async def compressed(self, mailbox=None):
        talk = await self.logged_in(mailbox)
        assert (await talk.say("z COMPRESS DEFLATE"))[-1] == "z OK DEFLATE active"
        return Deflated(talk)

    async def test_commands_and_answers(self):
        await self.deliver(b"Subject: hi\r\n\r\n" + b"all the same " * 10_000)
        talk = await self.compressed("INBOX")
        assert await talk.send(b"a NOOP\r\n") == b"a OK NOOP completed\r\n"
        packed = await talk.talk.send(talk.pack(b"b FETCH 1 BODY.PEEK[]\r\n"))
        answer = talk.unpack(packed)
        assert answer.count(b"all the same") == 10_000 and answer.endswith(b"b OK FETCH completed\r\n")
        assert len(packed) < len(answer) / 20

    async def test_one_octet_at_a_time(self):
        talk = await self.compressed()
        answer = b""
        for octet in talk.pack(b"a NOOP\r\nb NOOP\r\nc APPEND INBOX {3+}\r\na\r\n\r\nd NOOP\r\n"):
            answer += talk.unpack(await talk.talk.send(bytes([octet])))
        assert answer.count(b" OK ") == 4

    async def test_twice_is_refused(self):
        talk = await self.compressed()
        answer = await talk.send(b"a COMPRESS DEFLATE\r\n")
        assert answer == b"a NO [COMPRESSIONACTIVE] DEFLATE is active already\r\n"

    async def test_only_deflate_and_only_after_login(self):
        talk = await self.logged_in()
        assert (await talk.say("a COMPRESS LZW"))[-1].startswith("a BAD ")
        other = self.talk()
        assert (await other.say("a COMPRESS DEFLATE"))[-1] == "a BAD Log in first"

    async def test_nothing_may_come_along_in_the_clear(self):
        talk = await self.logged_in()
        answer = await talk.send(b"a COMPRESS DEFLATE\r\nb NOOP\r\n")
        assert answer.startswith(b"a BAD ") and b"b OK" not in answer and talk.closed

    async def test_what_is_not_deflate_ends_the_session(self):
        talk = await self.compressed()
        assert await talk.talk.send(b"a NOOP\r\n" * 100) == b"" and talk.talk.closed

    async def test_a_bomb_meets_the_limits(self):
        """64 MB in one line, of which 64 KB are sent: refused as too long, and never held. Acceptance 38."""
        talk = await self.compressed()
        talk.talk.session.listener.breathe = self.listener_breathes
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        bomb = b"".join(packer.compress(b"a" * 2**20) for _ in range(64)) + packer.flush(zlib.Z_SYNC_FLUSH)
        assert len(bomb) < 100_000
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        answer = talk.unpack(await talk.talk.send(bomb))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert answer == b"* BAD Line too long\r\n" and grown < 16 * 1024  # KiB
        assert self.breaths > 10

    breaths = 0

    async def listener_breathes(self):
        self.breaths += 1

    async def test_unauthenticate_ends_it(self):
        talk = await self.compressed()
        end = talk.pack(b"a UNAUTHENTICATE\r\n", zlib.Z_FINISH)
        answer = await talk.talk.send(end + b"b LOGIN bob secret\r\n")
        assert talk.unpack(answer) == b"a OK Nobody is logged in any more\r\n"
        assert talk._in.eof and talk._in.unused_data.startswith(b"b OK [CAPABILITY ")
        assert await talk.talk.send(b"c NOOP\r\n") == b"c OK NOOP completed\r\n"
