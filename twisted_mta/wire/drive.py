"""Coroutines that are begun many times a second."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


def drive(running: Coroutine[Deferred[Any], None, None], failed: Callable[[Failure], None]) -> None:
    """Begin with `running`, and go on whenever what it waits for has come; `failed` is told how it ended, if
    not well. What `Deferred.fromCoroutine` does, for a fraction of the cost: nobody can wait for it or cancel
    it, and it has no context variables of its own."""
    _go_on(None, running, failed)


def _go_on(
    result: object, running: Coroutine[Deferred[Any], None, None], failed: Callable[[Failure], None]
) -> None:
    """The result itself is taken from the Deferred by `await`; only a failure has to be brought to it."""
    try:
        error = result.value if isinstance(result, Failure) else None
        awaited = running.send(None) if error is None else running.throw(error)
    except StopIteration:
        return
    except Exception:
        failed(Failure())
        return
    awaited.addBoth(_go_on, running, failed)
