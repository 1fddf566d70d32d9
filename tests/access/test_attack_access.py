"""What hostile and careless clients of IMAP have been found to do."""

from imap_house import ImapCase, literal_of

from twisted_mta.wire.connection import STALL_LIMIT


class NameTests(ImapCase):
    async def test_the_selected_mailbox_is_deleted_by_another_spelling_of_its_name(self):
        talk = await self.logged_in()
        composed, decomposed = "caf&AOk-", "cafe&AwE-"  # é, and e with a combining acute
        assert (await talk.say(f"a CREATE {composed}"))[-1].startswith("a OK")
        assert (await talk.say(f"b SELECT {composed}"))[-1].startswith("b OK")
        assert await talk.say(f"c DELETE {decomposed}") == ["c OK DELETE completed"]
        assert await talk.say("d CHECK") == ["d BAD Select a mailbox first"]

    async def test_deleting_another_mailbox_leaves_the_selected_one(self):
        talk = await self.logged_in("Trash")
        assert await talk.say("a DELETE Junk") == ["a OK DELETE completed"]
        assert await talk.say("b CHECK") == ["b OK CHECK completed"]


class SearchTests(ImapCase):
    async def test_nothing_is_in_every_body(self):
        await self.deliver(b"Content-Type: image/png\r\n\r\nxx\r\n")
        await self.deliver(b"Subject: text\r\n\r\nxx\r\n")
        talk = await self.logged_in("INBOX")
        assert await talk.say('a SEARCH BODY ""') == ["* SEARCH 1 2", "a OK SEARCH completed"]


class LongArgumentTests(ImapCase):
    """What is too long is refused before time is spent on it."""

    async def refused(self, command):
        talk = await self.logged_in("INBOX")
        return (await talk.say(command))[-1]

    async def test_mailbox_name(self):
        assert (await self.refused(f"a STATUS {'&AOQ-' * 1000} (MESSAGES)")).startswith("a NO [CANNOT]")

    async def test_list_pattern(self):
        """What no name can match is no failure (RFC 9051 §6.3.9)."""
        assert await self.refused(f'a LIST "" "{"%*" * 3000}"') == "a OK LIST completed"

    async def test_lists(self):
        await self.deliver(b"Subject: x\r\n\r\n")
        for command in (
            f"a STORE 1 +FLAGS ({'x ' * 1000}x)",
            f"a STORE 1 +FLAGS {'x ' * 1000}x",
            f"a FETCH 1 ({'FLAGS ' * 1000}UID)",
            f"a FETCH 1 BODY[HEADER.FIELDS ({'x ' * 1000}x)]",
            f"a STATUS INBOX ({'MESSAGES ' * 1000}RECENT)",
            f"""a ID ({'"a" "b" ' * 1000}"a" "b")""",
        ):
            assert (await self.refused(command)).startswith("a NO [LIMIT]"), command[:40]

    async def test_escapes_in_a_quoted_string(self):
        talk = await self.logged_in()
        name = r'"\"\\\\x\"\\"'
        assert (await talk.say(f"a CREATE {name}"))[0].startswith("a OK")
        assert await talk.say('b LIST "" {5}') == ["+ Ready for the literal"]
        assert (await talk.say('"\\\\x%'))[0] == f'* LIST (\\HasNoChildren) "/" {name}'


class StallTests(ImapCase):
    """A client that asks for much and reads nothing keeps a message in memory; not for as long as one may
    idle."""

    async def fetching(self):
        await self.deliver(b"Subject: large\r\n\r\n" + b"0123456789\r\n" * 100_000)
        talk = await self.logged_in("INBOX")
        talk.transport.producer.pauseProducing()  # as a transport does whose buffer is full
        talk.session.dataReceived(b"a FETCH 1 BODY.PEEK[]\r\n")
        await self.until(lambda: b"BODY[]" in talk.transport.value())
        return talk

    async def test_who_never_reads_is_cut_off(self):
        talk = await self.fetching()
        self.clock.advance(STALL_LIMIT - 6)
        self.listener.sweep()
        assert not talk.closed
        self.clock.advance(7)
        self.listener.sweep()
        assert talk.closed

    async def test_who_reads_slowly_is_served(self):
        talk = await self.fetching()
        while talk.session._busy:
            self.clock.advance(STALL_LIMIT - 6)
            self.listener.sweep()
            assert not talk.closed
            talk.transport.producer.resumeProducing()  # has taken all that there was
            if talk.session._busy:
                talk.transport.producer.pauseProducing()
                await self.until(lambda: talk.session._outflow._waiting or not talk.session._busy)
        output = talk.said()
        assert output.endswith(b"a OK FETCH completed\r\n")
        assert len(literal_of(output)) == 1_200_018
