"""What it costs to tell the journey: microseconds of processor time an event, and a message.

    python benchmarks/journey_cost.py [MESSAGES]

Three events a message, as a delivery here has them. "reactor": in the thread that serves the mail; "all":
with the thread that writes, too, which is what counts for the server's processor time a message.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from twisted.internet import reactor

from twisted_mta.journey.bus import Journey
from twisted_mta.journey.log import LogReader
from twisted_mta.journey.store import DATABASE, JourneyStore
from twisted_mta.message.address import Address

ANN, BOB = Address.parse("ann@a.test"), Address.parse("bob@b.test")
IN_A_BATCH = 100  # messages; what comes within half a second
ROUNDS = 3


def tell(journey: Journey, number: int) -> None:
    """One message from outside, delivered."""
    queue_id = f"3{number:012d}"
    journey.tell(
        "accepted",
        queue_id,
        client="192.0.2.1",
        reverse_path=f"<{ANN}>",
        to=(BOB,),
        recipients=1,
        size=4096,
        tls="TLSv1.3",
        account="",
        message_id=f"<{number}@a.test>",
        envid="",
        certifier="",
    )
    journey.tell("delivered", queue_id, to=BOB, account="bob@b.test", mailbox="INBOX")
    journey.tell("done", queue_id)


def measure(name: str, journey: Journey, messages: int, store: JourneyStore | None = None) -> None:
    """The best of some rounds; the machine may have other things to do."""
    best = (float("inf"), float("inf"))
    for _ in range(ROUNDS):
        here, everywhere = time.thread_time(), time.process_time()
        for number in range(messages):
            tell(journey, number)
            if store is not None and number % IN_A_BATCH == IN_A_BATCH - 1:
                store._timer.cancel()
                store._hand_over()
        here = time.thread_time() - here
        while store is not None and store._taken < store._handed:
            time.sleep(0.01)
        everywhere = time.process_time() - everywhere
        best = min(best, (here / messages / 3 * 1e6, everywhere / messages * 1e6))
    print(f"{name:<10} reactor {best[0]:5.2f} us an event, all {best[1]:6.1f} us a message")


def main() -> None:
    """Print a line for each set of readers."""
    messages = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    measure("no reader", Journey(), messages)
    logged = Journey()
    logged.add_reader(LogReader())
    measure("the log", logged, messages)
    with tempfile.TemporaryDirectory() as directory:
        store = JourneyStore(Path(directory) / DATABASE, reactor=reactor, keep=86400.0)
        list(store.start().__await__())
        kept = Journey()
        kept.add_reader(store)
        measure("the store", kept, messages, store)
        size = sum(path.stat().st_size for path in Path(directory).iterdir())
        print(f"{size / (3 * messages * ROUNDS):.0f} octets an event on disk")


if __name__ == "__main__":
    main()
