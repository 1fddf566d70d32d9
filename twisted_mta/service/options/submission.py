"""The part of the configuration that says what accounts may send, and what becomes of what they sent."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from twisted_mta.message.status import MailError
from twisted_mta.service.options.complaint import ConfigError
from twisted_mta.service.options.quantities import Size
from twisted_mta.store.names import INBOX, canonical_name

Most = Annotated[int, Meta(ge=0)]


class Submission(Struct, frozen=True, forbid_unknown_fields=True):
    """What accounts may send. `message_size` and `recipients` of one message; None and 0: as `limits` says.
    In 24 hours `messages_a_day`, to `recipients_a_day`, of whom `newcomers_a_day` were never written to
    before, unless `mta account limits` says otherwise; 0: no limit. `sent_copy`: a copy goes into the
    account's mailbox Sent. `outbox`: the name of the mailbox from where messages are sent; "": none."""

    message_size: Size | None = None
    recipients: Most = 0
    messages_a_day: Most = 2000
    recipients_a_day: Most = 5000
    newcomers_a_day: Most = 500
    sent_copy: bool = False
    outbox: str = ""


def check_submission(submission: Submission) -> None:
    """Raises ConfigError."""
    if 0 < submission.recipients < 100:  # RFC 5321 §4.5.3.1.8
        raise ConfigError("submission.recipients: at least 100, or 0 for as many as limits.recipients")
    if submission.outbox:
        try:
            name = canonical_name(submission.outbox)
        except MailError:
            name = ""
        if not name or name == INBOX:
            raise ConfigError(
                f'submission.outbox: {submission.outbox!r} is no name for it; write outbox = "Outbox"'
            )
