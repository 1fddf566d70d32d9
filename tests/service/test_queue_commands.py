"""`mta queue …`, as an administrator types it, on a queue that no server works off."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from process import to_toml
from queue_house import InlineQueue, WallClock, now, put
from test_mta import CONFIG

from twisted_mta.message.address import Address
from twisted_mta.message.envelope import DeliverBy, Envelope, EnvelopeRecipient, MailParameters
from twisted_mta.queue.database import QueueDatabase
from twisted_mta.queue.ids import decode
from twisted_mta.queue.mailqueue import DATABASE
from twisted_mta.service.commands.cli import main

Mta = Callable[..., str]


@pytest.fixture
def ids(tmp_path: Path) -> list[str]:
    queue = InlineQueue(tmp_path / "data" / "queue", WallClock())
    now(queue.start())
    late = MailParameters(ret="HDRS", priority=3, deliver_by=DeliverBy(1_800_000_600.0, notify=True))
    ids = [
        put(queue, "bob@b.test", "cy@c.test"),
        put(queue, "cy@c.test", sender=None),
        put(queue, "dan@d.test", sender="eve@e.test", parameters=late),
    ]
    now(queue.stop())
    return ids


@pytest.fixture
def mta(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Mta:
    """What `mta queue …` prints; with `fails`, what it says on standard error before it exits so."""
    config = tmp_path / "mta.toml"
    config.write_text(to_toml(CONFIG))

    def run(*arguments: str, fails: int = 0) -> str:
        try:
            code = main(["--config", str(config), "queue", *arguments])
        except SystemExit as usage:
            code = usage.code
        printed = capsys.readouterr()
        assert code == fails, printed
        return printed.err if fails else printed.out

    return run


def listed(mta: Mta, *arguments: str) -> list[str]:
    found: list[dict[str, Any]] = json.loads(mta("list", "--json", *arguments))
    return [message["queue_id"] for message in found]


def test_what_is_there(mta: Mta, ids: list[str]) -> None:
    assert listed(mta) == ids
    assert listed(mta, "--domain", "C.test") == ids[:2]
    assert listed(mta, "--sender", "<>") == listed(mta, "--sender", "") == ids[1:2]
    assert listed(mta, "--sender", "@A.test") == ids[:1]
    assert listed(mta, "--recipient", "cy@c.test", "--sender", "ann@a.test") == ids[:1]
    assert listed(mta, "--state", "held") == []
    assert mta("list", "--state", "held") == "nothing fits\n"
    first, second, *_ = mta("list").splitlines()
    assert first.startswith(f"{ids[0]}  20")
    assert first.endswith(" from <ann@a.test>")
    assert second.startswith("    to <bob@b.test>: waiting, 0 attempts, next 20")


def test_one_message_with_all_that_is_known(mta: Mta, ids: list[str]) -> None:
    shown = json.loads(mta("show", ids[2], "--json"))
    assert shown["parameters"]["ret"] == "HDRS"
    assert shown["parameters"]["deliver_by"] == {"when": 1_800_000_600.0, "notify": True, "trace": False}
    (recipient,) = shown["recipients"]
    assert recipient["forward_path"] == "dan@d.test"
    assert recipient["route"] == ""
    text = mta("show", ids[2])
    assert "ret HDRS, priority 3, deliver_by when 20" in text
    assert text.endswith(" notify yes\n")


def test_changes(mta: Mta, ids: list[str]) -> None:
    assert mta("hold", "--domain", "c.test") == "2 recipients held\n"
    assert listed(mta, "--state", "held") == ids[:2]
    assert mta("release", ids[0]) == "1 recipient released\n"
    assert json.loads(mta("release", "--all", "--json")) == {"recipients": 1}
    assert mta("retry") == "4 recipients tried now\n"
    assert mta("reroute", "--domain", "c.test", "--to", "192.0.2.1") == "2 recipients rerouted\n"
    assert "to <cy@c.test>: waiting, 0 attempts" in mta("show", ids[1])
    assert "via 192.0.2.1:25" in mta("show", ids[1])
    assert mta("reroute", ids[1], "--to", "") == "1 recipient rerouted\n"
    assert "via" not in mta("show", ids[1])
    assert mta("bounce", ids[0], "--recipient", "cy@c.test") == "1 recipient returned\n"
    assert ", is returned" in mta("show", ids[0])
    assert mta("remove", "--sender", "@e.test") == "1 recipient removed\n"
    assert mta("remove", ids[1]) == f"{ids[1]} removed\n"
    assert listed(mta) == ids[:1]


def test_figures(mta: Mta, ids: list[str]) -> None:
    mta("hold", ids[2])
    figures = json.loads(mta("stats", "--json"))
    assert figures["messages"] == 3
    assert figures["recipients"] == {"waiting": 3, "held": 1}
    assert figures["domains"][0]["domain"] == "c.test"
    lines = mta("stats").splitlines()
    assert lines[0].startswith("3 messages; 3 recipients wait, ")
    assert lines[0].endswith(" of them are due and 0 were attempted; 1 is held")
    assert "c.test          2 waiting" in lines[4]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["hold"], "say which: an id, --sender"),
        (["remove"], "say which"),
        (["bounce", "--all", "--domain", "c.test"], "--all is everything"),
        (["hold", "x", "--all"], "--all is everything"),
        (["reroute", "--all"], "--to"),
        (["list", "--state", "delivered"], "invalid choice"),
        (["hold", "--sender", "nobody"], "'nobody' is not a mail address"),
        (["hold", "--recipient", ""], "'' is not a mail address"),
        (["hold", "--domain", "no domain"], "is not a domain name"),
        (["hold", "--sender", "@"], "is not a domain name"),
        (["reroute", "--all", "--to", "host:port"], "host:port"),
    ],
)
def test_wrong_usage(mta: Mta, ids: list[str], arguments: list[str], said: str) -> None:
    assert said in mta(*arguments, fails=2)
    assert listed(mta) == ids


def test_a_message_that_is_not_there(mta: Mta, ids: list[str]) -> None:
    assert "there is no message 0000000000000" in mta("bounce", "0000000000000", fails=1)
    assert mta("retry") == "4 recipients tried now\n"


def test_what_is_held_is_not_tried(mta: Mta, ids: list[str]) -> None:
    mta("hold", ids[0], "--domain", "b.test")
    assert mta("retry", ids[0]) == "1 recipient tried now\n"
    assert mta("retry", ids[0], "--state", "waiting") == "1 recipient tried now\n"
    mta("hold", ids[0])
    said = mta("retry", ids[0], fails=1)
    assert said == f"mta: {ids[0]} is held; to end that and try it now: queue release {ids[0]}\n"
    assert mta("retry", ids[0], "--state", "waiting") == "0 recipients tried now\n"
    assert mta("retry", ids[0], "--domain", "d.test") == "0 recipients tried now\n"
    assert mta("release", ids[0]) == "2 recipients released\n"


def test_one_is_not_many(mta: Mta, ids: list[str]) -> None:
    mta("remove", ids[0])
    mta("remove", ids[1])
    assert mta("stats").startswith("1 message; 1 recipient waits, ")


def test_what_others_have_said_does_nothing_to_the_terminal(mta: Mta, ids: list[str], tmp_path: Path) -> None:
    database = QueueDatabase(tmp_path / "data" / "queue" / DATABASE)
    assert database.hold(decode(ids[0]), "refused \x1b]0;hello\x07\nand\u202eelse") == 2
    database.close()
    for shown in (mta("show", ids[0]), mta("list")):
        assert "refused ?]0;hello??and?else" in shown


def test_internationalised_addresses_are_found(mta: Mta, ids: list[str], tmp_path: Path) -> None:
    queue = InlineQueue(tmp_path / "data" / "queue", WallClock())
    now(queue.start())
    path = Address.parse("Jürgen.ÄÖ@b.test", utf8=True)
    draft = queue.draft()
    now(draft.commit(Envelope(path, (EnvelopeRecipient(path),))))
    now(queue.stop())
    for criterion in ("--recipient", "--sender"):
        assert listed(mta, criterion, "jürgen.ÄÖ@B.test") == [draft.queue_id]
