"""Who may do what with a mailbox: how grants add up, where they go, what they survive."""

import os
import sqlite3

import pytest
from twisted.internet.defer import Deferred, gatherResults
from viewpoint_case import ALICE, BOB, CAROL, WORK, ViewpointCase

from twisted_mta.store.errors import CannotDo, MailboxExists, NoSuchMailbox
from twisted_mta.store.rights import (
    ALL,
    MAX_IDENTIFIERS,
    canonical_identifier,
    identifiers,
    rights_of,
    storable,
)
from twisted_mta.store.sharing import forget_account


def acl(**grants):
    return {identifier.replace("_", "-"): frozenset(rights) for identifier, rights in grants.items()}


@pytest.mark.parametrize(
    ("grants", "expected"),
    [
        ({}, ""),
        ({"anyone": "lr"}, "lr"),
        ({"bob@a.test": "lr", "anyone": "li"}, "lri"),
        ({"bob": "lr"}, "lr"),
        ({"carol@b.test": "lr", "carol": "lr", "alice": "lr"}, ""),
        ({"anyone": "lrs", "-bob@a.test": "r"}, "ls"),
        ({"bob@a.test": "lrs", "-anyone": "ls"}, "r"),
        ({"bob@a.test": "lr", "-bob": "lr", "-carol@b.test": "r"}, ""),
        ({"-bob@a.test": "lr"}, ""),
    ],
)
def test_rights_add_up_and_are_taken_away(grants, expected):
    assert rights_of(BOB, ALICE, {who: frozenset(given) for who, given in grants.items()}) == frozenset(
        expected
    )


def test_the_owner_has_every_right_whatever_is_said():
    assert rights_of(ALICE, ALICE, acl(anyone="l", _anyone="lra")) == ALL


def test_a_local_part_means_somebody_of_the_owners_domain_only():
    assert "carol" not in identifiers(CAROL, ALICE)
    assert "carol" in identifiers(CAROL, "dave@b.test")


def test_identifiers_have_one_form():
    assert canonical_identifier("Bob@A.test") == BOB
    assert canonical_identifier("-Anyone") == "-anyone"
    for text in ("", "-", "a\r\nb", "x" * 256, "\x00"):
        with pytest.raises(CannotDo):
            canonical_identifier(text)


def test_which_flags_may_be_set():
    flags = frozenset({"\\Seen", "\\deleted", "\\Flagged", "$x"})
    assert storable(flags, ALL) == flags
    assert storable(flags, frozenset("lrs")) == {"\\Seen"}
    assert storable(flags, frozenset("t")) == {"\\deleted"}
    assert storable(flags, frozenset("w")) == {"\\Flagged", "$x"}


class ListTests(ViewpointCase):
    async def test_the_list_begins_with_the_owner(self):
        assert await self.alice.acl("Work") == {ALICE: ALL}
        await self.grant("lr")
        await self.alice.set_acl("Work", BOB, "iw", "add")
        await self.alice.set_acl("Work", BOB.upper(), "rw", "remove")
        await self.grant("lr", to="anyone")
        await self.grant("r", to="-" + CAROL)
        assert await self.alice.acl("Work") == {
            ALICE: ALL,
            BOB: frozenset("li"),
            "anyone": frozenset("lr"),
            "-" + CAROL: frozenset("r"),
        }
        await self.alice.delete_acl("Work", BOB)
        assert BOB not in await self.alice.acl("Work")
        assert await self.bob.rights(WORK) == frozenset("lr")
        assert await self.carol.rights(WORK) == frozenset("l")

    async def test_a_right_that_is_none_changes_nothing(self):
        await self.grant("lr")
        for rights in ("lrq", "L", "c", "l r"):
            await self.refused(CannotDo, self.alice.set_acl("Work", BOB, rights))
        assert await self.bob.rights(WORK) == frozenset("lr")

    async def test_nobody_can_lock_the_owner_out(self):
        await self.grant("lra")
        for viewpoint, name in ((self.alice, "Work"), (self.bob, WORK)):
            for who, rights in ((ALICE, "lr"), (ALICE, ""), ("alice", "x"), ("-" + ALICE, "a")):
                await self.refused(CannotDo, viewpoint.set_acl(name, who, rights))
            await self.refused(CannotDo, viewpoint.set_acl(name, ALICE, "l", "remove"))
            await viewpoint.set_acl(name, ALICE, "l", "add")
            await viewpoint.set_acl(name, ALICE, ALL)
        await self.bob.set_acl(WORK, "-anyone", ALL)
        assert await self.alice.rights("Work") == ALL
        assert await self.outcome(self.bob.acl(WORK)) is NoSuchMailbox
        await self.alice.delete_acl("Work", "-anyone")

    async def test_what_may_be_granted(self):
        assert await self.alice.list_rights("Work", ALICE) == (ALL, frozenset())
        assert await self.alice.list_rights("Work", "Nobody@x") == (frozenset(), ALL)
        assert await self.alice.list_rights("Work", "-" + ALICE) == (frozenset(), ALL)

    async def test_a_list_has_an_end(self):
        for number in range(MAX_IDENTIFIERS):
            await self.alice.set_acl("Work", f"u{number}", "l")
        await self.refused(CannotDo, self.alice.set_acl("Work", "one more", "l"))
        await self.alice.set_acl("Work", "u0", "lr")
        await self.alice.delete_acl("Work", "u1")
        await self.alice.set_acl("Work", "one more", "l")

    async def test_changes_at_the_same_time_all_count(self):
        changes = [Deferred.fromCoroutine(self.alice.set_acl("Work", BOB, right, "add")) for right in "lrswi"]
        await gatherResults(changes)
        assert await self.bob.rights(WORK) == frozenset("lrswi")


class FollowTests(ViewpointCase):
    async def granted(self, *names):
        found = {}
        for name in names:
            found[name] = "".join(sorted((await self.alice.acl(name)).get(BOB, "")))
        return found

    async def test_a_new_mailbox_is_shared_as_the_one_above(self):
        await self.grant("lrk")
        await self.alice.create("Work/a/b")
        await self.bob.create(f"{WORK}/c")
        await self.alice.create("Other")
        assert await self.granted("Work/a/b", "Work/c", "Other") == {
            "Work/a/b": "klr",
            "Work/c": "klr",
            "Other": "",
        }
        assert (await self.alice.acl("Work/c"))[ALICE] == ALL

    async def test_grants_go_with_a_renamed_mailbox_and_its_children(self):
        await self.alice.create("Work/a")
        await self.grant("lr")
        await self.grant("lri", mailbox="Work/a")
        await self.alice.rename("Work", "x/y")
        assert await self.granted("x/y", "x/y/a") == {"x/y": "lr", "x/y/a": "ilr"}
        assert await self.names(self.bob) == [
            "Other Users",
            f"Other Users/{ALICE}",
            f"Other Users/{ALICE}/x",
            f"Other Users/{ALICE}/x/y",
            f"Other Users/{ALICE}/x/y/a",
        ]
        await self.alice.create("Work")
        assert await self.granted("Work") == {"Work": ""}

    async def test_by_somebody_who_may(self):
        await self.alice.create("To")
        await self.grant("lrx")
        await self.grant("k", mailbox="To")
        await self.bob.rename(WORK, f"Other Users/{ALICE}/To/Work")
        assert await self.granted("To/Work") == {"To/Work": "lrx"}
        await self.bob.delete(f"Other Users/{ALICE}/To/Work")
        assert await self.outcome(self.alice.status("To/Work")) is NoSuchMailbox

    async def test_a_rename_that_fails_changes_nothing(self):
        await self.grant("lr")
        await self.grant("l", mailbox="Sent")
        await self.refused(MailboxExists, self.alice.rename("Work", "Sent"))
        await self.refused(MailboxExists, self.alice.create("Sent"))
        assert await self.granted("Work", "Sent") == {"Work": "lr", "Sent": "l"}

    async def test_of_inbox_only_the_messages_go(self):
        await self.put(ALICE, "INBOX", 8)
        await self.grant("lr", mailbox="INBOX")
        await self.grant("lri")
        await self.alice.rename("INBOX", "Work/old")
        assert await self.granted("INBOX", "Work/old") == {"INBOX": "lr", "Work/old": "ilr"}

    async def test_they_go_with_a_deleted_mailbox(self):
        await self.grant("lr")
        await self.alice.delete("Work")
        await self.alice.create("Work")
        assert await self.granted("Work") == {"Work": ""}

    async def test_what_another_program_removed_leaves_nothing_to_a_new_one(self):
        await self.grant("lr")
        await self.account.delete("Work")  # as another program would: without its grants
        await self.alice.create("Work")
        assert await self.granted("Work") == {"Work": ""}

    async def test_a_removed_account_leaves_nothing_to_the_next_of_its_name(self):
        await self.grant("lr")
        await self.grant("lr", to="bob")
        await self.grant("r", to="-" + BOB)
        await self.grant("lr", to=CAROL)
        await self.bob.set_acl("INBOX", ALICE, "lr")
        forget_account(self.root / "mail", BOB)  # by `mta account remove`, while the server runs
        assert await self.names(self.bob) == []
        assert await self.names(self.alice) == []
        assert list(await self.alice.acl("Work")) == [ALICE, CAROL]


class LastingTests(ViewpointCase):
    async def seen_by_bob(self):
        return await self.names(await self.store.viewpoint(BOB))

    async def test_grants_survive_a_restart_and_the_loss_of_an_index(self):
        await self.grant("lr")
        seen = await self.seen_by_bob()
        await self.store.stop()
        for name in ("index.sqlite", "index.sqlite-wal"):
            (self.home / name).unlink(missing_ok=True)
        await self.start_store()
        assert await self.seen_by_bob() == seen and WORK in seen

    async def test_a_change_is_on_disk_when_it_is_answered(self):
        await self.grant("lr")
        rows = sqlite3.connect(self.root / "mail" / "sharing.sqlite").execute(
            "SELECT owner, mailbox, identifier, rights FROM grants"
        )
        assert rows.fetchall() == [(ALICE, "Work", BOB, "lr")]

    async def test_a_broken_database_shares_nothing(self):
        await self.grant("lr")
        await self.store.stop()
        path = self.root / "mail" / "sharing.sqlite"
        path.write_bytes(b"junk" * 1000)
        for rest in ("-wal", "-shm"):
            path.with_name(path.name + rest).unlink(missing_ok=True)
        await self.start_store()
        self.alice = await self.store.viewpoint(ALICE)
        assert await self.seen_by_bob() == []
        assert path.with_name("sharing.sqlite.corrupt").exists()
        await self.grant("lr")
        assert WORK in await self.seen_by_bob()
        forget_account(self.root / "mail", BOB)
        assert await self.seen_by_bob() == []
        self.flushLoggedErrors()

    async def test_nothing_is_made_by_questions(self):
        await self.bob.list_mailboxes()
        await self.outcome(self.bob.open(WORK))
        assert "sharing.sqlite" not in os.listdir(self.root / "mail")
