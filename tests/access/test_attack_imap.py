"""What hostile mail and clients of IMAP's extensions have been found to do: time that grows with the
square of the input, recursion, input that swells. Acceptance 40."""

import unicodedata
import zlib

from hypothesis import given
from hypothesis import strategies as st
from imap_house import ImapCase, literal_of

from twisted_mta.message.folding import decompose
from twisted_mta.message.headers import fields, header_end
from twisted_mta.message.transfer_encoding import decode_transfer
from twisted_mta.protocol.imap4.fetch_items import Section, Text
from twisted_mta.protocol.imap4.sections import Sections

MARKS = "\u0301\u0316"  # in the order in which sorting them is most work


class MarkTests(ImapCase):
    """Letters under a million combining marks. Sorting these at one go took minutes, in which nobody was
    served."""

    async def test_in_subject_and_body(self):
        octets = ("a" + MARKS * 300_000).encode()
        await self.deliver(
            b"Subject: "
            + octets
            + b"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nneedle "
            + octets
            + b"\r\n"
        )
        await self.deliver(b"Subject: b\r\n\r\nneedle\r\n")
        talk = await self.logged_in("INBOX")
        assert (await talk.say("a SORT (SUBJECT) UTF-8 ALL"))[-1] == "a OK SORT completed"
        assert (await talk.say("b THREAD ORDEREDSUBJECT UTF-8 ALL"))[-1] == "b OK THREAD completed"
        assert await talk.say("c SEARCH BODY needle") == ["* SEARCH 1 2", "c OK SEARCH completed"]


@given(st.text(st.sampled_from("ab é\u1e69\ufb01\uac00" + MARKS), max_size=5).map(lambda text: text * 200))
def test_texts_are_decomposed_in_pieces_as_in_one(text):
    longest = max(map(len, text.translate(dict.fromkeys(map(ord, "ab é\u1e69\ufb01\uac00"), "|")).split("|")))
    if longest <= 30:
        assert decompose(text) == unicodedata.normalize("NFKD", text)


class SearchTests(ImapCase):
    async def test_filters_within_filters_are_not_deeper_than_other_criteria(self):
        talk = await self.logged_in("INBOX")
        for level in range(9):
            value = "NOT " * 90 + (f"FILTER f{level + 1}" if level < 8 else "ALL")
            await talk.say(f'a SETMETADATA "" (/private/filters/values/f{level} "{value}")')
        assert await talk.say("b SEARCH FILTER f8") == ["* SEARCH", "b OK SEARCH completed"]
        for deep in ("FILTER f0", "FUZZY FILTER f4", "NOT " * 90 + "FILTER f8"):
            assert await talk.say(f"c SEARCH {deep}") == ["c BAD Search too complex"]
        assert self.flushLoggedErrors() == []

    async def test_the_words_of_a_fuzzy_search_count(self):
        talk = await self.logged_in("INBOX")
        few, many = " ".join("word" for _ in range(500)), " ".join("w" for _ in range(2001))
        assert (await talk.say(f'a SEARCH FUZZY TEXT "{few}"'))[-1] == "a OK SEARCH completed"
        assert await talk.say(f'b SEARCH FUZZY TEXT "{many}"') == ["b BAD Search too complex"]
        assert await talk.say("c SEARCH" + f' FUZZY BODY "{few}"' * 5) == ["c BAD Search too complex"]
        assert (await talk.say(f'd SEARCH TEXT "{many}"'))[-1] == "d OK SEARCH completed"


class HeaderTests(ImapCase):
    async def test_all_but_one_of_half_a_million_fields(self):
        await self.deliver(b":\r\n" * 500_000 + b"Subject: x\r\n y\r\nTo: z\r\n\r\n")
        talk = await self.logged_in("INBOX")
        answer = await talk.send(b"a FETCH 1 BODY.PEEK[HEADER.FIELDS.NOT (SUBJECT)]\r\n")
        assert literal_of(answer) == b":\r\n" * 500_000 + b"To: z\r\n\r\n"


LINES = (
    b"A: 1\r\n",
    b"B : 2\r\n",
    b"a:\r\n",
    b" c\r\n",
    b"\td\n",
    b"junk\r\n",
    b"\rA: 1\r\n",
    b":x\r\n",
    b"A",
    b" ",
    b"\r\n",
)


@given(st.lists(st.sampled_from(LINES), max_size=7).map(b"".join))
def test_header_fields_not_is_what_is_left_of_all_fields(data):
    end = header_end(data)
    block = data if end < 0 else data[:end]
    empty_line = b"\r\n" if block.endswith(b"\n\r\n") or block == b"\r\n" else b""
    for names in (frozenset([b"a"]), frozenset([b"a", b"b"])):
        kept = [block[field.start : field.end] for field in fields(block) if field.name.lower() not in names]
        asked = Section(text=Text.HEADER_FIELDS_NOT, fields=names)
        assert Sections(block).extract(asked) == b"".join(kept) + empty_line


def test_base64_in_a_million_runs():
    assert decode_transfer(b"QUI=" * 1000, b"base64") == b"AB" * 1000
    decoded = decode_transfer(b"QUI=" * 1_000_000, b"base64")
    assert decoded is not None and decoded.startswith(b"AB" * 10_000)


class BombTests(ImapCase):
    async def test_a_million_commands_in_a_few_octets(self):
        """The answers are written as they come, and the others are served between them."""
        talk = await self.logged_in()
        assert (await talk.say("z COMPRESS DEFLATE"))[-1] == "z OK DEFLATE active"
        written = []

        async def breathe():
            written.append(len(talk.transport.value()))

        talk.session.listener.breathe = breathe
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        bomb = packer.compress(b"x NOOP\r\n" * 50_000) + packer.flush(zlib.Z_SYNC_FLUSH)
        assert len(bomb) < 4000
        answer = zlib.decompressobj(-15).decompress(await talk.send(bomb))
        assert answer == b"x OK NOOP completed\r\n" * 50_000
        assert len(written) > 20 and written == sorted(set(written))
