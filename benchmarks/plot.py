"""Curves as SVG: lines over two axes that are both logarithmic, since sizes grow tenfold.

Written by hand, because this one kind of picture is all that is wanted: matplotlib brings 150 MB of packages
along, and its pictures differ from run to run where the figures do not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape

from benchmarks.results import OURS, Curve

_WIDTH, _HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 62, 50
_COLOURS = ("#1f6feb", "#d1242f", "#8250df", "#1a7f37", "#bf8700")  # ours is the first
_FONT = "font-family='sans-serif' font-size='12' fill='#24292f'"


def svg(curve: Curve) -> str:
    """The picture. Points at or below zero are left out; there must be one that is not."""
    lines = {
        name: [(x, y) for x, y in points if x > 0 and y > 0]
        for name, points in sorted(curve.lines.items(), key=lambda line: not line[0].startswith(OURS))
    }
    across = _Axis([x for points in lines.values() for x, _ in points], _LEFT, _WIDTH - _RIGHT)
    up = _Axis([y for points in lines.values() for _, y in points], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {_HEIGHT}' role='img'>",
        f"<title>{escape(curve.name)}</title>",
        f"<rect width='{_WIDTH}' height='{_HEIGHT}' fill='white'/>",
        f"<text x='{_LEFT}' y='20' {_FONT} font-weight='bold'>{escape(curve.name)}</text>",
        *_grid(curve, across, up),
    ]
    for number, (name, points) in enumerate(lines.items()):
        parts += _drawn(name, points, number, across, up)
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Axis:
    """From values to pixels; the range is widened to what has a tick."""

    def __init__(self, values: list[float], start: float, end: float) -> None:
        low, high = min(values), max(values)
        if high / low < 10:  # less than a decade: leave room, so that small differences look small
            middle = math.sqrt(low * high)
            low, high = min(low, middle / 3), max(high, middle * 3)
        self._low, self._span = math.log10(low), math.log10(high) - math.log10(low)
        self._start, self._end = start, end

    def at(self, value: float) -> float:
        """The pixel of a value."""
        return self._start + (math.log10(value) - self._low) / self._span * (self._end - self._start)

    def ticks(self) -> Iterator[float]:
        """1, 2, 5, 10…, or powers of ten alone where those would be many."""
        steps = (1, 2, 5) if self._span <= 2.2 else (1,)
        for power in range(math.floor(self._low), math.ceil(self._low + self._span) + 1):
            for step in steps:
                value = step * 10.0**power
                if -1e-9 <= math.log10(value) - self._low <= self._span + 1e-9:
                    yield value


def _grid(curve: Curve, across: _Axis, up: _Axis) -> Iterator[str]:
    bottom = _HEIGHT - _BOTTOM
    for value in across.ticks():
        x = f"{across.at(value):.1f}"
        yield f"<path d='M{x} {_TOP}V{bottom}' stroke='#d0d7de'/>"
        yield f"<text x='{x}' y='{bottom + 18}' {_FONT} text-anchor='middle'>{value:,.10g}</text>"
    for value in up.ticks():
        y = up.at(value)
        yield f"<path d='M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}' stroke='#d0d7de'/>"
        yield f"<text x='{_LEFT - 8}' y='{y + 4:.1f}' {_FONT} text-anchor='end'>{value:,.10g}</text>"
    middle = (_TOP + bottom) / 2
    centred = f"{_FONT} text-anchor='middle'"
    yield f"<text x='{(_LEFT + _WIDTH) / 2}' y='{_HEIGHT - 10}' {centred}>{escape(curve.x)}</text>"
    yield f"<text x='16' y='{middle}' {centred} transform='rotate(-90 16 {middle})'>{escape(curve.y)}</text>"


def _drawn(
    name: str, points: list[tuple[float, float]], number: int, across: _Axis, up: _Axis
) -> Iterator[str]:
    colour = _COLOURS[number % len(_COLOURS)]
    places = [f"{across.at(x):.1f} {up.at(y):.1f}" for x, y in points]
    if places:
        yield f"<path d='M{'L'.join(places)}' fill='none' stroke='{colour}' stroke-width='2'/>"
    for place in places:
        x, y = place.split()
        yield f"<circle cx='{x}' cy='{y}' r='3' fill='{colour}'/>"
    legend = _LEFT + number * 190
    yield f"<path d='M{legend} 42h18' stroke='{colour}' stroke-width='3'/>"
    yield f"<text x='{legend + 24}' y='46' {_FONT}>{escape(name)}</text>"
