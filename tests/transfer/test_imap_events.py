"""Scripts at what IMAP clients do to mailboxes (RFC 6785), over the real store and the real sessions."""

import re

from imap_house import ALICE, ImapCase
from smtp_session import Intake
from twisted.internet import reactor

from twisted_mta.store.scripts import Scripts
from twisted_mta.transfer.mda.sieve.answers import Answers
from twisted_mta.transfer.mda.sieve.carrying_out import CarryingOut
from twisted_mta.transfer.mda.sieve.filtering import Filters
from twisted_mta.transfer.mda.sieve.imap_events import ImapEvents
from twisted_mta.transfer.mda.sieve.notifying import Notifying
from twisted_mta.transfer.mda.sieve.onward import Onward

BODY = "Subject: hello\r\nFrom: eve@far.test\r\n\r\nhello\r\n"
REQUIRE = (
    'require ["imapsieve", "environment", "variables", "imap4flags", "fileinto", "copy", "relational"];\r\n'
)


class ImapEventsTests(ImapCase):
    async def setUp(self):
        await super().setUp()
        self.intake = Intake()
        self.common = Scripts(self.root)
        self.listener = self.make_listener(events=self.make_events())
        await self.store.account(ALICE)
        self.scripts = Scripts(self.store.home(ALICE))

    def make_events(self, script="", most=60):
        told = {"journey": self.journey, "seconds": reactor.seconds}
        filters = Filters(
            self.store,
            answers=Answers(self.intake, hostname="mx.a.test", **told),
            hostname="mx.a.test",
            journey=self.journey,
            reactor=reactor,
            notifying=Notifying(self.intake, hostname="mx.a.test", **told),
            common=self.common,
        )
        onward = Onward(self.intake, journey=self.journey)
        self.at_events = ImapEvents(
            self.store,
            filters=filters,
            carrying_out=CarryingOut(self.store, filters=filters, onward=onward, most=most, **told),
            journey=self.journey,
            reactor=reactor,
            common=self.common,
            script=script,
            url="sieve://mx.a.test",
        )
        return self.at_events

    async def named(self, text, mailbox="INBOX"):
        """A connection on the mailbox, which names that script."""
        self.scripts.write("mine", (REQUIRE + text).encode())
        talk = await self.logged_in(mailbox)
        answer = await talk.say(f's SETMETADATA {mailbox} (/shared/imapsieve/script "mine")')
        assert answer[-1].startswith("s OK"), answer
        return talk

    async def append(self, talk, mailbox="INBOX", flags="", body=BODY):
        answer = (
            await talk.send(f"a APPEND {mailbox} ({flags}) {{{len(body)}+}}\r\n{body}\r\n".encode())
        ).decode()
        assert "a OK" in answer, answer
        await self.over()
        return int(re.search(r"APPENDUID \d+ (\d+)", answer)[1])

    async def over(self):
        await self.until(lambda: not self.at_events._waiting)

    async def flags(self, mailbox="INBOX"):
        """Those of each message, by UID."""
        opened = await (await self.store.account(ALICE)).open(mailbox)
        found = {uid: set(opened.flags(uid)) for uid in opened.uids}
        await opened.close()
        return found

    def told(self):
        return [event.facts["reason"] for event in self.events if event.stage == "sieve-failed"]

    async def test_what_the_script_is_told(self):
        talk = await self.named(
            'if environment :matches "imap.changedflags" "*" { set "f" "${1}"; }'
            'if allof(environment "location" "MS", environment "phase" "post",'
            '         environment "imap.user" "alice@a.test", environment "imap.mailbox" "INBOX",'
            '         environment :matches "imap.cause" "*") { addflag "cause-${1}"; }'
            'if not string "${f}" "" { addflag "changed"; }'
            'if string :contains "${f}" "Flagged" { addflag "told"; }'
        )
        uid = await self.append(talk)
        assert await self.flags() == {uid: {"cause-APPEND"}}
        await talk.say(f"u UID STORE {uid} +FLAGS (\\Flagged)")
        await self.over()
        assert await self.flags() == {uid: {"cause-APPEND", "cause-FLAG", "\\Flagged", "changed", "told"}}
        await talk.say(f"u UID STORE {uid} FLAGS (\\Flagged \\Seen)")
        await self.over()
        assert await self.flags() == {uid: {"cause-FLAG", "\\Flagged", "\\Seen", "changed"}}
        assert self.told() == []

    async def test_copied_and_moved_messages_are_told_of_where_they_come(self):
        uids = [await self.deliver(BODY.encode()) for _ in range(3)]
        talk = await self.named('if environment "imap.cause" "COPY" { setflag "learned"; }', "Junk")
        await talk.say("s SELECT INBOX")
        await talk.say(f"c UID COPY {uids[0]}:{uids[1]} Junk")
        await talk.say(f"m UID MOVE {uids[2]} Junk")
        await self.over()
        assert [flags - {"\\Recent"} for flags in (await self.flags("Junk")).values()] == [{"learned"}] * 3
        assert not any("learned" in flags for flags in (await self.flags()).values())

    async def test_filed_elsewhere_with_and_without_a_copy_kept(self):
        talk = await self.named('fileinto "Archive";')
        uid = await self.append(talk, flags="\\Seen")
        assert await self.flags() == {uid: {"\\Seen", "\\Deleted"}}
        assert list((await self.flags("Archive")).values()) == [{"\\Seen"}]
        await self.named('fileinto :copy :flags "work" "Archive";')
        other = await self.append(talk)
        assert (await self.flags())[other] == set()
        assert list((await self.flags("Archive")).values())[1] == {"work"}

    async def test_a_script_is_known_by_its_name(self):
        talk = await self.named('require "include"; include :once "mine"; addflag "once"; include "mine";')
        uid = await self.append(talk)
        assert await self.flags() == {uid: set()}
        assert len(self.told()) == 1 and self.told()[0].endswith('the script "mine" includes itself')

    async def test_filed_where_it_is_and_nowhere(self):
        talk = await self.named('fileinto "INBOX";')
        uid = await self.append(talk)
        assert await self.flags() == {uid: set()}
        await self.named("discard;")
        other = await self.append(talk)
        assert await self.flags() == {uid: set(), other: {"\\Deleted"}}

    async def test_sent_on_as_it_is_and_as_changed(self):
        talk = await self.named('redirect :copy "bob@b.test";')
        uid = await self.append(talk)
        ((envelope, head, body),) = self.intake.stored
        assert (str(envelope.reverse_path), list(map(str, envelope.forward_paths))) == (ALICE, ["bob@b.test"])
        assert head + body == b"Delivered-To: alice@a.test\r\n" + BODY.encode()
        assert await self.flags() == {uid: set()}
        await self.named(
            'require "editheader"; addheader "X-Seen" "yes"; redirect "bob@b.test"; fileinto "Archive";'
        )
        await self.append(talk)
        assert b"\r\nX-Seen: yes\r\n" in b"".join(self.intake.stored[1][1:])
        account = await self.store.account(ALICE)
        archive = await account.open("Archive")
        assert (await archive.read(list(archive.uids)))[0].startswith(b"X-Seen: yes\r\n")
        await archive.close()
        assert self.told() == []

    async def test_no_more_are_sent_on_than_may_be(self):
        self.listener = self.make_listener(events=self.make_events(most=1))
        talk = await self.named('redirect "bob@b.test";')
        first, second = await self.append(talk), await self.append(talk)
        assert len(self.intake.stored) == 1 and "more than 1 messages" in self.told()[0]
        assert "\\Deleted" in (await self.flags())[first]
        assert "\\Deleted" not in (await self.flags())[second]

    async def test_what_cannot_be_done_leaves_the_message_alone(self):
        for text, words in (
            ('require "vacation"; vacation "away";', "neither be refused nor answered"),
            ('require "reject"; reject "no";', "neither be refused nor answered"),
            ('fileinto "Nowhere";', "No such mailbox"),
            ('set "a" "b"; redirect "${a}";', "redirect to no address"),
        ):
            talk = await self.named(text)
            uid = await self.append(talk, flags="\\Seen")
            assert words in self.told()[-1], self.told()
            assert (await self.flags())[uid] == {"\\Seen"}
        await talk.say('s SETMETADATA INBOX (/shared/imapsieve/script "lost")')
        await self.append(talk)
        assert "lost" in self.told()[-1]

    async def test_the_common_script_is_for_mailboxes_that_name_none(self):
        self.common.write("all", (REQUIRE + 'addflag "common";').encode())
        self.listener = self.make_listener(events=self.make_events("all"))
        talk = await self.named('addflag "own";')
        await self.append(talk)
        await self.append(talk, "Archive")
        await talk.say('s SETMETADATA Trash (/shared/imapsieve/script "")')
        await self.append(talk, "Trash")
        found = [list((await self.flags(name)).values()) for name in ("INBOX", "Archive", "Trash")]
        assert found == [[{"own"}], [{"common"}], [set()]]

    async def test_without_a_script_nothing_is_asked_and_the_capability_says_where_to_put_one(self):
        talk = await self.logged_in("INBOX")
        assert "IMAPSIEVE=sieve://mx.a.test" in (await talk.say("c CAPABILITY"))[0].split()
        await self.append(talk)
        assert self.store.at_hand(ALICE).home.event_scripts[1] == {}
        self.at_events._take = None  # it would fail from here on
        await self.append(talk)
        await self.named("discard;")
        self.at_events = self.make_events()
        assert self.store.at_hand(ALICE).home.event_scripts is None

    async def test_mailboxes_of_others_have_the_scripts_of_their_owners(self):
        owner = await self.named('if environment "imap.user" "bob@a.test" { addflag "by-bob"; }', "Archive")
        await owner.say("a SETACL Archive bob@a.test lrswi")
        bob = await self.logged_in(user="bob")
        await self.append(bob, '"Other Users/alice@a.test/Archive"')
        assert list((await self.flags("Archive")).values()) == [{"by-bob"}]
