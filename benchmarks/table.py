"""The one table: in the terminal, row by row as they come, and in Markdown for docs/benchmarks.md."""

from __future__ import annotations

from benchmarks.results import Figure, Machine, Report, Row

_NONE = "-"
_WIDTHS = (52, 12, 10, 10, 7, 9, 9, 7)
_TITLES = ("", "unit", "ours", "peer", "ratio", "our CPU", "peer CPU", "ratio")


def heading() -> str:
    """The line above the rows."""
    return _line(_TITLES, "peer")


def text(row: Row) -> str:
    """A row for the terminal."""
    return _line((row.name, row.unit, *_numbers(row)), _who(row))


def markdown(report: Report) -> str:
    """The whole table, a part for each benchmark."""
    lines: list[str] = []
    part = ""
    for row in report.rows:
        if row.benchmark != part:
            part = row.benchmark
            lines += ["", f"### {part}", "", f"| {' | '.join((*_TITLES, 'beside'))} |"]
            lines.append("|---|---|--:|--:|--:|--:|--:|--:|---|")
        lines.append("| " + " | ".join((row.name, row.unit, *_numbers(row), _who(row))) + " |")
    return "\n".join([facts(report), *lines]) + "\n"


def facts(report: Report) -> str:
    """Where and when, in a few lines."""
    machine: Machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in sorted(machine.versions.items()))
    return (
        f"{report.date}{', the quick form' if report.quick else ''}: {machine.cores} cores "
        f"({machine.processor}), {machine.memory_gib:.0f} GiB, {machine.system}, Python {machine.python}; "
        f"load at the start {machine.load:.1f}.\n{versions}."
    )


def number(value: float | None) -> str:
    """With three digits that count."""
    if value is None:
        return _NONE
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 1 else f"{value:.3f}"


def _numbers(row: Row) -> tuple[str, ...]:
    ours, theirs = row.ours, row.theirs
    return (
        number(_value(ours)),
        number(_value(theirs)),
        _times(row.ratio),
        number(_cpu(ours)),
        number(_cpu(theirs)),
        _times(row.cpu_ratio),
    )


def _value(figure: Figure | None) -> float | None:
    return None if figure is None else figure.value


def _cpu(figure: Figure | None) -> float | None:
    return None if figure is None else figure.cpu


def _times(ratio: float | None) -> str:
    return _NONE if ratio is None else f"×{number(ratio) if ratio >= 1 else f'{ratio:.2f}'}"


def _who(row: Row) -> str:
    return "; ".join(filter(None, (row.peer, row.remark)))


def _line(cells: tuple[str, ...], last: str) -> str:
    name, unit, *numbers = (cell for cell in cells)
    right = " ".join(f"{cell:>{width}}" for cell, width in zip(numbers, _WIDTHS[2:], strict=True))
    return f"{name:{_WIDTHS[0]}} {unit:{_WIDTHS[1]}} {right}  {last}".rstrip()
