"""The THREAD response (RFC 5256 §4 BASE.7.2.THREAD)."""

from __future__ import annotations

from collections.abc import Sequence

from twisted_mta.message.threading import Thread


def thread_response(threads: Sequence[Thread]) -> bytes:
    """The response, a line, for threads however deep."""
    pieces: list[str] = []
    pending: list[Thread | str] = list(reversed(threads))
    while pending:
        thread = pending.pop()
        if isinstance(thread, str):
            pieces.append(thread)
            continue
        numbers = [] if thread.number is None else [thread.number]
        while len(thread.children) == 1:
            thread = thread.children[0]
            assert thread.number is not None
            numbers.append(thread.number)
        pieces.append(f"({' '.join(map(str, numbers))}")
        pending.append(")")
        if thread.children:
            if numbers:
                pieces.append(" ")
            pending += reversed(thread.children)
    text = f" {''.join(pieces)}" if pieces else ""
    return f"* THREAD{text}\r\n".encode("ascii")
