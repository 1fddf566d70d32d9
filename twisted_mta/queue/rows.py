"""How the values of the queue become rows of its tables, and rows become values again; no I/O.

What most messages do not have costs them nothing: a message without parameters and without an account has no
row in `parameters`, and a new recipient's constants are part of the statement.
"""

from __future__ import annotations

from typing import Any

from twisted_mta.message.envelope import DeliverBy, MailParameters
from twisted_mta.message.outcome import QueuedRecipient
from twisted_mta.queue.records import NewMessage, StoredMessage, StoredRecipient

MESSAGE = "number, reverse_path, body_type, arrived, size, checksum, head, body"
PARAMETERS = (
    "message, account, smtputf8, ret, envid, require_tls, priority, hold_until, deliver_by, by_notify, "
    "by_trace, tracking, junk"
)
RECIPIENT = (
    "number, message, forward_path, original_path, domain, state, next_attempt, attempts, last_attempt, "
    "status, diagnostic, remote_mta, notify, orcpt, route, delay_told, returned"
)
NEW_RECIPIENT = "number, message, forward_path, original_path, domain, next_attempt, notify, orcpt"
NEW_RECIPIENT_TOO = "state, attempts, status, diagnostic, remote_mta"
NEW_RECIPIENT_VALUES = "'waiting', 0, '', '', ''"
# The columns of `stored_message`. In place of the last two a listing has x'' and NULL.
STORED_MESSAGE = (
    "m.number, m.reverse_path, m.arrived, m.size, m.checksum, m.body_type, p.account, p.smtputf8, p.ret, "
    "p.envid, p.require_tls, p.priority, p.hold_until, p.deliver_by, p.by_notify, p.by_trace, p.tracking, "
    "p.junk, "
    "m.head, m.body"
)
STORED_MESSAGE_FROM = "message m LEFT JOIN parameters p ON p.message = m.number"

_NOTHING = ("", False, "", "", False, 0, 0.0, None, False, False, "", "")


def message_row(new: NewMessage) -> tuple[Any, ...]:
    """The values of MESSAGE."""
    content, path = new.content, new.reverse_path
    return (
        new.number,
        None if path is None else str(path),
        new.parameters.body,
        new.arrived,
        new.size,
        new.checksum,
        content.head,
        None if content.path else content.data,
    )


def parameters_row(message: int, account: str, given: MailParameters) -> tuple[Any, ...] | None:
    """The values of PARAMETERS; None when there is nothing to keep."""
    by = given.deliver_by
    row = (
        account,
        given.smtputf8,
        given.ret,
        given.envid,
        given.require_tls,
        given.priority,
        given.hold_until,
        by and by.when,
        by is not None and by.notify,
        by is not None and by.trace,
        given.tracking,
        given.junk,
    )
    return None if row == _NOTHING else (message, *row)


def new_recipient_row(message: int, when: float, recipient: QueuedRecipient) -> tuple[Any, ...]:
    """The values of NEW_RECIPIENT. when: of the first attempt."""
    path, original = recipient.forward_path, recipient.original_path
    return (
        recipient.number,
        message,
        str(path),
        None if original is None else str(original),
        path.domain,
        when,
        " ".join(sorted(recipient.notify)),
        recipient.orcpt,
    )


def stored_message(row: tuple[Any, ...]) -> StoredMessage:
    """From STORED_MESSAGE."""
    number, reverse_path, arrived, size, checksum, body_type, account, *rest, head, body = row
    parameters = MailParameters(body=body_type)
    if account is not None:
        utf8, ret, envid, tls, priority, hold_until, by, by_notify, by_trace, tracking, junk = rest
        deliver_by = None if by is None else DeliverBy(by, bool(by_notify), bool(by_trace))
        parameters = MailParameters(
            body_type, bool(utf8), ret, envid, bool(tls), priority, hold_until, deliver_by, tracking, junk
        )
    return StoredMessage(number, reverse_path, arrived, size, checksum, head, body, parameters, account or "")


def stored_recipient(row: tuple[Any, ...]) -> StoredRecipient:
    """From RECIPIENT."""
    values = (*row[:-2], *map(bool, row[-2:]))
    return StoredRecipient(*values)
