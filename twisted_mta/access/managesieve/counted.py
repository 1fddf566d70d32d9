"""The ManageSieve engine as sessions have it: commands and replies are counted at its edge."""

from __future__ import annotations

from typing import Any

from twisted_mta.metrics.counts import OTHER
from twisted_mta.metrics.tally import Tally
from twisted_mta.protocol.managesieve.events import Event
from twisted_mta.protocol.managesieve.reader import Argument
from twisted_mta.protocol.managesieve.server import ManageSieveServer

_VERBS = {
    verb.encode("ascii"): verb
    for verb in (
        *("AUTHENTICATE", "CAPABILITY", "LOGOUT", "NOOP", "STARTTLS", "UNAUTHENTICATE"),
        *("CHECKSCRIPT", "DELETESCRIPT", "GETSCRIPT", "HAVESPACE", "LISTSCRIPTS", "PUTSCRIPT"),
        *("RENAMESCRIPT", "SETACTIVE"),
    )
}


class CountedManageSieveServer(ManageSieveServer):
    """`options` are those of ManageSieveServer."""

    def __init__(self, tally: Tally, **options: Any) -> None:
        super().__init__(**options)
        self._said, self._replies = tally.commands, tally.replies

    def _obey(self, verb: bytes, arguments: list[Argument]) -> Event | None:
        self._said[_VERBS.get(verb, OTHER)] += 1
        return super()._obey(verb, arguments)

    def _reply(self, word: str, text: str, code: str) -> None:
        self._replies[word] += 1
        super()._reply(word, text, code)
