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
from typing import NamedTuple

# Loops are looked for by walking up from a message to the beginning of its thread, a few steps in real mail.
# Where somebody has made threads for the purpose, links are no longer made when all these are spent.
_STEPS = 1_000_000
_STEPS_PER_MESSAGE = 20

_NONE = -1


class Messages(NamedTuple):
    """What is asked of messages, in columns: `numbers` are what the client calls them, `subjects` are base
    subjects as they are compared (see collation), an identifier that is not true is none; the rest is as in
    Overview."""

    numbers: Sequence[int]
    dates: Sequence[float]
    subjects: Sequence[str]
    replies: Sequence[bool]
    identifiers: Sequence[Hashable]
    references: Sequence[Sequence[Hashable]]


class Forest(NamedTuple):
    """Threads. A message is its place among the `numbers`; `roots` begin the threads, `children` are the
    messages that answer one, in order of their dates, if there are any. A place beyond the numbers stands for
    a message that is not there: only among the roots, and with two children at least."""

    roots: list[int]
    children: dict[int, list[int]]
    numbers: Sequence[int]


def ordered_subject(messages: Messages) -> Forest:
    """ORDEREDSUBJECT: the messages with one base subject, all of them children of the first."""
    firsts: dict[str, int] = {}
    children: dict[int, list[int]] = {}
    for message in _by_date(messages):
        first = firsts.setdefault(messages.subjects[message], message)
        if first != message:
            children.setdefault(first, []).append(message)
    return Forest(list(firsts.values()), children, messages.numbers)


def references(messages: Messages) -> Forest:
    """REFERENCES: what answers what, then threads with one base subject are put together."""
    return _Linked(messages).merged()


def refs(messages: Messages) -> Forest:
    """REFS: what answers what; threads in order of their latest messages."""
    linked = _Linked(messages)
    latest = {root: linked.latest(root) for root in linked.roots}
    return Forest(sorted(linked.roots, key=latest.__getitem__), linked.children, messages.numbers)


def _by_date(messages: Messages) -> list[int]:
    return sorted(range(len(messages.dates)), key=messages.dates.__getitem__)


class _Linked:
    """Steps 1 to 4: all threads, in order of the dates of their first messages."""

    def __init__(self, messages: Messages) -> None:
        self.roots: list[int] = []
        self.children: dict[int, list[int]] = {}
        self._messages = messages
        self._dated = dated = _by_date(messages)
        parents = _Links(messages).parents
        self._count = count = len(dated)
        # Where a message stands by its date; one that is not there has the place of its first child.
        self._places = places = [0] * len(parents)
        roots, children = self.roots, self.children
        for place, message in enumerate(dated):
            places[message] = place
            parent = parents[message]
            if parent >= count:
                parent = _present(parents, parent, count)
            if parent == _NONE:
                roots.append(message)
            elif parent in children:
                children[parent].append(message)
            else:
                children[parent] = [message]
                if parent >= count:
                    places[parent] = place
                    roots.append(parent)
        # A missing message is not kept for the sake of one child.
        self.roots = [
            children.pop(root)[0] if root >= count and len(children[root]) == 1 else root for root in roots
        ]

    def latest(self, root: int) -> int:
        """The place of the last message of a thread."""
        places, children = self._places, self.children
        found, pending = 0, [root]
        while pending:
            each = pending.pop()
            found = max(found, places[each])
            pending += children.get(each, ())
        return found

    def merged(self) -> Forest:
        """Steps 5 and 6: make threads with one base subject one, and put all in order again."""
        places, children, count = self._places, self.children, self._count
        subjects = [self._messages.subjects[self._first(root)] for root in self.roots]
        chosen = self._choose(subjects)
        grown: set[int] = set()
        for root, subject in zip(self.roots, subjects, strict=True):
            known = chosen.get(subject, root)
            if known == root:
                continue
            if known >= count:
                children[known] += children.pop(root) if root >= count else [root]
            elif self._is_reply(root) and not self._is_reply(known):
                children.setdefault(known, []).append(root)
            else:
                both = chosen[subject] = len(places)
                places.append(places[known])
                children[both] = [known, root]
                known = both
            grown.add(known)
        for thread in grown:
            children[thread].sort(key=places.__getitem__)
            if thread >= count:
                places[thread] = places[children[thread][0]]
        alone = [root for root, subject in zip(self.roots, subjects, strict=True) if not subject]
        roots = sorted([*alone, *chosen.values()], key=places.__getitem__)
        return Forest(roots, children, self._messages.numbers)

    def _choose(self, subjects: list[str]) -> dict[str, int]:
        """The subject table (B): of the threads with one base subject, the one to which the others are added.
        A missing message is better than one that is there, and a first message better than a reply."""
        table: dict[str, int] = {}
        count = self._count
        for root, subject in zip(self.roots, subjects, strict=True):
            if not subject:
                continue
            known = table.setdefault(subject, root)
            if known == root or known >= count:
                continue
            if root >= count or (self._is_reply(known) and not self._is_reply(root)):
                table[subject] = root
        return table

    def _first(self, root: int) -> int:
        """The message itself, or the first child of one that is not there."""
        return self._dated[self._places[root]]

    def _is_reply(self, root: int) -> bool:
        return self._messages.replies[self._first(root)]


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
    """Step 1: the parent of each message, by their places; places beyond are of messages that are not there,
    only referred to."""

    def __init__(self, messages: Messages) -> None:
        count = len(messages.numbers)
        self.parents = [_NONE] * count
        self._children = [0] * count  # how many
        self._steps = _STEPS + _STEPS_PER_MESSAGE * count
        self._places: dict[Hashable, int] = {}
        for place, identifier in enumerate(messages.identifiers):
            if identifier:
                self._places.setdefault(identifier, place)
        for place, above in enumerate(messages.references):
            if above:
                self._link(place, self._chain(above))
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
