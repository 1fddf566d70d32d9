"""Imported by a server that `transfer.py` starts to measure intake alone: its dispatcher delivers nothing."""

from __future__ import annotations

from twisted_mta.transfer.mta.dispatch import Dispatcher


async def _start(self: Dispatcher) -> None:
    """Leave everything in the queue."""


Dispatcher.start = _start  # type: ignore[method-assign]
