"""What the side with the mailboxes needs of the queue, which may be in another process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from twisted_mta.handover.queue import RemoteQueue
from twisted_mta.interfaces import IIntake
from twisted_mta.queue.mailqueue import MailQueue
from twisted_mta.service.in_queue import is_queued
from twisted_mta.service.wiring.dkim import Signing

WAYS = ("own", "posts", "onward")  # as the two processes call them


@dataclass(frozen=True)
class QueueWays:
    """The ways in, as `Signing` has them, and questions: whether the queue has a message by its queue id; one
    with an envelope id; one of an account with a recipient of that ORCPT."""

    own: IIntake
    posts: IIntake
    onward: IIntake
    is_queued: Callable[[str], Awaitable[bool]]
    has_envelope: Callable[[str], Awaitable[bool]]
    has_recipient: Callable[[str, str], Awaitable[bool]]


def direct(queue: MailQueue, signing: Signing) -> QueueWays:
    """The queue is in this process."""
    return QueueWays(
        signing.own,
        signing.posts,
        signing.onward,
        is_queued=partial(is_queued, queue),
        has_envelope=queue.has_envelope,
        has_recipient=queue.has_recipient,
    )


def remote(queue: RemoteQueue) -> QueueWays:
    """The queue is in the other process."""
    own, posts, onward = (queue.intake(way) for way in WAYS)
    return QueueWays(
        own,
        posts,
        onward,
        is_queued=queue.is_queued_at_last,
        has_envelope=queue.has_envelope,
        has_recipient=queue.has_recipient,
    )
