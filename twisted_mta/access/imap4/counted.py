"""What sessions count: commands by their verbs, and the answers that end them, at the edge of the engine.

A command may take no more than 20 µs in all, so this takes care to be a hundredth of that.
"""

from __future__ import annotations

from collections import defaultdict

from twisted_mta.access.imap4.table import COMMANDS
from twisted_mta.protocol.imap4.commands.command import Command
from twisted_mta.protocol.imap4.commands.searching import MultiSearch, UnsearchableSave
from twisted_mta.protocol.imap4.server import ImapServer

# A UID command counts as that command, EXAMINE as SELECT. What is no command is in the replies alone, as BAD.
VERBS: dict[type[Command], str] = {
    **{command: command.__name__.upper() for command in COMMANDS},
    MultiSearch: "ESEARCH",
    UnsearchableSave: "SEARCH",
}
_respond = ImapServer.respond


class CountedImapServer(ImapServer):
    """`replies` by condition."""

    __slots__ = ("_replies",)

    def __init__(self, replies: defaultdict[str, int]) -> None:
        super().__init__()
        self._replies = replies

    def respond(self, tag: str, condition: str, text: str, code: str = "") -> None:
        """See ImapServer."""
        if tag != "*" or condition == "BYE":
            self._replies[condition] += 1
        _respond(self, tag, condition, text, code)
