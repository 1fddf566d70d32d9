"""GETQUOTA and GETQUOTAROOT (RFC 9208 §4.1). SETQUOTA is left out on purpose: limits are the administrator's
affair, and QUOTASET is not announced."""

from __future__ import annotations

from dataclasses import dataclass

from twisted_mta.protocol.imap4.commands.command import LOGGED_IN, Command, Rows, on_mailbox
from twisted_mta.protocol.imap4.grammar import Cursor


@dataclass(frozen=True, slots=True)
class GetQuota(Command):
    """GETQUOTA; the name of the root as octets, since it is an opaque word."""

    root: bytes


@dataclass(frozen=True, slots=True)
class GetQuotaRoot(Command):
    """GETQUOTAROOT."""

    mailbox: str


def _get(cursor: Cursor, tag: str) -> Command:
    cursor.space()
    return GetQuota(tag, cursor.astring())


COMMANDS: Rows = {
    "GETQUOTA": (LOGGED_IN, _get),
    "GETQUOTAROOT": (LOGGED_IN, on_mailbox(GetQuotaRoot)),
}
