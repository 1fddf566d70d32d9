"""Messages of an account in a snapshot, to be brought into the account as it is now."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator

from twisted_mta.store.exchange.inventory import Inventory
from twisted_mta.store.exchange.mail_source import Incoming, MaildirSource, capitals, chunks, open_file
from twisted_mta.store.exchange.mbox import Marks
from twisted_mta.store.maildir import CUR, Maildir

_HEADER = 1 << 18  # octets that are searched for a Message-ID
_ID = re.compile(rb"^Message-ID:\s*(<[^>]{1,998}>)", re.IGNORECASE | re.MULTILINE)
_BLANK = re.compile(rb"\n\r?\n")


class KeptMailbox(MaildirSource):
    """A mailbox of the account whose directory in a snapshot `inventory` reads: what the index knows of its
    messages goes along, and what it does not, the names of their files tell. among: base names, where not all
    are wanted. Raises OSError."""

    def __init__(self, inventory: Inventory, name: str, among: Collection[str] | None = None) -> None:
        maildir = inventory.maildir(name)
        self.path = maildir.path
        self.unit = "messages"
        self.passed_over = 0
        self._kept = maildir
        self._items = [item for item in inventory.items(name) if among is None or item.name in among]
        self.size = len(self._items)

    def __iter__(self) -> Iterator[Incoming]:
        for position, item in enumerate(self._items, 1):
            file = open_file(self._kept.file(item.name, item.place))
            try:
                date = os.fstat(file).st_mtime if item.row is None else item.row.internal_date
                marks = Marks(date, item.bits, item.keywords, item.place.directory == CUR)
                yield Incoming(
                    marks, chunks(file), position, capitals=capitals(item.place.tail), name=item.name
                )
            finally:
                os.close(file)


def having(maildir: Maildir, message_id: str) -> set[str]:
    """The base names of the messages with that Message-ID, "<…>" or without the brackets. Raises OSError."""
    wanted = f"<{message_id.strip().removeprefix('<').removesuffix('>')}>".encode()
    found = set()
    for name, place in maildir.list().items():
        with open(maildir.file(name, place), "rb") as file:
            header = _BLANK.split(file.read(_HEADER), maxsplit=1)[0]
        if any(each == wanted for each in _ID.findall(header)):
            found.add(name)
    return found
