"""A destination: the mail that waits for it in memory, and how many attempts at once it has earned.

The number of attempts at once is a window, as in TCP. It begins small and grows by one with each success up
to where there was trouble last, beyond that by one with each windowful of successes. Trouble halves it: no
host of the destination can be reached, or it says 421, "too much at once". The attempts that were under way
meet the same trouble and say nothing new, so that the window shrinks once for all of them.

At the least window trouble counts towards a rest: no attempts for a while, then one that probes. A host that
falls silent in the middle of a message gets fewer attempts, too, but no rest, not even as what probes: it was
reached, and other mail may fare better. Mail whose attempt ended with 421 while another one was under way is
put back in line; nobody has refused it, there was just one attempt too many.

Pure bookkeeping: no I/O, no clock.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from heapq import heappop, heappush

from twisted_mta.message.date import format_date
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient

FEW = 2  # attempts at once at a destination that has not answered
_WHILE_RESTING = 100  # deferrals of a resting destination's mail recorded at once
_TO_REST = 3  # attempts in a row that met trouble
_MEMORY = 3  # rests, after which trouble is forgotten
_PUT_BACK = 5  # times that one work is put back in line

Key = tuple[str, str]  # of a destination: a domain and "", or "" and a next hop
Place = tuple[int, int, int]  # in a line: less priority, turn, order of arrival; the least goes first
Line = list[tuple[Place, "Destination"]]
Position = tuple[float, int]  # on disk: next_attempt and number of a recipient


@dataclass(slots=True, eq=False)
class Work:
    """One message for some recipients at one destination. `message` None: still on disk. `arrived`: when its
    time began. `sender`: who takes turns; `priority`: 9 to -9 (RFC 6710); `place`: in line."""

    destination: Destination
    number: int
    arrived: float
    recipients: tuple[QueuedRecipient, ...]
    message: QueuedMessage | None
    sender: str = ""
    priority: int = 0
    place: Place = (0, 0, 0)
    era: int = 0  # of the destination's window when the attempt began
    put_back: int = 0  # how often
    deadline: bool = False  # its sender has set one (DELIVERBY, RFC 2852)

    @property
    def octets(self) -> int:
        """Of the body that it keeps in memory."""
        return len(self.message.content.data) if self.message is not None else 0


class Lesson(enum.Enum):
    """What an attempt says of the destination. BUSY: its 421; CUT_OFF: a host of it began with the mail and
    fell silent; AWAY: none was reached."""

    FINE = enum.auto()
    ANSWERS = enum.auto()
    BUSY = enum.auto()
    CUT_OFF = enum.auto()
    AWAY = enum.auto()


def lesson(outcomes: Sequence[Outcome]) -> Lesson:
    """AWAY is known by RFC 3463 X.4.X, "network and routing"."""
    if not all(outcome.action is Action.DELAYED for outcome in outcomes):
        return Lesson.FINE
    if all(outcome.text.startswith("421") for outcome in outcomes):
        return Lesson.BUSY
    if all(outcome.status.startswith("4.4.") for outcome in outcomes):
        return Lesson.CUT_OFF if any(outcome.broke_off for outcome in outcomes) else Lesson.AWAY
    return Lesson.ANSWERS


class Destination:
    """A domain, or, when that is "", a next hop of the administrator's. `share`: recipients in memory;
    `most`: attempts at once; `rests`: whether it has to earn them, and rests when it is in trouble."""

    __slots__ = (
        "answers",
        "domain",
        "ease",
        "era",
        "known_until",
        "last",
        "line",
        "most",
        "next_hop",
        "of_senders",
        "passed_over",
        "position",
        "recipients",
        "rests",
        "rests_until",
        "running",
        "share",
        "stands",
        "successes",
        "troubles",
        "waiting",
        "window",
    )

    def __init__(self, domain: str, next_hop: str, *, share: int, most: int, rests: bool) -> None:
        self.domain = domain
        self.next_hop = next_hop
        self.share = share
        self.most = most
        self.rests = rests
        self.waiting: list[tuple[Place, Work]] = []  # a heap
        self.recipients = 0  # in memory: waiting, or in an attempt
        self.of_senders: Counter[tuple[str, int]] = Counter()  # the same by sender and priority
        self.running = 0  # attempts
        self.answers = not rests  # did when it was last attempted
        self.window = min(FEW, most) if rests else most
        self.ease = most  # up to here the window grows with each success
        self.successes = 0  # beyond it, since the window has grown
        self.era = 0  # how often the window has shrunk
        self.troubles = 0  # in a row, at the least window
        self.rests_until = 0.0
        self.known_until = 0.0  # when trouble is forgotten
        self.last: Outcome | None = None  # why it rests
        # The lane's: the line in which it stands among the destinations, and its place there.
        self.line: Line = []
        self.stands: Place | None = None
        # The backlog's: up to where it was read for this destination alone; whether mail was passed over.
        self.position: Position = (0.0, 0)
        self.passed_over = False

    def line_up(self, work: Work) -> None:
        """`work` waits at its place."""
        heappush(self.waiting, (work.place, work))

    def take(self) -> Work:
        """Who is first in line: by priority, then by turn."""
        work = heappop(self.waiting)[1]
        work.era = self.era
        return work

    def resting(self, now: float) -> Outcome | None:
        """The trouble it rests for, or None when attempts may be made."""
        return self.last if now < self.rests_until else None

    def attempts_at_once(self, now: float) -> int:
        """After a rest one attempt probes, until it succeeds."""
        if now < self.rests_until:
            return _WHILE_RESTING
        return 1 if self.troubles >= _TO_REST else self.window

    def learn(self, work: Work, outcomes: Sequence[Outcome], now: float, rest: float) -> Lesson:
        """What an attempt came to. rest: seconds."""
        learned = lesson(outcomes)
        if not self.rests:
            return learned
        if learned is Lesson.FINE:
            self.troubles = 0
            self._grow()
        elif learned is Lesson.ANSWERS:
            self.troubles = 0
        else:
            self.known_until = now + _MEMORY * rest
            if learned is Lesson.CUT_OFF:
                self.troubles = 0
            elif self.window <= FEW:
                self.troubles += 1
            if work.era == self.era:
                self._shrink()
            if self.troubles >= _TO_REST:
                self.rests_until = now + rest
                self.last = self._left_alone(outcomes[0])
        return learned

    def may_put_back(self, work: Work, learned: Lesson, now: float) -> bool:
        """Whether this was one attempt too many, so that the mail may try again when others are over."""
        others = self.running > 1 and self.resting(now) is None
        return learned is Lesson.BUSY and others and work.put_back < _PUT_BACK

    def _grow(self) -> None:
        self.successes += 1
        if self.window < self.most and (self.window < self.ease or self.successes >= self.window):
            self.window += 1
            self.successes = 0

    def _shrink(self) -> None:
        self.era += 1
        self.successes = 0
        self.window = max(1, self.window // 2)
        self.ease = max(min(FEW, self.most), self.window)

    def _left_alone(self, failure: Outcome) -> Outcome:
        """What becomes of the mail during the rest. No host has said anything about that mail."""
        until = format_date(self.rests_until)
        cause = f"{failure.remote_mta}: {failure.text}" if failure.remote_mta else failure.text
        return replace(
            failure,
            status="4.4.1",
            text=f"{self.next_hop or self.domain} is left alone until {until}, after: {cause}",
            remote_mta="",
        )
