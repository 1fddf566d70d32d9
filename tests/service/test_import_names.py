"""Which mailbox here a mailbox of another server goes to."""

from __future__ import annotations

import pytest

from twisted_mta.service.importing.names import Names, Plan
from twisted_mta.service.importing.server import Listed

USES = {f"\\{name}": name for name in ("Archive", "Drafts", "Junk", "Sent", "Trash")}


def listed(*rows: str, separator: bytes = b"/", subscribed: bool = True) -> list[Listed]:
    """Rows such as `Sent Items \\Sent`."""
    found = []
    for row in rows:
        words = row.split(" \\")
        attributes = frozenset(f"\\{word}".lower() for word in words[1:])
        found.append(Listed(words[0].encode(), separator, attributes, subscribed))
    return found


def plan(
    mailboxes: list[Listed],
    own: tuple[bytes, ...] = (),
    moved: dict[str, str] | None = None,
    excluded: tuple[str, ...] = (),
) -> Plan:
    return Names(own, [b"Other Users/", b"shared."], USES, moved or {}, excluded).plan(mailboxes)


def went(made: Plan) -> dict[str, str]:
    return {going.shown: going.target for going in made.going}


def test_gmail() -> None:
    mailboxes = listed(
        *("INBOX", "[Gmail] \\Noselect", "[Gmail]/All Mail \\All", "[Gmail]/Drafts \\Drafts"),
        *("[Gmail]/Important \\Important", "[Gmail]/Sent Mail \\Sent", "[Gmail]/Spam \\Junk"),
        *("[Gmail]/Starred \\Flagged", "[Gmail]/Trash \\Trash", "Work", "Work/2024"),
    )
    made = plan(mailboxes)
    assert went(made) == {
        "INBOX": "INBOX",
        "[Gmail]/Drafts": "Drafts",
        "[Gmail]/Sent Mail": "Sent",
        "[Gmail]/Spam": "Junk",
        "[Gmail]/Trash": "Trash",
        "Work": "Work",
        "Work/2024": "Work/2024",
        "[Gmail]/All Mail": "Archive",
    }
    assert [(going.shown, going.only_rest) for going in made.going][-1] == ("[Gmail]/All Mail", True)
    assert [name for name, _ in made.passed_over] == ["[Gmail]/Important", "[Gmail]/Starred"]
    assert made.subscribed.count("Sent") == 1


@pytest.mark.parametrize("own", [(b"INBOX.",), ()])
def test_everything_below_inbox(own: tuple[bytes, ...]) -> None:
    mailboxes = listed("INBOX", "INBOX.Sent", "INBOX.a.b", "INBOX.x/y", separator=b".")
    assert went(plan(mailboxes, own)) == {
        "INBOX": "INBOX",
        "INBOX.Sent": "Sent",
        "INBOX.a.b": "a/b",
        "INBOX.x/y": "x_y",
    }


def test_children_of_inbox_stay_when_there_are_others() -> None:
    assert went(plan(listed("INBOX", "inbox/a", "b"))) == {"INBOX": "INBOX", "inbox/a": "INBOX/a", "b": "b"}


def test_names_in_other_scripts() -> None:
    made = plan(listed("Entw&APw-rfe", "&bad", "r&d-x", separator=b"."))
    assert went(made) == {"Entwürfe": "Entwürfe", "&bad": "&bad", "r&d-x": "r&d-x"}


def test_two_with_the_same_use() -> None:
    made = plan(listed("Gesendet \\Sent", "Sent \\Sent", "Sent Items"))
    assert went(made) == {"Gesendet": "Sent", "Sent": "Sent", "Sent Items": "Sent Items"}
    without = Names([], [], {}, {}, []).plan(listed("Gesendet \\Sent", "Sent \\Sent"))
    assert [(going.target, going.use) for going in without.going] == [("Gesendet", "\\Sent"), ("Sent", "")]


def test_what_the_operator_says() -> None:
    mailboxes = listed(
        "INBOX", "Old.Sub.Deep", "Old", "Spam", "Spam.x", "Spammy", "Kept \\Junk", "x.Tmp1", separator=b"."
    )
    made = plan(mailboxes, moved={"Old": "New/Place", "Kept": "Kept"}, excluded=("Spam", "*Tmp?"))
    assert went(made) == {
        "INBOX": "INBOX",
        "Old": "New/Place",
        "Old.Sub.Deep": "New/Place/Sub/Deep",
        "Kept": "Kept",
        "Spammy": "Spammy",
    }
    assert [name for name, why in made.passed_over if why == "excluded"] == ["Spam", "Spam.x", "x.Tmp1"]
    assert went(plan(listed("Old/Sub"), moved={"Old/Sub": "a"})) == {"Old/Sub": "a"}


def test_what_cannot_be() -> None:
    mailboxes = listed("a" * 300, "Other Users", "ok", "x\x07y", "..") + listed("shared.box", separator=b".")
    made = plan(mailboxes)
    assert went(made) == {"ok": "ok"}
    why = dict(made.passed_over)
    assert why["shared.box"] == "it belongs to others"
    assert all("--map" in reason for name, reason in why.items() if name != "shared.box")
    assert len(why) == 5
    assert went(plan(listed("a" * 300), moved={"a" * 300: "long"})) == {"a" * 300: "long"}
