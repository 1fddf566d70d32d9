"""`mta reports …`: what others report on mail in our name, in plain words; and how the parts are made."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from configured import configured
from dictionary_resolver import DictionaryResolver
from twisted.internet import reactor

from twisted_mta.journey.bus import Journey
from twisted_mta.message.address import Address
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.service.commands.cli import main
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.config import Config
from twisted_mta.service.wiring.dmarc import build_dmarc
from twisted_mta.trust.dmarc.reports.aggregate import (
    AggregateReport,
    DkimSeen,
    Observation,
    Published,
    SpfSeen,
)
from twisted_mta.trust.dmarc.reports.database import DATABASE, DmarcDatabase, StoredReport
from twisted_mta.trust.dmarc.reports.summary import WORDS, summaries

DAY = 1_700_006_400  # 2023-11-15
OURS = DkimSeen("a.test", "s1", "pass")
BROKEN = DkimSeen("a.test", "s1", "fail")


def seen(
    source: str,
    *signatures: DkimSeen,
    spf: str = "",
    by: str = "fail",
    disposition: str = "none",
    override: str = "",
) -> Observation:
    return Observation(
        source,
        disposition,
        OURS in signatures,
        spf == "a.test",
        "a.test",
        spf,
        override,
        "by \x1b hand".replace("\x1b", "?") if override else "",
        signatures,
        SpfSeen(spf, "mfrom", by) if spf else None,
    )


ROWS = (
    (seen("192.0.2.1", OURS, spf="a.test", by="pass"), 1000),
    (seen("192.0.2.2", OURS, spf="list.test", by="pass"), 100),
    (seen("192.0.2.3", spf="a.test", by="pass"), 50),
    (seen("192.0.2.4", BROKEN, DkimSeen("list.test", "x", "pass"), override="mailing_list"), 20),
    (seen("192.0.2.5", spf="mailer.test", by="pass", disposition="quarantine"), 10),
    *((seen(f"198.51.100.{n}", disposition="reject"), 1) for n in range(7)),
)


def report(identity: str = "1", policy: str = "none", rows: object = ROWS) -> AggregateReport:
    published = Published("a.test", policy, policy)
    return AggregateReport("big.test", "c@big.test", identity, DAY, DAY + 86399, published, rows)  # type: ignore[arg-type]


Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    configured(tmp_path)
    (tmp_path / "data").mkdir(mode=0o700)

    def call(*arguments: str, code: int = 0) -> str:
        assert main(["--config", str(tmp_path / "mta.toml"), "reports", *arguments]) == code
        written = capsys.readouterr()
        return written.out if code == 0 else written.err

    return call


def keep(
    tmp_path: Path, *reports: AggregateReport, received: float | None = None, sender: str = "big.test"
) -> None:
    database = DmarcDatabase(tmp_path / "data" / DATABASE)
    for each in reports:
        assert database.keep_report(each, time.time() if received is None else received, sender=sender)
    database.close()


def test_no_reports(run: Run) -> None:
    for command in ("summary", "list"):
        assert "dmarc_reports.receive" in run(command)
        assert json.loads(run(command, "--json")) == []
    assert "there is no report 7; see: reports list" in run("show", "7", code=1)


def test_the_summary_in_plain_words(run: Run, tmp_path: Path) -> None:
    keep(tmp_path, report())
    lines = run("summary").splitlines()
    assert lines[:2] == [
        "a.test: 1,187 messages from 2023-11-15 to 2023-11-15, in 1 report by big.test",
        "    1150 (96 %) are proved to be yours, 37 are not; policy: none",
    ]
    assert [(line.split()[0], line.split(maxsplit=1)[1][:24]) for line in lines[2:-1:2]] == [
        ("1000", "proved by DKIM and SPF: "),
        ("100", "proved by DKIM alone: fo"),
        ("50", "proved by SPF alone: not"),
        ("20", "signed as a.test (s1._do"),
        ("10", "sent by mailer.test, whi"),
        ("7", "nobody answers for it: s"),
    ]
    assert lines[-2].endswith("(1) and 2 more") and "let it sign as a.test" in lines[10]
    assert lines[-1].strip().startswith("When nothing of what is not proved is yours: publish p=quarantine")


@pytest.mark.parametrize(
    ("policy", "rows", "advice"),
    [
        ("none", ROWS[:2], "Everything was proved: p=quarantine can be published"),
        ("reject", ROWS, "Your policy is followed: 17 of 37 not proved were put aside or refused."),
        ("reject", ROWS[:4], ""),
    ],
)
def test_advice(policy: str, rows: object, advice: str) -> None:
    (summary,) = summaries([StoredReport(1, 0.0, "", report(policy=policy, rows=rows))])
    assert summary.advice().startswith(advice) and bool(summary.advice()) == bool(advice)


def test_what_came_last_is_the_policy_and_domains_are_apart() -> None:
    later = AggregateReport(
        "other.test", "", "2", DAY + 86400, DAY + 2 * 86400, Published("a.test", "reject"), ()
    )
    other = AggregateReport("other.test", "", "3", DAY, DAY, Published("0.test"), ROWS[:1])
    first, second = summaries(StoredReport(1, 0.0, "", each) for each in (later, report(), other))
    assert (first.domain, second.domain, second.reports) == ("0.test", "a.test", 2)
    assert second.to_json()["policy"] == "reject" and second.to_json()["begins"] == DAY
    assert {kind for kind, _, _ in second.told()} == set(WORDS)


def test_many_kinds_are_not_all_told(run: Run, tmp_path: Path) -> None:
    keep(tmp_path, report(rows=tuple((seen("::1", spf=f"{n}.test", by="pass"), 1) for n in range(100))))
    assert run("summary").splitlines()[-2].strip() == "and 70 more; see --json"


def test_list_and_show(run: Run, tmp_path: Path) -> None:
    keep(tmp_path, report(), report("2"))
    keep(tmp_path, report("3"), received=time.time() - 40 * 86400, sender="")
    assert [line.split()[0] for line in run("list").splitlines()] == ["1", "2"]
    assert len(run("list", "--days", "50", "A.test").splitlines()) == 3
    assert run("list", "--days", "50").splitlines()[2].endswith(" 37 not proved; sender unknown")
    assert "nobody knows whom" in run("show", "3")
    assert "of 1 of the reports nobody knows who has sent them" in run("summary", "--days", "50")
    assert run("list", "b.test").startswith("no reports")
    assert json.loads(run("list", "--json"))[0]["failed"] == 37
    shown = run("show", "2").splitlines()
    assert shown.pop(1) == "sent by big.test, as DMARC proved"
    assert shown[:3] == [
        "Report 2 by big.test (c@big.test)",
        "on a.test, 2023-11-15 00:00:00 UTC to 2023-11-15 23:59:59 UTC",
        "policy: p=none sp=none adkim=r aspf=r pct=100",
    ]
    assert shown[3:7] == [
        "    1000  192.0.2.1  proved, let pass",
        "          From a.test, return path a.test",
        "          DKIM pass: a.test (s1)",
        "          SPF pass: a.test (mfrom)",
    ]
    assert "      20  192.0.2.4  NOT proved, let pass (mailing_list: by ? hand)" in shown
    value = json.loads(run("show", "1", "--json"))
    assert value["number"] == 1 and value["rows"][0]["messages"] == 1000 and value["domain"] == "a.test"


def test_a_database_of_a_later_release(run: Run, tmp_path: Path) -> None:
    import sqlite3

    keep(tmp_path, report())
    with sqlite3.connect(tmp_path / "data" / DATABASE) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    assert "dmarc.sqlite cannot be used: dmarc.sqlite is of version 99" in run("list", code=1)


def test_what_to_publish(run: Run, tmp_path: Path) -> None:
    assert "dmarc_reports.receive is not set" in run("records", code=1)
    configured(tmp_path, domains=["a.test", "b.test"], dmarc_reports={"receive": "dmarc@a.test"})
    assert json.loads(run("records", "--json")) == [
        '_dmarc.a.test. IN TXT "v=DMARC1; p=none; rua=mailto:dmarc@a.test"',
        '_dmarc.b.test. IN TXT "v=DMARC1; p=none; rua=mailto:dmarc@a.test"',
        'b.test._report._dmarc.a.test. IN TXT "v=DMARC1"',
    ]
    assert "nothing happens to your mail" in run("records")


# The parts


def built(config: Config, tmp_path: Path):  # type: ignore[no-untyped-def]
    queue = MailQueue(tmp_path / "queue", reactor=reactor)
    return build_dmarc(
        config,
        resolver=DictionaryResolver(),
        queue=queue,
        intake=queue,
        journey=Journey(),
        reactor=reactor,
    )


def test_the_parts(tmp_path: Path) -> None:
    parts = built(configured(tmp_path), tmp_path)
    assert [name for name, _ in parts.parts] == ["DMARC reports", "DMARC reporting"]
    assert parts.hear is not None and parts.expected == []
    options = {"send": False, "receive": "Reports@a.test", "keep": "30d"}
    parts = built(configured(tmp_path, dmarc_reports=options), tmp_path)
    assert [name for name, _ in parts.parts] == ["DMARC reports"] and parts.hear is None
    assert [str(address) for address, _ in parts.expected] == ["reports@a.test"]
    parts = built(configured(tmp_path, dmarc_reports={"send": False, "contact": "", "receive": ""}), tmp_path)
    assert parts.parts == [] and parts.hear is None
    parts = built(configured(tmp_path, dmarc_reports={"contact": "dmarc@a.test"}), tmp_path)
    assert parts.parts[1][1]._reporter.contact == Address("dmarc", "a.test")


@pytest.mark.parametrize("key", ["contact", "receive"])
def test_addresses_that_are_not_ours(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"dmarc_reports\.{key}: x@b\.test is in none of `domains`"):
        configured(tmp_path, dmarc_reports={key: "x@b.test"})
