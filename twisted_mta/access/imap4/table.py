"""Every command and the function that carries it out, put together from the groups."""

from __future__ import annotations

from twisted_mta.access.imap4 import (
    access_control,
    append,
    authentication,
    copy,
    expunge,
    fetch,
    idle,
    listing,
    mailboxes,
    metadata,
    metadata_changes,
    namespace,
    notify,
    quota,
    replace,
    select,
    status,
    store_flags,
    universal,
    urlauth,
)
from twisted_mta.access.imap4.command import Rows
from twisted_mta.access.imap4.searching import context, multisearch, search, sort, thread

COMMANDS: Rows = {
    **universal.COMMANDS,
    **authentication.COMMANDS,
    **select.COMMANDS,
    **mailboxes.COMMANDS,
    **listing.COMMANDS,
    **status.COMMANDS,
    **namespace.COMMANDS,
    **notify.COMMANDS,
    **access_control.COMMANDS,
    **metadata.COMMANDS,
    **metadata_changes.COMMANDS,
    **quota.COMMANDS,
    **append.COMMANDS,
    **replace.COMMANDS,
    **urlauth.COMMANDS,
    **idle.COMMANDS,
    **expunge.COMMANDS,
    **search.COMMANDS,
    **context.COMMANDS,
    **multisearch.COMMANDS,
    **sort.COMMANDS,
    **thread.COMMANDS,
    **fetch.COMMANDS,
    **store_flags.COMMANDS,
    **copy.COMMANDS,
}
