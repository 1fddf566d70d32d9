"""The mail that tells somebody that a message in their Outbox was not sent, and why."""

from __future__ import annotations

from twisted_mta.message.address import Address
from twisted_mta.message.encoded_word import decode
from twisted_mta.message.headers import first_value
from twisted_mta.message.note import Note

_MOST_SUBJECT = 200  # characters of the subject that are repeated


def unsent_note(
    header: bytes, *, account: str, sender: Address, outbox: str, reason: str, message_id: str, now: float
) -> Note:
    """About the message with this `header`. now: seconds since the epoch."""
    subject = decode(first_value(header, b"Subject") or b"")[:_MOST_SUBJECT]
    called = f' "{subject}"' if subject else ""
    text = (
        f"Your message{called} was not sent:\n\n    {reason}\n\n"
        f"It is still in the mailbox {outbox}. To try again, correct it and put the new version there, "
        "or move it elsewhere and back. If you do not want to send it any more, delete it.\n"
    )
    to = Address.parse(account)
    return Note("Mail server", sender, to, f"Not sent: {subject}".rstrip(), text, message_id, now)
