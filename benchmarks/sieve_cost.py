"""What a Sieve script costs for each message: 200 lines of the rules that people have.

Measured is processor time of one thread, from a header block to a decision, a new `Mail` each time as at
delivery; the script is compiled once. No message matches the first rules, most come to the end.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from messages import Correspondence

from twisted_mta.message.headers import header_end
from twisted_mta.sieve.mail import Mail, SieveEnvelope
from twisted_mta.sieve.script import Script
from twisted_mta.sieve.world import World


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


def main() -> None:
    """Compile, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=200)
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    text = rules(options.lines)
    start = time.thread_time()
    script = Script(text.encode())
    compiled = time.thread_time() - start
    messages = []
    for data in Correspondence(seed=3).messages(options.messages):
        end = header_end(data)
        messages.append((data[:end], len(data)))
    envelope, world = SieveEnvelope("eve@far.test", "alice+x@a.test"), Clocked()

    def run() -> None:
        for header, size in messages:
            script.run(Mail(header, size, lambda: b""), envelope, world)

    if options.profile:
        import cProfile

        cProfile.runctx("run()", {"run": run}, {}, sort="tottime")
        return
    times = []
    for _ in range(options.rounds):
        start = time.thread_time()
        run()
        times.append((time.thread_time() - start) / len(messages))
    print(
        f"{text.count(chr(10)) + 1} lines, compiled in {compiled * 1000:.1f} ms: "
        f"{median(times) * 1e6:.0f} µs of processor time a message (best {min(times) * 1e6:.0f})"
    )


if __name__ == "__main__":
    main()
