"""Every command and the function that carries it out, put together from the groups."""

from __future__ import annotations

from twisted_mta.access.imap4 import (
    append,
    authentication,
    copy,
    expunge,
    fetch,
    idle,
    mailboxes,
    search,
    select,
    store_flags,
    universal,
)
from twisted_mta.access.imap4.command import Rows

COMMANDS: Rows = {
    **universal.COMMANDS,
    **authentication.COMMANDS,
    **select.COMMANDS,
    **mailboxes.COMMANDS,
    **append.COMMANDS,
    **idle.COMMANDS,
    **expunge.COMMANDS,
    **search.COMMANDS,
    **fetch.COMMANDS,
    **store_flags.COMMANDS,
    **copy.COMMANDS,
}
