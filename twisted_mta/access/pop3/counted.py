"""The POP3 engine as sessions have it: commands and replies are counted at its edge."""

from __future__ import annotations

from typing import Any

from twisted_mta.metrics.counts import OTHER
from twisted_mta.metrics.tally import Tally
from twisted_mta.protocol.pop3.events import Event
from twisted_mta.protocol.pop3.server import Pop3Server

_VERBS = {
    verb.encode("ascii"): verb
    for verb in (
        *("USER", "PASS", "AUTH", "STLS", "UTF8", "CAPA", "LANG", "QUIT", "STAT", "LIST", "UIDL"),
        *("RETR", "TOP", "DELE", "RSET", "NOOP"),
    )
}
_LONGEST = 5  # octets of a verb and what follows it


class CountedPop3Server(Pop3Server):
    """`options` are those of Pop3Server."""

    def __init__(self, tally: Tally, **options: Any) -> None:
        super().__init__(**options)
        self._said, self._replies = tally.commands, tally.replies

    def _obey(self, line: bytes) -> Event | None:
        self._said[_VERBS.get(line[:_LONGEST].partition(b" ")[0].upper(), OTHER)] += 1
        return super()._obey(line)

    def _accept(self, text: str) -> None:
        self._replies["+OK"] += 1
        super()._accept(text)

    def _refuse(self, text: str) -> None:
        self._replies["-ERR"] += 1
        super()._refuse(text)
