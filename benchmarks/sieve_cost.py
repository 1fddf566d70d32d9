"""What a Sieve script costs for each message: 200 lines of the rules that people have.

Measured is processor time of one thread, from a header block to a decision, a new `Mail` each time as at
delivery; the script is compiled once. No message matches the first rules, most come to the end. `--size` is
the number of lines.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.messages import Correspondence
from benchmarks.plan import Plan
from benchmarks.results import Figure, Measured, Row
from twisted_mta.message.headers import header_end
from twisted_mta.sieve.mail import Mail, SieveEnvelope
from twisted_mta.sieve.script import Script
from twisted_mta.sieve.world import World

TITLE = "A Sieve script of 200 lines, ours alone"
MESSAGES = 500


class Clocked(World):
    """With the clock that limits scripts, which is asked at every step."""

    def cpu_seconds(self) -> float:
        return time.thread_time()


def rules(lines: int) -> str:
    """A script of so many lines: lists into folders, people, spam, size, subjects, detail."""
    found = [
        'require ["fileinto", "envelope", "subaddress", "imap4flags", "copy", "variables", "relational",',
        '         "comparator-i;ascii-numeric", "mailbox"];',
    ]
    kinds = (
        'if header :contains "List-Id" "<list{n}.example.org>" {{\n    fileinto "Lists/{n}";\n    stop;\n}}',
        'if address :is "from" ["boss{n}@example.org", "team{n}@example.org"] {{\n'
        '    addflag "\\\\Flagged";\n}}',
        'if anyof (header :contains "Subject" "[ticket-{n}]",\n'
        '          header :matches "Subject" "*invoice {n} of *") {{\n'
        '    fileinto :create "Work";\n    stop;\n}}',
        'if address :domain :is ["from", "sender"] "shop{n}.example.com" {{\n    fileinto "Shops";\n}}',
        'if allof (header :is "X-Spam-Flag" "YES",\n'
        '          header :value "ge" :comparator "i;ascii-numeric" "X-Spam-Level" "{n}") {{\n'
        '    fileinto "Junk";\n    stop;\n}}',
        'if envelope :detail "to" "tag{n}" {{\n    fileinto "Tagged";\n}}',
        'if size :over {n}M {{\n    addflag "large";\n}}',
    )
    number = 0
    while sum(text.count("\n") + 1 for text in found) < lines:
        found.append(kinds[number % len(kinds)].format(n=number + 1))
        number += 1
    return "\n".join(found)


def results(plan: Plan) -> Iterator[Row]:
    """Compiling the script, and a message."""
    text = rules(plan.sized(200, 200))
    compiled, runs = [], []
    mail = []
    for data in Correspondence(seed=3).messages(MESSAGES):
        end = header_end(data)
        mail.append((data[:end], len(data)))
    envelope, world = SieveEnvelope("eve@far.test", "alice+x@a.test"), Clocked()
    for _ in range(plan.turns(7, 3)):
        start = time.thread_time()
        script = Script(text.encode())
        compiled.append(_cost(start, 1))
        start = time.thread_time()
        for header, size in mail:
            script.run(Mail(header, size, lambda: b""), envelope, world)
        runs.append(_cost(start, len(mail)))
    lines = text.count("\n") + 1
    yield Row("sieve_cost", f"compiling {lines} lines", "ms", False, Figure.of(compiled))
    yield Row("sieve_cost", f"a message through {lines} lines", "ms", False, Figure.of(runs))


def _cost(start: float, count: int) -> Measured:
    spent = (time.thread_time() - start) / count * 1000
    return Measured(spent, spent)


if __name__ == "__main__":
    from benchmarks.__main__ import alone

    alone("sieve_cost")
