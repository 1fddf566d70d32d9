"""What a user sees of others' mailboxes: every right by itself, and nothing of what they may not know of."""

from dataclasses import replace

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from viewpoint_case import ALICE, BOB, CAROL, NOBODY, WORK, ViewpointCase

from twisted_mta.store.errors import (
    BadMailboxName,
    BadSpecialUse,
    CannotDo,
    MailboxExists,
    NoPermission,
    NoSuchMailbox,
    StorageFault,
    StoreError,
)
from twisted_mta.store.rights import ALL
from twisted_mta.store.store import MessageStore


class OwnTests(ViewpointCase):
    async def test_ones_own_mailboxes_are_as_the_account_has_them(self):
        assert await self.alice.list_mailboxes() == await self.account.list_mailboxes()
        await self.alice.create("a/b", frozenset({"\\Archive"}))
        await self.alice.rename("a/b", "a/c")
        await self.alice.subscribe("a/c")
        listed = {info.name: info for info in await self.alice.list_mailboxes()}
        assert listed["a/c"].special_uses == {"\\Archive"} and listed["a/c"].subscribed
        assert listed["a/c"].rights == ALL and listed["a/c"].own
        assert not listed["a"].selectable
        assert await self.alice.rights("inbox") == ALL
        assert (await self.alice.status("Work")).messages == 1
        place = await self.alice.require("Work", "x")
        assert (place.account, place.name, place.own) == (self.account, "Work", True)
        await self.alice.delete("a/c")
        assert await self.outcome(self.alice.status("a/c")) is NoSuchMailbox

    async def test_the_prefix_is_nobodys_own(self):
        await self.account.create("Other Users/x/y")
        assert "Other Users/x/y" not in [info.name for info in await self.alice.list_mailboxes()]
        for name in ("Other Users", "Other Users/", "Other Users/x", f"Other Users/{ALICE}/INBOX"):
            assert await self.outcome(self.alice.open(name)) in (NoSuchMailbox, BadMailboxName), name
            assert await self.outcome(self.alice.create(name)) in (NoPermission, BadMailboxName), name

    async def test_a_name_that_cannot_be_is_refused(self):
        for name in ("", f"Other Users/{ALICE}/..", f"Other Users/{ALICE}/a//b", f"Other Users/{ALICE}/\x00"):
            assert await self.outcome(self.bob.open(name)) is BadMailboxName, name
        for owner in ("../x", "", "..", "/", "a" * 5000):
            found = await self.outcome(self.bob.open(f"Other Users/{owner}/INBOX"))
            assert found in (NoSuchMailbox, BadMailboxName), owner
        assert sorted(each.name for each in (self.root / "mail").iterdir() if each.is_dir()) == [
            "a.test",
            "b.test",
        ]


class ListTests(ViewpointCase):
    async def test_shared_mailboxes_stand_below_the_other_users(self):
        await self.alice.create("Work/deep/er")
        await self.grant("lr", mailbox="Work/deep/er")
        await self.grant("r", mailbox="INBOX")  # without l: not in lists
        listed = [info for info in await self.bob.list_mailboxes() if not info.own]
        assert [(info.name, info.selectable) for info in listed] == [
            ("Other Users", False),
            (f"Other Users/{ALICE}", False),
            (WORK, False),
            (f"{WORK}/deep", False),
            (f"{WORK}/deep/er", True),
        ]
        assert listed[-1].rights == frozenset("lr")
        assert listed[0].rights == frozenset()

    async def test_a_special_use_is_the_owners(self):
        await self.grant("lr", mailbox="Sent")
        listed = {info.name: info for info in await self.bob.list_mailboxes()}
        assert listed[f"Other Users/{ALICE}/Sent"].special_uses == frozenset()
        assert listed["Sent"].special_uses == {"\\Sent"}
        own = {info.name: info for info in await self.alice.list_mailboxes()}["Sent"]
        shared = listed[f"Other Users/{ALICE}/Sent"]
        assert replace(shared, name="", rights=ALL, own=True) == replace(
            own, name="", special_uses=frozenset(), subscribed=False
        )

    async def test_inbox_in_any_case(self):
        await self.grant("lr", mailbox="INBOX")
        assert f"Other Users/{ALICE}/INBOX" in await self.names(self.bob)
        assert (await self.bob.status(f"Other Users/{ALICE}/inbox")).messages == 0

    async def test_a_grant_for_a_mailbox_that_is_gone_lists_nothing(self):
        await self.grant("lr")
        await self.account.delete("Work")
        assert await self.names(self.bob) == []
        assert await self.outcome(self.bob.open(WORK)) is NoSuchMailbox
        assert await self.outcome(self.bob.require(WORK, "x")) is NoSuchMailbox

    async def test_an_account_out_of_order_does_not_stand_in_the_way(self):
        await self.grant("lr")
        await self.store.stop()
        self.maildir().rename(self.home / "elsewhere")
        self.store = MessageStore(self.root / "mail", reactor=reactor, hostname="mx.a.test")
        await self.store.start()
        bob = await self.store.viewpoint(BOB)
        assert "INBOX" in [info.name for info in await bob.list_mailboxes()]
        assert await self.names(bob) == []
        assert await self.outcome(bob.status(WORK)) is StorageFault

    async def test_subscriptions_are_the_users_own(self):
        await self.grant("l")
        await self.bob.subscribe(WORK)
        assert WORK in await self.bob.subscriptions()
        assert {i.name: i for i in await self.bob.list_mailboxes()}[WORK].subscribed
        assert WORK not in await self.alice.subscriptions()
        await self.grant("")
        assert WORK in await self.bob.subscriptions()
        assert await self.outcome(self.bob.subscribe(WORK)) is NoSuchMailbox
        await self.bob.unsubscribe(WORK)
        assert WORK not in await self.bob.subscriptions()
        assert await self.outcome(self.bob.unsubscribe(WORK)) is NoSuchMailbox
        assert await self.outcome(self.bob.unsubscribe("Other Users")) is NoSuchMailbox


class RightsTests(ViewpointCase):
    """Each operation with every right but those it needs, and with just these (RFC 4314 §4)."""

    def operations(self):
        return {
            "open": ("r", lambda: self.bob.open(WORK)),
            "status": ("r", lambda: self.bob.status(WORK)),
            "subscribe": ("l", lambda: self.bob.subscribe(WORK)),
            "create": ("k", lambda: self.bob.create(f"{WORK}/new")),
            "append": ("i", lambda: self.bob.require(WORK, "i")),
            "copy": ("i", lambda: self.copy_into(WORK)),
            "acl": ("a", lambda: self.bob.acl(WORK)),
            "set_acl": ("a", lambda: self.bob.set_acl(WORK, CAROL, "r", "add")),
            "delete_acl": ("a", lambda: self.bob.delete_acl(WORK, CAROL)),
            "list_rights": ("a", lambda: self.bob.list_rights(WORK, CAROL)),
            "quota_roots": ("r", lambda: self.bob.quota_roots(WORK)),
            "move away": ("rte", lambda: self.copy_into("INBOX", move=True, source=WORK)),
            "annotations": ("lr", lambda: self.bob.annotations(WORK, ["/shared/comment"])),
            "set private": ("li", lambda: self.bob.set_annotations(WORK, {"/private/comment": b"x"})),
            "set shared": ("lw", lambda: self.bob.set_annotations(WORK, {"/shared/comment": b"x"})),
            "rename": ("kx", lambda: self.bob.rename(f"{WORK}/b", f"{WORK}/c")),
            "delete": ("x", lambda: self.bob.delete(WORK)),
        }

    async def test_what_each_operation_needs(self):
        for what, (needed, call) in self.operations().items():
            for missing in needed:
                for rights in (ALL - {missing}, {"l"} - {missing}):
                    await self.everywhere(rights)
                    with_l = "l" in rights
                    expected = NoPermission if with_l or what == "create" else NoSuchMailbox
                    if what in ("annotations", "set private") and rights == ALL - {missing} and with_l:
                        continue  # another right does as well
                    if what == "rename" and missing == "k":
                        expected = NoPermission
                    assert await self.outcome(call()) is expected, (what, rights)
            await self.everywhere(needed)
            assert await self.outcome(call()) is None, what

    async def everywhere(self, rights):
        for mailbox in ("Work", "Work/b"):  # an operation before may have taken it away
            await self.outcome(self.alice.create(mailbox))
            await self.grant(rights, mailbox=mailbox)

    async def test_which_rights_let_a_user_ask_for_them(self):
        for right in "lrswipkxtea":
            await self.grant(right)
            expected = None if right in "lrikxa" else NoSuchMailbox
            assert await self.outcome(self.bob.rights(WORK)) is expected, right
            if expected is None:
                assert await self.bob.rights(WORK) == frozenset(right)

    async def test_rights_count_at_once_for_an_open_mailbox(self):
        await self.grant("lrs")
        opened = await self.bob.open(WORK)
        assert opened.rights == self.bob.rights_on(opened.mailbox) == frozenset("lrs")
        await self.grant("s", to="-" + BOB)
        assert self.bob.rights_on(opened.mailbox) == frozenset("lr")
        assert self.alice.rights_on(opened.mailbox) == ALL
        await opened.mailbox.close()

    async def test_the_example_of_the_rfc_for_flags_of_copies(self):
        flags = [{"\\Draft", "\\Deleted"}, {"\\Answered"}, {"$Forwarded", "\\Seen"}]
        for number, each in enumerate(flags, 10):
            await self.put(BOB, "Sent", number, flags=frozenset(each))
        for rights, expected in (
            ("rwis", [{"\\Draft"}, {"\\Answered"}, {"$Forwarded", "\\Seen"}]),
            ("rsti", [{"\\Deleted"}, set(), {"\\Seen"}]),
        ):
            await self.alice.create(rights)
            await self.grant(rights, mailbox=rights)
            await self.copy_into(f"Other Users/{ALICE}/{rights}", source="Sent")
            assert await self.flags(self.alice, rights) == expected
            place = await self.bob.require(f"Other Users/{ALICE}/{rights}", "i")
            assert [place.storable(frozenset(each)) for each in flags] == expected

    async def test_flags_of_copies_within_one_others_account(self):
        await self.alice.create("To")
        await self.put(ALICE, "Work", 5, flags=frozenset({"\\Seen", "\\Flagged", "kept"}))
        await self.grant("lr")
        await self.grant("lis", mailbox="To")
        result = await self.copy_into(f"Other Users/{ALICE}/To", source=WORK)
        assert len(result.target_uids) == 2
        assert await self.flags(self.alice, "To") == [set(), {"\\Seen"}]
        assert sorted((await self.numbers("To")).values()) == [1, 5]

    async def test_what_may_not_be_made_anywhere(self):
        await self.grant("lrkx")
        for name in (f"Other Users/{ALICE}/top", f"Other Users/{NOBODY}/x/y", "Other Users/x"):
            assert await self.outcome(self.bob.create(name)) is NoPermission
            assert await self.outcome(self.bob.rename(WORK, name)) in (NoPermission, CannotDo)
        assert await self.outcome(self.bob.create(WORK)) in (MailboxExists, NoPermission)
        assert await self.outcome(self.bob.create(f"{WORK}/s", frozenset({"\\Sent"}))) is BadSpecialUse
        assert await self.outcome(self.bob.rename(WORK, "Mine")) is CannotDo
        assert await self.outcome(self.bob.rename("Sent", f"{WORK}/Sent")) is CannotDo
        assert await self.outcome(self.bob.rename("none", f"{WORK}/Sent")) is NoSuchMailbox


class UnknownTests(ViewpointCase):
    """Acceptance 21: nothing tells a mailbox that is there from one that is not."""

    def probes(self, name):
        bob = self.bob
        return {
            "open": lambda: bob.open(name),
            "status": lambda: bob.status(name),
            "require": lambda: bob.require(name, "i"),
            "subscribe": lambda: bob.subscribe(name),
            "create": lambda: bob.create(name),
            "create below": lambda: bob.create(name + "/x"),
            "delete": lambda: bob.delete(name),
            "rename": lambda: bob.rename(name, f"Other Users/{ALICE}/new"),
            "rename to mine": lambda: bob.rename(name, "new"),
            "rename mine": lambda: bob.rename("Sent", name),
            "rights": lambda: bob.rights(name),
            "acl": lambda: bob.acl(name),
            "set_acl": lambda: bob.set_acl(name, BOB, "lr"),
            "delete_acl": lambda: bob.delete_acl(name, BOB),
            "list_rights": lambda: bob.list_rights(name, BOB),
            "annotations": lambda: bob.annotations(name, ["/shared/comment"]),
            "set_annotations": lambda: bob.set_annotations(name, {"/private/comment": b"x"}),
            "quota_roots": lambda: bob.quota_roots(name),
            "copy": lambda: self.copy_into(name),
            "move": lambda: self.copy_into(name, move=True),
        }

    async def said(self, call):
        try:
            return repr(await call())
        except StoreError as error:
            return type(error), str(error)

    async def test_a_hidden_mailbox_is_answered_like_none(self):
        await self.grant("", mailbox="Work")
        await self.grant("lr", to=CAROL)  # others may see it
        await self.alice.subscribe("Work")
        await self.alice.set_annotations("Work", {"/shared/comment": b"secret"})
        await self.compare(WORK)

    async def test_rights_that_say_nothing_of_it_change_nothing(self):
        await self.grant("swpte")
        await self.compare(WORK)

    async def test_a_right_that_was_taken_away(self):
        await self.grant("lr", to="anyone")
        await self.grant("lr", to="-" + BOB)
        await self.compare(WORK)

    async def test_an_account_without_anything_shared(self):
        await self.compare(f"Other Users/{CAROL}/INBOX")

    async def compare(self, hidden):
        listed = await self.bob.list_mailboxes()
        absent = {
            what: await self.said(call)
            for what, call in self.probes(f"Other Users/{NOBODY}/no such mailbox").items()
        }
        present = {what: await self.said(call) for what, call in self.probes(hidden).items()}
        assert present == absent
        assert all(said[0] in (NoSuchMailbox, NoPermission, CannotDo) for said in absent.values())
        assert await self.bob.list_mailboxes() == listed
        assert not any(info.name.startswith("Other Users") for info in listed)
        assert not (self.root / "mail" / "a.test" / "nobody").exists()

    async def test_nothing_of_the_account_is_looked_at(self):
        visits = []
        visit, self.account.visit = self.account.visit, lambda work: visits.append(work) or visit(work)
        for call in self.probes(WORK).values():
            await self.said(call)
        assert visits == []
        await self.grant("l")
        await self.said(self.probes(WORK)["open"])
        assert visits

    async def test_the_quota_of_others(self):
        for root in (ALICE, NOBODY, ""):
            error = await self.refused(NoSuchMailbox, self.bob.quota(root))
            assert error.text == "No such quota root"
        await self.grant("l")
        await self.refused(NoSuchMailbox, self.bob.quota(ALICE))
        await self.grant("r")
        assert (await self.bob.quota(ALICE)).usage.messages == 1


class TogetherTests(ViewpointCase):
    async def test_two_users_share_one_mailbox_in_memory(self):
        await self.grant("lrswite")
        mine, theirs = await self.alice.open("Work"), await self.bob.open(WORK)
        assert mine.mailbox is theirs.mailbox and not theirs.own and mine.own
        changes = []
        mine.mailbox.watch(changes.append)
        await theirs.mailbox.set_flags([1], "add", frozenset({"\\Seen"}))
        assert [change.flags for change in changes] == [(1,)]
        await Deferred.fromCoroutine(mine.mailbox.close())
        await theirs.mailbox.close()
