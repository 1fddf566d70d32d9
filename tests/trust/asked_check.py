"""A check asked about a client and its message, without a session around it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from twisted_mta.message.address import Address
from twisted_mta.trust.check import Check, Incoming, Verdict

T = TypeVar("T")

BOB = Address("bob", "here.test")


def done(coroutine: Coroutine[Any, Any, T]) -> T:
    """What it comes to, at once."""
    found: list[T] = []
    Deferred.fromCoroutine(coroutine).addCallback(found.append)
    return found[0]


def judge(check: Check, **facts: Any) -> Verdict:
    """What a check says about a client, for BOB."""
    return done(check.judge(Incoming(**{"address": "192.0.2.7", "forward_paths": (BOB,), **facts})))
