"""What it costs to tell the journey: processor time an event, and a message.

Three events a message, as a delivery here has them. "An event" is what the thread that serves the mail
spends; "a message" counts the thread that writes, too: that is what the server's processor time a message has
in it. `--size` is the number of messages.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from twisted.internet import reactor

from benchmarks.plan import Plan
from benchmarks.results import Figure, Measured, Row
from twisted_mta.journey.bus import Journey
from twisted_mta.journey.log import LogReader
from twisted_mta.journey.store import DATABASE, JourneyStore
from twisted_mta.message.address import Address

ANN, BOB = Address.parse("ann@a.test"), Address.parse("bob@b.test")
IN_A_BATCH = 100  # messages; what comes within half a second
TITLE = "Telling the journey of a message, ours alone"


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


def measure(
    name: str, journey: Journey, messages: int, rounds: int, store: JourneyStore | None = None
) -> Iterator[Row]:
    """Two rows for one set of readers."""
    events, whole = [], []
    for _ in range(rounds):
        here, everywhere = time.thread_time(), time.process_time()
        for number in range(messages):
            tell(journey, number)
            if store is not None and number % IN_A_BATCH == IN_A_BATCH - 1:
                store._timer.cancel()
                store._hand_over()
        here = (time.thread_time() - here) / messages / 3 * 1000
        while store is not None and store._taken < store._handed:
            time.sleep(0.01)
        everywhere = (time.process_time() - everywhere) / messages * 1000
        events.append(Measured(here, here))
        whole.append(Measured(everywhere, everywhere))
    yield Row("journey_cost", f"{name}: an event", "ms", False, Figure.of(events))
    yield Row("journey_cost", f"{name}: a message", "ms", False, Figure.of(whole))


def results(plan: Plan) -> Iterator[Row]:
    """Rows for each set of readers."""
    messages, rounds = plan.sized(10_000, 1_000), plan.turns(3, 3)
    yield from measure("no reader", Journey(), messages, rounds)
    logged = Journey()
    logged.add_reader(LogReader())
    yield from measure("the log", logged, messages, rounds)
    with tempfile.TemporaryDirectory() as directory:
        store = JourneyStore(Path(directory) / DATABASE, reactor=reactor, keep=86400.0)
        list(store.start().__await__())
        kept = Journey()
        kept.add_reader(store)
        yield from measure("the store", kept, messages, rounds, store)
        size = sum(path.stat().st_size for path in Path(directory).iterdir())
        octets = Figure.of([Measured(size / (3 * messages * rounds))])
        yield Row("journey_cost", "an event on the disk", "octets", False, octets)


if __name__ == "__main__":
    from benchmarks.__main__ import alone

    alone("journey_cost")
