"""Mailboxes by name over IMAP: what LIST chooses, thousands of them, trouble under way, quota, bad input."""

import os
import re
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st
from imap_house import ALICE, ImapCase

from twisted_mta.access.imap4.listing import select_names
from twisted_mta.protocol.imap4.commands.listing import List
from twisted_mta.store.account import MailboxInfo
from twisted_mta.store.errors import NoSuchMailbox, StorageFault
from twisted_mta.store.quota import Limits

# What LIST chooses, against the rules of RFC 5258 §3.3 and §3.5 word for word

SENT, NO_USE = frozenset({"\\Sent"}), frozenset()
NAMES = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map("/".join)


def above(name):
    levels = name.split("/")
    return ["/".join(levels[:depth]) for depth in range(1, len(levels))]


def pattern_matches(pattern, name):
    regex = "".join({"*": ".*", "%": "[^/]*"}.get(each, re.escape(each)) for each in pattern)
    return re.fullmatch(regex, name) is not None


def chosen(command, exist, uses, subscribed):
    """(name, selected, below) as the RFC has it."""
    levels = {level for name in exist for level in above(name)} - exist
    everything = exist | levels | (subscribed if "SUBSCRIBED" in command.selection else set())
    criteria = command.selection & {"SUBSCRIBED", "SPECIAL-USE"}

    def meets(name):
        return ("SUBSCRIBED" not in criteria or name in subscribed) and (
            "SPECIAL-USE" not in criteria or name in uses
        )

    def matches(name, patterns=command.patterns):
        return any(pattern_matches(pattern, name) for pattern in patterns)

    recursive = "RECURSIVEMATCH" in command.selection
    if recursive:
        everything |= {level for name in everything if meets(name) for level in above(name)}
    found = []
    for name in sorted(everything):
        if not matches(name):
            continue
        children = (
            [child for child in everything if name in above(child) and meets(child)] if recursive else []
        )
        hidden = any(not matches(child) for child in children)
        if criteria:
            selected = meets(name)
        else:
            asked = [pattern for pattern in command.patterns if not pattern.endswith("*")]
            selected = name in exist or matches(name, asked)
        if selected or hidden:
            found.append((name, selected, bool(children)))
    return found


@given(
    st.sets(NAMES),
    st.sets(NAMES),
    st.sets(NAMES),
    st.lists(st.text("ab/*%", min_size=1, max_size=4), min_size=1, max_size=3),
    st.sampled_from(
        [
            (),
            ("SUBSCRIBED",),
            ("SPECIAL-USE", "REMOTE"),
            ("SUBSCRIBED", "RECURSIVEMATCH"),
            ("SUBSCRIBED", "SPECIAL-USE", "RECURSIVEMATCH"),
        ]
    ),
)
def test_list_chooses_what_the_rfc_says(exist, uses, subscribed, patterns, selection):
    uses &= exist
    command = List("t", "", tuple(patterns), frozenset(selection), extended=True)
    levels = {level for name in exist for level in above(name)} - exist
    infos = [MailboxInfo(name, SENT if name in uses else NO_USE, name in subscribed, True) for name in exist]
    infos += [MailboxInfo(name, NO_USE, name in subscribed, False) for name in levels]
    known = subscribed if "SUBSCRIBED" in selection else subscribed & (exist | levels)
    selecting = select_names(SimpleNamespace(enabled=set()), command, infos, set(known))
    try:
        selecting.send(None)
    except StopIteration as end:
        found = end.value
    assert [(each.name, each.selected, each.below) for each in found] == chosen(
        command, exist, uses, subscribed
    )
    for each in found:
        assert each.exists == (each.name in exist)
        assert each.children == any(each.name in above(name) for name in exist)


class MailboxTests(ImapCase):
    def make_mailboxes(self, names):
        """Before the account is used, as another program would."""
        root = self.root / "mail" / "a.test" / "alice" / "Maildir"
        for directory in ("", *(f".{name.replace('/', '.')}" for name in names)):
            for part in ("cur", "new", "tmp"):
                os.makedirs(root / directory / part)

    async def test_many_mailboxes(self):
        names = [f"m{number // 20:02}/{number:04}" for number in range(450)]
        self.make_mailboxes(names)
        talk = await self.logged_in()
        lines = await talk.say('a LIST "" m*/* RETURN (STATUS (MESSAGES) MYRIGHTS)')
        assert len(lines) == 3 * len(names) + 1
        assert [line.split()[-1] for line in lines[:-1:3]] == names
        assert lines[1] == "* STATUS m00/0000 (MESSAGES 0)"
        lines = await talk.say('b LIST "" m%')
        assert len(lines) == 24 and lines[0] == '* LIST (\\Noselect \\HasChildren) "/" m00'
        patterns = " ".join(f"%{number}*{number}*" for number in range(250))
        assert (await talk.say(f'c LIST "" ({patterns})'))[-1].startswith("c OK")

    async def test_trouble_with_one_mailbox_costs_its_lines_only(self):
        talk = await self.logged_in()
        status = talk.session.viewpoint.status

        async def faulty(name):
            if name == "Junk":
                raise NoSuchMailbox()
            if name == "Sent":
                raise StorageFault()
            return await status(name)

        talk.session.viewpoint.status = faulty
        assert await talk.say('a LIST "" (Junk Sent Trash) RETURN (STATUS (MESSAGES))') == [
            '* LIST (\\Noselect \\HasNoChildren \\Junk) "/" Junk',
            '* LIST (\\HasNoChildren \\Sent) "/" Sent',
            '* LIST (\\HasNoChildren \\Trash) "/" Trash',
            "* STATUS Trash (MESSAGES 0)",
            "a OK LIST completed",
        ]

    async def test_recent_is_what_the_session_itself_has_taken(self):
        await self.deliver_many(2)
        talk = await self.logged_in("INBOX")
        other = await self.logged_in()
        assert (await talk.say("a STATUS INBOX (RECENT)"))[0] == "* STATUS INBOX (RECENT 2)"
        assert (await other.say("a STATUS INBOX (RECENT)"))[0] == "* STATUS INBOX (RECENT 0)"

    async def test_what_an_expunge_would_free(self):
        await self.deliver_many(3)
        talk = await self.logged_in("INBOX")
        await talk.say("a STORE 1:2 +FLAGS.SILENT (\\Deleted)")
        size = len(b"Subject: number 1\r\n\r\nbody 1\r\n")
        assert (await talk.say("b STATUS INBOX (DELETED DELETED-STORAGE SIZE)"))[0] == (
            f"* STATUS INBOX (DELETED 2 DELETED-STORAGE {2 * size} SIZE {3 * size})"
        )

    async def test_a_mailbox_keeps_its_id(self):
        talk = await self.logged_in()
        created = (await talk.say("a CREATE one"))[0]
        object_id = re.search(r"\[MAILBOXID \((\S+)\)\]", created)[1]
        await talk.say("b RENAME one two")
        assert (await talk.say("c STATUS two (MAILBOXID)"))[0] == f"* STATUS two (MAILBOXID ({object_id}))"
        assert object_id not in (await talk.say("d CREATE one"))[0]

    async def test_status_of_mod_sequences_enables_them(self):
        await self.deliver_many(1)
        talk = await self.logged_in("INBOX")
        other = await self.logged_in("INBOX")
        await talk.say("a STATUS Sent (HIGHESTMODSEQ)")
        await other.say("b STORE 1 +FLAGS (\\Flagged)")
        assert "MODSEQ" in (await talk.say("c NOOP"))[0]

    async def test_quota(self):
        self.store.limits_of = lambda name: Limits(10_000, 1000) if name == ALICE else Limits()
        await self.deliver(b"\r\n" + b"x" * 1023 + b"\r\n")
        talk = await self.logged_in()
        quota = "* QUOTA alice@a.test (STORAGE 2 9 MESSAGE 1 1000)"
        assert await talk.say("a GETQUOTA alice@a.test") == [quota, "a OK GETQUOTA completed"]
        assert await talk.say("b GETQUOTAROOT INBOX") == [
            "* QUOTAROOT INBOX alice@a.test",
            quota,
            "b OK GETQUOTAROOT completed",
        ]
        # Such a mailbox need not exist.
        assert (await talk.say("c GETQUOTAROOT new/one"))[0] == "* QUOTAROOT new/one alice@a.test"
        assert (await talk.say("d GETQUOTA bob@a.test"))[0].startswith("d NO [NONEXISTENT]")
        assert (await talk.say('e SETQUOTA "" (STORAGE 1)'))[0].startswith("e BAD")
        bob = await self.logged_in(user="bob")
        assert (await bob.say("a GETQUOTAROOT INBOX"))[1] == "* QUOTA bob@a.test ()"

    async def test_annotations_have_bounds(self):
        talk = await self.logged_in()
        long = "x" * 70_000
        assert (await talk.say(f'a SETMETADATA INBOX (/private/comment "{long}")'))[0].startswith(
            "a NO [METADATA MAXSIZE 65536]"
        )
        long = f"{{70000+}}\r\n{long}"  # as a literal
        assert (await talk.say(f"a SETMETADATA INBOX (/private/comment {long})"))[0].startswith(
            "a NO [METADATA MAXSIZE 65536]"
        )
        values = " ".join(f'/private/vendor/acme/{number} "x"' for number in range(100))
        assert (await talk.say(f"b SETMETADATA INBOX ({values})"))[0].startswith("b OK")
        assert (await talk.say('c SETMETADATA INBOX (/private/comment "one more")'))[0].startswith(
            "c NO [METADATA TOOMANY]"
        )
        assert (await talk.say("d GETMETADATA INBOX /private/comment"))[0] == (
            "* METADATA INBOX (/private/comment NIL)"
        )

    async def test_a_value_may_hold_any_octet(self):
        talk = await self.logged_in()
        await talk.send(b"a SETMETADATA INBOX (/private/x ~{5+}\r\n\0\r\n\xff))\r\n")
        assert await talk.send(b"b GETMETADATA INBOX /private/x\r\n") == (
            b"* METADATA INBOX (/private/x ~{5}\r\n\0\r\n\xff))\r\nb OK GETMETADATA completed\r\n"
        )

    async def test_names_that_lead_nowhere(self):
        """Each gets a coded refusal, and there is nothing new beside the account (acceptance 20)."""
        talk = await self.logged_in()
        mail = self.root / "mail"
        before = {path for path in mail.rglob("*") if "alice" not in path.parts}
        bad = [
            *("..", "../x", "a/../b", "/etc", "a//b", "//", "&AAA-", "&2D0-", "x" * 300, "Other Users"),
            *("Other Users/", "Other Users/../x", "Other Users/bob@a.test", "Other Users/bob@a.test/../x"),
            *("Other Users/../../x/INBOX", "Other Users/nobody@a.test/INBOX", "Other Users/@/INBOX"),
            *("Other Users//INBOX", "Other Users/alice@a.test/INBOX", "a/" * 600 + "a", "x" * 4000),
        ]
        for name in bad:
            for command in (
                'CREATE "{}"',
                'DELETE "{}"',
                'RENAME Sent "{}"',
                'RENAME "{}" y',
                'SUBSCRIBE "{}"',
                'STATUS "{}" (MESSAGES)',
                'SETACL "{}" bob lr',
                'MYRIGHTS "{}"',
                'SETMETADATA "{}" (/private/comment "x")',
            ):
                answer = (await talk.say("a " + command.format(name)))[-1]
                assert re.match(r"a NO \[(CANNOT|NONEXISTENT|NOPERM)\] ", answer), (command, name, answer)
            assert (await talk.say(f'b LIST "{name}" *'))[-1].startswith("b OK")
            assert (await talk.say(f'c LIST (SUBSCRIBED) "" "{name}"'))[-1].startswith("c OK")
        assert {path for path in mail.rglob("*") if "alice" not in path.parts} == before
        assert len(await talk.say('d LIST "" *')) == 7
