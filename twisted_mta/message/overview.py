"""What SORT, THREAD and searches in header fields need to know of a message, read once from its header block
(RFC 5256 §2 and §3, RFC 5957 §3, RFC 3501 §6.4.4).

Every text is decoded (RFC 2047), on one line, and bounded: of a long field the first MAX_SUBJECT or MAX_LIST
characters are kept, so that a text of that length says "there is more in the message". Nothing raises.
"""

from __future__ import annotations

from typing import NamedTuple

from twisted_mta.message.address_list import Mailbox
from twisted_mta.message.base_subject import base_subject
from twisted_mta.message.date import read_date
from twisted_mta.message.encoded_word import decode
from twisted_mta.message.mime import Part
from twisted_mta.message.msg_id import first_message_id, message_ids

MAX_SUBJECT = 2048  # characters
MAX_LIST = 16 * 1024  # characters of all address fields of one name


class Overview(NamedTuple):
    """What is known of a message from its header block; "" and None for what it does not say."""

    sent: float | None  # Date, in epoch seconds
    sent_day: int | None  # the day that Date names, without regard to its time and zone; date.toordinal()
    subject: str
    base_subject: str  # RFC 5256 §2.1
    is_reply: bool  # a reply or forward, by its subject (RFC 5256 §3)
    from_: str  # the values of all fields of that name, joined by ", "
    to: str
    cc: str
    bcc: str
    reply_to: str
    sender: str
    from_mailbox: str  # addr-mailbox of the first address (RFC 5256 §3)
    to_mailbox: str
    cc_mailbox: str
    from_display: str  # RFC 5957 §3
    to_display: str
    message_id: str  # see msg_id
    references: tuple[str, ...]  # of References, or else the first one of In-Reply-To (RFC 5256 §3)


def read_overview(data: bytes, root: Part) -> Overview:
    """The overview of the message `data` with the structure `root`."""
    fields = root.fields
    first, joined = fields.first, fields.joined
    date = read_date(first.get(b"date", b""))
    subject = _text(first.get(b"subject", b""), MAX_SUBJECT)
    base, is_reply = base_subject(subject)
    from_mailbox, from_display = _first_address(fields.addresses(b"from"))
    to_mailbox, to_display = _first_address(fields.addresses(b"to"))
    cc_mailbox, _ = _first_address(fields.addresses(b"cc"))
    references = message_ids(first.get(b"references", b""))
    if not references and (parent := first_message_id(first.get(b"in-reply-to", b""))):
        references = [parent]
    return Overview(
        sent=date.epoch if date else None,
        sent_day=date.day.toordinal() if date else None,
        subject=subject,
        base_subject=base,
        is_reply=is_reply,
        from_=_text(joined.get(b"from", b""), MAX_LIST),
        to=_text(joined.get(b"to", b""), MAX_LIST),
        cc=_text(joined.get(b"cc", b""), MAX_LIST),
        bcc=_text(joined.get(b"bcc", b""), MAX_LIST),
        reply_to=_text(joined.get(b"reply-to", b""), MAX_LIST),
        sender=_text(joined.get(b"sender", b""), MAX_LIST),
        from_mailbox=from_mailbox,
        to_mailbox=to_mailbox,
        cc_mailbox=cc_mailbox,
        from_display=from_display,
        to_display=to_display,
        message_id=first_message_id(first.get(b"message-id", b"")),
        references=tuple(references),
    )


def _text(value: bytes, limit: int) -> str:
    if len(value) <= limit:
        return decode(value) if value else ""
    return decode(value[: 8 * limit])[:limit]


def _first_address(entries: list[Mailbox]) -> tuple[str, str]:
    """addr-mailbox of the first entry, and what to display for it: its name, or else its address. Of a group
    both are the group's name."""
    if not entries:
        return "", ""
    name, _, local, domain = entries[0]
    mailbox = _text(local or b"", MAX_SUBJECT)
    display = _text(name or b"", MAX_SUBJECT)
    if not display:
        display = mailbox if domain is None else f"{mailbox}@{_text(domain, MAX_SUBJECT)}"
    return mailbox, display
