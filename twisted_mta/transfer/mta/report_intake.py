"""Takes in the reports that other servers' programs send to us: a look at local mail for certain addresses,
on its way (RFC 8460 §5.3, RFC 7489 §7.2.1.1).

Whoever asks for reports names an address in the DNS; mail for it is delivered like any other, and what is a
report of a kind that is expected there is kept. One is read at a time: anybody may send them. What is none is
told in the log and is just mail. One address may get reports of several kinds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import DeferredLock
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from zope.interface import implementer

from twisted_mta.interfaces import IDeliverer
from twisted_mta.message.address import Address
from twisted_mta.message.attached_report import LARGEST, NotAReport
from twisted_mta.message.content import Content
from twisted_mta.message.outcome import Action, Outcome, QueuedMessage, QueuedRecipient

MOST_WAITING = 20  # messages, for one to be read


class ReportKind(Protocol):
    """One kind of report. `name`: for the log. What `read` returns is `keep`'s."""

    name: str

    def read(self, message: bytes) -> Any:
        """The report in a message, None when there is none of this kind. In a thread. Raises NotAReport for
        what looks like one and cannot be read."""

    async def keep(self, report: Any, queue_id: str) -> None:
        """Keep it, and tell. Raises sqlite3.Error."""


@implementer(IDeliverer)
class ReportIntake:
    """A deliverer in front of another one. `expected`: addresses, with what comes in there."""

    log = Logger(namespace="twisted_mta.reports")

    def __init__(self, deliverer: Any, expected: Iterable[tuple[Address, ReportKind]]) -> None:
        self._deliverer = deliverer
        self._kinds: dict[str, list[ReportKind]] = {}
        for address, kind in expected:
            self._kinds.setdefault(address.key, []).append(kind)
        self._reading = DeferredLock()

    async def deliver(
        self, message: QueuedMessage, recipients: Sequence[QueuedRecipient]
    ) -> Sequence[Outcome]:
        """See IDeliverer."""
        outcomes: Sequence[Outcome] = await self._deliverer.deliver(message, recipients)
        for recipient, outcome in zip(recipients, outcomes, strict=True):
            kinds = self._kinds.get(recipient.forward_path.key)
            if kinds is None or outcome.action not in _ARRIVED:
                continue
            if len(self._reading.waiting) >= MOST_WAITING:
                self.log.warn("{queue_id}: not looked into: too many reports", queue_id=message.queue_id)
                continue
            await self._reading.acquire()
            try:
                await self._take(message, kinds)
            finally:
                self._reading.release()
        return outcomes

    async def _take(self, message: QueuedMessage, kinds: Sequence[ReportKind]) -> None:
        """Trouble is logged; it is no trouble for the delivery."""
        queue_id = message.queue_id
        for kind in kinds:
            try:
                report = await deferToThread(_read, kind, message.content)
                if report is not None:
                    await kind.keep(report, queue_id)
            except NotAReport as error:
                self.log.warn(
                    "{queue_id}: no {name} report: {error}", queue_id=queue_id, name=kind.name, error=error
                )
            except (OSError, sqlite3.Error) as error:
                self.log.error(
                    "{queue_id}: the {name} report is not kept: {error}",
                    queue_id=queue_id,
                    name=kind.name,
                    error=error,
                )
            except Exception:  # the mail has been delivered, whatever it holds, and stays so
                self.log.failure("{queue_id}: no {name} report", queue_id=queue_id, name=kind.name)


_ARRIVED = frozenset({Action.DELIVERED, Action.EXPANDED})


def _read(kind: ReportKind, content: Content) -> Any:
    """In a thread. Raises NotAReport, OSError."""
    octets = bytearray()
    for chunk in content.chunks():
        octets += chunk
        if len(octets) > LARGEST:
            raise NotAReport("the message is too large")
    return kind.read(bytes(octets))
