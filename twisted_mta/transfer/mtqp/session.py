"""An MTQP session: the engine's one question answered from the journey (RFC 3887)."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThreadPool

from twisted_mta.journey.tracking import track
from twisted_mta.message.status import MailError
from twisted_mta.message.tracking_status import TrackingStatus, tracking_report
from twisted_mta.protocol.mtqp.server import Event, MtqpServer, StartTls, Track
from twisted_mta.wire.connection import Connection

OVERLOAD = b"-TEMP Too many connections, try again later\r\n"  # for Listener


class MtqpSession(Connection[Event]):
    """One client. journey: the file that `journey/store.py` writes; reactor: its threads read it."""

    engine: MtqpServer
    idle_limit = 600.0  # RFC 3887 asks for ten minutes at least; there is no login that could be waited for

    def __init__(self, *, hostname: str, journey: Path, reactor: Any) -> None:
        self._hostname = hostname
        self._journey = journey
        self._reactor = reactor

    def opened(self) -> None:
        self.engine = MtqpServer(
            hostname=self._hostname,
            secure=self.secure,
            tls_available=self.listener.tls_context is not None,
        )
        self.engine.greet()

    async def handle(self, event: Event) -> None:
        if isinstance(event, StartTls):
            self.start_tls()
            self.engine.secured()
        elif statuses := await self._find(event):
            self.engine.found(tracking_report(statuses))
        else:
            self.engine.not_found()

    async def _find(self, event: Track) -> list[TrackingStatus]:
        def find() -> list[TrackingStatus]:
            return track(self._journey, event.envid, event.secret, reporting_mta=self._hostname)

        try:
            return await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), find)
        except sqlite3.Error as error:
            raise MailError(451, "4.3.0", "The journey of messages cannot be read now") from error

    def refuse(self, event: Event, error: MailError) -> None:
        self.engine.fail(error.text)

    def timed_out(self) -> None:
        self.engine.fail("Timeout, closing", finish=True)

    def shutting_down(self) -> None:
        self.engine.fail("Server is stopping", finish=True)
