"""The figures in docs/: a picture for each curve, and the table between two marks of benchmarks.md."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import plot, table
from benchmarks.results import Curve, Report

_BEGIN, _END = "<!-- figures -->", "<!-- end of figures -->"


def write_documents(report: Report, docs: Path) -> None:
    """Write plots/*.svg and renew benchmarks.md. Raises ValueError when its marks are not there."""
    plots = docs / "plots"
    plots.mkdir(exist_ok=True)
    pictures = []
    for curve in report.curves:
        name = file_name(curve)
        (plots / name).write_text(plot.svg(curve), encoding="utf-8")
        pictures.append(f"![{curve.name}](plots/{name})")
    page = docs / "benchmarks.md"
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"{page.name} lacks {_BEGIN} or {_END}")
    figures = "\n\n".join([table.markdown(report).strip(), *(["### Growth"] if pictures else []), *pictures])
    page.write_text(f"{before}{begin}\n\n{figures}\n\n{end}{after}", encoding="utf-8")


def file_name(curve: Curve) -> str:
    """Of its picture."""
    return re.sub(r"[^a-z0-9]+", "-", curve.name.casefold()).strip("-") + ".svg"
