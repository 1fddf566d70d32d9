"""Every harness on its kept inputs, and on some hundred mutations of them that are the same each time."""

from __future__ import annotations

import random

import pytest
from harness import HERE, load
from mutation import mutated

HARNESSES = load()


@pytest.mark.parametrize("name", HARNESSES)
def test_the_invariant_holds(name: str) -> None:
    """`tests/fuzz/fuzz.py --list` tells what it is."""
    harness = HARNESSES[name]
    seeds = harness.seeds
    assert seeds
    rng = random.Random(name)
    others = (mutated(rng, seeds, harness.words, harness.longest) for _ in range(harness.tests))
    for data in (*seeds, *others):
        try:
            harness.test(data)
        except BaseException as error:
            error.add_note(f"{name}: {data!r}")
            raise


def test_nothing_lies_in_the_corpus_that_no_harness_reads() -> None:
    kept = [path for path in (HERE / "corpus").rglob("*") if path.is_file()]
    assert {path.relative_to(HERE / "corpus").parts[0] for path in kept} == set(HARNESSES)
    assert sum(path.stat().st_size for path in kept) < 2**20
