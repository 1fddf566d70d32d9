"""Families of samples, and the text that Prometheus reads (exposition format 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from math import inf, isnan
from typing import Literal, NamedTuple

from twisted_mta.metrics.counts import Histogram

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "histogram"]
Labels = tuple[tuple[str, str], ...]
_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Sample(NamedTuple):
    """`suffix` follows the name of the family."""

    labels: Labels
    value: float
    suffix: str = ""


class Family(NamedTuple):
    """`name` of a counter ends in "_total". `help` is one line."""

    name: str
    kind: Kind
    help: str
    samples: Sequence[Sample]


def counter(name: str, help: str, values: Mapping[Labels, int | float]) -> Family:
    """What only grows."""
    return Family(name, "counter", help, [Sample(labels, value) for labels, value in values.items()])


def gauge(name: str, help: str, values: Mapping[Labels, int | float] | float) -> Family:
    """What is as it is now; a number alone has no labels."""
    by_labels = values if isinstance(values, Mapping) else {(): values}
    return Family(name, "gauge", help, [Sample(labels, value) for labels, value in by_labels.items()])


def histogram(name: str, help: str, values: Mapping[Labels, Histogram] | Histogram) -> Family:
    """Buckets, sum and count."""
    samples = []
    for labels, found in ({(): values} if isinstance(values, Histogram) else values).items():
        below = list(accumulate(found.counts))  # it may grow meanwhile
        for bound, count in zip((*found.bounds, inf), below, strict=True):
            samples.append(Sample((*labels, ("le", _number(bound))), count, "_bucket"))
        samples += [Sample(labels, found.sum, "_sum"), Sample(labels, below[-1], "_count")]
    return Family(name, "histogram", help, samples)


def exposition(families: Iterable[Family]) -> bytes:
    """All of them, those too that have nothing to tell yet: their names are known then."""
    lines = []
    for name, kind, help, samples in families:
        lines += [f"# HELP {name} {help}", f"# TYPE {name} {kind}"]
        lines += [f"{name}{one.suffix}{_braces(one.labels)} {_number(one.value)}" for one in samples]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")


def _braces(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPED)}"' for name, value in labels) + "}"


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(int(value))
    if isnan(value):
        return "NaN"
    if value in (inf, -inf):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))
