"""How commands are told to those who carry them out: each module has its rows, table.py all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from twisted_mta.protocol.imap4.commands.command import Command

# The session and the command are given to the function; their types differ from row to row.
Rows = Mapping[type[Command], Callable[[Any, Any], Awaitable[None]]]
