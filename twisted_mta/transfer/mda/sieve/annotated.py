"""Annotations for the tests of mboxmetadata and servermetadata (RFC 5490 §4, §5)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted_mta.store.annotations import Values, all_values, canonical_entry
from twisted_mta.store.errors import BadAnnotation
from twisted_mta.store.home import Home
from twisted_mta.store.store import MessageStore

CAPABILITIES = frozenset(("mboxmetadata", "servermetadata", "include"))  # of scripts that may ask

Lookup = Callable[[str | None, str], str | None]


async def read_annotations(store: MessageStore, account: str, mailboxes: Iterable[str]) -> Lookup:
    """What the owner sees of these mailboxes and of the server, as it is now. Raises StoreError."""
    owner = await store.account(account)

    def read(home: Home) -> dict[str | None, Values]:
        return {name: all_values(home, account, name) for name in (None, *mailboxes)}

    found = await owner.visit(read)
    found[None].update(store.server_annotations)

    def look_up(mailbox: str | None, name: str) -> str | None:
        if mailbox is not None and mailbox.upper() == "INBOX":
            mailbox = "INBOX"
        try:
            value = found.get(mailbox, {}).get(canonical_entry(name))
        except BadAnnotation:
            return None
        return None if value is None else value.decode("utf-8", "replace")

    return look_up


def nothing(mailbox: str | None, name: str) -> str | None:
    """The lookup for scripts that do not ask."""
    return None
