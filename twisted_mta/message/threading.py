"""Threads: which message answers which (RFC 5256 §3 THREAD).

Three ways to find them: by base subjects alone, by References and then base subjects, and by References alone
(REFS of draft-ietf-morg-inthread). Nothing recurses, however deep a thread is, and the work grows as the
number of messages and references.

Messages are given in the order of the mailbox, which decides between equal dates. What a message's date is,
the caller chooses: the sent date (RFC 5256 §2.2), or INTERNALDATE for REFS. What stands for a message-id may
be anything that tells them apart.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from operator import attrgetter
from typing import NamedTuple

# Loops are looked for by walking up from a message to the beginning of its thread, a few steps in real mail.
# Where somebody has made threads for the purpose, links are no longer made when all these are spent.
_STEPS = 1_000_000
_STEPS_PER_MESSAGE = 20

_NONE = -1


class Message(NamedTuple):
    """What is asked of a message: `number` is what the client calls it, `base_subject` is as subjects are
    compared (see collation), a `message_id` that is not true is none; the rest is as in Overview."""

    number: int
    date: float
    base_subject: str
    is_reply: bool
    message_id: Hashable
    references: Sequence[Hashable]


class Thread:
    """A message with those that answer it, in order of their dates. Without a number it stands for one that
    is not there: only at the top, and with two children at least. `place` is that of the message when all are
    in order of their dates; without a number, that of the first child."""

    __slots__ = ("children", "number", "place")

    def __init__(self, number: int | None, place: int) -> None:
        self.number = number
        self.children: list[Thread] = []
        self.place = place


_place = attrgetter("place")


def ordered_subject(messages: Sequence[Message]) -> list[Thread]:
    """ORDEREDSUBJECT: the messages with one base subject, all of them children of the first."""
    firsts: dict[str, Thread] = {}
    for place, index in enumerate(_by_date(messages)):
        message = messages[index]
        thread = Thread(message.number, place)
        first = firsts.setdefault(message.base_subject, thread)
        if first is not thread:
            first.children.append(thread)
    return list(firsts.values())


def references(messages: Sequence[Message]) -> list[Thread]:
    """REFERENCES: what answers what, then threads with one base subject are put together."""
    dated = _by_date(messages)
    return _merge_subjects(_linked(messages, dated), [messages[index] for index in dated])


def refs(messages: Sequence[Message]) -> list[Thread]:
    """REFS: what answers what; threads in order of their latest messages."""
    threads = _linked(messages, _by_date(messages))
    latest = {id(thread): _latest(thread) for thread in threads}
    return sorted(threads, key=lambda thread: latest[id(thread)])


def _latest(thread: Thread) -> int:
    found, pending = 0, [thread]
    while pending:
        each = pending.pop()
        found = max(found, each.place)
        pending += each.children
    return found


def _by_date(messages: Sequence[Message]) -> list[int]:
    dates = [message.date for message in messages]
    return sorted(range(len(dates)), key=dates.__getitem__)


def _linked(messages: Sequence[Message], dated: list[int]) -> list[Thread]:
    """Steps 1 to 4: all threads, in order of the dates of their first messages."""
    parents = _Links(messages).parents
    count = len(messages)
    threads = [Thread(message.number, 0) for message in messages]
    missing: dict[int, Thread] = {}  # by the first of the messages in the thread that are not there
    roots: list[Thread] = []
    for place, index in enumerate(dated):
        thread = threads[index]
        thread.place = place
        parent = parents[index]
        if parent >= count:
            parent = _present(parents, parent, count)
        if parent == _NONE:
            roots.append(thread)
        elif parent < count:
            threads[parent].children.append(thread)
        elif parent in missing:
            missing[parent].children.append(thread)
        else:
            root = missing[parent] = Thread(None, place)
            root.children.append(thread)
            roots.append(root)
    # A missing message is not kept for the sake of one child.
    return [root.children[0] if root.number is None and len(root.children) == 1 else root for root in roots]


def _present(parents: list[int], node: int, count: int) -> int:
    """The nearest ancestor of a missing message that is there, or else the first missing one of all. What is
    found is noted for all on the way, so that nobody has to go it again."""
    way = []
    while node >= count and (parent := parents[node]) != _NONE:
        way.append(node)
        node = parent
    for passed in way:
        parents[passed] = node
    return node


class _Links:
    """Step 1: the parent of each message, by their places in `messages`; places beyond are of messages that
    are not there, only referred to."""

    def __init__(self, messages: Sequence[Message]) -> None:
        count = len(messages)
        self.parents = [_NONE] * count
        self._children = [0] * count  # how many
        self._steps = _STEPS + _STEPS_PER_MESSAGE * count
        self._places: dict[Hashable, int] = {}
        for place, message in enumerate(messages):
            if message.message_id:
                self._places.setdefault(message.message_id, place)
        for place, message in enumerate(messages):
            if message.references:
                self._link(place, self._chain(message.references))
            elif self.parents[place] != _NONE:
                self._link(place, _NONE)

    def _chain(self, identifiers: Sequence[Hashable]) -> int:
        """Link messages one after another where they have no parents yet; the place of the last one (A)."""
        places, parents, children = self._places, self.parents, self._children
        above = _NONE
        for identifier in identifiers:
            place = places.get(identifier)
            if place is None:
                place = places[identifier] = len(parents)
                parents.append(above)
                children.append(0)
                if above != _NONE:
                    children[above] += 1
            elif parents[place] == _NONE and above != _NONE and not self._is_below(above, place):
                parents[place] = above
                children[above] += 1
            above = place
        return above

    def _link(self, place: int, parent: int) -> None:
        """Make a message the child of `parent` and of no other (B)."""
        former = self.parents[place]
        if former == parent:
            return
        if former != _NONE:
            self.parents[place] = _NONE
            self._children[former] -= 1
        if parent != _NONE and not self._is_below(parent, place):
            self.parents[place] = parent
            self._children[parent] += 1

    def _is_below(self, place: int, ancestor: int) -> bool:
        """Whether a link from `ancestor` to `place` would close a loop."""
        if not self._children[ancestor]:
            return place == ancestor
        while place not in (ancestor, _NONE) and self._steps:
            place = self.parents[place]
            self._steps -= 1
        return place != _NONE


def _merge_subjects(roots: list[Thread], dated: Sequence[Message]) -> list[Thread]:
    """Steps 5 and 6: make threads with one base subject one, and put all in order again."""
    subjects = [dated[root.place].base_subject for root in roots]
    chosen = _choose(roots, subjects, dated)
    grown: dict[int, Thread] = {}
    for root, subject in zip(roots, subjects, strict=True):
        known = chosen.get(subject, root)
        if known is root:
            continue
        if known.number is None:
            known.children += root.children if root.number is None else [root]
        elif dated[root.place].is_reply and not dated[known.place].is_reply:
            known.children.append(root)
        else:
            both = chosen[subject] = Thread(None, known.place)
            both.children = [known, root]
            known = both
        grown[id(known)] = known
    for thread in grown.values():
        thread.children.sort(key=_place)
        if thread.number is None:
            thread.place = thread.children[0].place
    alone = [root for root, subject in zip(roots, subjects, strict=True) if not subject]
    return sorted([*alone, *chosen.values()], key=_place)


def _choose(roots: list[Thread], subjects: list[str], dated: Sequence[Message]) -> dict[str, Thread]:
    """The subject table (B): of the threads with one base subject, the one to which the others are added. A
    missing message is better than one that is there, and a first message better than a reply."""
    table: dict[str, Thread] = {}
    for root, subject in zip(roots, subjects, strict=True):
        if not subject:
            continue
        known = table.setdefault(subject, root)
        if known.number is not None and (
            root.number is None or (dated[known.place].is_reply and not dated[root.place].is_reply)
        ):
            table[subject] = root
    return table
