"""The SMTP engine as sessions have it: commands and replies are counted at its edge."""

from __future__ import annotations

from typing import Any

from twisted_mta.metrics.counts import OTHER
from twisted_mta.metrics.tally import Tally
from twisted_mta.protocol.smtp.events import Event
from twisted_mta.protocol.smtp.server import SmtpServer

_VERBS = {
    verb.encode("ascii"): verb
    for verb in (
        *("EHLO", "HELO", "LHLO", "MAIL", "RCPT", "DATA", "BDAT", "BURL", "RSET", "QUIT"),
        *("STARTTLS", "AUTH", "XCLIENT", "NOOP", "VRFY", "EXPN", "HELP", "ETRN"),
    )
}
_SHORT, _LONGEST = 5, 9  # octets of most verbs and of all, with what follows them


class CountedSmtpServer(SmtpServer):
    """`options` are those of SmtpServer."""

    def __init__(self, tally: Tally, **options: Any) -> None:
        self._commands, self._replies = tally.commands, tally.replies
        super().__init__(**options)

    def _command(self, line: bytes) -> Event | None:
        verb = _VERBS.get(line[:_SHORT].rstrip(b" "))  # as most of them are written
        if verb is None:
            verb = _VERBS.get(line[:_LONGEST].partition(b" ")[0].upper(), OTHER)
        self._commands[verb] += 1
        return super()._command(line)

    def take_output(self) -> bytes:
        """See Engine."""
        output = super().take_output()
        if output.count(b"\n") == 1:  # as most often
            self._replies[output[:3].decode("latin-1")] += 1
        elif output:
            for line in output.split(b"\n"):
                if line[3:4] == b" ":  # the last one of a reply
                    self._replies[line[:3].decode("latin-1")] += 1
        return output
