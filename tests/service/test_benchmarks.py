"""The benchmarks' table, JSON and pictures, from results that were recorded; nothing is measured here."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from process import free_port

from benchmarks import ROOT, plot, table
from benchmarks.__main__ import BESIDE_PEERS, IN_DEPTH, benchmark, main, measure
from benchmarks.documents import file_name, write_documents
from benchmarks.machine import facts
from benchmarks.peer_process import PeerProcess
from benchmarks.peers import Peer
from benchmarks.plan import NOT_ASKED, Kind, Plan, compare
from benchmarks.results import OURS, Curve, Figure, Machine, Measured, Report, Row, merged, read

MACHINE = Machine(2, "A processor", 23.5, "Debian", "3.11.2", 0.5, {"Postfix": "3.7.11"})
INTAKE = Row(
    "transfer",
    "intake",
    "messages/s",
    True,
    Figure(2000.0, 0.25, [2000.0]),
    "Postfix",
    Figure(1000.0, 1.0, [1000.0]),
)
SELECT = Row("imap", "SELECT", "ms", False, Figure(5.0, None, [5.0]), "Dovecot", Figure(20.0, 3.0, [20.0]))
ALONE = Row(
    "imap", "FETCH", "ms", False, Figure(0.0123, 0.01, [0.0123]), "Dovecot", remark="not measured: no root"
)
CURVE = Curve(
    "growth",
    "Memory & more",
    "sessions",
    "MiB",
    {"Dovecot": [(10, 5.0), (1000, 400.0)], OURS: [(10, 80), (1000, 90)]},
)
REPORT = Report("2026-11-23", False, MACHINE, [INTAKE, SELECT, ALONE], [CURVE])
PAGE = "# Benchmarks\n\n<!-- figures -->\nold\n<!-- end of figures -->\nbehind\n"


def test_json_keeps_everything():
    assert read(REPORT.to_json()) == REPORT


def test_a_part_that_was_measured_again_takes_the_place_of_the_first():
    again = msgspec.structs.replace(INTAKE, ours=Figure(3000.0, 0.2, [3000.0]))
    second = msgspec.structs.replace(REPORT, rows=[again], curves=[])
    together = merged([REPORT, second])
    assert together.rows == [again, SELECT, ALONE] and together.curves == [CURVE]


def test_ratios_are_above_one_where_we_do_better():
    assert (INTAKE.ratio, INTAKE.cpu_ratio) == (2.0, 4.0)
    assert (SELECT.ratio, SELECT.cpu_ratio) == (4.0, None)
    assert (ALONE.ratio, ALONE.cpu_ratio) == (None, None)


def test_the_table_in_the_terminal():
    numbers = ["2,000", "1,000", "×2.00", "0.250", "1.00", "×4.00"]
    assert table.text(INTAKE).split() == ["intake", "messages/s", *numbers, "Postfix"]
    assert table.text(ALONE).split()[:7] == ["FETCH", "ms", "0.012", "-", "-", "0.010", "-"]
    assert table.text(ALONE).endswith("Dovecot; not measured: no root")
    columns = {table.heading().index("ours") + 4, table.text(INTAKE).index("2,000") + 5}
    assert len(columns) == 1


def test_medians_of_rounds():
    rounds = [Measured(10.0, 3.0), Measured(30.0, 1.0), Measured(20.0, 2.0)]
    assert Figure.of(rounds) == Figure(20.0, 2.0, [10.0, 30.0, 20.0])


def test_servers_are_measured_in_turn_and_a_failing_peer_says_so(tmp_path: Path):
    order: list[str] = []

    def run(name: str) -> Measured:
        order.append(name)
        if name == "broken":
            raise RuntimeError("it said NO")
        return Measured(1.0)

    runs = {name: lambda name=name: run(name) for name in (OURS, "peer", "broken")}
    plan, kind = Plan(tmp_path), Kind("b", "work", "ms")
    rows = list(compare(plan, kind, runs, 2, {"absent": "not installed"}))
    assert order == [OURS, "peer", "broken", OURS, "peer"]
    assert [(row.peer, row.remark) for row in rows] == [
        ("peer", ""),
        ("absent", "not installed"),
        ("broken", "it said NO"),
    ]
    assert all(row.ours == Figure(1.0, None, [1.0, 1.0]) for row in rows)
    assert rows[1].theirs is None


def test_what_nobody_has_asked_for_is_not_measured(tmp_path: Path):
    runs = {OURS: lambda: Measured(1.0)}
    plan = Plan(tmp_path, only="TO A sink")
    names = ("intake to mailbox", "relay to a sink")
    rows = [row for name in names for row in compare(plan, Kind("b", name, "ms"), runs, 1)]
    assert [row.name for row in rows] == ["relay to a sink"]


def test_rows_that_come_together_are_chosen_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    class Two:
        @staticmethod
        def results(plan: Plan) -> Iterator[Row | Curve]:
            yield from (INTAKE, SELECT, CURVE, Curve("growth", "Nothing", "x", "y", {OURS: []}))
            raise RuntimeError("behind them")

    monkeypatch.setattr("benchmarks.__main__.benchmark", lambda name: Two)
    report = measure(["two"], Plan(tmp_path, only="sel"))
    assert report.rows[:-1] == [SELECT] and report.curves == [CURVE]
    assert report.rows[-1].remark == "failed: RuntimeError"  # whatever it is called
    assert "behind them" in capsys.readouterr().err


def test_a_part_of_the_rows_is_not_the_page(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["--docs", "--only", "relay"])
    assert "--docs wants all of them" in capsys.readouterr().err


def test_a_peer_that_does_not_start_says_why(tmp_path: Path):
    command = [sys.executable, "-c", "import sys; sys.exit('no room')"]
    with pytest.raises(RuntimeError, match="peer did not start: no room"):
        PeerProcess("peer", free_port(), command, tmp_path / "said")


def test_without_peers_we_are_measured_alone(tmp_path: Path):
    runs = {OURS: lambda: Measured(1.0)}
    [row] = compare(Plan(tmp_path), Kind("b", "work", "ms"), runs, 1, {"peer": NOT_ASKED})
    assert (row.peer, row.ours) == ("", Figure(1.0, None, [1.0]))


def test_a_peer_that_is_not_installed():
    peer = Peer("Nobody", ("no-such-program",), "nobody", ("no-such-program",))
    assert peer.version() == ""
    assert peer.missing().startswith("not measured: ")


def test_a_picture_has_a_line_for_each_server():
    picture = ElementTree.fromstring(plot.svg(CURVE))
    texts = [element.text for element in picture.iter() if element.tag.endswith("text")]
    assert {"Memory & more", "sessions", "MiB", OURS, "Dovecot", "10", "100", "1,000"} <= set(texts)
    lines = [element.get("d", "") for element in picture.iter() if element.get("fill") == "none"]
    [ours, theirs] = [[float(pair.split()[1]) for pair in line[1:].split("L")] for line in lines]
    assert (
        theirs[0] > ours[0] and theirs[1] < ours[1]
    )  # y grows downward: Dovecot begins below us and ends above
    assert plot.svg(CURVE) == plot.svg(CURVE)


@pytest.mark.parametrize("points", [[(10.0, 5.0)], [(10.0, 5.0), (20.0, 5.0)], [(1.0, 0.0), (2.0, 3.0)]])
def test_a_picture_of_little(points: list[tuple[float, float]]):
    ElementTree.fromstring(plot.svg(Curve("b", "n", "x", "y", {OURS: points})))


def test_the_documents_are_renewed_between_their_marks(tmp_path: Path):
    page = tmp_path / "benchmarks.md"
    page.write_text(PAGE)
    write_documents(REPORT, tmp_path)
    text = page.read_text()
    assert text.startswith("# Benchmarks\n\n<!-- figures -->\n") and text.endswith(
        "<!-- end of figures -->\nbehind\n"
    )
    assert "| intake | messages/s | 2,000 | 1,000 | ×2.00 | 0.250 | 1.00 | ×4.00 | Postfix |" in text
    assert f"](plots/{file_name(CURVE)})" in text and "old" not in text
    assert (tmp_path / "plots/memory-more.svg").exists()
    write_documents(REPORT, tmp_path)
    assert page.read_text() == text


def test_the_page_that_is_there_has_the_marks():
    page = (Path(__file__).parents[2] / "docs/benchmarks.md").read_text()
    assert page.index("<!-- figures -->") < page.index("<!-- end of figures -->")


def test_a_page_without_marks_is_left_alone(tmp_path: Path):
    (tmp_path / "benchmarks.md").write_text("# Benchmarks\n")
    with pytest.raises(ValueError, match="lacks"):
        write_documents(REPORT, tmp_path)
    assert (tmp_path / "benchmarks.md").read_text() == "# Benchmarks\n"


def test_facts_of_the_machine_name_nobody():
    found = facts()
    assert found.cores >= 1 and found.memory_gib > 0 and found.versions["SQLite"]
    assert "/" not in "".join(found.versions.values())


def test_every_benchmark_is_listed(capsys: pytest.CaptureFixture[str]):
    main(["--list"])
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told] == [*BESIDE_PEERS, *IN_DEPTH]
    assert all(callable(benchmark(name).results) for name in BESIDE_PEERS + IN_DEPTH)


def test_figures_that_were_kept_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "figures.json").write_bytes(REPORT.to_json())
    main(["--show", str(tmp_path / "figures.json")])
    assert table.text(SELECT) in capsys.readouterr().out


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["no_such_benchmark"])
    assert "transfer" in capsys.readouterr().err


def test_without_what_only_the_tests_need_and_with_a_row_that_there_is_not():
    """In a process of its own: it takes other limits and signals."""
    program = (
        "import sys; sys.modules.update(pytest=None, hypothesis=None, aiosmtpd=None)\n"
        "from benchmarks.__main__ import main\n"
        "main(['--list']); main(['transfer', '--alone', '--only', 'no such row'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "--only: no row has 'no such row' in its name" in done.stderr and "trust_lag " in done.stdout
