"""The THREAD response (RFC 5256 §4 BASE.7.2.THREAD)."""

from __future__ import annotations

from twisted_mta.message.threading import Forest


def thread_response(forest: Forest) -> bytes:
    """The response, a line, for threads however deep."""
    roots, children, numbers = forest
    names = list(map(str, numbers))
    count = len(names)
    pieces: list[str] = []
    for root in roots:
        if root < count and root not in children:
            pieces.append(f"({names[root]})")
        else:
            _add_thread(pieces, root, children, names)
    text = f" {''.join(pieces)}" if pieces else ""
    return f"* THREAD{text}\r\n".encode("ascii")


def _add_thread(pieces: list[str], root: int, children: dict[int, list[int]], names: list[str]) -> None:
    closed = -1  # in place of a message: the end of a thread
    pending = [root]
    while pending:
        node = pending.pop()
        if node == closed:
            pieces.append(")")
            continue
        line = [names[node]] if node < len(names) else []
        below = children.get(node, ())
        while len(below) == 1:
            (node,) = below
            line.append(names[node])
            below = children.get(node, ())
        pieces.append(f"({' '.join(line)}")
        if not below:
            pieces.append(")")
            continue
        if line:
            pieces.append(" ")
        pending.append(closed)
        pending += reversed(below)
