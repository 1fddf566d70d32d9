"""NOTIFY (RFC 5465): what a client is told at any time, of the selected mailbox and of others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imap_house import ALICE, ImapCase

from twisted_mta.access.imap4 import notify
from twisted_mta.protocol.imap4.commands.command import State
from twisted_mta.protocol.imap4.commands.notifying import Group, Notify
from twisted_mta.protocol.imap4.commands.table import find_reader
from twisted_mta.protocol.imap4.fetch_items import Attribute
from twisted_mta.protocol.imap4.grammar import CommandError, Cursor

BOB = "bob@a.test"
MESSAGES = frozenset({"MessageNew", "MessageExpunge"})


def read(text):
    cursor = Cursor(text)
    tag = cursor.tag()
    cursor.space()
    _, reader = find_reader(cursor, State.AUTHENTICATED)
    command = reader(cursor, tag)
    cursor.end()
    return command


@pytest.mark.parametrize(
    ("text", "command"),
    [
        (b"a NOTIFY NONE", Notify("a")),
        (
            b"a notify set status (selected (MessageNew (uid flags) messageexpunge)) (inboxes NONE)",
            Notify(
                "a",
                (
                    Group("SELECTED", (), MESSAGES, (Attribute.UID, Attribute.FLAGS)),
                    Group("INBOXES", (), frozenset()),
                ),
                True,
            ),
        ),
        (
            b"a NOTIFY SET (mailboxes (inbox a/b) (MailboxName)) (subtree Lists (SubscriptionChange))",
            Notify(
                "a",
                (
                    Group("MAILBOXES", ("INBOX", "a/b"), frozenset({"MailboxName"})),
                    Group("SUBTREE", ("Lists",), frozenset({"SubscriptionChange"})),
                ),
            ),
        ),
    ],
)
def test_commands(text, command):
    assert read(text) == command


@pytest.mark.parametrize(
    "text",
    b"""SET|SET STATUS|BOGUS|NONE x|SET (personal)|SET (personal ())|SET (bogus (MailboxName))
SET(personal NONE)|SET (personal (MessageNew))|SET (personal (MessageExpunge))
SET (personal (FlagChange))|SET (subtree (MailboxName))
SET (selected (MessageNew FlagChange))|SET (selected (MailboxName))
SET (selected NONE) (selected-delayed NONE)
SET (personal (MessageNew (UID) MessageExpunge))
SET (selected (MessageNew () MessageExpunge))|SET (subtree () (MailboxName))
SET (personal MailboxName)""".replace(b"\n", b"|").split(b"|"),
)
def test_refused(text):
    with pytest.raises(CommandError) as refused:
        read(b"a NOTIFY " + text)
    assert refused.value.condition == "BAD"


@pytest.mark.parametrize("event", [b"AnnotationChange", b"Bogus"])
def test_events_that_are_not_told(event):
    with pytest.raises(CommandError) as refused:
        read(b"a NOTIFY SET (personal (MessageNew %b MessageExpunge))" % event)
    assert refused.value.condition == "NO"
    assert refused.value.code == (
        "BADEVENT (MessageNew MessageExpunge FlagChange MailboxName SubscriptionChange "
        "MailboxMetadataChange ServerMetadataChange)"
    )


@given(st.binary())
def test_whatever_is_sent_is_read_or_refused(octets):
    try:
        read(b"a NOTIFY SET (" + octets)
    except CommandError:
        pass


class NotifyTests(ImapCase):
    async def told(self, talk):
        """What the client is told of the server's own accord."""
        await self.until(lambda: talk.transport.value() and not talk.session._busy)
        return talk.said().decode().split("\r\n")[:-1]

    async def silent(self, talk):
        """Nothing has been told, though the reactor had its turns."""
        other = await self.logged_in()
        for _ in range(3):
            await other.say("a NOOP")
        return not talk.said()

    async def notified(self, groups, mailbox=None, user="alice"):
        talk = await self.logged_in(mailbox, user=user)
        lines = await talk.say(f"n NOTIFY SET {groups}")
        assert lines[-1] == "n OK NOTIFY completed", lines
        return talk, lines[:-1]

    # The selected mailbox

    async def test_messages_of_the_selected_mailbox(self):
        await self.deliver_many(2)
        items = "(UID BODY.PEEK[HEADER.FIELDS (Subject)])"
        talk, _ = await self.notified(f"(selected (MessageNew {items} MessageExpunge))", "INBOX")
        await self.deliver(b"Subject: hello\r\n\r\nx\r\n")
        assert await self.told(talk) == [
            "* 3 EXISTS",
            "* 3 RECENT",
            "* 3 FETCH (UID 3 BODY[HEADER.FIELDS (Subject)] {18}",
            "Subject: hello",
            "",
            ")",
        ]
        other = await self.logged_in("INBOX")
        await other.say("a STORE 1 +FLAGS (\\Deleted)")
        await other.say("b EXPUNGE")
        assert await self.told(talk) == ["* 1 EXPUNGE"]

    async def test_new_messages_are_told_with_their_mod_sequence(self):
        talk, _ = await self.notified("(selected (MessageNew (FLAGS) MessageExpunge))", "INBOX")
        await talk.say("a ENABLE CONDSTORE")
        await self.deliver(b"Subject: hello\r\n\r\nx\r\n")
        assert (await self.told(talk))[-1] == "* 1 FETCH (FLAGS (\\Recent) UID 1 MODSEQ (2))"

    async def test_flags_of_the_selected_mailbox(self):
        await self.deliver_many(1)
        events = "MessageNew MessageExpunge FlagChange"
        talk, _ = await self.notified(f"(selected ({events}))", "INBOX")
        other = await self.logged_in("INBOX")
        await other.say("a STORE 1 +FLAGS (\\Flagged)")
        assert await self.told(talk) == ["* 1 FETCH (UID 1 FLAGS (\\Flagged \\Recent))"]

    async def test_selected_delayed_waits_with_expunges(self):
        await self.deliver_many(2)
        talk, _ = await self.notified("(selected-delayed (MessageNew MessageExpunge))", "INBOX")
        other = await self.logged_in("INBOX")
        await other.say("a STORE 1 +FLAGS (\\Deleted)")
        await other.say("b EXPUNGE")
        assert await self.silent(talk)
        assert (await talk.say("c FETCH 2 UID"))[0] == "* 2 FETCH (UID 2)"
        assert await talk.say("d NOOP") == ["* 1 EXPUNGE", "d OK NOOP completed"]
        await self.deliver_many(1)
        assert await self.told(talk) == ["* 2 EXISTS", "* 2 RECENT"]

    async def test_none_is_silence(self):
        await self.deliver_many(1)
        talk = await self.logged_in("INBOX")
        assert await talk.say("a NOTIFY NONE") == ["a OK NOTIFY completed"]
        await self.deliver_many(1)
        assert await self.silent(talk)
        assert await talk.say("b NOOP") == ["b OK NOOP completed"]
        # What the client itself removes it is told of, as the result of its command.
        await talk.say("c STORE 1 +FLAGS.SILENT (\\Deleted)")
        assert "* 1 EXPUNGE" in await talk.say("d EXPUNGE")

    async def test_a_set_without_the_selected_mailbox_is_silence_about_it(self):
        talk, _ = await self.notified("(personal (MessageNew MessageExpunge))", "INBOX")
        await self.deliver_many(1)
        assert await self.silent(talk)
        # Whatever has piled up is told at the next NOTIFY (§3.1).
        lines = await talk.say("b NOTIFY SET (selected (MessageNew MessageExpunge))")
        assert lines == ["* 1 EXISTS", "* 1 RECENT", "b OK NOTIFY completed"]

    async def test_idle_tells_the_same(self):
        talk, _ = await self.notified("(personal (MessageNew MessageExpunge))", "INBOX")
        assert await talk.say("a IDLE") == ["+ idling"]
        await self.deliver_many(1)
        await self.deliver(b"x", mailbox="Sent")
        assert (await self.told(talk))[0].startswith("* STATUS Sent (MESSAGES 1 UIDNEXT 2 UIDVALIDITY ")
        assert await talk.say("DONE") == ["a OK IDLE completed"]

    # Other mailboxes

    async def test_messages_of_other_mailboxes(self):
        talk, _ = await self.notified("(personal (MessageNew MessageExpunge FlagChange))", "INBOX")
        for _ in range(3):
            await self.deliver(b"x", mailbox="Sent")
        lines = await self.told(talk)
        assert lines[-1].startswith("* STATUS Sent (MESSAGES 3 UIDNEXT 4 UIDVALIDITY ")
        other = await self.logged_in("Sent")
        await other.say("a STORE 1 +FLAGS.SILENT (\\Seen)")
        assert (await self.told(talk))[0].endswith(" UNSEEN 2)")
        await talk.say("b ENABLE CONDSTORE")
        await other.say("c STORE 1 +FLAGS.SILENT (\\Deleted)")
        assert " HIGHESTMODSEQ " in (await self.told(talk))[0]
        await other.say("d EXPUNGE")
        assert (await self.told(talk))[0].startswith("* STATUS Sent (MESSAGES 2 ")

    async def test_where_the_mailboxes_stand(self):
        await self.deliver(b"x", mailbox="Sent")
        _, lines = await self.notified(
            "STATUS (selected NONE) (mailboxes (Sent nowhere INBOX) (MessageNew MessageExpunge FlagChange))",
            "INBOX",
        )
        assert len(lines) == 1
        assert lines[0].startswith("* STATUS Sent (MESSAGES 1 UIDNEXT 2 UIDVALIDITY ")
        assert " HIGHESTMODSEQ " in lines[0]

    async def test_only_what_was_asked_for(self):
        talk = await self.logged_in()
        await talk.say("a CREATE Lists/one")
        await talk.say("b CREATE Listserv")
        await talk.say("c NOTIFY SET (subtree Lists (MessageNew MessageExpunge)) (subscribed (MailboxName))")
        await self.deliver(b"x", mailbox="Listserv")
        await self.deliver(b"x")
        await self.deliver(b"x", mailbox="Lists/one")
        assert [line.split()[2] for line in await self.told(talk)] == ["Lists/one"]

    async def test_names(self):
        talk, _ = await self.notified("(personal (MailboxName))")
        other = await self.logged_in()
        await other.say("a CREATE New/one")
        assert await self.told(talk) == [
            '* LIST (\\NonExistent \\Noselect \\HasChildren) "/" New',
            '* LIST (\\HasNoChildren) "/" New/one',
        ]
        await other.say("b CREATE New")
        await self.told(talk)
        await other.say("c RENAME New Old")
        assert await self.told(talk) == ['* LIST (\\HasChildren) "/" Old ("OLDNAME" (New))']
        await other.say("d DELETE Old/one")
        assert await self.told(talk) == [
            '* LIST (\\HasNoChildren) "/" Old',
            '* LIST (\\NonExistent \\Noselect \\HasNoChildren) "/" Old/one',
        ]
        # Not of what the client does itself.
        await talk.say("e CREATE Mine")
        await talk.say("f RENAME Mine Mine2")
        await talk.say("g DELETE Mine2")
        assert await self.silent(talk)

    async def test_subscriptions(self):
        talk, _ = await self.notified(
            "(personal (SubscriptionChange)) (subscribed (MessageNew MessageExpunge))"
        )
        other = await self.logged_in()
        await other.say("a UNSUBSCRIBE Sent")
        assert await self.told(talk) == ['* LIST (\\HasNoChildren \\Sent) "/" Sent']
        await self.deliver(b"x", mailbox="Sent")
        assert await self.silent(talk)
        await other.say("b SUBSCRIBE Sent")
        assert await self.told(talk) == ['* LIST (\\HasNoChildren \\Sent \\Subscribed) "/" Sent']
        await self.deliver(b"x", mailbox="Sent")
        assert (await self.told(talk))[0].startswith("* STATUS Sent (MESSAGES 2")

    async def test_annotations(self):
        talk, _ = await self.notified("(personal (MailboxMetadataChange ServerMetadataChange))")
        other = await self.logged_in()
        await other.say('a SETMETADATA Sent (/shared/comment "x" /private/comment "y")')
        assert await self.told(talk) == ["* METADATA Sent /shared/comment /private/comment"]
        await other.say('b SETMETADATA "" (/private/vendor/acme/x "1")')
        assert await self.told(talk) == ['* METADATA "" /private/vendor/acme/x']
        await talk.say("c SETMETADATA Sent (/shared/comment NIL)")
        assert await self.silent(talk)

    # What others share

    async def test_mailboxes_of_others(self):
        bob = await self.logged_in(user="bob")
        for name in ("Open", "Seen", "Closed"):
            await bob.say(f"a CREATE {name}")
        await bob.say("b SETACL Open alice lrk")
        await bob.say("c SETACL Seen alice l")
        talk, lines = await self.notified(
            '(subtree "Other Users" (MessageNew MessageExpunge MailboxName MailboxMetadataChange))'
        )
        assert lines == [f'* LIST (\\NoAccess \\Noselect) "/" "Other Users/{BOB}/Seen"']
        await self.deliver(b"x", account=BOB, mailbox="Closed")
        await self.deliver(b"x", account=BOB, mailbox="Seen")
        await self.deliver(b"x", account=BOB)
        await bob.say('d SETMETADATA Open (/private/comment "mine")')
        await bob.say("e CREATE Closed/below")
        await bob.say("f RENAME Closed/below Closed/Sesame")
        await bob.say("g DELETE Closed/Sesame")
        assert await self.silent(talk)
        await self.deliver(b"x", account=BOB, mailbox="Open")
        lines = await self.told(talk)
        assert len(lines) == 1 and lines[0].startswith(f'* STATUS "Other Users/{BOB}/Open" (MESSAGES 1')
        await bob.say("h CREATE Open/below")
        assert await self.told(talk) == [
            f'* LIST (\\HasChildren) "/" "Other Users/{BOB}/Open"',
            f'* LIST (\\HasNoChildren) "/" "Other Users/{BOB}/Open/below"',
        ]
        await bob.say("i DELETE Open/below")
        assert (await self.told(talk))[-1] == (
            f'* LIST (\\NonExistent \\Noselect \\HasNoChildren) "/" "Other Users/{BOB}/Open/below"'
        )

    async def test_what_is_shared_and_shared_no_more(self):
        talk, _ = await self.notified('(subtree "Other Users" (MessageNew MessageExpunge MailboxName))')
        bob = await self.logged_in(user="bob")
        await bob.say("a SETACL INBOX alice lr")
        assert (await self.told(talk))[-1] == f'* LIST (\\HasNoChildren) "/" "Other Users/{BOB}/INBOX"'
        await self.deliver(b"x", account=BOB)
        assert (await self.told(talk))[0].startswith(f'* STATUS "Other Users/{BOB}/INBOX" (MESSAGES 1 ')
        await bob.say("b DELETEACL INBOX alice")
        assert (await self.told(talk))[-1] == (
            f'* LIST (\\NonExistent \\Noselect \\HasNoChildren) "/" "Other Users/{BOB}/INBOX"'
        )
        await self.deliver(b"x", account=BOB)
        assert await self.silent(talk)

    # Too much, and the end

    async def test_a_client_that_does_not_read_costs_nothing(self):
        talk, _ = await self.notified("(personal (MessageNew MessageExpunge MailboxName))")
        talk.transport.producer.pauseProducing()
        for _ in range(20):
            await self.deliver(b"x", mailbox="Sent")
        assert await self.silent(talk)
        talk.transport.producer.resumeProducing()
        lines = await self.told(talk)
        assert lines[-1].startswith("* STATUS Sent (MESSAGES 20 ") and len(lines) <= 2

    async def test_too_much_ends_the_notifications(self):
        self.patch(notify, "MAX_PENDING", 3)
        talk, _ = await self.notified("(personal (MessageNew MessageExpunge))", "INBOX")
        talk.transport.producer.pauseProducing()
        for mailbox in ("Sent", "Trash", "Junk", "Drafts", "Archive"):
            await self.deliver(b"x", mailbox=mailbox)
        talk.transport.producer.resumeProducing()
        lines = await self.told(talk)
        assert lines[-1].startswith("* OK [NOTIFICATIONOVERFLOW] ")
        await self.deliver(b"x", mailbox="Sent")
        assert await self.silent(talk)

    async def test_nothing_is_watched_after_the_end(self):
        talk, _ = await self.notified("(personal (MessageNew MessageExpunge))")
        account = await self.store.account(ALICE)
        assert account._watchers
        await talk.say("a NOTIFY NONE")
        assert not account._watchers
        await talk.say("b NOTIFY SET (personal (MailboxName))")
        await talk.hang_up()
        assert not account._watchers
