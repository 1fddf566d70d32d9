"""What the tests of the MIME scan look at trees with."""

from collections.abc import Iterator

from twisted_mta.message.mime import MAX_DEPTH, MAX_PARTS, Part


def walk(root: Part) -> Iterator[tuple[Part, Part | None, int]]:
    """Every part with its parent and depth."""
    pending: list[tuple[Part, Part | None, int]] = [(root, None, 0)]
    while pending:
        part, parent, depth = pending.pop()
        yield part, parent, depth
        inner = [*part.children, *([part.message] if part.message else [])]
        pending += [(child, part, depth + 1) for child in reversed(inner)]


def shape(part: Part) -> object:
    """The types of a tree: a name, or a list of a name and what is inside."""
    name = (part.type + b"/" + part.subtype).decode()
    inner = [*part.children, *([part.message] if part.message else [])]
    return [name, *(shape(child) for child in inner)] if inner else name


def body(data: bytes, part: Part) -> bytes:
    return data[part.header_end : part.body_end]


def check(data: bytes, root: Part) -> None:
    """What has to hold for every tree, whatever the message was."""
    assert (root.header_start, root.body_end) == (0, len(data))
    parts = 0
    last_end: dict[int, int] = {}
    for part, parent, depth in walk(root):
        parts += 1
        assert depth <= MAX_DEPTH
        assert part.header_start <= part.header_end <= part.body_end <= len(data)
        assert part.size == len(body(data, part))
        assert part.lines == body(data, part).count(b"\n")
        assert bool(part.children) == part.is_multipart
        assert (part.message is not None) == part.is_message
        if parent is not None:
            assert parent.header_end <= part.header_start and part.body_end <= parent.body_end
            assert last_end.get(id(parent), 0) <= part.header_start
            last_end[id(parent)] = part.body_end
        if part.message is not None:
            assert (part.message.header_start, part.message.body_end) == (part.header_end, part.body_end)
    assert parts <= MAX_PARTS + MAX_DEPTH + 1
