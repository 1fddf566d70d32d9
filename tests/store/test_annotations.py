"""Annotations: whose they are, where they go, how many there may be (RFC 5464)."""

import pytest
from viewpoint_case import ALICE, BOB, WORK, ViewpointCase

from twisted_mta.store.annotations import MAX_ENTRIES, MAX_VALUE, canonical_entry, chosen
from twisted_mta.store.errors import (
    AnnotationTooLong,
    BadAnnotation,
    BadSpecialUse,
    NoPermission,
    NoSuchMailbox,
    TooManyAnnotations,
)
from twisted_mta.store.quota import Bounds

COMMENTS = ["/shared/comment", "/private/comment"]
EVERYTHING = ["/shared", "/private"]


def test_names_have_one_form():
    assert canonical_entry("/Shared/Comment", to_set=True) == "/shared/comment"
    assert canonical_entry("/private/vendor/x/y z!", to_set=True) == "/private/vendor/x/y z!"
    for name in ("/private", "/shared/vendor", "/shared/vendor/x"):
        assert canonical_entry(name) == name
        with pytest.raises(BadAnnotation):
            canonical_entry(name, to_set=True)


@pytest.mark.parametrize(
    "name",
    [
        *("", "/", "comment", "/other/comment", "/shared/", "/shared//x", "/shared/a*", "/shared/%"),
        *("/sharedx/a", "/shared/\xe4", "/shared/a\x00", "/shared/a\r\nb", "/shared/x/"),
        "/shared/" + "x" * 255,
    ],
)
def test_what_is_no_name(name):
    with pytest.raises(BadAnnotation):
        canonical_entry(name)


def test_what_is_asked_for():
    values = {
        entry: entry.encode() for entry in ("/private/a", "/private/a/b", "/private/a/b/c", "/private/ab")
    }
    assert list(chosen(values, ["/private/a"], 0)) == ["/private/a"]
    assert list(chosen(values, ["/private/a"], 1)) == ["/private/a", "/private/a/b"]
    assert list(chosen(values, ["/private/a"], None)) == ["/private/a", "/private/a/b", "/private/a/b/c"]
    assert list(chosen(values, ["/private/ab", "/private/a", "/private/x"], 0)) == [
        "/private/ab",
        "/private/a",
    ]
    assert list(chosen(values, ["/private"], 1)) == ["/private/a", "/private/ab"]


class AnnotationTests(ViewpointCase):
    async def test_private_ones_are_each_users(self):
        await self.grant("lr")
        await self.alice.set_annotations("Work", {"/shared/comment": b"all", "/Private/Comment": b"\x00hers"})
        await self.bob.set_annotations(WORK, {"/private/comment": b"his"})
        assert await self.alice.annotations("Work", COMMENTS) == {
            "/shared/comment": b"all",
            "/private/comment": b"\x00hers",
        }
        assert await self.bob.annotations(WORK, COMMENTS) == {
            "/shared/comment": b"all",
            "/private/comment": b"his",
        }
        await self.bob.set_annotations(WORK, {"/private/comment": None})
        assert list(await self.bob.annotations(WORK, EVERYTHING, None)) == ["/shared/comment"]
        assert list(await self.alice.annotations("Work", EVERYTHING, 1)) == COMMENTS

    async def test_they_follow_the_mailbox_and_go_with_it(self):
        await self.alice.set_annotations("Work", {"/shared/comment": b"x"})
        await self.alice.rename("Work", "a/b")
        await self.restart_store()
        self.alice = await self.store.viewpoint(ALICE)
        assert await self.alice.annotations("a/b", COMMENTS) == {"/shared/comment": b"x"}
        await self.alice.delete("a/b")
        await self.alice.create("a/b")
        assert await self.alice.annotations("a/b", COMMENTS) == {}

    async def test_inbox_keeps_them_when_its_messages_go(self):
        await self.alice.set_annotations("INBOX", {"/shared/comment": b"x"})
        await self.alice.rename("INBOX", "old")
        for name in ("INBOX", "old"):
            assert await self.alice.annotations(name, COMMENTS) == {"/shared/comment": b"x"}

    async def test_all_or_none_are_set(self):
        for wrong, kind in (
            ({"/private/x": b"x" * (MAX_VALUE + 1)}, AnnotationTooLong),
            ({"/private": b"x"}, BadAnnotation),
            ({"/private/specialuse": b"\\Nothing"}, BadSpecialUse),
            ({f"/private/{number}": b"" for number in range(MAX_ENTRIES + 1)}, TooManyAnnotations),
        ):
            await self.refused(kind, self.alice.set_annotations("Work", {"/shared/comment": b"x", **wrong}))
            assert await self.alice.annotations("Work", EVERYTHING, None) == {}

    async def test_there_is_an_end_to_them(self):
        error = await self.refused(
            AnnotationTooLong, self.alice.set_annotations("Work", {"/shared/x": b"x" * (MAX_VALUE + 1)})
        )
        assert error.maximum == MAX_VALUE
        await self.alice.set_annotations("Work", {"/shared/x": b"x" * MAX_VALUE})
        many = {f"/private/{number}": b"" for number in range(MAX_ENTRIES)}
        await self.alice.set_annotations("Work", many)
        await self.refused(TooManyAnnotations, self.alice.set_annotations("Work", {"/private/x": b""}))
        await self.alice.set_annotations("Work", {"/private/0": b"other", "/shared/y": b""})
        await self.alice.set_annotations("Work", {"/private/0": None, "/private/x": b""})
        assert len(await self.alice.annotations("Work", EVERYTHING, None)) == MAX_ENTRIES + 2

    async def test_there_is_an_end_to_those_of_an_account(self):
        self.account.home.bounds = Bounds(annotations=5 * MAX_VALUE)
        full = {f"/private/{number}": b"x" * MAX_VALUE for number in range(4)}
        await self.alice.set_annotations("Work", full)
        for name in ("Work", "INBOX", None):
            more = self.alice.set_annotations(name, {"/private/x": b"x" * MAX_VALUE})
            await self.refused(TooManyAnnotations, more)
        await self.alice.set_annotations("Work", {"/private/0": None})
        await self.alice.set_annotations("INBOX", {"/private/x": b"x" * MAX_VALUE})
        # Each renaming of INBOX would double them.
        await self.refused(TooManyAnnotations, self.alice.rename("INBOX", "Old"))
        assert "Old" not in {info.name for info in await self.alice.list_mailboxes()}
        await self.alice.set_annotations("INBOX", {"/private/x": None})
        await self.alice.rename("INBOX", "Old")

    async def test_the_servers(self):
        self.store.server_annotations = {"/shared/admin": b"mailto:postmaster@a.test"}
        await self.alice.set_annotations(None, {"/private/vendor/x/y": b"1"})
        assert await self.alice.annotations(None, EVERYTHING, None) == {
            "/shared/admin": b"mailto:postmaster@a.test",
            "/private/vendor/x/y": b"1",
        }
        assert await self.bob.annotations(None, ["/SHARED/Admin", "/private/vendor/x/y"]) == {
            "/shared/admin": b"mailto:postmaster@a.test"
        }
        for entry in ("/shared/admin", "/shared/comment"):
            await self.refused(NoPermission, self.alice.set_annotations(None, {entry: b"x"}))
            await self.refused(NoPermission, self.alice.set_annotations(None, {entry: None}))

    async def test_the_special_use_is_one_of_them(self):
        entry = "/private/specialuse"
        assert await self.alice.annotations("Sent", [entry]) == {entry: b"\\Sent"}
        assert await self.alice.annotations("Work", EVERYTHING, None) == {}
        changes = []
        self.account.watch(changes.append)
        await self.alice.set_annotations("Work", {entry: b"\\sent"})
        assert sorted((change.mailbox, change.annotation) for change in changes) == [
            ("Sent", entry),
            ("Work", entry),
        ]
        uses = {info.name: " ".join(sorted(info.special_uses)) for info in await self.alice.list_mailboxes()}
        assert (uses["Work"], uses["Sent"], uses["Drafts"]) == ("\\Sent", "", "\\Drafts")
        await self.alice.set_annotations("Work", {entry: None})
        await self.restart_store()
        self.alice = await self.store.viewpoint(ALICE)
        uses = {info.name: " ".join(sorted(info.special_uses)) for info in await self.alice.list_mailboxes()}
        assert (uses["Work"], uses["Sent"]) == ("", "")
        await self.grant("lr", mailbox="Drafts")
        self.bob = await self.store.viewpoint(BOB)
        assert await self.bob.annotations(f"Other Users/{ALICE}/Drafts", [entry]) == {}

    async def test_who_watches_the_account_is_told(self):
        await self.grant("lrw")
        changes = []
        self.account.watch(changes.append)
        await self.bob.set_annotations(WORK, {"/private/comment": b"x"})
        assert changes == []
        await self.bob.set_annotations(WORK, {"/shared/comment": b"x"})
        await self.alice.set_annotations(None, {"/private/vendor/x/y": b"x"})
        assert [(change.mailbox, change.annotation) for change in changes] == [
            ("Work", "/shared/comment"),
            ("", "/private/vendor/x/y"),
        ]

    async def test_a_mailbox_that_is_not_there(self):
        for name in ("none", f"Other Users/{ALICE}/none"):
            await self.refused(NoSuchMailbox, self.bob.annotations(name, COMMENTS))
            await self.refused(NoSuchMailbox, self.bob.set_annotations(name, {"/private/comment": b"x"}))
