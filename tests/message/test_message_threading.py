"""THREAD's algorithms (RFC 5256 §3), by small threads and against a literal reading of the RFC."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_mta.message import threading
from twisted_mta.message.base_subject import base_subject
from twisted_mta.message.collation import casemap

Tree = list[object]  # of a number or None, and the trees of the children


class Message(NamedTuple):
    number: int
    date: float
    base_subject: str
    is_reply: bool
    message_id: str
    references: tuple[str, ...]


@dataclass(eq=False)
class Thread:
    number: int | None
    children: list[Thread] = field(default_factory=list)


def columns(messages: list[Message]) -> threading.Messages:
    return threading.Messages(*zip(*messages, strict=True)) if messages else threading.Messages(*[()] * 6)


def threads(forest: threading.Forest) -> list[Thread]:
    found: list[Thread] = []
    pending = [(root, found) for root in reversed(forest.roots)]
    while pending:
        node, siblings = pending.pop()
        thread = Thread(forest.numbers[node] if node < len(forest.numbers) else None)
        siblings.append(thread)
        pending += [(child, thread.children) for child in reversed(forest.children.get(node, ()))]
    return found


def ordered_subject(messages: list[Message]) -> list[Thread]:
    return threads(threading.ordered_subject(columns(messages)))


def references(messages: list[Message]) -> list[Thread]:
    return threads(threading.references(columns(messages)))


def refs(messages: list[Message]) -> list[Thread]:
    return threads(threading.refs(columns(messages)))


def message(number: int, date: float, subject: str = "", name: str = "", *above: str) -> Message:
    base, is_reply = base_subject(subject)
    return Message(number, date, casemap(base), is_reply, name, above)


def trees(threads: list[Thread]) -> list[Tree]:
    return [[thread.number, *trees(thread.children)] for thread in threads]


def test_ordered_subject() -> None:
    found = ordered_subject(
        [
            message(1, 50, "lunch"),
            message(2, 40, "Re: other"),
            message(3, 30, "[list] LUNCH"),
            message(4, 20, "third"),
            message(5, 60, "Re: Lunch"),
            message(6, 20, ""),
        ]
    )
    assert trees(found) == [[4], [6], [3, [1], [5]], [2]]


def test_references_and_dates() -> None:
    messages = [
        message(1, 10, "x", "a"),
        message(2, 40, "Re: x", "b", "a"),
        message(3, 30, "Re: x", "c", "a"),
        message(4, 50, "Re: x", "d", "a", "c"),
        message(5, 5, "y", "e"),
    ]
    assert trees(references(messages)) == [[5], [1, [3, [4]], [2]]]
    assert trees(refs(messages)) == [[5], [1, [3, [4]], [2]]]
    late = [*messages, message(6, 60, "z", "f", "e")]
    assert trees(references(late)) == [[5, [6]], [1, [3, [4]], [2]]]
    assert trees(refs(late)) == [[1, [3, [4]], [2]], [5, [6]]]  # by the latest in the thread


def test_messages_that_are_not_there() -> None:
    # Siblings of one that is missing stay together; with one child it is not shown.
    siblings = [message(1, 20, "", "a", "gone"), message(2, 10, "", "b", "gone")]
    assert trees(references(siblings)) == [[None, [2], [1]]]
    assert trees(references(siblings[:1])) == [[1]]
    # Missing ones in the middle and in a row count for nothing.
    assert trees(references([message(1, 1, "", "a"), message(2, 2, "", "b", "a", "gone", "too")])) == [
        [1, [2]]
    ]
    assert trees(references([message(1, 1, "", "a", "x", "y"), message(2, 2, "", "b", "x", "z")])) == [
        [None, [1], [2]]
    ]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        # A reply goes below the message, whichever came first.
        ([message(1, 1, "Re: x"), message(2, 2, "x")], [[2, [1]]]),
        # Two messages, and two replies, become siblings.
        ([message(1, 1, "x"), message(2, 2, "X")], [[None, [1], [2]]]),
        ([message(1, 2, "Re: x"), message(2, 1, "Fwd: x")], [[None, [2], [1]]]),
        ([message(1, 1, "x"), message(2, 2, "x"), message(3, 3, "Re: x")], [[None, [1], [2], [3]]]),
        ([message(1, 1, "x"), message(2, 2, "Re: x"), message(3, 3, "x")], [[None, [1, [2]], [3]]]),
        # A missing message is joined by whatever has its subject.
        (
            [
                message(1, 1, "x", "a", "gone"),
                message(2, 2, "Re: x", "b", "gone"),
                message(3, 0, "x"),
                message(4, 5, "x", "d", "lost"),
                message(5, 4, "x", "e", "lost"),
            ],
            [[None, [3], [1], [2], [5], [4]]],
        ),
        # Nothing in common.
        ([message(1, 1, ""), message(2, 2, "Re: ")], [[1], [2]]),
    ],
)
def test_base_subjects_are_put_together(messages: list[Message], expected: list[Tree]) -> None:
    assert trees(references(messages)) == expected


def test_ids_that_are_used_twice_and_loops() -> None:
    # The first message has the identifier.
    assert trees(refs([message(1, 1, "", "a"), message(2, 2, "", "a"), message(3, 3, "", "b", "a")])) == [
        [2],
        [1, [3]],
    ]
    assert trees(refs([message(1, 1, "", "a", "a")])) == [[1]]
    assert trees(refs([message(1, 1, "", "a", "b"), message(2, 2, "", "b", "a")])) == [[2, [1]]]
    assert trees(refs([message(1, 1, "", "a", "x", "y"), message(2, 2, "", "b", "y", "x")])) in (
        [[None, [1], [2]]],
        [[1], [2]],
    )


def test_what_a_message_says_of_itself_counts_more_than_what_others_say() -> None:
    messages = [
        message(1, 1, "", "a"),
        message(2, 2, "", "b"),
        message(3, 3, "", "d", "a", "b", "c"),
        message(4, 4, "", "c", "a"),
    ]
    assert trees(refs(messages)) == [[1, [2], [4, [3]]]]
    alone = [message(1, 1, "", "a"), message(2, 2, "", "c", "a", "b"), message(3, 3, "", "b")]
    assert trees(refs(alone)) == [[1], [3, [2]]]


# A literal reading of the RFC, slow and recursive.


@dataclass(eq=False)
class Node:
    message: Message | None = None
    parent: Node | None = None
    children: list[Node] = field(default_factory=list)

    def attach(self, parent: Node | None) -> None:
        if self.parent is not None:
            self.parent.children.remove(self)
        self.parent = parent
        if parent is not None:
            parent.children.append(self)

    def is_below(self, other: Node) -> bool:
        return self is other or (self.parent is not None and self.parent.is_below(other))


def literally(messages: list[Message], by_subject: bool) -> list[Node]:
    names: dict[str, Node] = {}
    nodes = [Node(each) for each in messages]
    for node, each in zip(nodes, messages, strict=True):
        if each.message_id:
            names.setdefault(each.message_id, node)
    for node, each in zip(nodes, messages, strict=True):
        above = None
        for name in each.references:
            named = names.setdefault(name, Node())
            if above is not None and named.parent is None and not above.is_below(named):
                named.attach(above)
            above = named
        node.attach(None)
        if above is not None and not above.is_below(node):
            node.attach(above)

    order = {
        id(node): (each.date, index) for index, (node, each) in enumerate(zip(nodes, messages, strict=True))
    }

    def key(node: Node) -> tuple[float, int]:
        return order[id(node)] if node.message else min(map(key, node.children))

    def prune(siblings: list[Node], top: bool) -> list[Node]:
        kept: list[Node] = []
        for node in siblings:
            node.children = prune(node.children, False)
            if node.message is None and (len(node.children) < 2 or not top):
                kept += node.children
            else:
                kept.append(node)
        return kept

    top = sorted(prune([node for node in [*names.values(), *nodes] if node.parent is None], True), key=key)
    top = list(dict.fromkeys(top))
    if by_subject:
        top = merge(top, key)
    sort(top, key)
    return top


def merge(top: list[Node], key: Any) -> list[Node]:
    def first(node: Node) -> Message:
        found = node.message or min(node.children, key=key).message
        assert found is not None
        return found

    table: dict[str, Node] = {}
    for node in top:
        subject = casemap(first(node).base_subject)
        known = table.get(subject)
        if subject and (
            known is None
            or (
                known.message and (not node.message or (known.message.is_reply and not node.message.is_reply))
            )
        ):
            table[subject] = node
    result = list(top)
    for node in top:
        subject = casemap(first(node).base_subject)
        known = table.get(subject)
        if known is None or known is node:
            continue
        result.remove(node)
        if known.message is None and node.message is None:
            known.children += node.children
        elif known.message is None or (node.message and node.message.is_reply and not known.message.is_reply):
            known.children.append(node)
        else:
            table[subject] = result[result.index(known)] = Node(None, None, [known, node])
    return result


def sort(siblings: list[Node], key: Any) -> None:
    for node in siblings:
        sort(node.children, key)
    siblings.sort(key=key)


def node_trees(nodes: list[Node]) -> list[Tree]:
    return [[node.message.number if node.message else None, *node_trees(node.children)] for node in nodes]


mailboxes = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from(["", "x", "Re: x", "y", "Fwd: y", "X"]),
        st.sampled_from(["", *"abcdefg"]),
        st.lists(st.sampled_from("abcdefgh"), max_size=4),
    ),
    max_size=9,
).map(lambda rows: [message(n, row[0], row[1], row[2], *row[3]) for n, row in enumerate(rows, 1)])


@settings(max_examples=1500, deadline=None)
@given(mailboxes)
def test_any_mailbox_is_threaded_as_the_rfc_says(messages: list[Message]) -> None:
    assert trees(references(messages)) == node_trees(literally(messages, True))
    found = node_trees(literally(messages, False))
    assert sorted(map(repr, trees(refs(messages)))) == sorted(map(repr, found))


def depth(thread: Thread) -> int:
    levels = 1
    while thread.children:
        assert len(thread.children) == 1
        thread, levels = thread.children[0], levels + 1
    return levels


def test_a_thread_of_20_000_messages() -> None:
    messages = [
        message(n, n, "x" if not n else "Re: x", f"{n}@x", *(f"{m}@x" for m in range(max(0, n - 30), n)))
        for n in range(20_000)
    ]
    shuffled = [messages[n * 7919 % 20_000] for n in range(20_000)]
    for mailbox in (messages, messages[::-1], shuffled):
        for algorithm in (references, refs):
            (thread,) = algorithm(mailbox)
            assert depth(thread) == 20_000
    assert len(ordered_subject(messages)[0].children) == 19_999


def test_hostile_references_cost_no_more_than_their_number() -> None:
    # Every other message takes the beginning of a long thread away and puts it at the end of another one.
    count = 20_000
    chain = [message(n, n, "", f"{n}", f"{n - 1}") for n in range(count)]
    crossing = [message(n, n, "", f"x{n}", f"{count - 1}", f"{n}") for n in range(count)]
    moved = [message(n, n, "", f"{n}", f"{(n * 7919) % count}") for n in range(count)]
    missing = [message(n, n, "", f"y{n}", *(f"{m}@gone" for m in range(100))) for n in range(count)]
    for mailbox in (crossing + chain, chain + crossing, chain[::-1] + moved, moved, missing):
        found, pending = 0, refs(mailbox)
        while pending:
            thread = pending.pop()
            found += thread.number is not None
            pending += thread.children
        assert found == len(mailbox)
