"""IDLE (RFC 2177). Its continuation, DONE, is the engine's affair (server.py)."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import LOGGED_IN, Command, Rows, plain


@dataclass(frozen=True, slots=True)
class Idle(Command):
    """IDLE."""


COMMANDS: Rows = {"IDLE": (LOGGED_IN, plain(Idle))}
